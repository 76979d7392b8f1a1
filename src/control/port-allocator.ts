import { failed } from '../base/faults.ts';
import type { PortBinding } from '../model/container.ts';
import type { Transport } from '../model/host-intent.ts';

type Range = readonly [number, number];

type Held = { readonly address: string | undefined; readonly owner: string };

const family = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);

function clash(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined) return true;
  const wild = (text: string) => text === '0.0.0.0' || text === '::';
  return a === b || (family(a) === family(b) && (wild(a) || wild(b)));
}

/**
 * Who holds which port of the host. It knows of our own ports only; that a foreign program
 * listens shows when the kernel refuses.
 */
export class PortAllocator {
  readonly #held = new Map<string, Held[]>();
  readonly #dynamic: Range;
  #next: number;

  /** `dynamic`: where ports without a number are taken from, inclusive. */
  constructor(dynamic: Range) {
    this.#dynamic = dynamic;
    this.#next = dynamic[0];
  }

  /** Takes one port if it is free. */
  take(binding: Omit<PortBinding, 'port'>, owner: string): boolean {
    const { transport, hostPort, hostAddress } = binding;
    if (this.#find(transport, hostPort, hostAddress)) return false;
    const key = `${transport}/${hostPort}`;
    this.#held.set(key, [...(this.#held.get(key) ?? []), { address: hostAddress, owner }]);
    return true;
  }

  /**
   * Takes the given port, the first free one of a range, or the next free dynamic one. `refused`:
   * ports that were tried in vain. Throws in the words that users know.
   */
  choose(
    wanted: {
      transport: Transport;
      hostAddress: string | undefined;
      hostPorts: Range | undefined;
    },
    owner: string,
    refused: ReadonlySet<number> = new Set(),
  ): number {
    const { transport, hostAddress, hostPorts } = wanted;
    const at = hostAddress ?? '0.0.0.0';
    const shown = at.includes(':') ? `[${at}]` : at;
    const [low, high] = hostPorts ?? this.#dynamic;
    const first = hostPorts ? low : this.#next;
    for (let offset = 0; offset <= high - low; offset++) {
      const hostPort = low + ((first - low + offset) % (high - low + 1));
      if (refused.has(hostPort)) continue;
      if (!this.take({ transport, hostPort, hostAddress }, owner)) continue;
      if (!hostPorts) this.#next = hostPort === high ? low : hostPort + 1;
      return hostPort;
    }
    if (hostPorts && low === high) {
      throw failed(`Bind for ${shown}:${low} failed: port is already allocated`);
    }
    throw failed(`Bind for ${shown}:${low}-${high} failed: all ports are allocated`);
  }

  /** Gives back every port of an owner. */
  release(owner: string): void {
    for (const [key, held] of this.#held) {
      const left = held.filter((one) => one.owner !== owner);
      if (left.length > 0) this.#held.set(key, left);
      else this.#held.delete(key);
    }
  }

  #find(transport: Transport, port: number, address: string | undefined): Held | undefined {
    return this.#held.get(`${transport}/${port}`)?.find((held) => clash(held.address, address));
  }
}
