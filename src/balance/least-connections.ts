import type { BalancedEndpoint, Balancer, PickContext } from './balancer.ts';
import { relativeLoad } from './balancer.ts';
import { RoundRobin } from './round-robin.ts';

/** The least active endpoint for its weight; weighted round robin among equals. */
export class LeastConnections<E extends BalancedEndpoint> implements Balancer<E> {
  #endpoints: readonly E[] = [];
  readonly #ties = new RoundRobin<E>();
  #least = 0;
  #excluded: PickContext['excluded'];
  readonly #tieContext: PickContext = {
    excluded: (ep) => relativeLoad(ep) > this.#least || this.#excluded?.(ep) === true,
  };

  update(endpoints: readonly E[]): void {
    this.#endpoints = endpoints;
    this.#ties.update(endpoints);
  }

  pick(ctx: PickContext): E | undefined {
    this.#least = Number.POSITIVE_INFINITY;
    this.#excluded = ctx.excluded;
    for (const ep of this.#endpoints) {
      const load = relativeLoad(ep);
      if (load < this.#least && !ctx.excluded?.(ep)) this.#least = load;
    }
    return this.#ties.pick(this.#tieContext);
  }
}
