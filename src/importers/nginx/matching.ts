import { quoted } from '../../base/regex.ts';
import type { GatewayConfigInput } from '../../model/gateway-config.ts';
import { HOST_PATTERN } from '../../model/route.ts';

/** Parts of our configuration as a person writes them. */
export type ListenerInput = NonNullable<GatewayConfigInput['listeners']>[string];
export type ServiceInput = NonNullable<GatewayConfigInput['services']>[string];
export type RouteInput = NonNullable<ListenerInput['routes']>[number];
export type MatchInput = NonNullable<RouteInput['match']>;
export type PathInput = string | { regex: string };

/** Paths that are `path` and nothing else. */
export function exactPath(path: string): PathInput {
  return /^\/[^*?#\s]*$/.test(path) ? path : { regex: `^${quoted(path)}$` };
}

/** Paths that start with `prefix`, whatever follows. */
export function startPath(prefix: string): PathInput {
  return /^\/([^*?#\s]*[^*?#\s/])?$/.test(prefix) ? `${prefix}*` : { regex: `^${quoted(prefix)}` };
}

/** Paths below a prefix that ends with `/`; the prefix without it is taken as well. */
export function belowPath(prefix: string): PathInput {
  return /^\/[^*?#\s]*$/.test(prefix) ? `${prefix}*` : { regex: `^${quoted(prefix)}` };
}

/** A name of `server_name`, as a host of ours; undefined: it matches nothing that can be asked. */
export function hostOfName(name: string): string | undefined {
  return HOST_PATTERN.test(name) ? name.toLowerCase() : undefined;
}

function listOf<T>(value: T | T[] | undefined): T[] {
  return value === undefined ? [] : Array.isArray(value) ? value : [value];
}

/** The text that every path of an expression begins with. */
function literalStart(regex: string): string {
  if (regex.startsWith('(?i)') || !regex.startsWith('^') || regex.includes('|')) return '';
  const start = /^\^((?:[\w/~-]|\\[.\-/])*)(.?)/.exec(regex);
  const text = start?.[1] ?? '';
  const optional = '?*{'.includes(start?.[2] || '-');
  return (optional ? text.slice(0, -1) : text).replaceAll('\\', '');
}

/** Whether all paths of `inner` are among those of `outer`, as far as can be seen. */
function isWithin(inner: PathInput, outer: PathInput): boolean {
  if (outer === '/*' || JSON.stringify(inner) === JSON.stringify(outer)) return true;
  if (typeof outer !== 'string' || !outer.endsWith('*')) return false;
  const prefix = outer.slice(0, -1);
  const start = typeof inner === 'string' ? inner.replace(/\*$/, '') : literalStart(inner.regex);
  return start.startsWith(prefix);
}

function bothPaths(a: MatchInput, b: MatchInput): PathInput[] | undefined {
  const [left, right] = [listOf(a.path), listOf(b.path)];
  if (left.length === 0) return right;
  if (right.length === 0) return left;
  if (right.every((inner) => left.some((outer) => isWithin(inner, outer)))) return right;
  if (left.every((inner) => right.some((outer) => isWithin(inner, outer)))) return left;
  return undefined;
}

/** What meets both matches; undefined: it cannot be said in one. */
export function bothMatches(a: MatchInput, b: MatchInput): MatchInput | undefined {
  const path = bothPaths(a, b);
  if (path === undefined) return undefined;
  for (const key of ['host', 'method', 'source', 'sni'] as const) {
    if (a[key] !== undefined && b[key] !== undefined) return undefined;
  }
  const result: MatchInput = { ...a, ...b };
  for (const key of ['header', 'query', 'cookie'] as const) {
    const [left, right] = [a[key] ?? {}, b[key] ?? {}];
    if (Object.keys(left).some((name) => name in right)) return undefined;
    if (a[key] ?? b[key]) result[key] = { ...left, ...right };
  }
  const not = [...listOf(a.not), ...listOf(b.not)];
  if (not.length > 0) result.not = not.length === 1 ? (not[0] ?? not) : not;
  if (path.length > 0) result.path = path.length === 1 ? (path[0] as PathInput) : path;
  return result;
}

/** The same match without what always holds. */
export function tidyMatch(match: MatchInput): MatchInput | undefined {
  const { path, ...rest } = match;
  if (path !== '/*') return match;
  return Object.keys(rest).length > 0 ? rest : undefined;
}
