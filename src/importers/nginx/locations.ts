import { type Directive, named, type Scope } from './directive.ts';
import type { Findings } from './findings.ts';
import {
  belowPath,
  bothMatches,
  exactPath,
  type MatchInput,
  type PathInput,
  startPath,
} from './matching.ts';
import { encodedPath, regexOf } from './values.ts';

/** A `location`, with what it matches. */
export type Location = {
  readonly directive: Directive;
  readonly scope: Scope;
  readonly kind: '=' | '^~' | '~' | '~*' | '';
  readonly pattern: string;
  /** Whether it sends requests on; then its prefix without the last `/` is redirected to it. */
  readonly proxies: boolean;
};

/** A location at its turn: requests that meet the match and none before it are its own. */
export type Turn = {
  readonly location: Location;
  readonly match: MatchInput;
  /** Requests that get a redirect to this path, in place of what the location does. */
  readonly slash?: string;
};

const PROXIES = ['proxy_pass', 'grpc_pass', 'fastcgi_pass', 'uwsgi_pass', 'scgi_pass'];
const MODIFIERS = ['=', '^~', '~*', '~'] as const;

/** The locations of a server, those within others too; named ones are left out. */
export function locationsOf(scope: Scope, findings: Findings, within = ''): Location[] {
  return named(scope.own, 'location').flatMap((directive) => {
    const { kind, pattern } = patternOf(directive);
    if (pattern.startsWith('@') && kind === '') return [];
    const inner = scope.inner(directive);
    const proxies = inner.own.some(({ name }) => PROXIES.includes(name));
    const own: Location = { directive, scope: inner, kind, pattern, proxies };
    const regex = kind === '~' || kind === '~*';
    if (regex && within !== '' && !reachable(own, within)) {
      findings.unsupported(
        directive,
        `an expression within location ${within} cannot be told apart`,
      );
      return [];
    }
    findings.translated(directive);
    if (!regex) return [own, ...locationsOf(inner, findings, pattern)];
    for (const one of named(inner.own, 'location')) {
      findings.unsupported(one, 'a location within an expression has no equivalent');
    }
    return [own];
  });
}

function patternOf({ args }: Directive): Pick<Location, 'kind' | 'pattern'> {
  const [first = '', second] = args;
  const kind = MODIFIERS.find((one) =>
    second === undefined ? first.startsWith(one) : first === one,
  );
  const pattern = kind === undefined ? first : (second ?? first.slice(kind.length));
  if (kind === '~' || kind === '~*') return { kind, pattern };
  // nginx compares what is decoded, Sluice what is not.
  return { kind: kind ?? '', pattern: encodedPath(pattern) };
}

function reachable({ kind, pattern }: Location, within: string): boolean {
  const result = regexOf(pattern, kind === '~*');
  const both = 'regex' in result && bothMatches({ path: `${within}*` }, { path: result });
  return within === '/' || Boolean(both);
}

/**
 * Locations in the order in which the first that matches is the one that nginx takes: exact ones; then
 * the longest prefix when it is marked `^~`; then expressions in the order of the file; then the
 * longest prefix. Source: nginx, ngx_http_core_module, location.
 */
export function turnsOf(locations: readonly Location[], findings: Findings): Turn[] {
  const exact = locations.filter(({ kind }) => kind === '=');
  const prefixes = locations
    .filter(({ kind }) => kind === '' || kind === '^~')
    .sort((a, b) => b.pattern.length - a.pattern.length);
  const regexes = locations.filter(({ kind }) => kind === '~' || kind === '~*');
  const sure = regexes.length > 0 ? prefixes.filter(({ kind }) => kind === '^~') : [];
  return [
    ...exact.map((location) => ({ location, match: { path: exactPath(location.pattern) } })),
    ...prefixes.flatMap((location) => slashTurn(location, locations)),
    ...sure.map((location) => sureTurn(location, prefixes)),
    ...regexes.flatMap((location) => regexTurn(location, findings)),
    ...prefixes
      .filter((location) => !sure.includes(location))
      .map((location) => ({ location, match: { path: prefixPath(location) } })),
  ];
}

function prefixPath({ pattern, proxies }: Location): PathInput {
  if (pattern === '/') return '/*';
  return proxies && pattern.endsWith('/') ? belowPath(pattern) : startPath(pattern);
}

/** `/api` is sent to `/api/` when that is a location that sends on and `/api` is none. */
function slashTurn(location: Location, all: readonly Location[]): Turn[] {
  const { pattern, proxies } = location;
  if (!proxies || pattern === '/' || !pattern.endsWith('/')) return [];
  const bare = pattern.slice(0, -1);
  const taken = all.some((one) => one.pattern === bare && one.kind !== '~' && one.kind !== '~*');
  return taken ? [] : [{ location, match: { path: exactPath(bare) }, slash: pattern }];
}

/** Longer prefixes without `^~` leave it to the expressions. */
function sureTurn(location: Location, prefixes: readonly Location[]): Turn {
  const longer = prefixes.filter(
    ({ kind, pattern }) =>
      kind === '' && pattern !== location.pattern && pattern.startsWith(location.pattern),
  );
  const paths = longer.map(prefixPath);
  const not = paths.length === 0 ? {} : { not: { path: paths } };
  return { location, match: { path: prefixPath(location), ...not } };
}

function regexTurn(location: Location, findings: Findings): Turn[] {
  const result = regexOf(location.pattern, location.kind === '~*');
  if ('regex' in result) return [{ location, match: { path: result } }];
  findings.unsupported(location.directive, result.fault);
  return [];
}
