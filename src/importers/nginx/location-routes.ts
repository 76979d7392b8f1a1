import type { ImportIo } from '../report.ts';
import { answersOf, wholePath } from './answers.ts';
import { matchOf } from './conditions.ts';
import { type Directive, named, type Scope } from './directive.ts';
import type { Findings } from './findings.ts';
import { accessOf, basicAuthOf, closedBy, rateLimitOf } from './guards.ts';
import type { Turn } from './locations.ts';
import { entryRegex, type VariableMap } from './maps.ts';
import { bothMatches, type MatchInput, type RouteInput } from './matching.ts';
import {
  prefixRewrite,
  proxyTimeouts,
  requestFields,
  retriesOf,
  type Target,
  targetOf,
  upstreamTls,
} from './proxying.ts';
import type { Services } from './services.ts';
import { bytesOf, regexOf, sizeOf } from './values.ts';
import { expandSets, type Place, setsOf, soleVariable, templateOf } from './variables.ts';

/** What the translation of locations needs besides them. */
export type Around = {
  readonly io: ImportIo;
  readonly findings: Findings;
  readonly services: Services;
  readonly maps: ReadonlyMap<string, VariableMap>;
  readonly place: Place;
  /** A file's path as the file that names it means it. */
  readonly pathOf: (file: string) => string;
  /** Locations that exist for error pages only, with the file of the page. */
  readonly pages: ReadonlyMap<Directive, string>;
};

/** A route of a location, and whether it sends the client's address on. */
export type LocationRoute = {
  readonly route: RouteInput;
  readonly forwards: boolean | undefined;
  /** Most bytes of a body; 0: no bound. Undefined: nothing is sent on. */
  readonly maxBody: number | undefined;
};

const DEFAULT_MAX_BODY = 1024 * 1024;
/** What other programs do behind nginx. */
const HANDLERS = [
  'fastcgi_pass',
  'uwsgi_pass',
  'scgi_pass',
  'memcached_pass',
  'content_by_lua_block',
  'content_by_lua_file',
  'js_content',
  'stub_status',
  'empty_gif',
  'echo',
  'perl',
];

/** The routes that a location comes to at its turn. */
export function locationRoutes(turn: Turn, around: Around): LocationRoute[] {
  const { findings } = around;
  const { location, match } = turn;
  const { scope, directive } = location;
  if (turn.slash !== undefined) {
    return plain({ match, redirect: { to: `${turn.slash}{search}`, status: 301 } });
  }
  const page = around.pages.get(directive);
  const internal = scope.own.some(({ name }) => name === 'internal');
  if (page !== undefined || internal) findings.translated(...scope.own);
  if (internal) return plain({ match, respond: { status: 404 } });
  if (page !== undefined) {
    const headers = { 'content-type': 'text/html' };
    return plain({ match, respond: { status: 200, file: page, headers } });
  }
  const place = { ...around.place, sets: setsOf(scope) };
  const { routes, complete, rewrite } = answersOf(scope, match, { ...around, place });
  const edits = responseEdits(scope, place, findings);
  const own = [...routes, ...exceptRoutes(scope, match, findings)].map((route) =>
    plain(withFields(route, edits)),
  );
  findings.translated(...named(scope.own, 'set'));
  if (complete) return own.flat();
  const guards = guardsOf(scope, around);
  const content = closed(scope, match, findings) ?? contentOf(turn, rewrite, { ...around, place });
  return [...own.flat(), ...content.map((one) => guarded(one, guards))];
}

function plain(route: RouteInput): LocationRoute[] {
  return [{ route, forwards: undefined, maxBody: undefined }];
}

function guarded(one: LocationRoute, guards: Partial<RouteInput>): LocationRoute {
  const { match, service, rewrite, headers, ...rest } = one.route;
  const edits = { ...(headers ?? {}), ...(guards.headers ?? {}) };
  const route = {
    ...(match === undefined ? {} : { match }),
    ...(service === undefined ? {} : { service }),
    ...(rewrite === undefined ? {} : { rewrite }),
    ...rest,
    ...guards,
    ...(Object.keys(edits).length === 0 ? {} : { headers: edits }),
  };
  return { ...one, route };
}

function guardsOf(scope: Scope, { io, pathOf, findings, place }: Around): Partial<RouteInput> {
  const access = accessOf(scope, findings);
  const basicAuth = basicAuthOf(scope, io, pathOf, findings);
  const rateLimit = rateLimitOf(scope, findings);
  const response = responseEdits(scope, place, findings);
  return {
    ...(response === undefined ? {} : { headers: { response } }),
    ...(access === undefined ? {} : { access }),
    ...(basicAuth === undefined ? {} : { basicAuth }),
    ...(rateLimit === undefined ? {} : { rateLimit }),
  };
}

type Headers = NonNullable<RouteInput['headers']>;
type Edits = Exclude<NonNullable<Headers['response']>, unknown[]>;

/** `add_header` and `proxy_hide_header` at a place. */
export function responseEdits(scope: Scope, place: Place, findings: Findings): Edits | undefined {
  const add: Record<string, string> = {};
  const remove: string[] = [];
  for (const one of scope.all('proxy_hide_header')) {
    findings.translated(one);
    remove.push(one.args[0] ?? '');
  }
  for (const one of scope.all('add_header')) {
    const [name = '', value = '', always] = one.args;
    const filled = templateOf(value, place);
    if ('unknown' in filled) findings.unsupported(one, `${filled.unknown} is not known`);
    else if (add[name] !== undefined) findings.unsupported(one, 'a field is added once');
    else if (filled.text !== '') {
      if (always === 'always') findings.translated(one);
      else findings.approximated(one, 'answers with an error have it too');
      add[name] = filled.text;
    }
  }
  if (remove.length === 0 && Object.keys(add).length === 0) return undefined;
  return {
    ...(remove.length === 0 ? {} : { remove }),
    ...(Object.keys(add).length === 0 ? {} : { add }),
  };
}

/** An own answer with the fields of its place; it has one Content-Type. */
export function withFields(route: RouteInput, edits: Edits | undefined): RouteInput {
  if (!edits) return route;
  const { add = {} } = edits;
  const type = Object.keys(add).find((name) => name.toLowerCase() === 'content-type');
  const { [type ?? '']: value, ...others } = add;
  const respond =
    route.respond && value !== undefined
      ? { respond: { ...route.respond, headers: { 'content-type': value } } }
      : {};
  const headers =
    Object.keys(others).length === 0 ? {} : { headers: { response: { add: others } } };
  return { ...route, ...respond, ...headers };
}

/** A location whose guard has no equivalent answers nobody. */
function closed(scope: Scope, match: MatchInput, findings: Findings): LocationRoute[] | undefined {
  const guard = closedBy(scope);
  if (!guard) return undefined;
  findings.unsupported(
    guard,
    'the location is closed, since Sluice has no such guard: it answers 501',
  );
  return plain({ match, respond: { status: 501 } });
}

/** `limit_except METHODS { deny all; }`: other methods are refused. */
function exceptRoutes(scope: Scope, match: MatchInput, findings: Findings): RouteInput[] {
  const [except] = named(scope.own, 'limit_except');
  if (!except) return [];
  const [rule, ...others] = except.block ?? [];
  const methods = except.args.includes('GET') ? [...except.args, 'HEAD'] : [...except.args];
  const route = bothMatches(match, { not: { method: [...new Set(methods)] } });
  const plainDeny = rule?.name === 'deny' && rule.args[0] === 'all' && others.length === 0;
  if (plainDeny && route) findings.translated(except, rule);
  else findings.unsupported(except, 'other methods are refused to everybody');
  return [{ match: route ?? match, respond: { status: 403 } }];
}

function contentOf(turn: Turn, rewrite: RouteInput['rewrite'], around: Around): LocationRoute[] {
  const { scope, directive } = turn.location;
  const pass = scope.own.find(({ name }) => name === 'proxy_pass' || name === 'grpc_pass');
  if (pass) return proxyRoutes(turn, pass, rewrite, around);
  const { findings } = around;
  const handler = scope.own.find(({ name }) => HANDLERS.includes(name));
  if (handler) findings.unsupported(handler, 'Sluice has nothing of the kind: it answers 501');
  else {
    const reason = 'files are not served: it answers 501';
    const files = scope.own.filter(({ name }) => ['root', 'alias', 'try_files'].includes(name));
    for (const one of files) findings.unsupported(one, reason);
    if (files.length === 0) {
      findings.unsupported(directive, reason);
      findings.unsupported(scope.find('root'), reason);
    }
  }
  return plain({ match: turn.match, respond: { status: 501 } });
}

function proxyRoutes(
  turn: Turn,
  pass: Directive,
  rewrite: RouteInput['rewrite'],
  around: Around,
): LocationRoute[] {
  const { findings, place, maps } = around;
  const fallback = pass.name === 'grpc_pass' ? 'grpc' : undefined;
  const text = expandSets(pass.args[0] ?? '', place.sets);
  const target = targetOf(text, fallback);
  const variable = target ? soleVariable(target.host) : soleVariable(text);
  const map = variable === undefined ? undefined : maps.get(variable);
  if (!map) return proxyRoute(turn, turn.match, pass, target, rewrite, around);
  const routes: LocationRoute[] = [];
  for (const entry of map.entries) {
    const to = target ? { ...target, host: entry.value } : targetOf(entry.value, fallback);
    const regex = entryRegex(entry);
    const exact = entry.kind === 'exact' && map.source === 'host';
    const condition =
      entry.kind === 'default'
        ? {}
        : map.source === undefined || regex === undefined
          ? undefined
          : matchOf(map.source, exact ? { equals: entry.key } : { regex });
    const match = condition && bothMatches(turn.match, condition);
    if (!match) {
      findings.unsupported(entry.directive, 'it cannot be told apart by a route');
      continue;
    }
    findings.translated(map.directive, entry.directive);
    routes.push(...proxyRoute(turn, match, pass, to, rewrite, around));
  }
  return routes;
}

function proxyRoute(
  turn: Turn,
  match: MatchInput,
  pass: Directive,
  target: Target | undefined,
  rewrite: RouteInput['rewrite'],
  around: Around,
): LocationRoute[] {
  const { scope } = turn.location;
  const { findings, place } = around;
  const service = target && serviceOf(target, scope, pass, around);
  if (!target || service === undefined) {
    const why = /\$/.test(pass.args[0] ?? '')
      ? 'where it leads cannot be told from the file: it answers 501'
      : 'there is nothing that could be reached: it answers 501';
    findings.unsupported(pass, why);
    return plain({ match, respond: { status: 501 } });
  }
  findings.translated(pass);
  const fields = requestFields(scope, target, place, findings);
  const path = pathRewrite(turn, target, pass, rewrite, around);
  const whole = { ...path, ...(fields.host === undefined ? {} : { host: fields.host }) };
  const request = {
    ...(fields.remove.length === 0 ? {} : { remove: fields.remove }),
    ...(Object.keys(fields.set).length === 0 ? {} : { set: fields.set }),
  };
  const size = scope.find('client_max_body_size');
  const route = {
    match,
    service,
    ...(Object.keys(whole).length === 0 ? {} : { rewrite: whole }),
    ...(Object.keys(request).length === 0 ? {} : { headers: { request } }),
  };
  const maxBody = bytesOf(size?.args[0]);
  if (size && maxBody === undefined) findings.unsupported(size, 'that is no size');
  else findings.translated(size);
  return [{ route, forwards: fields.forwards, maxBody: maxBody ?? DEFAULT_MAX_BODY }];
}

function pathRewrite(
  { location: { kind, pattern, scope } }: Turn,
  { uri }: Target,
  pass: Directive,
  rewrite: RouteInput['rewrite'],
  { findings, place }: Around,
): NonNullable<RouteInput['rewrite']> {
  const path = uri.replace(/\$is_args\$(args|query_string)$/, '');
  if (path === '' || path === '$request_uri' || path === '$uri') return rewrite ?? {};
  if (path.includes('?')) {
    findings.unsupported(pass, 'a query in the address is not added');
  }
  const [plainPath = ''] = path.split('?');
  if (rewrite) {
    findings.approximated(pass, 'a slash that two rules would double is sent once');
    return { ...rewrite, ...(plainPath === '/' ? {} : { addPrefix: plainPath }) };
  }
  if (!plainPath.includes('$')) {
    const redirect = scope.find('proxy_redirect');
    findings.translated(redirect);
    if (redirect?.args[0] !== 'off') {
      findings.approximated(pass, 'a Location that the endpoint sends is not turned back');
    }
    return prefixRewrite(kind, pattern, plainPath);
  }
  const filled = templateOf(plainPath, place, true);
  const regex = kind === '~' || kind === '~*';
  if ('unknown' in filled || filled.text.includes('{') || !regex || path !== plainPath) {
    findings.unsupported(pass, 'its path has variables that cannot be put into one: it stays');
    return {};
  }
  const found = regexOf(pattern, kind === '~*');
  return 'regex' in found ? { regex: { match: wholePath(found.regex), replace: filled.text } } : {};
}

function serviceOf(
  target: Target,
  scope: Scope,
  pass: Directive,
  { services, findings, place, pathOf }: Around,
): string | undefined {
  if (target.host.includes('$')) return undefined;
  const prefix = target.scheme.startsWith('grpc') ? 'grpc' : 'proxy';
  const encrypted = target.scheme === 'https' || target.scheme === 'grpcs';
  const retries = retriesOf(scope, prefix, services.size(target.host), findings);
  const protocol = prefix === 'grpc' ? (encrypted ? 'h2' : 'h2c') : undefined;
  const settings = {
    ...(protocol === undefined ? {} : ({ protocol } as const)),
    ...(encrypted ? { tls: upstreamTls(scope, prefix, place, pathOf, findings) } : {}),
    ...proxyTimeouts(scope, prefix, findings),
    ...(retries === undefined ? {} : { retries }),
  };
  return services.take(target.host, encrypted ? 443 : 80, settings, pass);
}

/** A bound of bodies as ours is written; undefined: none. */
export function bodyLimit(bytes: number): string | number | undefined {
  return bytes === 0 ? undefined : sizeOf(bytes);
}
