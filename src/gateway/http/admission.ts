import type { RawHeaders } from '../../net/http-exchange.ts';
import { passwordGate } from './basic-auth.ts';
import type { RoutePlan } from './listener-plan.ts';
import { headerValue } from './matcher.ts';
import type { SessionTools } from './session-tools.ts';

/** Why a request is not let in, and what its answer says. */
export type Refusal = {
  readonly status: number;
  readonly reason: string;
  readonly headers: RawHeaders;
};

/** Asks a route's access rules, password and rate limit, in this order; undefined lets in. */
export function refusalOf(
  plan: RoutePlan,
  client: string,
  headers: readonly string[],
  tools: SessionTools,
): Refusal | undefined {
  if (!plan.rules.allows(client)) return { status: 403, reason: 'access', headers: [] };
  return passwordRefusal(plan, headers) ?? rateRefusal(plan, client, headers, tools);
}

function passwordRefusal({ route }: RoutePlan, headers: readonly string[]): Refusal | undefined {
  if (!route.basicAuth) return undefined;
  const given = headerValue(headers, 'authorization');
  const verdict = passwordGate.judge(given, route.basicAuth);
  if (verdict === 'authorized') return undefined;
  if (verdict === 'busy')
    return { status: 429, reason: 'auth-busy', headers: ['retry-after', '1'] };
  const realm = route.basicAuth.realm.replaceAll(/["\\]/g, '\\$&');
  const challenge = ['www-authenticate', `Basic realm="${realm}"`];
  return { status: 401, reason: 'auth', headers: challenge };
}

function rateRefusal(
  { route, rate, limited }: RoutePlan,
  client: string,
  headers: readonly string[],
  tools: SessionTools,
): Refusal | undefined {
  if (!rate || !route.rateLimit) return undefined;
  const { by, status } = route.rateLimit;
  const key = by === 'source' ? client : (headerValue(headers, by.header) ?? '');
  const taken = rate.buckets.take(key, performance.now());
  if (taken.allowed) {
    tools.noteRateUse(rate.id, key);
    return undefined;
  }
  limited.value++;
  const seconds = Math.max(1, Math.ceil(taken.retryAfterMs / 1000));
  return { status, reason: 'rate-limit', headers: ['retry-after', String(seconds)] };
}
