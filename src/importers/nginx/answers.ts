import { conditionOf } from './conditions.ts';
import type { Directive, Scope } from './directive.ts';
import type { Findings } from './findings.ts';
import type { VariableMap } from './maps.ts';
import { bothMatches, type MatchInput, type RouteInput } from './matching.ts';
import { regexOf } from './values.ts';
import { type Place, templateOf, variablesOf } from './variables.ts';

/** What the rewrite directives of a block come to. */
export type Answers = {
  /** Routes that come before what the block does, for those of its requests that they match. */
  readonly routes: readonly RouteInput[];
  /** Whether the last of them takes every request. */
  readonly complete: boolean;
  /** How the path changes on its way to an endpoint. */
  readonly rewrite: RouteInput['rewrite'];
};

type Surroundings = {
  readonly place: Place;
  readonly maps: ReadonlyMap<string, VariableMap>;
  readonly findings: Findings;
};

const REDIRECTS = [301, 302, 303, 307, 308] as const;
/** What nginx closes the connection for, without an answer. */
const NO_ANSWER = 444;

/** Reads `return`, `rewrite` and `if` in their order, for the requests of a match. */
export function answersOf(scope: Scope, match: MatchInput, around: Surroundings): Answers {
  const routes: RouteInput[] = [];
  let rewrite: RouteInput['rewrite'];
  for (const one of scope.own) {
    if (one.name === 'return') {
      const answer = returnOf(one, around);
      if (!answer) continue;
      routes.push({ match, ...answer });
      return { routes, complete: true, rewrite };
    }
    if (one.name === 'if') routes.push(...ifRoutes(one, match, around));
    if (one.name === 'rewrite') {
      const result = rewriteOf(one, match, around, scope);
      if (result && 'path' in result) {
        if (rewrite) around.findings.unsupported(one, 'a route rewrites once');
        rewrite ??= result.path;
      } else if (result) routes.push(result.route);
    }
  }
  return { routes, complete: false, rewrite };
}

function ifRoutes(one: Directive, match: MatchInput, around: Surroundings): RouteInput[] {
  const { findings } = around;
  const condition = conditionOf(one, around.place, around.maps);
  const inner = one.block ?? [];
  const [first] = inner;
  if (condition === false) {
    findings.translated(one, ...inner);
    return [];
  }
  if (typeof condition === 'object' && 'fault' in condition) {
    return leaveOut(one, `it does not hold in Sluice: ${condition.fault}`, findings);
  }
  const both = condition === true ? match : bothMatches(match, condition);
  if (!both)
    return leaveOut(one, 'its condition cannot be joined with that of its place', findings);
  const answer = first?.name === 'return' ? returnOf(first, around) : undefined;
  const moved = first?.name === 'rewrite' ? rewriteOf(first, both, around, undefined) : undefined;
  const route = answer ? { match: both, ...answer } : moved && 'route' in moved && moved.route;
  if (route && inner.length === 1) {
    const maps = variablesOf(one.args.join(' ')).map((name) => around.maps.get(name)?.directive);
    findings.translated(one, ...maps);
    if (/\$request_uri\s*!?~/.test(one.args.join(' '))) {
      findings.approximated(one, 'the expression is tried on the path without the query');
    }
    return [route];
  }
  return leaveOut(
    one,
    'only `return` and a rewrite that redirects have an equivalent here',
    findings,
  );
}

function leaveOut(one: Directive, reason: string, findings: Findings): RouteInput[] {
  findings.unsupported(one, reason);
  for (const inner of one.block ?? [])
    findings.unsupported(inner, 'the `if` around it is left out');
  return [];
}

function returnOf(
  directive: Directive,
  { place, findings }: Surroundings,
): Pick<RouteInput, 'redirect' | 'respond'> | undefined {
  const [first = '', text] = directive.args;
  const code = /^\d{3}$/.test(first) ? Number(first) : undefined;
  const status = REDIRECTS.find((one) => one === (code ?? 302));
  if (status !== undefined && (code === undefined || text !== undefined)) {
    const target = templateOf(code === undefined ? first : (text ?? ''), place);
    if ('unknown' in target) {
      findings.unsupported(directive, `${target.unknown} cannot be put into a redirect`);
      return undefined;
    }
    findings.translated(directive);
    return { redirect: { to: target.text, status } };
  }
  if (code === NO_ANSWER) {
    findings.approximated(
      directive,
      'it is answered with 403; Sluice does not close without a word',
    );
    return { respond: { status: 403 } };
  }
  if (code === undefined || code < 200 || code > 599) {
    findings.unsupported(directive, 'there is no such answer');
    return undefined;
  }
  const body = templateOf(text ?? '', place);
  const open = 'unknown' in body || variablesOf(text ?? '').some((name) => !place.sets.has(name));
  if (open && text !== undefined) {
    findings.approximated(directive, 'the text of an answer has no variables; it is left out');
    return { respond: { status: code } };
  }
  findings.translated(directive);
  return { respond: { status: code, ...('text' in body && text ? { body: body.text } : {}) } };
}

/** An expression that takes the whole path wherever it finds itself; its groups keep their numbers. */
export function wholePath(regex: string): string {
  const [, flags = '', rest = regex] = /^(\(\?i\))?([\s\S]*)$/.exec(regex) ?? [];
  const start = rest.startsWith('^') ? '' : '^.*?';
  const end = /(^|[^\\])\$$/.test(rest) ? '' : '.*$';
  return start === '' && end === '' ? regex : `${flags}${start}(?:${rest})${end}`;
}

function rewriteOf(
  directive: Directive,
  match: MatchInput,
  { place, findings }: Surroundings,
  scope: Scope | undefined,
): { readonly route: RouteInput } | { readonly path: RouteInput['rewrite'] } | undefined {
  const [source = '', target = '', flag] = directive.args;
  const found = regexOf(source, false);
  if ('fault' in found) {
    findings.unsupported(directive, found.fault);
    return undefined;
  }
  const redirects =
    flag === 'permanent' || flag === 'redirect' || /^(https?:\/\/|\$scheme)/.test(target);
  if (redirects) return redirectOf(directive, found.regex, match, { place, findings });
  const proxied = scope?.own.some(({ name }) => name === 'proxy_pass' || name === 'grpc_pass');
  if (!proxied || (flag !== 'break' && flag !== undefined)) {
    findings.unsupported(
      directive,
      flag === 'last' || flag === undefined
        ? 'a location is not looked for again'
        : 'only where requests are sent on a path can change',
    );
    return undefined;
  }
  const path = templateOf(target.replace(/\?$/, ''), place, true);
  if ('unknown' in path || path.text.includes('{') || path.text.includes('?')) {
    findings.unsupported(directive, 'only groups of the expression can be put into a path');
    return undefined;
  }
  if (target.endsWith('?')) findings.approximated(directive, 'the query stays');
  else findings.translated(directive);
  return { path: { regex: { match: wholePath(found.regex), replace: path.text } } };
}

function redirectOf(
  directive: Directive,
  regex: string,
  match: MatchInput,
  { place, findings }: Omit<Surroundings, 'maps'>,
): { readonly route: RouteInput } | undefined {
  const [, target = '', flag] = directive.args;
  const both = bothMatches(match, { path: { regex } });
  const to = templateOf(target.replace(/\?$/, ''), place, true);
  if (!both || 'unknown' in to) {
    const reason = both
      ? `${'unknown' in to ? to.unknown : ''} cannot be put into a redirect`
      : 'its expression cannot be joined with what its place matches';
    findings.unsupported(directive, reason);
    return undefined;
  }
  findings.translated(directive);
  const query = target.endsWith('?') || to.text.includes('?') ? '' : '{search}';
  const status = flag === 'permanent' ? 301 : 302;
  return { route: { match: both, redirect: { regex, to: `${to.text}${query}`, status } } };
}
