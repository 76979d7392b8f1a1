/** Live load of one endpoint; survives view changes; shared by balancer and session. */
export type EndpointLoad = {
  /** Requests or connections at work. */
  active: number;
  /** Moving average of the latency in ms, NaN before the first answer. */
  ewmaMs: number;
  /** Monotonic ms of the last sample in `ewmaMs`. */
  ewmaAt: number;
};

/** An endpoint that may take traffic. */
export interface BalancedEndpoint {
  readonly id: string;
  /** Effective weight, > 0; may be fractional. */
  readonly weight: number;
  readonly load: EndpointLoad;
}

/** What one pick depends on. */
export interface PickContext {
  /** 32-bit hash of the chosen key, undefined if the request has no such key. */
  readonly hash?: number | undefined;
  /** True for an endpoint that this pick must not return (tried before, full). */
  readonly excluded?: ((ep: BalancedEndpoint) => boolean) | undefined;
}

/** Chooses among endpoints. `pick` allocates nothing; tables are built by `update`. */
export interface Balancer<E extends BalancedEndpoint> {
  update(endpoints: readonly E[]): void;
  /** Undefined when there is no endpoint or all are excluded. */
  pick(ctx: PickContext): E | undefined;
  /** Reports the latency of an answer, for algorithms that learn from it. */
  finished?(ep: E, latencyMs: number): void;
}

/** The load of an endpoint that was never used. */
export function idleLoad(): EndpointLoad {
  return { active: 0, ewmaMs: Number.NaN, ewmaAt: 0 };
}

/** Load per weight, by which least-loaded choices compare; all idle endpoints are equal. */
export function relativeLoad(ep: BalancedEndpoint): number {
  return ep.load.active === 0 ? 0 : (ep.load.active + 1) / ep.weight;
}

/** The first endpoint from `start` on, going around, that is not excluded. */
export function scanFrom<E extends BalancedEndpoint>(
  endpoints: readonly E[],
  start: number,
  excluded: PickContext['excluded'],
): E | undefined {
  for (let step = 0; step < endpoints.length; step++) {
    const ep = endpoints[(start + step) % endpoints.length];
    if (ep && !excluded?.(ep)) return ep;
  }
  return undefined;
}
