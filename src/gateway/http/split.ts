import { hashKey } from '../../balance/hash.ts';
import type { Split } from '../../model/route.ts';
import type { BalanceKey } from '../../model/service.ts';
import type { RequestHead } from '../../net/http-exchange.ts';
import { headerValue, queryValue } from './matcher.ts';
import { cookieValue } from './sticky-cookie.ts';

/** The text of a request that keeps it with others of the same; undefined when it has none. */
export function keyOf(key: BalanceKey, head: RequestHead, client: string): string | undefined {
  if (key === 'source') return client;
  if (key === 'path') return head.path;
  if (key === 'uri') return head.query === undefined ? head.path : `${head.path}?${head.query}`;
  if ('header' in key) return headerValue(head.headers, key.header);
  return 'cookie' in key
    ? cookieValue(head.headers, key.cookie)
    : queryValue(head.query, key.query);
}

/**
 * The service that takes a request: by the key's place among the weights, so that a weight that
 * grows takes keys from its neighbours only; at random without a key.
 */
export function splitService({ services }: Split, key: string | undefined): string | undefined {
  const entries = Object.entries(services).filter(([, weight]) => weight > 0);
  const total = entries.reduce((sum, [, weight]) => sum + weight, 0);
  // Not the hash that balances inside a service: a part would reach a part of its endpoints only.
  const place = key === undefined ? Math.random() : hashKey(`split ${key}`) / 2 ** 32;
  let left = place * total;
  for (const [name, weight] of entries) {
    left -= weight;
    if (left < 0) return name;
  }
  return entries.at(-1)?.[0];
}
