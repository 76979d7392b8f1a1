import type { ErrorPages } from '../../model/route.ts';
import type { ListenerRuntime } from '../listener/listener-runtime.ts';

/** The configured page of a status: by code, then by class; the route's before the listener's. */
export function errorPage(
  status: number,
  listener: ListenerRuntime,
  routePages: ErrorPages | undefined,
): { body: string; contentType: string } | undefined {
  for (const pages of [routePages, listener.config.errorPages]) {
    const page = pages?.[String(status)] ?? pages?.[`${Math.trunc(status / 100)}xx`];
    if (!page) continue;
    const body = page.body ?? (page.file === undefined ? '' : listener.file(page.file));
    return { body, contentType: page.contentType };
  }
  return undefined;
}
