import { keptRegex } from '../../base/regex.ts';
import { type EndpointCondition, eligible } from '../../health/eligible.ts';
import type { Match, Pattern, Route } from '../../model/route.ts';
import { AddressSet } from '../listener/address-rules.ts';
import { NameTree } from './name-tree.ts';
import { PathTree } from './path-tree.ts';
import { cookieValue } from './sticky-cookie.ts';

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
  /** How many endpoints of a service can take requests. */
  readonly live: (service: string) => number;
};

/** How many endpoints of a list can take requests: the primaries, else the backups. */
export function liveCount(endpoints: readonly { state: EndpointCondition }[] = []): number {
  return eligible(
    endpoints.map(({ state }) => state),
    { panic: 'none' },
  ).length;
}

/** A condition of a route: its words, and whether a request meets it. */
type Condition = { readonly words: string; readonly holds: (info: RouteInfo) => boolean };

/** A route with its conditions compiled. */
export type CompiledMatch = {
  readonly name: string;
  readonly route: Route;
  readonly conditions: readonly Condition[];
};

/** The host of an authority, without its port and the dot of an absolute name. */
export function hostOf(authority: string): string {
  const last = authority.charCodeAt(authority.length - 1);
  // Most end in a letter and have no port.
  if (last > 96 && !authority.includes(':')) return authority;
  return authority.replace(/\.?(?::\d*)?$/, '');
}

/** The first value of a header, or undefined. */
export function headerValue(headers: readonly string[], name: string): string | undefined {
  for (let at = 0; at < headers.length; at += 2) {
    const field = headers[at] as string;
    if (field.length === name.length && field.toLowerCase() === name) return headers[at + 1];
  }
  return undefined;
}

function headerValues(headers: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const field = headers[at] as string;
    if (field.length === name.length && field.toLowerCase() === name) {
      values.push(headers[at + 1] as string);
    }
  }
  return values;
}

/** The first value of a parameter as it is sent, escapes and all, or undefined. */
export function queryValue(query: string | undefined, name: string): string | undefined {
  const prefix = `${name}=`;
  const pair = query?.split('&').find((one) => one.startsWith(prefix) || one === name);
  return pair?.slice(prefix.length);
}

function hostMatches(host: string, pattern: string): boolean {
  if (!pattern.startsWith('*.')) return host === pattern;
  return host.length > pattern.length - 1 && host.endsWith(pattern.slice(1));
}

function hostMatcher(pattern: string | { regex: string }): (host: string) => boolean {
  if (typeof pattern !== 'string') return (host) => keptRegex(pattern.regex).test(host);
  const name = pattern.toLowerCase();
  return (host) => hostMatches(host, name);
}

function pathMatcher(pattern: string | { regex: string }): (path: string) => boolean {
  if (typeof pattern !== 'string') {
    return (path) => keptRegex(pattern.regex).test(path);
  }
  if (!pattern.endsWith('*')) return (path) => path === pattern;
  if (!pattern.endsWith('/*')) {
    const start = pattern.slice(0, -1);
    return (path) => path.startsWith(start);
  }
  const bare = pattern.slice(0, -2);
  const prefix = pattern.slice(0, -1);
  return (path) => path === bare || path.startsWith(prefix);
}

function valueMatcher(pattern: Pattern): (value: string | undefined) => boolean {
  if (typeof pattern === 'string') return (value) => value === pattern;
  if ('present' in pattern) return (value) => (value !== undefined) === pattern.present;
  return (value) => value !== undefined && keptRegex(pattern.regex).test(value);
}

type PlainMatch = Omit<Match, 'not'>;

function conditionsOf({ not, ...match }: Match): Condition[] {
  const conditions = plainConditions(match);
  for (const one of not ?? []) {
    const inner = plainConditions(one);
    conditions.push({
      words: `not (${inner.map(({ words }) => words).join(' and ')})`,
      holds: (info) => !inner.every(({ holds }) => holds(info)),
    });
  }
  return conditions;
}

function plainConditions(match: PlainMatch): Condition[] {
  return [...placeConditions(match), ...valueConditions(match)];
}

function placeConditions({ host, path, method, source, sni, live }: PlainMatch): Condition[] {
  const conditions: Condition[] = [];
  const add = (words: string, holds: Condition['holds']) => conditions.push({ words, holds });
  if (host) {
    const matchers = host.map(hostMatcher);
    const words = host.map((one) => (typeof one === 'string' ? one : JSON.stringify(one)));
    add(`host ${words.join(' or ')}`, ({ authority }) => {
      const name = hostOf(authority);
      return matchers.some((matches) => matches(name));
    });
  }
  if (path) {
    const matchers = path.map(pathMatcher);
    add(`path ${path.map((one) => JSON.stringify(one)).join(' or ')}`, (info) =>
      matchers.some((matches) => matches(info.path)),
    );
  }
  if (method) add(`method ${method.join(' or ')}`, (info) => method.includes(info.method));
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
  for (const [service, { atLeast = 0, below = Number.POSITIVE_INFINITY }] of Object.entries(
    live ?? {},
  )) {
    add(`live ${service} ${JSON.stringify(live?.[service])}`, (info) => {
      const count = info.live(service);
      return count >= atLeast && count < below;
    });
  }
  return conditions;
}

function valueConditions({ header, query, cookie }: PlainMatch): Condition[] {
  const conditions: Condition[] = [];
  const add = (
    kind: string,
    patterns: Readonly<Record<string, Pattern>> | undefined,
    read: (info: RouteInfo, name: string) => readonly string[],
  ) => {
    for (const [name, pattern] of Object.entries(patterns ?? {})) {
      const matches = valueMatcher(pattern);
      conditions.push({
        words: `${kind} ${name} ${JSON.stringify(pattern)}`,
        holds: (info) => {
          const values = read(info, name);
          return values.length > 0 ? values.some(matches) : matches(undefined);
        },
      });
    }
  };
  add('header', header, ({ headers }, name) => headerValues(headers, name));
  add('cookie', cookie, ({ headers }, name) => {
    const value = cookieValue(headers, name);
    return value === undefined ? [] : [value];
  });
  add('query', query, (info, name) => new URLSearchParams(info.query ?? '').getAll(name));
  return conditions;
}

/** Numbers of routes by what they say of the path. */
class PathIndex {
  readonly #paths = new PathTree();
  readonly #rest: number[] = [];

  add(route: number, path: Match['path']): void {
    const plain = path?.filter((one) => typeof one === 'string');
    if (!plain || plain.length < (path?.length ?? 0)) this.#rest.push(route);
    else for (const one of plain) this.#paths.add(one, route);
  }

  lists(path: string): readonly number[][] {
    return [...this.#paths.find(path), this.#rest];
  }
}

/**
 * A listener's routes: tried from top to bottom, the first whose conditions all hold is taken. Names
 * and paths are indexed, so that only routes that could match are asked.
 */
export class Matcher {
  readonly routes: readonly CompiledMatch[];
  readonly #hosts = new NameTree<PathIndex>();
  readonly #serverNames = new NameTree<PathIndex>();
  readonly #anywhere = new PathIndex();

  constructor(routes: readonly Route[]) {
    this.routes = routes.map((route, index) => ({
      name: route.name ?? String(index),
      route,
      conditions: route.match ? conditionsOf(route.match) : [],
    }));
    for (const [index, { match }] of routes.entries()) this.#add(index, match);
  }

  match(info: RouteInfo): CompiledMatch | undefined {
    if (this.routes.length === 0) return undefined;
    const indexes = [this.#anywhere, ...this.#hosts.find(hostOf(info.authority))];
    if (info.sni !== undefined) indexes.push(...this.#serverNames.find(info.sni));
    let best = this.routes.length;
    for (const index of indexes) {
      for (const list of index.lists(info.path)) best = this.#first(list, best, info);
    }
    return this.routes[best];
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

  #add(route: number, match: Match | undefined): void {
    const hosts = match?.host?.filter((one) => typeof one === 'string');
    // A name that an expression may match can be any.
    const indexed = hosts?.length === match?.host?.length;
    const names = indexed ? (hosts ?? match?.sni) : undefined;
    const tree = match?.host ? this.#hosts : this.#serverNames;
    if (!names) this.#anywhere.add(route, match?.path);
    for (const name of new Set(names?.map((one) => one.toLowerCase()))) {
      tree.at(name, () => new PathIndex()).add(route, match?.path);
    }
  }

  /** The first route of an ascending list that matches and stands before `best`; else `best`. */
  #first(list: readonly number[], best: number, info: RouteInfo): number {
    for (const route of list) {
      if (route >= best) break;
      if (this.routes[route]?.conditions.every(({ holds }) => holds(info))) return route;
    }
    return best;
  }
}
