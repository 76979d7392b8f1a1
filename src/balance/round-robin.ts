import type { BalancedEndpoint, Balancer, PickContext } from './balancer.ts';

/**
 * Smooth weighted round robin: exact shares, evenly interleaved. The position survives `update`.
 * Source: nginx, ngx_http_upstream_round_robin.c.
 */
export class RoundRobin<E extends BalancedEndpoint> implements Balancer<E> {
  #endpoints: readonly E[] = [];
  #credit = new Float64Array(0);

  update(endpoints: readonly E[]): void {
    const kept = new Map(this.#endpoints.map((ep, i) => [ep.id, this.#credit[i] ?? 0]));
    this.#credit = Float64Array.from(endpoints, (ep) => kept.get(ep.id) ?? 0);
    this.#endpoints = endpoints;
  }

  pick(ctx: PickContext): E | undefined {
    const credit = this.#credit;
    let best: E | undefined;
    let bestAt = 0;
    let total = 0;
    for (let i = 0; i < this.#endpoints.length; i++) {
      const ep = this.#endpoints[i];
      if (!ep || ctx.excluded?.(ep)) continue;
      credit[i] = (credit[i] ?? 0) + ep.weight;
      total += ep.weight;
      if (best === undefined || (credit[i] ?? 0) > (credit[bestAt] ?? 0)) {
        best = ep;
        bestAt = i;
      }
    }
    if (best) credit[bestAt] = (credit[bestAt] ?? 0) - total;
    return best;
  }
}
