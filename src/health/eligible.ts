/** What decides whether an endpoint takes new work. */
export type EndpointCondition = {
  readonly admin: 'ready' | 'drain' | 'maint';
  readonly check: 'up' | 'down' | 'unknown';
  readonly ejected: boolean;
  readonly backup: boolean;
};

/**
 * What to do without healthy endpoints: nothing, or try any; a share (0 to 1) tries any as soon as
 * a smaller share of a tier is healthy.
 */
export type Panic = 'any' | 'none' | number;

/**
 * The endpoints that take new work: the healthy primaries, else the healthy backups, else by
 * `panic` all that the operator has left ready, primaries first.
 */
export function eligible<C extends EndpointCondition>(
  endpoints: readonly C[],
  { panic }: { panic: Panic },
): C[] {
  const ready = endpoints.filter((ep) => ep.admin === 'ready');
  const tiers = [ready.filter((ep) => !ep.backup), ready.filter((ep) => ep.backup)];
  for (const tier of tiers) {
    const healthy = tier.filter((ep) => ep.check === 'up' && !ep.ejected);
    if (healthy.length === 0) continue;
    const few = typeof panic === 'number' && healthy.length / tier.length < panic;
    return few ? tier : healthy;
  }
  if (panic === 'none') return [];
  return tiers.find((tier) => tier.length > 0) ?? [];
}
