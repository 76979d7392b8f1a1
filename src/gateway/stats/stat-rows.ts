import type { SeriesSample } from '../../base/metrics.ts';
import type { ServiceState } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { Listener } from '../../model/listener.ts';
import { STAT_TYPE, type StatRow } from '../../model/stat-row.ts';
import type { CheckReport } from '../health/check-log.ts';
import { httpServices } from '../health/health-board.ts';
import { Figures } from './figures.ts';
import { type ServerSource, serverRow, serverState } from './server-row.ts';
import type { StatHistory } from './stat-history.ts';

/** What the statistics are made of. */
export type StatSource = {
  readonly samples: readonly SeriesSample[];
  readonly states: readonly ServiceState[];
  readonly config: GatewayConfig;
  readonly history: StatHistory;
  readonly checks: (service: string, endpoint: string) => CheckReport | undefined;
  /** Monotonic ms. */
  readonly now: number;
  /** Unix ms. */
  readonly wall: number;
  readonly workers: number;
  /** Since the start, in ms. */
  readonly uptimeMs: number;
};

/** HAProxy's number of the first proxy; those before are its own. */
const FIRST_ID = 2;
const CODES = ['1xx', '2xx', '3xx', '4xx', '5xx'] as const;
/** HAProxy's word for each algorithm, where it has one. */
const ALGORITHMS: Readonly<Record<string, string>> = {
  'round-robin': 'roundrobin',
  'least-connections': 'leastconn',
  'random-two': 'random',
  'source-hash': 'source',
  'consistent-hash': 'hash',
  first: 'first',
};

/** What HAProxy counts and the gateway has none of, for ever. */
const NEVER = { dresp: 0, wrew: 0, eint: 0, cache_lookups: 0, cache_hits: 0 } as const;
const NEVER_HTTP = { hrsp_other: 0, comp_in: 0, comp_out: 0, comp_byp: 0, comp_rsp: 0 } as const;

/** How many answers of each class `of` knows. */
export function answers(of: (code: (typeof CODES)[number]) => number) {
  const [hrsp_1xx, hrsp_2xx, hrsp_3xx, hrsp_4xx, hrsp_5xx] = CODES.map(of);
  return { hrsp_1xx, hrsp_2xx, hrsp_3xx, hrsp_4xx, hrsp_5xx };
}

function frontend(name: string, of: Listener, iid: number, source: StatSource, all: Figures) {
  const { history } = source;
  const sum = (what: string, ...labels: string[]) => all.sum(`listener_${what}`, name, ...labels);
  const connections = history.rate('listener_connections_total', name);
  const requests = history.rate('listener_requests_total', name);
  const http = of.protocol === 'http' || of.protocol === 'https';
  const row: StatRow = {
    pxname: name,
    svname: 'FRONTEND',
    type: STAT_TYPE.frontend,
    ...{ iid, sid: 0, pid: 1, status: 'OPEN', mode: http ? 'http' : 'tcp', ...NEVER },
    scur: sum('connections_active'),
    smax: history.peak('listener_connections_active', name),
    slim: of.limits.maxConnections,
    stot: sum('connections_total'),
    bin: sum('bytes_received_total'),
    bout: sum('bytes_sent_total'),
    dreq: all.sum('route_rate_limited_total', name),
    ereq: sum('bad_requests_total'),
    rate: connections.now,
    rate_lim: 0,
    rate_max: connections.most,
    conn_rate: connections.now,
    conn_rate_max: connections.most,
    conn_tot: sum('connections_total'),
    dcon: sum('refused_total', 'access'),
    dses: 0,
    ...(http ? { req_rate: requests.now, req_rate_max: requests.most } : {}),
    ...(http ? { req_tot: sum('requests_total'), intercepted: intercepted(name, of, all) } : {}),
    ...(http ? { ...NEVER_HTTP, ...answers((code) => sum('requests_total', code)) } : {}),
  };
  return row;
}

/** Requests that routes without a service took: they answer themselves. */
function intercepted(listener: string, { routes }: Listener, all: Figures): number {
  return routes.reduce((sum, route, at) => {
    if (route.service !== undefined || route.split) return sum;
    return sum + all.sum('route_requests_total', listener, route.name ?? String(at));
  }, 0);
}

function failures(all: Figures, service: string, ...kinds: string[]): number {
  return all
    .of('endpoint_failures_total', service)
    .reduce((sum, { labels, value = 0 }) => sum + (kinds.includes(labels[2] ?? '') ? value : 0), 0);
}

/** Outcomes of a service's sessions whose words begin in a way. */
function outcomes(all: Figures, service: string, begin: string): number {
  return all
    .of('service_requests_total', service)
    .reduce((sum, { labels, value = 0 }) => sum + (labels[1]?.startsWith(begin) ? value : 0), 0);
}

function backend(
  { service, endpoints }: ServiceState,
  servers: readonly StatRow[],
  own: { iid: number; http: boolean },
  source: StatSource,
  all: Figures,
): StatRow {
  const { history, now, uptimeMs } = source;
  const config = source.config.services[service];
  const up = endpoints.filter((endpoint) => serverState(endpoint) === 'UP');
  const sum = (what: string, ...labels: string[]) => all.sum(`service_${what}`, service, ...labels);
  const retries = sum('retries_total');
  const rate = history.rate('service_requests_total', service);
  const weight = up.reduce((total, one) => total + one.weight, 0);
  const ms = (what: string) =>
    Math.round((all.mean(`service_${what}_seconds`, service) ?? 0) * 1000);
  const total = (column: 'reuse' | 'connect' | 'chkdown') =>
    servers.reduce((count, row) => count + Number(row[column] ?? 0), 0);
  const sinceMs = Math.min(uptimeMs, ...servers.map((row) => Number(row.lastchg ?? 0) * 1000));
  return {
    pxname: service,
    svname: 'BACKEND',
    type: STAT_TYPE.backend,
    ...{ iid: own.iid, sid: 0, pid: 1, ...NEVER, mode: own.http ? 'http' : 'tcp' },
    status: up.length > 0 || endpoints.length === 0 ? 'UP' : 'DOWN',
    qcur: sum('queue_length'),
    qmax: history.peak('service_queue_length', service),
    scur: sum('active'),
    smax: history.peak('service_active', service),
    slim: config?.limits.maxConnections,
    stot: sum('requests_total'),
    bin: sum('bytes_sent_total'),
    bout: sum('bytes_received_total'),
    dreq: 0,
    econ: failures(all, service, 'refused'),
    eresp: failures(all, service, 'reset', 'timeout'),
    wretr: retries,
    wredis: retries - sum('retries_total', 'keep-alive-race'),
    ...{ weight, uweight: weight },
    act: up.filter(({ backup }) => !backup).length,
    bck: up.filter(({ backup }) => backup).length,
    chkdown: total('chkdown'),
    lastchg: Math.floor(sinceMs / 1000),
    downtime: up.length > 0 ? 0 : Math.floor(sinceMs / 1000),
    lbtot: sum('requests_total'),
    rate: rate.now,
    rate_max: rate.most,
    cli_abrt: outcomes(all, service, 'client-'),
    srv_abrt: outcomes(all, service, 'endpoint-'),
    lastsess: history.idleSeconds(now, 'service_requests_total', service),
    qtime: averageOf(servers, 'qtime'),
    ctime: ms('connect_duration'),
    rtime: own.http ? ms('request_duration') : 0,
    ttime: averageOf(servers, 'ttime'),
    qtime_max: highestOf(servers, 'qtime_max'),
    ctime_max: highestOf(servers, 'ctime_max'),
    rtime_max: highestOf(servers, 'rtime_max'),
    ttime_max: highestOf(servers, 'ttime_max'),
    algo: ALGORITHMS[config?.balance.algorithm ?? ''] ?? config?.balance.algorithm,
    connect: total('connect'),
    reuse: total('reuse'),
    ...(own.http ? { ...NEVER_HTTP, req_tot: sum('requests_total') } : {}),
    ...(own.http ? answers((code) => sum('responses_total', code)) : {}),
  };
}

/** Mean over servers, by their sessions. */
function averageOf(servers: readonly StatRow[], column: 'qtime' | 'ttime'): number {
  const sessions = servers.reduce((sum, row) => sum + Number(row.stot ?? 0), 0);
  const spent = servers.reduce(
    (sum, row) => sum + Number(row[column] ?? 0) * Number(row.stot ?? 0),
    0,
  );
  return sessions === 0 ? 0 : Math.round(spent / sessions);
}

type Highest = 'qtime_max' | 'ctime_max' | 'rtime_max' | 'ttime_max';

function highestOf(servers: readonly StatRow[], column: Highest): number {
  return Math.max(0, ...servers.map((row) => Number(row[column] ?? 0)));
}

/**
 * Every listener, and every service behind its endpoints, in the order of the configuration; a
 * service with the name of a listener follows it, as HAProxy's `listen` does.
 */
export function statRows(source: StatSource): StatRow[] {
  const all = new Figures(source.samples);
  const http = httpServices(source.config);
  const { listeners } = source.config;
  const states = new Map(source.states.map((state) => [state.service, state]));
  const { services } = source.config;
  const names = [...new Set([...Object.keys(listeners), ...Object.keys(services)])];
  return names.flatMap((name, at) => {
    const iid = FIRST_ID + at;
    const listener = listeners[name];
    const rows = listener ? [frontend(name, listener, iid, source, all)] : [];
    const state = states.get(name);
    if (!state) return rows;
    const mode = http.has(name) ? 'http' : 'tcp';
    const of = { service: name, iid, mode, figures: all, config: services[name] } as const;
    const shared: ServerSource = { ...source, ...of };
    const servers = state.endpoints.map((endpoint, index) =>
      serverRow(endpoint, index + 1, shared),
    );
    const own = { iid, http: http.has(name) };
    return [...rows, ...servers, backend(state, servers, own, source, all)];
  });
}
