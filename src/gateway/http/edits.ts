import { keptRegex } from '../../base/regex.ts';
import type { HeaderEdits, Route } from '../../model/route.ts';
import type { OutgoingRequest, RequestHead } from '../../net/http-exchange.ts';
import type { ServiceHandle } from '../upstream/service-handle.ts';
import { hostOf } from './matcher.ts';

/** Takes every field of a name out of a flat list, in place. */
export function removeHeader(headers: string[], name: string): void {
  for (let at = headers.length - 2; at >= 0; at -= 2) {
    const field = headers[at] as string;
    if (field.length === name.length && field.toLowerCase() === name) headers.splice(at, 2);
  }
}

/** Changes a flat list in place: removes, then sets, then adds. */
export function editHeaders(headers: string[], edits: HeaderEdits | undefined): void {
  if (!edits) return;
  for (const name of edits.remove ?? []) removeHeader(headers, name);
  for (const [name, value] of Object.entries(edits.set ?? {})) {
    removeHeader(headers, name);
    headers.push(name, value);
  }
  for (const [name, value] of Object.entries(edits.add ?? {})) headers.push(name, value);
}

/** The path that an endpoint sees. */
export function rewritePath(path: string, rewrite: Route['rewrite']): string {
  if (!rewrite) return path;
  const { stripPrefix, addPrefix, path: whole, regex } = rewrite;
  let result = whole ?? path;
  if (stripPrefix !== undefined) {
    const bare = stripPrefix.replace(/\/$/, '');
    if (result === bare) result = '/';
    else if (result.startsWith(`${bare}/`)) result = result.slice(bare.length);
  }
  if (regex) result = keptRegex(regex.match).replace(result, regex.replace);
  if (addPrefix !== undefined) result = addPrefix.replace(/\/$/, '') + result;
  return result.startsWith('/') ? result : `/${result}`;
}

/** The request that an endpoint gets; its fields are the head's, which have been edited. */
export function outgoingRequest(
  head: RequestHead,
  { config }: ServiceHandle,
  rewrite: Route['rewrite'],
): OutgoingRequest {
  const path = rewritePath(head.path, rewrite);
  return {
    method: head.method,
    scheme: config.tls ? 'https' : 'http',
    authority: rewrite?.host ?? (head.authority || 'localhost'),
    target: head.query === undefined ? path : `${path}?${head.query}`,
    headers: head.headers,
    length: head.length,
    upgrade: head.upgrade,
  };
}

/** Fills `{scheme} {host} {port} {path} {query} {uri}` of a redirect's target. */
export function fillTemplate(template: string, head: RequestHead, localPort: number): string {
  const { scheme, authority, path, query } = head;
  const port = /:(\d+)$/.exec(authority)?.[1] ?? String(localPort);
  const values: Record<string, string> = {
    scheme,
    host: hostOf(authority),
    port,
    path,
    query: query ?? '',
    uri: query === undefined ? path : `${path}?${query}`,
  };
  const filled = template.replaceAll(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole);
  // Two slashes at the start would name a host that the client chose.
  return template.startsWith('{') ? filled.replace(/^[/\\]{2,}/, '/') : filled;
}
