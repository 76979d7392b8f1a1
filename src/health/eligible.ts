/** What decides whether an endpoint takes new work. */
export type EndpointCondition = {
  readonly admin: 'ready' | 'drain' | 'maint';
  readonly agent?: 'ready' | 'drain' | 'maint' | 'down' | undefined;
  readonly check: 'up' | 'down' | 'unknown';
  readonly ejected: boolean;
  readonly backup: boolean;
};

/**
 * What to do without healthy endpoints: nothing, or try any; a share (0 to 1) tries any as soon as
 * a smaller share of a tier is healthy.
 */
export type Panic = 'any' | 'none' | number;

/** Whether nobody has ordered it out. */
function isReady({ admin, agent }: EndpointCondition): boolean {
  return admin === 'ready' && agent !== 'drain' && agent !== 'maint';
}

/** Whether an endpoint may take new work, its tier and the panic rule apart. */
export function isUsable(ep: EndpointCondition): boolean {
  return isReady(ep) && ep.check === 'up' && ep.agent !== 'down' && !ep.ejected;
}

/**
 * The endpoints that take new work: the healthy primaries, else the healthy backups, else by
 * `panic` all that nobody has ordered out, primaries first.
 */
export function eligible<C extends EndpointCondition>(
  endpoints: readonly C[],
  { panic }: { panic: Panic },
): C[] {
  const ready = endpoints.filter(isReady);
  const tiers = [ready.filter((ep) => !ep.backup), ready.filter((ep) => ep.backup)];
  for (const tier of tiers) {
    const healthy = tier.filter(isUsable);
    if (healthy.length === 0) continue;
    const few = typeof panic === 'number' && healthy.length / tier.length < panic;
    return few ? tier : healthy;
  }
  if (panic === 'none') return [];
  return tiers.find((tier) => tier.length > 0) ?? [];
}
