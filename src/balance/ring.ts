import type { BalancedEndpoint } from './balancer.ts';
import { hashKey, rehash } from './hash.ts';
import type { HashTable } from './hashed.ts';

/** Virtual nodes for each unit of weight, while the ring has room. */
export const RING_NODES_PER_WEIGHT = 160;

/** Most virtual nodes of a ring; above it every endpoint's number is halved until they fit. */
export const MAX_RING_NODES = 65_536;

/** Room for the owner's index beside a 32-bit hash in a double's 53 bits. */
const OWNER_RANGE = 2 ** 20;

/**
 * A consistent-hash ring; each endpoint has virtual nodes by weight, at least one.
 * Source: Karger et al., Consistent Hashing and Random Trees, 1997.
 */
export function buildRing(endpoints: readonly BalancedEndpoint[]): HashTable & { size: number } {
  const counts = nodeCounts(endpoints);
  const packed = new Float64Array(counts.reduce((sum, n) => sum + n, 0));
  let at = 0;
  endpoints.forEach((ep, owner) => {
    const seed = hashKey(ep.id);
    for (let node = 1; node <= (counts[owner] ?? 0); node++) {
      packed[at++] = rehash(seed, node) * OWNER_RANGE + owner;
    }
  });
  packed.sort();
  const places = Uint32Array.from(packed, (value) => Math.floor(value / OWNER_RANGE));
  const owners = Uint32Array.from(packed, (value) => value % OWNER_RANGE);
  return {
    size: owners.length,
    lookup: (hash, probe) => owners[(firstAtOrAfter(places, hash) + probe) % owners.length] ?? 0,
  };
}

function nodeCounts(endpoints: readonly BalancedEndpoint[]): number[] {
  for (let perWeight = RING_NODES_PER_WEIGHT; ; perWeight /= 2) {
    const counts = endpoints.map((ep) => Math.max(1, Math.round(ep.weight * perWeight)));
    const total = counts.reduce((sum, n) => sum + n, 0);
    if (total <= Math.max(MAX_RING_NODES, endpoints.length)) return counts;
  }
}

function firstAtOrAfter(places: Uint32Array, hash: number): number {
  let low = 0;
  let high = places.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((places[middle] ?? 0) < hash) low = middle + 1;
    else high = middle;
  }
  return low;
}
