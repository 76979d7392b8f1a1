import type { RequestHead } from '../../net/http-exchange.ts';
import { headerValue } from './matcher.ts';

/** What the access log tells of an HTTP request. */
export function httpRecord(head: RequestHead, status: number) {
  return {
    method: head.method,
    authority: head.authority,
    target: head.query === undefined ? head.path : `${head.path}?${head.query}`,
    version: head.version,
    status,
    referer: headerValue(head.headers, 'referer'),
    userAgent: headerValue(head.headers, 'user-agent'),
  };
}
