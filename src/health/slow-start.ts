/** Least factor, so that a starting endpoint gets some traffic to prove itself. */
const LEAST_FACTOR = 0.1;

/** Weight factor in (0, 1] of an endpoint that came up `sinceUpMs` ago; linear over `periodMs`. */
export function slowStartFactor(sinceUpMs: number, periodMs: number): number {
  if (sinceUpMs >= periodMs) return 1;
  return Math.max(LEAST_FACTOR, sinceUpMs / periodMs);
}
