import type { Clock } from '../base/clock.ts';
import type { Rng } from '../base/rng.ts';
import type { Balance } from '../model/service.ts';
import type { BalancedEndpoint, Balancer, PickContext } from './balancer.ts';
import { scanFrom } from './balancer.ts';
import { Hashed } from './hashed.ts';
import { LeastConnections } from './least-connections.ts';
import { buildMaglev } from './maglev.ts';
import { PeakEwma, RandomTwo } from './random-choice.ts';
import { buildRing } from './ring.ts';
import { RoundRobin } from './round-robin.ts';

/** The name of a balancing algorithm as the configuration has it. */
export type Algorithm = Balance['algorithm'];

/** What a balancer is made from. */
export type BalancerParts = {
  readonly rng: Rng;
  readonly clock: Clock;
  readonly options?: { readonly boundedLoad?: number | undefined } | undefined;
};

/** The first endpoint in the given order that is not excluded. */
class First<E extends BalancedEndpoint> implements Balancer<E> {
  #endpoints: readonly E[] = [];

  update(endpoints: readonly E[]): void {
    this.#endpoints = endpoints;
  }

  pick(ctx: PickContext): E | undefined {
    return scanFrom(this.#endpoints, 0, ctx.excluded);
  }
}

type Factory = <E extends BalancedEndpoint>(parts: BalancerParts) => Balancer<E>;

const CATALOG: Readonly<Record<Algorithm, Factory>> = {
  'round-robin': () => new RoundRobin(),
  'least-connections': () => new LeastConnections(),
  'random-two': ({ rng }) => new RandomTwo(rng),
  'source-hash': ({ options }) => new Hashed(buildRing, options?.boundedLoad),
  'consistent-hash': ({ options }) => new Hashed(buildRing, options?.boundedLoad),
  maglev: ({ options }) => new Hashed(buildMaglev, options?.boundedLoad),
  ewma: ({ rng, clock }) => new PeakEwma(rng, clock),
  first: () => new First(),
};

/** Every algorithm there is. */
export const ALGORITHMS = Object.keys(CATALOG) as Algorithm[]; // exact: the record has all names

/** An empty balancer of the named algorithm. */
export function createBalancer<E extends BalancedEndpoint>(
  algorithm: Algorithm,
  parts: BalancerParts,
): Balancer<E> {
  return CATALOG[algorithm](parts);
}
