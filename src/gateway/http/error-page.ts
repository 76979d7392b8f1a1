import type { ErrorPages } from '../../model/route.ts';
import type { Page } from '../../net/http-exchange.ts';
import { reasonOf } from '../../wire/http1-write.ts';
import type { ListenerRuntime } from '../listener/listener-runtime.ts';

/**
 * The page of a status: by code, then by class; the route's before the listener's. Where nothing is
 * configured, a line of text.
 */
export function errorPage(
  status: number,
  listener: ListenerRuntime,
  routePages: ErrorPages | undefined,
): Page {
  for (const pages of [routePages, listener.config.errorPages]) {
    const page = pages?.[String(status)] ?? pages?.[`${Math.trunc(status / 100)}xx`];
    if (!page) continue;
    const body = page.body ?? (page.file === undefined ? '' : listener.file(page.file));
    return { body, contentType: page.contentType };
  }
  return { body: `${status} ${reasonOf(status)}\n`, contentType: 'text/plain; charset=utf-8' };
}
