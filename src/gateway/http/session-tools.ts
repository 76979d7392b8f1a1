import type { HttpDeps } from './http-deps.ts';
import type { StickyCookies } from './sticky-cookie.ts';

/** What every HTTP session of a worker shares. */
export interface SessionTools {
  readonly deps: HttpDeps;
  readonly cookies: StickyCookies;
  /** How many endpoints of a service can take requests. */
  readonly live: (service: string) => number;
  /** Notes a token that was taken here, for the other workers of this host. */
  noteRateUse(limit: string, key: string): void;
}
