import {
  type Address,
  type Cidr,
  contains,
  formatAddress,
  parseAddress,
  parseCidr,
} from '../../../ipam/cidr.ts';
import { EndpointPool, type EndpointUse } from '../../../ipam/endpoint-pool.ts';
import { bare } from '../../../model/address.ts';
import type { ClusterNetwork } from '../../../model/cluster.ts';
import { linkSegments } from '../compile/addresses.ts';

/** Addresses with prefix length that somebody has in one network. */
export type Lease = {
  readonly address: string;
  /** The IPv6 one beside it, of a network that has both families. */
  readonly address6: string | undefined;
};

/** Leases by network id. */
export type Leases = ReadonlyMap<string, Lease>;

/** Subnets whose members share their links: of one family, or an IPv4 one with its IPv6 ones. */
type Place = { readonly pools: readonly EndpointPool[]; readonly pools6: readonly EndpointPool[] };

const NOTHING: Leases = new Map();

function poolOf({ spec }: ClusterNetwork, subnet: Cidr, text: string): EndpointPool {
  const block = spec.ipam.blocks.find((one) => one.subnet === text);
  const range = block?.ipRange === undefined ? undefined : parseCidr(block.ipRange);
  const reserved = [block?.gateway, ...Object.values(block?.auxAddresses ?? {})];
  const values = reserved.flatMap((one) => (one ? (parseAddress(bare(one))?.value ?? []) : []));
  return new EndpointPool(subnet, range, values);
}

function placesOf(network: ClusterNetwork): Place[] {
  return linkSegments(network).map(({ subnets }) => {
    const pools = subnets.flatMap((text) => {
      const subnet = parseCidr(text);
      return subnet ? [poolOf(network, subnet, text)] : [];
    });
    const family = pools[0]?.subnet.family;
    const first = pools.filter(({ subnet }) => subnet.family === family);
    return { pools: first, pools6: pools.filter((pool) => !first.includes(pool)) };
  });
}

function formatIn({ subnet }: EndpointPool, value: bigint): string {
  return `${formatAddress({ family: subnet.family, value })}/${subnet.bits}`;
}

/** Of a network, who may have which of its addresses. */
class NetworkLedger {
  readonly #places: readonly Place[];

  constructor(network: ClusterNetwork) {
    this.#places = placesOf(network);
  }

  take(text: string, use: EndpointUse): boolean {
    const [pool, value] = this.#find(text);
    return pool?.take(value, use) ?? false;
  }

  free(text: string): void {
    const [pool, value] = this.#find(text);
    pool?.free(value);
  }

  /** Undefined: none is left. */
  next(use: EndpointUse): Lease | undefined {
    for (const place of this.#places) {
      const address = nextOf(place.pools, use);
      if (address === undefined) continue;
      if (place.pools6.length === 0) return { address, address6: undefined };
      const address6 = nextOf(place.pools6, use);
      if (address6 !== undefined) return { address, address6 };
      this.free(address);
    }
    return undefined;
  }

  /** These addresses, with the next free one of the family that is not asked for; a text: why not. */
  ask(wanted: readonly string[]): Lease | string {
    const asked = wanted.flatMap((text) => parseAddress(text) ?? []);
    const place = this.#places.find(({ pools, pools6 }) =>
      asked.every((one) => [...pools, ...pools6].some(({ subnet }) => contains(subnet, one))),
    );
    if (!place || asked.length < wanted.length) {
      return `invalid address ${wanted.join(', ')}: It does not belong to any of this network's subnets`;
    }
    const address = takeOr(asked, place.pools);
    const address6 = takeOr(asked, place.pools6);
    const whole = address6 !== undefined || place.pools6.length === 0;
    if (address !== undefined && whole) return { address, address6 };
    for (const one of [address, address6]) if (one !== undefined) this.free(one);
    return 'Address already in use';
  }

  #find(text: string): [EndpointPool | undefined, bigint] {
    const address = parseAddress(bare(text));
    if (!address) return [undefined, 0n];
    for (const { pools, pools6 } of this.#places) {
      const pool = [...pools, ...pools6].find(({ subnet }) => contains(subnet, address));
      if (pool) return [pool, address.value];
    }
    return [undefined, 0n];
  }
}

/** The one of these pools that is asked for, or the next; undefined: it is not to be had. */
function takeOr(asked: readonly Address[], pools: readonly EndpointPool[]): string | undefined {
  for (const address of asked) {
    const pool = pools.find(({ subnet }) => contains(subnet, address));
    if (pool) return pool.take(address.value, 'task') ? formatIn(pool, address.value) : undefined;
  }
  return nextOf(pools, 'task');
}

function nextOf(pools: readonly EndpointPool[], use: EndpointUse): string | undefined {
  for (const pool of pools) {
    const value = pool.next(use);
    if (value !== undefined) return formatIn(pool, value);
  }
  return undefined;
}

/** Which task and which service has which addresses of the cluster's networks. */
export class AddressLedger {
  readonly #networks = new Map<string, NetworkLedger>();
  readonly #held = new Map<string, Map<string, Lease>>();

  /** Knows this network from now on, if it has subnets; undefined: it is gone, with all leases. */
  define(id: string, network: ClusterNetwork | undefined): void {
    if (network && network.segments.length > 0) {
      if (!this.#networks.has(id)) this.#networks.set(id, new NetworkLedger(network));
    } else if (this.#networks.delete(id)) {
      for (const leases of this.#held.values()) leases.delete(id);
    }
  }

  has(networkId: string): boolean {
    return this.#networks.has(networkId);
  }

  /** The owner has exactly these of now; what is another's is left out. */
  settle(owner: string, leases: Leases, use: EndpointUse): void {
    const held = this.#held.get(owner);
    for (const [network, lease] of held ?? NOTHING) {
      if (sameLease(lease, leases.get(network))) continue;
      this.#free(network, lease);
      held?.delete(network);
    }
    if (held?.size === 0) this.#held.delete(owner);
    for (const [network, lease] of leases) {
      if (this.#held.get(owner)?.has(network)) continue;
      if (this.#take(network, lease, use)) this.#hold(owner, network, lease);
    }
  }

  /** What the owner has in a network, given now if it had nothing; undefined: none is left. */
  lease(owner: string, network: string, use: EndpointUse): Lease | undefined {
    const had = this.#held.get(owner)?.get(network);
    if (had) return had;
    const lease = this.#networks.get(network)?.next(use);
    if (lease) this.#hold(owner, network, lease);
    return lease;
  }

  /** As `lease` of one that asks for these addresses of a network; a text: why it does not get them. */
  ask(owner: string, network: string, wanted: readonly string[]): Lease | string | undefined {
    const had = this.#held.get(owner)?.get(network);
    if (had || wanted.length === 0) return had ?? this.lease(owner, network, 'task');
    const lease = this.#networks.get(network)?.ask(wanted);
    if (typeof lease === 'object') this.#hold(owner, network, lease);
    return lease;
  }

  #hold(owner: string, network: string, lease: Lease): void {
    this.#held.set(owner, (this.#held.get(owner) ?? new Map()).set(network, lease));
  }

  #take(network: string, { address, address6 }: Lease, use: EndpointUse): boolean {
    const ledger = this.#networks.get(network);
    if (!ledger?.take(address, use)) return false;
    if (address6 === undefined || ledger.take(address6, use)) return true;
    ledger.free(address);
    return false;
  }

  #free(network: string, { address, address6 }: Lease): void {
    const ledger = this.#networks.get(network);
    ledger?.free(address);
    if (address6 !== undefined) ledger?.free(address6);
  }
}

function sameLease(a: Lease, b: Lease | undefined): boolean {
  return a.address === b?.address && a.address6 === b.address6;
}
