import type { GatewayConfigInput } from '../../model/gateway-config.ts';
import { admissionOf } from './access.ts';
import { readBind } from './addresses.ts';
import { pagesOf } from './error-pages.ts';
import { BIND_OPTIONS, type Options, readOptions } from './options.ts';
import type { ProxySection, Work } from './proxy.ts';
import { compileRoutes, type Routing } from './routes.ts';
import type { Statement } from './sections.ts';
import { listenerTls } from './tls.ts';
import { compact, duration, forwardedField, isEmpty, parseCount, parseTime } from './values.ts';

export type ListenerInput = NonNullable<GatewayConfigInput['listeners']>[string];

/** Binds of a frontend that can share a listener. */
type Group = {
  readonly statement: Statement;
  readonly options: Options;
  readonly binds: (string | { unix: string; mode: string })[];
  readonly ports: number[];
};

/** A listener with the name that it wants. */
export type NamedListener = {
  readonly name: string;
  readonly listener: ListenerInput;
  readonly line: number;
};

const EVERYBODY = ['0.0.0.0/0', '::/0'];

/** The ports of every bind of a frontend. */
export function portsOf(frontend: ProxySection, work: Work): number[] {
  return [...new Set(groupsOf(frontend, work).flatMap(({ ports }) => ports))];
}

/** A frontend as listeners: one for all binds of the same options. */
export function listenersOf(
  frontend: ProxySection,
  work: Work,
  serviceOf: (backend: string) => string | undefined,
): NamedListener[] {
  const groups = groupsOf(frontend, work);
  if (groups.length === 0) {
    const { text, line } = frontend.head;
    if (frontend.kind === 'frontend') work.reporter.unsupported(text, line, 'it listens nowhere');
  }
  return groups.flatMap((group, index) => {
    const encrypted = group.options.has('ssl');
    const situation = { encrypted, ports: group.ports };
    const routing = compileRoutes(frontend, { work, situation, serviceOf });
    const suffix =
      encrypted && !groups.some(({ options }, at) => at !== index && options.has('ssl'));
    const name = index === 0 ? frontend.name : `${frontend.name}-${suffix ? 'tls' : index + 1}`;
    if (routing.service === undefined && routing.routes.length === 0) {
      work.reporter.unsupported(
        group.statement.text,
        group.statement.line,
        'nothing takes its connections',
      );
      return [];
    }
    const listener = listenerOf(frontend, group, routing, work);
    return [{ name, listener, line: group.statement.line }];
  });
}

function groupsOf(frontend: ProxySection, work: Work): Group[] {
  const groups = new Map<string, Group>();
  for (const statement of frontend.statements.all('bind')) {
    const { reporter } = work;
    const { text, line } = statement;
    const options = readOptions(BIND_OPTIONS, statement.words.slice(2), {
      unknown: (name) => reporter.error(text, line, `"${name}" is no option of bind`),
      unsupported: (name, why) => reporter.unsupported(`bind … ${name}`, line, why),
    });
    reportUnused(options, statement, work);
    const key = JSON.stringify([...options].filter(([name]) => SEPARATE.includes(name)).sort());
    const group = groups.get(key) ?? { statement, options, binds: [], ports: [] };
    groups.set(key, group);
    for (const address of (statement.words[1] ?? '').split(',')) {
      const read = readBind(address, options);
      if (typeof read === 'string') {
        reporter.error(text, line, read);
        continue;
      }
      const mode = options.get('mode');
      const unix = read.text.startsWith('unix:') && mode !== undefined;
      group.binds.push(unix ? { unix: read.text.slice(5), mode } : read.text);
      group.ports.push(...read.ports);
    }
  }
  return [...groups.values()].filter(({ binds }) => binds.length > 0);
}

/** Options that make another listener of a bind. */
const SEPARATE = [
  ...['ssl', 'crt', 'crt-list', 'alpn', 'ca-file', 'crl-file', 'verify', 'ciphers', 'ciphersuites'],
  ...[
    'ssl-min-ver',
    'ssl-max-ver',
    'strict-sni',
    'no-sslv3',
    'no-tlsv10',
    'no-tlsv11',
    'no-tlsv12',
  ],
  ...['no-tlsv13', 'force-tlsv12', 'force-tlsv13', 'accept-proxy'],
];
const UNUSED: Readonly<Record<string, string>> = {
  interface: 'the listener takes connections of every interface',
  process: 'every worker takes connections',
  thread: 'every worker takes connections',
  transparent: 'only addresses of this host are bound',
  'no-tls-tickets': 'sessions are resumed by tickets',
  'allow-0rtt': 'early data is not taken',
  user: 'sockets belong to who starts the daemon',
  group: 'sockets belong to who starts the daemon',
};

function reportUnused(options: Options, { line }: Statement, { reporter }: Work): void {
  for (const [name, value] of options) {
    const why = Object.hasOwn(UNUSED, name) ? UNUSED[name] : undefined;
    if (why !== undefined) reporter.approximated(`bind … ${name} ${value}`.trim(), line, why);
  }
}

function listenerOf(
  frontend: ProxySection,
  { binds, options, statement }: Group,
  { routes, service }: Routing,
  work: Work,
): ListenerInput {
  const { mode, statements } = frontend;
  const http = mode === 'http';
  const encrypted = options.has('ssl');
  const { access, tlsOnly, maxPerSource } = admissionOf(frontend, work);
  const byName = tlsOnly || routes.some(({ match }) => match?.sni !== undefined);
  const plain = byName ? 'tls-passthrough' : 'tcp';
  const protocol = http ? (encrypted ? 'https' : 'http') : encrypted ? 'tls' : plain;
  const pages = http ? pagesOf(statements, work) : {};
  return {
    bind: binds.length === 1 ? (binds[0] ?? '') : binds,
    protocol,
    ...(service !== undefined && { service }),
    ...(routes.length > 0 && { routes }),
    ...(encrypted && { tls: listenerTls(options, statement, work) }),
    ...(options.has('accept-proxy') && { acceptProxy: { from: EVERYBODY } }),
    ...(http && { forwarded: forwardedOf(frontend, work) }),
    ...(access && { access }),
    ...limitsOf(frontend, options, maxPerSource, work),
    ...timeoutsOf(frontend, work),
    ...(http && { http: { underscoreHeaders: 'allow', encodedSlashes: 'keep' } as const }),
    ...(!isEmpty(pages) && { errorPages: pages }),
    ...(!statements.has('log') && work.global.has('log') && { accessLog: false }),
  };
}

/** What endpoints are told of the client; what clients claim passes on, as with HAProxy. */
function forwardedOf(frontend: ProxySection, work: Work): NonNullable<ListenerInput['forwarded']> {
  const holders = [frontend, ...backendsOf(frontend, work)];
  const statement = holders
    .map(({ statements }) => statements.last('option forwardfor'))
    .find(Boolean);
  if (!statement) return { claims: 'keep', headers: [] };
  const { words, text, line } = statement;
  const except = words.includes('except') ? words[words.indexOf('except') + 1] : undefined;
  if (words.includes('if-none')) {
    work.reporter.approximated(text, line, 'the address is added whether or not one is there');
  }
  if (except !== undefined) {
    work.reporter.approximated(text, line, `what ${except} says is believed, and added to`);
  }
  const name = forwardedField(words);
  // Routes add it under another name.
  if (name !== 'x-forwarded-for' && name !== 'x-real-ip') return { claims: 'keep', headers: [] };
  return { ...(except && { trust: [except] }), claims: 'keep', headers: [name] };
}

/** The backends that a frontend names. */
export function backendsOf(
  { statements, kind, name }: ProxySection,
  { proxies }: Work,
): ProxySection[] {
  const names = statements.all('default_backend', 'use_backend').map(({ words }) => words[1]);
  if (kind === 'listen') names.push(name);
  return proxies.filter((one) => one.kind !== 'frontend' && names.includes(one.name));
}

function limitsOf(
  { statements }: ProxySection,
  options: Options,
  maxConnectionsPerSource: number | undefined,
  { global }: Work,
): object {
  const maxConnections =
    parseCount(statements.words('maxconn')[0]) ||
    parseCount(options.get('maxconn')) ||
    parseCount(global.words('maxconn')[0]);
  const limits = compact({ maxConnections: maxConnections || undefined, maxConnectionsPerSource });
  return isEmpty(limits) ? {} : { limits };
}

/** Deadlines of clients; a session of TCP ends by the shorter of both sides. */
function timeoutsOf(frontend: ProxySection, work: Work): object {
  const { statements, mode } = frontend;
  const http = mode === 'http';
  const client = statements.timeout('client');
  const request = statements.timeout('http-request') ?? client;
  const servers = backendsOf(frontend, work).map((one) => one.statements.timeout('server'));
  const shortest = [client, ...servers].filter((ms) => ms !== undefined);
  const tcpIdle = shortest.length > 0 ? Math.min(...shortest) : undefined;
  const halfClose = statements.timeout('client-fin') ?? statements.timeout('server-fin');
  const delay = parseTime(statements.words('tcp-request inspect-delay')[0]);
  const text = (ms: number | undefined) => (ms === undefined ? undefined : duration(ms));
  const timeouts = compact({
    header: http ? text(request) : undefined,
    idle: text(http ? (statements.timeout('http-keep-alive') ?? request) : tcpIdle),
    write: text(client),
    halfClose: text(halfClose),
    handshake: text(delay),
  });
  return isEmpty(timeouts) ? {} : { timeouts };
}
