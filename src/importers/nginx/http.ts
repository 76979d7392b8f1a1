import { answersOf } from './answers.ts';
import type { Block, Outcome, Reach } from './block.ts';
import { type Directive, named, type Scope } from './directive.ts';
import { errorPagesOf } from './error-pages.ts';
import type { Findings } from './findings.ts';
import { type ListenGroup, listenGroups } from './listens.ts';
import {
  type Around,
  bodyLimit,
  type LocationRoute,
  locationRoutes,
  responseEdits,
  withFields,
} from './location-routes.ts';
import { locationsOf, turnsOf } from './locations.ts';
import type { VariableMap } from './maps.ts';
import { type ListenerInput, type RouteInput, tidyMatch } from './matching.ts';
import { firstName, forHosts, type NameTurn, nameTurns } from './server-names.ts';
import { type Services, uniqueName } from './services.ts';
import { listenerSettings } from './settings.ts';
import { listenerTls } from './tls.ts';
import { setsOf } from './variables.ts';

/** A route with what decides on the whole listener. */
type Placed = LocationRoute & {
  readonly line: number;
  readonly errorPages: RouteInput['errorPages'];
};

/** Translates an `http` block: a listener for each address, with the routes of all its servers. */
export function translateHttp(block: Block, outcome: Outcome): void {
  const { servers, maps, findings } = block;
  // Upgrades are passed on without being told to.
  for (const { source, directive } of maps.values()) {
    if (source === 'http_upgrade') findings.translated(directive);
  }
  for (const group of listenGroups(servers, findings)) {
    new HttpListener(group, block).build(outcome);
  }
}

class HttpListener {
  readonly #group: ListenGroup;
  readonly #maps: ReadonlyMap<string, VariableMap>;
  readonly #services: Services;
  readonly #reach: Reach;
  readonly #findings: Findings;
  readonly #scheme: 'http' | 'https';

  constructor(group: ListenGroup, { maps, services, reach, findings }: Block) {
    this.#group = group;
    this.#maps = maps;
    this.#services = services;
    this.#reach = reach;
    this.#findings = findings;
    this.#scheme = group.flags.has('ssl') ? 'https' : 'http';
  }

  build({ listeners, lines }: Outcome): void {
    const { binds, port, flags, fallback, servers, listens } = this.#group;
    const [listen] = listens;
    const http2 = flags.has('http2');
    const { pathOf } = this.#reach;
    const tls =
      this.#scheme === 'https'
        ? listenerTls(servers, fallback, http2, pathOf, this.#findings)
        : undefined;
    if (tls && tls.certificates.length === 0) {
      for (const one of listens) this.#findings.unsupported(one, 'it has no certificate');
      return;
    }
    const name = uniqueName(`${this.#scheme}-${port ?? 'unix'}`, listeners);
    const placed = this.#routes();
    const [bind = ''] = binds;
    const settings = listenerSettings(this.#group, this.#findings);
    const shared = sharedSettings(placed);
    const limits = { ...settings.limits, ...shared.limits };
    const listener: ListenerInput = {
      bind: binds.length === 1 ? bind : [...binds],
      protocol: this.#scheme,
      ...(tls === undefined ? {} : { tls }),
      ...settings,
      ...(Object.keys(limits).length === 0 ? {} : { limits }),
      forwarded: {
        ...settings.forwarded,
        claims: 'keep',
        headers: shared.forwards ? ['x-forwarded-for'] : [],
      },
      ...(shared.errorPages === undefined ? {} : { errorPages: shared.errorPages }),
      routes: placed.map((one) => finished(one, shared)),
    };
    if (listener.routes?.length === 0) listener.routes = [{ respond: { status: 404 } }];
    listeners.set(name, listener);
    lines.set(`listeners.${name}`, listen?.line ?? 1);
    for (const [index, { line }] of placed.entries()) {
      lines.set(`listeners.${name}.routes.${index}`, line);
    }
  }

  #routes(): Placed[] {
    const made = new Map<Scope, Placed[]>();
    for (const server of this.#group.servers) made.set(server, this.#serverRoutes(server));
    return nameTurns(this.#group, this.#findings).flatMap((turn) =>
      this.#turnRoutes(turn, made.get(turn.server) ?? []),
    );
  }

  #turnRoutes({ server, hosts }: NameTurn, routes: readonly Placed[]): Placed[] {
    const own = routes.flatMap((one) => {
      const route = forHosts(one.route, hosts);
      return route ? [{ ...one, route }] : [];
    });
    const last = routes.at(-1)?.route.match;
    const complete = last !== undefined && tidyMatch(last) === undefined;
    if (hosts === undefined || complete) return own;
    const rest = forHosts({ respond: { status: 404 } }, hosts) ?? {};
    const line = server.directive?.line ?? 1;
    return [
      ...own,
      { route: rest, line, forwards: undefined, maxBody: undefined, errorPages: undefined },
    ];
  }

  #serverRoutes(server: Scope): Placed[] {
    const findings = this.#findings;
    const { io, pathOf } = this.#reach;
    const place = {
      scheme: this.#scheme,
      port: this.#group.port,
      serverName: firstName(server),
      sets: setsOf(server),
    };
    const line = server.directive?.line ?? 1;
    const outer = (route: RouteInput): Placed => ({
      route,
      line,
      forwards: undefined,
      maxBody: undefined,
      errorPages: undefined,
    });
    const before = this.#unverified(server);
    if (before) return [outer(before)];
    const match = { path: '/*' };
    const answers = answersOf(server, match, { place, maps: this.#maps, findings });
    findings.translated(...named(server.own, 'set'));
    const edits = responseEdits(server, place, findings);
    const own = answers.routes.map((route) => outer(withFields(route, edits)));
    if (answers.complete) {
      this.#skipped(server);
      return own;
    }
    const locations = locationsOf(server, findings);
    const pages = errorPagesOf(locations, io, pathOf, findings);
    for (const scope of [server, ...locations.map(({ scope }) => scope)]) pages.of(scope);
    const around: Around = {
      io,
      findings,
      services: this.#services,
      maps: this.#maps,
      place,
      pathOf,
      pages: pages.locations,
    };
    return [
      ...own,
      ...turnsOf(locations, findings).flatMap((turn) =>
        locationRoutes(turn, around).map((one) => ({
          ...one,
          line: turn.location.directive.line,
          errorPages: pages.of(turn.location.scope),
        })),
      ),
    ];
  }

  /** A server whose clients have to show a certificate that the handshake does not ask for. */
  #unverified(server: Scope): RouteInput | undefined {
    const verify = (scope: Scope) => scope.find('ssl_verify_client')?.args[0] === 'on';
    const { fallback } = this.#group;
    if (this.#scheme !== 'https' || !verify(server) || verify(fallback)) return undefined;
    const reason =
      'the server is closed, since the default server of the address asks for none: it answers 501';
    this.#findings.unsupported(server.find('ssl_verify_client'), reason);
    return { match: { path: '/*' }, respond: { status: 501 } };
  }

  /** Locations that an answer of the whole server leaves without a request. */
  #skipped(server: Scope): void {
    const all = (directives: readonly Directive[]): Directive[] =>
      directives.flatMap((one) => [one, ...all(one.block ?? [])]);
    for (const one of named(server.own, 'location')) this.#findings.translated(...all([one]));
  }
}

type Shared = Pick<ListenerInput, 'errorPages' | 'limits'> & { readonly forwards: boolean };

/** What all routes that send on have in common, and so the listener says. */
function sharedSettings(placed: readonly Placed[]): Shared {
  const sending = placed.filter(({ maxBody }) => maxBody !== undefined);
  const [first] = sending;
  if (!first) return { forwards: false };
  const same = <T>(read: (one: Placed) => T) =>
    sending.every((one) => JSON.stringify(read(one)) === JSON.stringify(read(first)));
  const pages = same(({ errorPages }) => errorPages) ? first.errorPages : undefined;
  const limit = same(({ maxBody }) => maxBody) ? bodyLimit(first.maxBody ?? 0) : undefined;
  return {
    forwards: sending.every(({ forwards }) => forwards),
    ...(limit === undefined ? {} : { limits: { maxBodyBytes: limit } }),
    ...(pages === undefined ? {} : { errorPages: pages }),
  };
}

function finished(one: Placed, shared: Shared): RouteInput {
  const { match, ...rest } = one.route;
  const kept = match && tidyMatch(match);
  const route: RouteInput = { ...(kept === undefined ? {} : { match: kept }), ...rest };
  const page = one.errorPages?.[String(route.respond?.status)]?.file;
  if (route.respond && page !== undefined && (route.respond.body ?? '') === '') {
    route.respond = { ...route.respond, file: page, headers: { 'content-type': 'text/html' } };
  }
  if (one.maxBody === undefined) return route;
  const limit = bodyLimit(one.maxBody);
  if (shared.limits?.maxBodyBytes === undefined && limit !== undefined) route.maxBodyBytes = limit;
  if (shared.errorPages === undefined && one.errorPages) route.errorPages = one.errorPages;
  if (!one.forwards || shared.forwards) return route;
  const { request, ...headers } = route.headers ?? {};
  const set = { 'x-forwarded-for': '{forwardedFor}', ...request?.set };
  route.headers = { ...headers, request: { ...request, set } };
  return route;
}
