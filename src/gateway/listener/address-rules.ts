import { BlockList, isIP, isIPv6 } from 'node:net';
import type { Access } from '../../model/route.ts';

/** A set of address blocks, compiled once. */
export class AddressSet {
  readonly #list = new BlockList();
  readonly size: number;

  constructor(blocks: readonly string[]) {
    this.size = blocks.length;
    for (const block of blocks) {
      const [address = '', bits = '0'] = block.split('/');
      this.#list.addSubnet(address, Number(bits), isIPv6(address) ? 'ipv6' : 'ipv4');
    }
  }

  has(address: string): boolean {
    if (this.size === 0 || !isIP(address)) return false;
    return this.#list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
  }
}

/** Who may come in: nobody that is denied, and only the allowed when there are any. */
export class AddressRules {
  readonly #allow: AddressSet;
  readonly #deny: AddressSet;

  constructor(access: Access | undefined) {
    this.#allow = new AddressSet(access?.allow ?? []);
    this.#deny = new AddressSet(access?.deny ?? []);
  }

  allows(address: string): boolean {
    if (this.#deny.has(address)) return false;
    return this.#allow.size === 0 || this.#allow.has(address);
  }
}
