import type { Match, Pattern, Route } from '../../model/route.ts';
import { AddressSet } from '../listener/address-rules.ts';

/** What a route looks at. */
export type RouteInfo = {
  readonly method: string;
  /** Lower case, with or without a port. */
  readonly authority: string;
  readonly path: string;
  readonly query: string | undefined;
  /** Flat: name, value. */
  readonly headers: readonly string[];
  readonly source: string;
  readonly sni: string | undefined;
};

/** A condition of a route: its words, and whether a request meets it. */
type Condition = { readonly words: string; readonly holds: (info: RouteInfo) => boolean };

/** A route with its conditions compiled. */
export type CompiledMatch = {
  readonly name: string;
  readonly route: Route;
  readonly conditions: readonly Condition[];
};

/** The host of an authority, without its port. */
export function hostOf(authority: string): string {
  return authority.replace(/:\d*$/, '');
}

/** The first value of a header, or undefined. */
export function headerValue(headers: readonly string[], name: string): string | undefined {
  for (let at = 0; at < headers.length; at += 2) {
    const field = headers[at] as string;
    if (field.length === name.length && field.toLowerCase() === name) return headers[at + 1];
  }
  return undefined;
}

function hostMatches(host: string, pattern: string): boolean {
  if (!pattern.startsWith('*.')) return host === pattern;
  return host.length > pattern.length - 1 && host.endsWith(pattern.slice(1));
}

function pathMatcher(pattern: string | { regex: string }): (path: string) => boolean {
  if (typeof pattern !== 'string') {
    const regex = new RegExp(pattern.regex);
    return (path) => regex.test(path);
  }
  if (!pattern.endsWith('/*')) return (path) => path === pattern;
  const bare = pattern.slice(0, -2);
  const prefix = pattern.slice(0, -1);
  return (path) => path === bare || path.startsWith(prefix);
}

function valueMatcher(pattern: Pattern): (value: string | undefined) => boolean {
  if (typeof pattern === 'string') return (value) => value === pattern;
  if ('present' in pattern) return (value) => (value !== undefined) === pattern.present;
  const regex = new RegExp(pattern.regex);
  return (value) => value !== undefined && regex.test(value);
}

function conditionsOf(match: Match): Condition[] {
  const conditions: Condition[] = [];
  const add = (words: string, holds: Condition['holds']) => conditions.push({ words, holds });
  const { host, path, method, header, query, source, sni } = match;
  if (host) {
    const hosts = host.map((one) => one.toLowerCase());
    add(`host ${host.join(' or ')}`, ({ authority }) => {
      const name = hostOf(authority);
      return hosts.some((pattern) => hostMatches(name, pattern));
    });
  }
  if (path) {
    const matchers = path.map(pathMatcher);
    add(`path ${path.map((one) => JSON.stringify(one)).join(' or ')}`, (info) =>
      matchers.some((matches) => matches(info.path)),
    );
  }
  if (method) add(`method ${method.join(' or ')}`, (info) => method.includes(info.method));
  for (const [name, pattern] of Object.entries(header ?? {})) {
    const matches = valueMatcher(pattern);
    add(`header ${name} ${JSON.stringify(pattern)}`, ({ headers }) =>
      matches(headerValue(headers, name)),
    );
  }
  for (const [name, pattern] of Object.entries(query ?? {})) {
    const matches = valueMatcher(pattern);
    add(`query ${name} ${JSON.stringify(pattern)}`, (info) =>
      matches(new URLSearchParams(info.query ?? '').get(name) ?? undefined),
    );
  }
  if (source) {
    const set = new AddressSet(source);
    add(`source ${source.join(' or ')}`, (info) => set.has(info.source));
  }
  if (sni) {
    const names = sni.map((name) => name.toLowerCase());
    add(`sni ${sni.join(' or ')}`, (info) =>
      names.some((name) => hostMatches(info.sni ?? '', name)),
    );
  }
  return conditions;
}

/** A listener's routes: tried from top to bottom, the first whose conditions all hold is taken. */
export class Matcher {
  readonly routes: readonly CompiledMatch[];

  constructor(routes: readonly Route[]) {
    this.routes = routes.map((route, index) => ({
      name: route.name ?? String(index),
      route,
      conditions: route.match ? conditionsOf(route.match) : [],
    }));
  }

  match(info: RouteInfo): CompiledMatch | undefined {
    return this.routes.find(({ conditions }) => conditions.every(({ holds }) => holds(info)));
  }

  /** For each route up to the one that is taken: its name, and the conditions that fail. */
  explain(info: RouteInfo): { route: string; failed: string[] }[] {
    const steps: { route: string; failed: string[] }[] = [];
    for (const { name, conditions } of this.routes) {
      const failed = conditions.filter(({ holds }) => !holds(info)).map(({ words }) => words);
      steps.push({ route: name, failed });
      if (failed.length === 0) break;
    }
    return steps;
  }
}
