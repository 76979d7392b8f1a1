import type { Clock } from '../base/clock.ts';
import type { Rng } from '../base/rng.ts';
import type { BalancedEndpoint, Balancer, PickContext } from './balancer.ts';
import { relativeLoad, scanFrom } from './balancer.ts';

/** Draws before a pick falls back to the plain scan. */
const MAX_DRAWS = 6;

/** Time constant of the latency average in ms. Source: Finagle PeakEwma, default decay. */
const EWMA_TAU_MS = 10_000;

/** Cost of an endpoint with work but without an answer so far; above any latency in ms. */
const UNPROVEN_COST = 1e9;

/** Two random draws by weight, of which the cheaper wins. Source: M. Mitzenmacher, 2001. */
class TwoChoices<E extends BalancedEndpoint> {
  readonly #rng: Rng;
  readonly #cost: (ep: E) => number;
  #endpoints: readonly E[] = [];
  #keep = new Float64Array(0);
  #alias = new Uint32Array(0);

  constructor(rng: Rng, cost: (ep: E) => number) {
    this.#rng = rng;
    this.#cost = cost;
  }

  /** Builds the alias table. Source: M. Vose, 1991. */
  update(endpoints: readonly E[]): void {
    const n = endpoints.length;
    const total = endpoints.reduce((sum, ep) => sum + ep.weight, 0);
    const keep = Float64Array.from(endpoints, (ep) => (ep.weight * n) / total);
    const alias = Uint32Array.from(endpoints, (_, i) => i);
    const small: number[] = [];
    const large: number[] = [];
    keep.forEach((share, i) => {
      (share < 1 ? small : large).push(i);
    });
    for (;;) {
      const more = large.at(-1);
      const less = more === undefined ? undefined : small.pop();
      if (more === undefined || less === undefined) break;
      alias[less] = more;
      keep[more] = (keep[more] ?? 0) - (1 - (keep[less] ?? 0));
      if ((keep[more] ?? 0) < 1) {
        large.pop();
        small.push(more);
      }
    }
    // What is left differs from 1 by rounding only.
    for (const i of small) keep[i] = 1;
    this.#endpoints = endpoints;
    this.#keep = keep;
    this.#alias = alias;
  }

  pick(ctx: PickContext): E | undefined {
    const n = this.#endpoints.length;
    if (n < 2) return scanFrom(this.#endpoints, 0, ctx.excluded);
    let first: E | undefined;
    for (let draw = 0; draw < MAX_DRAWS; draw++) {
      const ep = this.#draw(n);
      if (!ep || ep === first || ctx.excluded?.(ep)) continue;
      if (first) return this.#cost(ep) < this.#cost(first) ? ep : first;
      first = ep;
    }
    return first ?? scanFrom(this.#endpoints, this.#rng.below(n), ctx.excluded);
  }

  #draw(n: number): E | undefined {
    const i = this.#rng.below(n);
    return this.#endpoints[this.#rng.next() < (this.#keep[i] ?? 1) ? i : (this.#alias[i] ?? i)];
  }
}

/** Two weighted random draws; the less loaded wins. */
export class RandomTwo<E extends BalancedEndpoint> implements Balancer<E> {
  readonly #choices: TwoChoices<E>;

  constructor(rng: Rng) {
    this.#choices = new TwoChoices<E>(rng, relativeLoad);
  }

  update(endpoints: readonly E[]): void {
    this.#choices.update(endpoints);
  }

  pick(ctx: PickContext): E | undefined {
    return this.#choices.pick(ctx);
  }
}

/**
 * Two weighted random draws; the lower product of latency and load wins. The average jumps to a
 * higher sample at once and decays with time, so that a slow endpoint is tried again.
 * Source: Finagle PeakEwma.
 */
export class PeakEwma<E extends BalancedEndpoint> implements Balancer<E> {
  readonly #clock: Clock;
  readonly #choices: TwoChoices<E>;

  constructor(rng: Rng, clock: Clock) {
    this.#clock = clock;
    this.#choices = new TwoChoices<E>(rng, (ep) => this.#cost(ep));
  }

  update(endpoints: readonly E[]): void {
    this.#choices.update(endpoints);
  }

  pick(ctx: PickContext): E | undefined {
    return this.#choices.pick(ctx);
  }

  finished(ep: E, latencyMs: number): void {
    const { load } = ep;
    const now = this.#clock.now();
    if (Number.isNaN(load.ewmaMs) || latencyMs >= load.ewmaMs) {
      load.ewmaMs = latencyMs;
    } else {
      const old = Math.exp((load.ewmaAt - now) / EWMA_TAU_MS);
      load.ewmaMs = load.ewmaMs * old + latencyMs * (1 - old);
    }
    load.ewmaAt = now;
  }

  #cost(ep: E): number {
    const { active, ewmaMs, ewmaAt } = ep.load;
    if (Number.isNaN(ewmaMs)) return active === 0 ? 0 : UNPROVEN_COST + active / ep.weight;
    const decayed = ewmaMs * Math.exp((ewmaAt - this.#clock.now()) / EWMA_TAU_MS);
    return decayed * (1 + active / ep.weight);
  }
}
