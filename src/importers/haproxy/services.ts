import { isAddress } from '../../model/fields.ts';
import { readServer } from './addresses.ts';
import { healthOf, type ServiceInput } from './checks.ts';
import { type Options, readOptions, SERVER_OPTIONS } from './options.ts';
import type { ProxySection, Work } from './proxy.ts';
import type { Statement } from './sections.ts';
import { balanceOf, retriesOf, stickyOf } from './service-settings.ts';
import { compact, duration, isEmpty, parseCount, parseTime } from './values.ts';

type EndpointInput = NonNullable<ServiceInput['endpoints']>[number];

/** A `server` line, its options after those that `default-server` gives. */
type Server = { readonly statement: Statement; readonly options: Options };

/** Most that may wait where servers have limits and queues have none. */
const QUEUE = 10_000;

/** Whether a section names servers. */
export function hasServers({ statements }: ProxySection): boolean {
  return statements.has('server') || statements.has('server-template');
}

/** A backend as a service; `ports` are those of the listeners that lead to it. */
export function serviceOf(
  backend: ProxySection,
  name: string,
  ports: readonly number[],
  work: Work,
): ServiceInput {
  const servers = readServers(backend, work);
  const active = servers.filter(({ options }) => !options.has('disabled'));
  for (const { statement } of servers.filter(({ options }) => options.has('disabled'))) {
    work.reporter.approximated(statement.text, statement.line, 'left out, since it is disabled');
  }
  const alike = sameReach(active, work);
  const first = alike[0]?.options ?? servers[0]?.options ?? new Map<string, string>();
  const all = alike.map(({ options }) => options);
  reportUneven(alike, work);
  return {
    ...membersOf(backend, alike, { name, ports }, work),
    balance: balanceOf(backend, work),
    ...compact({ sticky: stickyOf(backend, all, work) }),
    health: healthOf(backend, all, work),
    ...agentOf(first, work, alike[0]?.statement),
    passive: passiveOf(first),
    retries: retriesOf(backend, work),
    ...slowStart(first),
    ...limitsOf(backend, alike),
    ...reachOf(first, work),
    ...timeoutsOf(backend),
  };
}

function readServers(backend: ProxySection, work: Work): Server[] {
  const defaults = backend.statements.all('default-server').flatMap(({ words }) => words.slice(1));
  for (const statement of backend.statements.all('default-server')) {
    readOptions(SERVER_OPTIONS, statement.words.slice(1), reporting(statement, work));
  }
  return backend.statements.all('server', 'server-template').flatMap((statement) => {
    const skip = statement.words[0] === 'server' ? 3 : 4;
    const quiet = { unknown: () => {}, unsupported: () => {} };
    const base = readOptions(SERVER_OPTIONS, defaults, quiet);
    const own = readOptions(
      SERVER_OPTIONS,
      statement.words.slice(skip),
      reporting(statement, work),
    );
    for (const [name] of own) {
      const opposite = name.startsWith('no-') ? name.slice(3) : `no-${name}`;
      base.delete(opposite);
      if (name === 'enabled') base.delete('disabled');
    }
    return [{ statement, options: new Map([...base, ...own]) }];
  });
}

function reporting({ text, line }: Statement, { reporter }: Work) {
  return {
    unknown: (name: string) => reporter.error(text, line, `"${name}" is no option of a server`),
    unsupported: (name: string, why: string) => reporter.unsupported(`server … ${name}`, line, why),
  };
}

/** How a server is reached; in a service this is one for all. */
const REACH = [
  'ssl',
  'verify',
  'ca-file',
  'crt',
  'sni',
  'alpn',
  'proto',
  'send-proxy',
  'send-proxy-v2',
];

function sameReach(servers: readonly Server[], { reporter }: Work): Server[] {
  const key = ({ options }: Server) =>
    JSON.stringify(REACH.map((name) => [options.has(name), options.get(name)]));
  const [first] = servers;
  return servers.filter((server) => {
    if (!first || key(server) === key(first)) return true;
    const { text, line } = server.statement;
    const why = `left out: it is reached in another way (${REACH.slice(0, 5).join(', ')} …) than the server of line ${first.statement.line}`;
    reporter.unsupported(text, line, why);
    return false;
  });
}

/** Settings that a service has once, though each server could have its own. */
const SHARED = ['check', 'inter', 'fastinter', 'downinter', 'rise', 'fall', 'port', 'slowstart'];

function reportUneven(servers: readonly Server[], { reporter }: Work): void {
  const [first] = servers;
  for (const { statement, options } of servers.slice(1)) {
    const other = SHARED.find(
      (name) =>
        options.has(name) !== first?.options.has(name) ||
        options.get(name) !== first?.options.get(name),
    );
    if (other === undefined) continue;
    const why = `\`${other}\` is that of the first server: a service has it once`;
    reporter.approximated(statement.text, statement.line, why);
  }
}

type Membership = { name: string; ports: readonly number[] };

function membersOf(
  backend: ProxySection,
  servers: readonly Server[],
  { name, ports }: Membership,
  work: Work,
): Pick<ServiceInput, 'endpoints' | 'discover'> {
  const template = servers.find(({ statement }) => statement.words[0] === 'server-template');
  if (template) {
    for (const { statement } of servers.filter((one) => one !== template)) {
      const why = 'left out: the service is found by its name in DNS';
      work.reporter.unsupported(statement.text, statement.line, why);
    }
    return { discover: discovered(template, ports, work) };
  }
  const endpoints: EndpointInput[] = [];
  const known = new Set<string>();
  for (const { statement, options } of servers) {
    const read = readServer(statement.words[2] ?? '', ports);
    if (typeof read === 'string') {
      work.reporter.unsupported(statement.text, statement.line, read);
      continue;
    }
    if (known.has(read.address)) {
      const why = `left out: ${read.address} stands in the backend twice`;
      work.reporter.unsupported(statement.text, statement.line, why);
      continue;
    }
    known.add(read.address);
    work.place(`services.${name}.endpoints.${endpoints.length}`, statement.line);
    endpoints.push(endpointOf(statement.words[1] ?? '', read.address, options));
  }
  if (endpoints.length === 0) {
    const { text, line } = backend.head;
    work.reporter.error(text, line, 'none of its servers can be taken over');
  }
  return { endpoints };
}

function endpointOf(name: string, address: string, options: Options): EndpointInput {
  const weight = parseCount(options.get('weight'));
  const details = compact({
    name: /^[\w.:-]{1,63}$/.test(name) ? name : undefined,
    weight: weight === 1 ? undefined : weight,
    backup: options.has('backup') ? true : undefined,
    maxConnections: parseCount(options.get('maxconn')) || undefined,
  });
  return isEmpty(details) ? address : { address, ...details };
}

/** `server-template NAME COUNT HOST:PORT`: as many servers as a name has addresses. */
function discovered(
  { statement, options }: Server,
  ports: readonly number[],
  work: Work,
): NonNullable<ServiceInput['discover']> {
  const written = statement.words[3] ?? '';
  const [host = '', portText] = written.split(':');
  const resolvers = work.resolvers.get(options.get('resolvers') ?? '');
  const nameserver = resolvers?.statements.find(({ words }) => words[0] === 'nameserver')?.words[2];
  const valid = resolvers?.statements.find(
    ({ words }) => words[0] === 'hold' && words[1] === 'valid',
  );
  const refresh = parseTime(valid?.words[2]);
  const server = nameserver?.replace(/^(?:udp[46]?|tcp[46]?)@/, '');
  const known =
    server !== undefined && isAddress(server.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1'))
      ? server
      : undefined;
  const common = compact({
    server: known && (/:\d+$/.test(known) ? known : `${known}:53`),
    refresh: refresh ? duration(refresh) : undefined,
  });
  if (host.startsWith('_')) return { dns: { name: host, type: 'SRV', ...common } };
  const port = parseCount(portText) ?? (ports.length === 1 ? ports[0] : undefined);
  if (!port) work.reporter.error(statement.text, statement.line, 'the port must be said');
  const type = options.get('resolve-prefer') === 'ipv6' ? ('AAAA' as const) : ('A' as const);
  return { dns: { name: host, type, port: port ?? 1, ...common } };
}

function agentOf(options: Options, work: Work, statement: Statement | undefined): object {
  if (!options.has('agent-check')) return {};
  const port = parseCount(options.get('agent-port'));
  if (!port) {
    if (statement) work.reporter.error(statement.text, statement.line, 'agent-port is needed');
    return {};
  }
  const interval = duration(parseTime(options.get('agent-inter')) ?? 2000);
  return { agentCheck: compact({ port, interval, send: options.get('agent-send') }) };
}

/** `observe`, or nothing: live traffic takes no server out. */
function passiveOf(options: Options): NonNullable<ServiceInput['passive']> {
  if (!options.has('observe')) return false;
  return { failures: parseCount(options.get('error-limit')) ?? 10 };
}

function slowStart(options: Options): object {
  const ms = parseTime(options.get('slowstart'));
  return ms ? { slowStart: duration(ms) } : {};
}

function limitsOf({ statements }: ProxySection, servers: readonly Server[]): object {
  const limited = servers.some(({ options }) => parseCount(options.get('maxconn')));
  if (!limited) return {};
  const size = servers.reduce(
    (sum, { options }) => sum + (parseCount(options.get('maxqueue')) ?? 0),
    0,
  );
  const wait = statements.timeout('queue') ?? statements.timeout('connect');
  const queue = { size: size || QUEUE, ...(wait !== undefined && { timeout: duration(wait) }) };
  return { limits: { queue } };
}

/** TLS, HTTP version and PROXY header towards the servers. */
function reachOf(options: Options, work: Work): object {
  const encrypted = options.has('ssl') && !options.has('no-ssl');
  const h2 = options.get('proto') === 'h2' || /^h2$/.test(options.get('alpn') ?? '');
  const either = (options.get('alpn') ?? '').split(',').includes('h2');
  const protocol = h2 ? (encrypted ? 'h2' : 'h2c') : encrypted && either ? 'auto' : undefined;
  const version = options.has('send-proxy-v2')
    ? 'v2'
    : options.has('send-proxy')
      ? 'v1'
      : undefined;
  return compact({
    protocol,
    proxyProtocol: version,
    tls: encrypted ? tlsOf(options, work) : undefined,
  });
}

function tlsOf(options: Options, { global }: Work): object {
  const base = (keyword: string, path: string | undefined) => {
    const [folder] = global.words(keyword);
    return path === undefined || folder === undefined || path.startsWith('/')
      ? path
      : `${folder}/${path}`;
  };
  const [fallback] = global.words('ssl-server-verify');
  const verify = (options.get('verify') ?? fallback) !== 'none';
  const crt = base('crt-base', options.get('crt'));
  const ca = options.get('ca-file');
  return compact({
    verify: verify ? undefined : false,
    ca: verify && ca !== '@system-ca' ? base('ca-base', ca) : undefined,
    serverName: options.get('verifyhost') ?? /^str\((.*)\)$/.exec(options.get('sni') ?? '')?.[1],
    cert: crt,
    key: crt,
  });
}

function timeoutsOf({ statements, mode }: ProxySection): object {
  const text = (ms: number | undefined) => (ms === undefined ? undefined : duration(ms));
  const server = text(statements.timeout('server'));
  const http = mode === 'http';
  const timeouts = compact({
    connect: text(statements.timeout('connect')),
    request: http ? server : undefined,
    idle: http ? server : undefined,
    tunnel: http ? (text(statements.timeout('tunnel')) ?? server) : undefined,
  });
  return isEmpty(timeouts) ? {} : { timeouts };
}
