import type { BalancedEndpoint, Balancer, PickContext } from './balancer.ts';
import { scanFrom } from './balancer.ts';
import { RoundRobin } from './round-robin.ts';

/** Places that a pick visits before it falls back to the plain scan. */
const MAX_PROBES = 128;

/** Maps hashes to indexes of the endpoints it was built from. */
export interface HashTable {
  /** Index for the `probe`th try of `hash`; probe 0 is the hash's home. */
  lookup(hash: number, probe: number): number;
}

/** Builds a table; `endpoints` is not empty and sorted by id. */
export type HashTableBuilder = (endpoints: readonly BalancedEndpoint[]) => HashTable;

/**
 * Picks by hash from a table; without a hash by round robin. With `boundedLoad` an endpoint above
 * that multiple of its share of the active work passes the key on.
 * Source: Mirrokni et al., Consistent Hashing with Bounded Loads, 2016.
 */
export class Hashed<E extends BalancedEndpoint> implements Balancer<E> {
  readonly #build: HashTableBuilder;
  readonly #boundedLoad: number | undefined;
  readonly #keyless = new RoundRobin<E>();
  #endpoints: readonly E[] = [];
  #table: HashTable | undefined;
  #totalWeight = 0;

  constructor(build: HashTableBuilder, boundedLoad: number | undefined) {
    this.#build = build;
    this.#boundedLoad = boundedLoad;
  }

  update(endpoints: readonly E[]): void {
    // Sorted, so that every process builds the same table whatever order discovery gave.
    const sorted = [...endpoints].sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
    if (!this.#sameTable(sorted)) {
      this.#table = sorted.length > 0 ? this.#build(sorted) : undefined;
    }
    this.#endpoints = sorted;
    this.#totalWeight = sorted.reduce((sum, ep) => sum + ep.weight, 0);
    this.#keyless.update(endpoints);
  }

  pick(ctx: PickContext): E | undefined {
    if (ctx.hash === undefined) return this.#keyless.pick(ctx);
    if (!this.#table) return undefined;
    const mean = this.#boundedLoad === undefined ? Infinity : this.#bound(this.#boundedLoad);
    for (let probe = 0; probe < MAX_PROBES; probe++) {
      const ep = this.#endpoints[this.#table.lookup(ctx.hash, probe)];
      if (ep && ep.load.active < Math.ceil(mean * ep.weight) && !ctx.excluded?.(ep)) return ep;
    }
    return scanFrom(this.#endpoints, this.#table.lookup(ctx.hash, 0), ctx.excluded);
  }

  /** Most active work for each unit of weight, this pick included. */
  #bound(factor: number): number {
    let active = 1;
    for (const ep of this.#endpoints) active += ep.load.active;
    return (factor * active) / this.#totalWeight;
  }

  #sameTable(sorted: readonly E[]): boolean {
    const old = this.#endpoints;
    return (
      old.length === sorted.length &&
      sorted.every((ep, i) => ep.id === old[i]?.id && ep.weight === old[i]?.weight)
    );
  }
}
