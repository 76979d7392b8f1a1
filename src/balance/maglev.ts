import type { BalancedEndpoint } from './balancer.ts';
import { hashKey, rehash } from './hash.ts';
import type { HashTable } from './hashed.ts';

/** Slots of the table, a prime. */
export const MAGLEV_SLOTS = 65_537;

/**
 * A Maglev table with slots by weight.
 * Source: Eisenbud et al., Maglev, NSDI 2016, section 3.4; weights as in Envoy.
 */
export function buildMaglev(endpoints: readonly BalancedEndpoint[]): HashTable {
  const slots = new Int32Array(MAGLEV_SLOTS).fill(-1);
  const heaviest = endpoints.reduce((most, ep) => Math.max(most, ep.weight), 0);
  const place = endpoints.map((ep) => rehash(hashKey(ep.id), 1) % MAGLEV_SLOTS);
  const skip = endpoints.map((ep) => (rehash(hashKey(ep.id), 2) % (MAGLEV_SLOTS - 1)) + 1);
  const credit = new Float64Array(endpoints.length);
  for (let filled = 0; filled < MAGLEV_SLOTS; ) {
    for (let i = 0; i < endpoints.length && filled < MAGLEV_SLOTS; i++) {
      credit[i] = (credit[i] ?? 0) + (endpoints[i]?.weight ?? 0) / heaviest;
      // Float sums of equal weights may end a hair below one.
      if ((credit[i] ?? 0) < 1 - 1e-9) continue;
      credit[i] = (credit[i] ?? 0) - 1;
      let slot = place[i] ?? 0;
      const step = skip[i] ?? 1;
      while (slots[slot] !== -1) slot = (slot + step) % MAGLEV_SLOTS;
      slots[slot] = i;
      place[i] = (slot + step) % MAGLEV_SLOTS;
      filled++;
    }
  }
  return {
    lookup: (hash, probe) => slots[(probe === 0 ? hash : rehash(hash, probe)) % MAGLEV_SLOTS] ?? 0,
  };
}
