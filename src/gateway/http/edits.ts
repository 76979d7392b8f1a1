import { randomBytes } from 'node:crypto';
import { keptRegex } from '../../base/regex.ts';
import type { HeaderEdits, Route } from '../../model/route.ts';
import type { OutgoingRequest, RequestHead } from '../../net/http-exchange.ts';
import type { ServiceHandle } from '../upstream/service-handle.ts';
import { headerValue, hostOf, queryValue } from './matcher.ts';
import { cookieValue } from './sticky-cookie.ts';

/** Takes every field of a name out of a flat list, in place. */
export function removeHeader(headers: string[], name: string): void {
  for (let at = headers.length - 2; at >= 0; at -= 2) {
    const field = headers[at] as string;
    if (field.length === name.length && field.toLowerCase() === name) headers.splice(at, 2);
  }
}

/** What templates are filled from: a request, the client it comes from, the port it came to. */
export type TemplateSource = {
  readonly head: RequestHead;
  readonly client: string;
  readonly clientPort: number;
  readonly localPort: number;
  /** 32 hex digits, drawn when a template asks for it first. */
  requestId?: string;
};

/** Changes a flat list in place: replaces in values, then removes, sets and adds. */
export function editHeaders(
  headers: string[],
  edits: HeaderEdits | undefined,
  source: TemplateSource,
): void {
  if (!edits) return;
  const { set = {}, add = {} } = edits;
  // Before anything is removed: a value may name what is replaced.
  const values = (fields: Record<string, string>) =>
    Object.entries(fields).map(([name, value]) => [name, fillTemplate(value, source)] as const);
  const [toSet, toAdd] = [values(set), values(add)];
  for (const [name, replacement] of Object.entries(edits.replace ?? {})) {
    replaceValues(headers, name.toLowerCase(), replacement, source);
  }
  for (const name of edits.remove ?? []) removeHeader(headers, name);
  for (const [name, value] of toSet) {
    removeHeader(headers, name);
    headers.push(name, value);
  }
  for (const [name, value] of toAdd) headers.push(name, value);
}

type Replacement = NonNullable<HeaderEdits['replace']>[string];

function replaceValues(
  headers: string[],
  name: string,
  { match, replace }: Replacement,
  source: TemplateSource,
): void {
  const filled = fillTemplate(replace, source, literally);
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at]?.toLowerCase() !== name) continue;
    headers[at + 1] = keptRegex(match).replace(headers[at + 1] ?? '', filled);
  }
}

/** What a client sends names neither a group nor a template. */
function literally(value: string): string {
  return value.replaceAll('$', '$$$$');
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
  source: TemplateSource,
): OutgoingRequest {
  const host = rewrite?.host === undefined ? undefined : fillTemplate(rewrite.host, source);
  const path = rewritePath(head.path, rewrite);
  return {
    method: head.method,
    scheme: config.tls ? 'https' : 'http',
    authority: host || head.authority || 'localhost',
    target: head.query === undefined ? path : `${path}?${head.query}`,
    headers: head.headers,
    length: head.length,
    upgrade: head.upgrade,
  };
}

/** X-Forwarded-For as it came, with the client added. */
function forwardedFor(headers: readonly string[], client: string): string {
  const hops: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at]?.toLowerCase() === 'x-forwarded-for') hops.push(headers[at + 1] ?? '');
  }
  return [...hops, client].join(', ');
}

/** What stands for a name in braces; undefined when it is none. */
function templateValue(name: string, source: TemplateSource): string | undefined {
  const { scheme, authority, method, path, query, headers } = source.head;
  if (name === 'scheme') return scheme;
  if (name === 'host') return hostOf(authority);
  if (name === 'port') return /:(\d+)$/.exec(authority)?.[1] ?? String(source.localPort);
  if (name === 'authority') return authority;
  if (name === 'method') return method;
  if (name === 'path') return path;
  if (name === 'query') return query ?? '';
  if (name === 'search') return query ? `?${query}` : '';
  if (name === 'uri') return query === undefined ? path : `${path}?${query}`;
  if (name === 'client') return source.client;
  if (name === 'clientPort') return String(source.clientPort);
  if (name === 'requestId') {
    source.requestId ??= randomBytes(16).toString('hex');
    return source.requestId;
  }
  if (name === 'forwardedFor') return forwardedFor(headers, source.client);
  if (name.startsWith('cookie.')) return cookieValue(headers, name.slice(7)) ?? '';
  if (name.startsWith('query.')) return queryValue(query, name.slice(6)) ?? '';
  if (name.startsWith('header.')) return headerValue(headers, name.slice(7).toLowerCase()) ?? '';
  return undefined;
}

/** Fills the names of `TEMPLATE_NAMES`; other braces stay as they are. */
export function fillTemplate(
  template: string,
  source: TemplateSource,
  written: (value: string) => string = (value) => value,
): string {
  if (!template.includes('{')) return template;
  return template.replaceAll(/\{([\w.-]+)\}/g, (whole, name: string) => {
    const value = templateValue(name, source);
    return value === undefined ? whole : written(value);
  });
}

/** Where a redirect leads. */
export function redirectTarget(
  { to, regex }: NonNullable<Route['redirect']>,
  source: TemplateSource,
): string {
  let target: string;
  if (regex === undefined) target = fillTemplate(to, source);
  else {
    const filled = fillTemplate(to, source, literally);
    target = keptRegex(regex).expand(source.head.path, filled);
  }
  // Two slashes at the start would name a host that the client chose.
  return to.startsWith('//') ? target : target.replace(/^[/\\]{2,}/, '/');
}
