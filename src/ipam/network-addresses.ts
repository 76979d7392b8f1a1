import { failed, forbidden, invalid } from '../base/faults.ts';
import type { Network } from '../model/network.ts';
import { AddressPool } from './address-pool.ts';
import { contains, type Family, formatAddress, parseAddress, parseCidr } from './cidr.ts';

/** An address that a network handed out, with the prefix length of its subnet. */
export type Lease = { readonly address: string; readonly prefixLength: number };

/** The addresses of one network. Gateways and auxiliary addresses are reserved from the start. */
export class NetworkAddresses {
  readonly #network: Pick<Network, 'id' | 'name'>;
  readonly #pools: readonly AddressPool[];
  #exhausted = 0;

  constructor({ id, name, ipam }: Pick<Network, 'id' | 'name' | 'ipam'>) {
    this.#network = { id, name };
    this.#pools = ipam.blocks.flatMap((block) => {
      const subnet = parseCidr(block.subnet);
      if (!subnet) return [];
      const range = block.ipRange === undefined ? undefined : parseCidr(block.ipRange);
      const pool = new AddressPool(subnet, range);
      for (const reserved of [block.gateway, ...Object.values(block.auxAddresses)]) {
        const address = reserved === undefined ? undefined : parseAddress(reserved);
        if (address) pool.take(address.value);
      }
      return [pool];
    });
  }

  /** Whether the network hands out addresses of this family. */
  has(family: Family): boolean {
    return this.#pools.some(({ subnet }) => subnet.family === family);
  }

  /** Addresses in use, gateways and auxiliary ones among them. */
  get used(): number {
    return this.#pools.reduce((sum, pool) => sum + pool.used, 0);
  }

  /** How often nothing was left. */
  get exhausted(): number {
    return this.#exhausted;
  }

  /** The lowest free address of the family. */
  allocate(family: Family): Lease {
    for (const pool of this.#pools) {
      if (pool.subnet.family !== family) continue;
      const value = pool.next();
      if (value !== undefined) return this.#lease(pool, value);
    }
    const { name, id } = this.#network;
    this.#exhausted++;
    throw failed(
      `no available IPv${family} addresses on this network's address pools: ${name} (${id})`,
    );
  }

  /** One address by choice. */
  reserve(text: string): Lease {
    const pool = this.#poolOf(text);
    const address = parseAddress(text);
    if (!pool || !address) {
      throw invalid(
        `invalid endpoint settings:\nno configured subnet or ip-range contain the IP address ${text}`,
      );
    }
    if (pool.take(address.value) !== 'taken') throw forbidden('Address already in use');
    return this.#lease(pool, address.value);
  }

  /** Whether an address lies in one of the subnets. */
  covers(text: string): boolean {
    return this.#poolOf(text) !== undefined;
  }

  /** Idempotent. */
  release(text: string): void {
    const address = parseAddress(text);
    if (address) this.#poolOf(text)?.free(address.value);
  }

  #poolOf(text: string): AddressPool | undefined {
    const address = parseAddress(text);
    return address && this.#pools.find(({ subnet }) => contains(subnet, address));
  }

  #lease({ subnet }: AddressPool, value: bigint): Lease {
    return {
      address: formatAddress({ family: subnet.family, value }),
      prefixLength: subnet.bits,
    };
  }
}
