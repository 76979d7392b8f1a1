import type { MetricFamily, SeriesSample } from '../../base/metrics.ts';
import { STAT_TYPE, type StatColumn, type StatRow } from '../../model/stat-row.ts';
import { CHECK_STATES, SERVER_STATES } from '../stats/server-row.ts';

/**
 * HAProxy's statistics under the names, labels and types of its own exporter: a listener is a
 * frontend, a service a backend, an endpoint a server. Source: HAProxy, addons/promex.
 */
type Kind = keyof typeof STAT_TYPE;

/** A family that tells one column, for the kinds of rows that have it. */
type ColumnFamily = {
  readonly column: StatColumn;
  readonly suffix: string;
  readonly kinds: readonly Kind[];
  readonly help: string;
  /** Where a proxy must speak HTTP. */
  readonly http?: true;
  /** Told in ms, shown in seconds. */
  readonly ms?: true;
};

const ALL: readonly Kind[] = ['frontend', 'backend', 'server'];
const BEHIND: readonly Kind[] = ['backend', 'server'];
const FRONT: readonly Kind[] = ['frontend'];
const PROXIES: readonly Kind[] = ['frontend', 'backend'];
const SERVERS: readonly Kind[] = ['server'];

type Row = readonly [StatColumn, string, readonly Kind[], string];

const PLAIN: readonly Row[] = [
  ['qcur', 'current_queue', BEHIND, 'Requests that wait; they wait for a service.'],
  ['qmax', 'max_queue', BEHIND, 'The most that ever waited.'],
  ['scur', 'current_sessions', ALL, 'Connections or requests at work.'],
  ['smax', 'max_sessions', ALL, 'The most that ever were at work.'],
  ['slim', 'limit_sessions', ALL, 'Their limit.'],
  ['stot', 'sessions_total', ALL, 'Connections accepted; requests or connections sent.'],
  ['bin', 'bytes_in_total', ALL, 'Bytes of requests; of HTTP their bodies.'],
  ['bout', 'bytes_out_total', ALL, 'Bytes of answers; of HTTP their bodies.'],
  ['dreq', 'requests_denied_total', PROXIES, 'Requests answered 429.'],
  ['dresp', 'responses_denied_total', ALL, 'Always 0.'],
  ['ereq', 'request_errors_total', FRONT, 'Malformed requests.'],
  ['rate_lim', 'limit_session_rate', FRONT, 'Always 0: there is none.'],
  ['rate_max', 'max_session_rate', ALL, 'The most in one second.'],
  ['econ', 'connection_errors_total', BEHIND, 'Refused by endpoints.'],
  ['eresp', 'response_errors_total', BEHIND, 'Reset or without an answer in time.'],
  ['wretr', 'retry_warnings_total', BEHIND, 'Requests sent again.'],
  ['wredis', 'redispatch_warnings_total', BEHIND, 'Requests sent to another endpoint.'],
  ['weight', 'weight', BEHIND, 'Weight; of a service the sum over the endpoints that are up.'],
  ['uweight', 'uweight', BEHIND, 'The same.'],
  ['act', 'active_servers', ['backend'], 'Endpoints up, without backups.'],
  ['bck', 'backup_servers', ['backend'], 'Backups up.'],
  ['chkfail', 'check_failures_total', SERVERS, 'Checks that failed while it was up.'],
  ['chkdown', 'check_up_down_total', BEHIND, 'Times that endpoints went down.'],
  ['lastchg', 'check_last_change_seconds', BEHIND, 'Since a state last changed.'],
  ['downtime', 'downtime_seconds_total', BEHIND, 'Time in state DOWN.'],
  ['lbtot', 'loadbalanced_total', BEHIND, 'Requests or connections sent.'],
  ['cli_abrt', 'client_aborts_total', BEHIND, 'Sessions that the client broke off.'],
  ['srv_abrt', 'server_aborts_total', BEHIND, 'Sessions that the endpoint broke off.'],
  ['lastsess', 'last_session_seconds', BEHIND, 'Since the last one; -1: there was none.'],
  ['wrew', 'failed_header_rewriting_total', ALL, 'Always 0.'],
  ['eint', 'internal_errors_total', ALL, 'Always 0.'],
  ['connect', 'connection_attempts_total', BEHIND, 'Connections to endpoints begun.'],
  ['reuse', 'connection_reuses_total', BEHIND, 'Requests on a kept connection.'],
  ['conn_rate_max', 'connections_rate_max', FRONT, 'The most in one second.'],
  ['conn_tot', 'connections_total', FRONT, 'Connections accepted.'],
  ['dcon', 'denied_connections_total', FRONT, 'Refused by access rules.'],
  ['dses', 'denied_sessions_total', FRONT, 'Always 0.'],
  ['qlimit', 'queue_limit', SERVERS, 'Always NaN: requests wait for a service.'],
  [
    'throttle',
    'current_throttle',
    SERVERS,
    'Percent of its weight while it starts slowly; else NaN.',
  ],
  ['srv_icur', 'idle_connections_current', SERVERS, 'Kept and idle.'],
  [
    'src_ilim',
    'idle_connections_limit',
    SERVERS,
    'The most that are kept by all workers; of HTTP/1 only.',
  ],
  [
    'used_conn_cur',
    'used_connections_current',
    SERVERS,
    'At work; not of HTTP/2 and of pipelines.',
  ],
];

const HTTP: readonly Row[] = [
  ['req_rate_max', 'http_requests_rate_max', FRONT, 'The most in one second.'],
  ['req_tot', 'http_requests_total', PROXIES, 'HTTP requests answered.'],
  ['comp_in', 'http_comp_bytes_in_total', PROXIES, 'Always 0: nothing is compressed.'],
  ['comp_out', 'http_comp_bytes_out_total', PROXIES, 'Always 0.'],
  ['comp_byp', 'http_comp_bytes_bypassed_total', PROXIES, 'Always 0.'],
  ['comp_rsp', 'http_comp_responses_total', PROXIES, 'Always 0.'],
  ['intercepted', 'intercepted_requests_total', FRONT, 'Answered by a route without a service.'],
  ['cache_lookups', 'http_cache_lookups_total', PROXIES, 'Always 0: nothing is cached.'],
  ['cache_hits', 'http_cache_hits_total', PROXIES, 'Always 0.'],
];

const TIMES: readonly Row[] = [
  ['qtime', 'queue_time_average_seconds', BEHIND, 'Mean wait for an endpoint since the start.'],
  ['ctime', 'connect_time_average_seconds', BEHIND, 'Mean since the start.'],
  ['rtime', 'response_time_average_seconds', BEHIND, 'Mean since the start.'],
  ['ttime', 'total_time_average_seconds', BEHIND, 'Mean since the start.'],
  ['qtime_max', 'max_queue_time_seconds', BEHIND, 'The longest wait for an endpoint.'],
  ['ctime_max', 'max_connect_time_seconds', BEHIND, 'The longest.'],
  ['rtime_max', 'max_response_time_seconds', BEHIND, 'The longest.'],
  ['ttime_max', 'max_total_time_seconds', BEHIND, 'The longest.'],
];

function columnFamilies(rows: readonly Row[], more: Pick<ColumnFamily, 'http' | 'ms'> = {}) {
  return rows.map(([column, suffix, kinds, help]) => ({ column, suffix, kinds, help, ...more }));
}

const COLUMN_FAMILIES: readonly ColumnFamily[] = [
  ...columnFamilies(PLAIN),
  ...columnFamilies(HTTP, { http: true }),
  ...columnFamilies(TIMES, { ms: true }),
];

/** Families of the daemon: the field of `show info`, the name, what it is. */
const PROCESS: readonly (readonly [string, string, string])[] = [
  ['Nbthread', 'nbthread', 'Workers.'],
  ['Nbproc', 'nbproc', 'Always 1.'],
  ['Process_num', 'relative_process_id', 'Always 1.'],
  ['Uptime_sec', 'uptime_seconds', 'Since the start.'],
  ['Start_time_sec', 'start_time_seconds', 'Start, as Unix time.'],
  ['Maxconn', 'max_connections', 'Sum of the limits of all listeners.'],
  ['Hard_maxconn', 'hard_max_connections', 'The same.'],
  ['CurrConns', 'current_connections', 'Connections open now.'],
  ['CumConns', 'connections_total', 'Connections accepted.'],
  ['CumReq', 'requests_total', 'HTTP requests answered.'],
  ['CumSslConns', 'ssl_connections_total', 'TLS handshakes of clients.'],
  ['ConnRate', 'current_connection_rate', 'In the last second.'],
  ['ConnRateLimit', 'limit_connection_rate', 'Always 0: there is none.'],
  ['MaxConnRate', 'max_connection_rate', 'The most in one second.'],
  ['SessRate', 'current_session_rate', 'In the last second.'],
  ['SessRateLimit', 'limit_session_rate', 'Always 0: there is none.'],
  ['MaxSessRate', 'max_session_rate', 'The most in one second.'],
  ['SslRate', 'current_ssl_rate', 'TLS handshakes in the last second.'],
  ['SslRateLimit', 'limit_ssl_rate', 'Always 0: there is none.'],
  ['MaxSslRate', 'max_ssl_rate', 'The most in one second.'],
  ['SslFrontendSessionReuse_pct', 'frontend_ssl_reuse', 'Percent of TLS sessions resumed.'],
  ['Stopping', 'stopping', '1 while it drains.'],
  ['Jobs', 'jobs', 'Connections open now.'],
  ['Listeners', 'listeners', 'Addresses that are listened on.'],
  ['DroppedLogs', 'dropped_logs_total', 'Access log lines dropped.'],
  ['TotalBytesOut', 'bytes_out_total', 'Bytes to clients.'],
  ['BytesOutRate', 'bytes_out_rate', 'In the last second.'],
  ['Memmax_bytes', 'max_memory_bytes', '`memory`; 0: no limit is set.'],
  ['PoolAlloc_bytes', 'pool_allocated_bytes', 'JavaScript heap of the workers, reserved.'],
  ['PoolUsed_bytes', 'pool_used_bytes', 'The same, used.'],
  ['Ulimit-n', 'max_fds', 'Files that a worker may have open; 0: no limit.'],
  ['Maxsock', 'max_sockets', 'The same.'],
  ['Idle_pct', 'idle_time_percent', 'Time in the last second that event loops waited.'],
  ['MaxSslConns', 'max_ssl_connections', 'Always 0: there is no limit of its own.'],
  ['CurrSslConns', 'current_ssl_connections', 'Connections of clients by TLS open now.'],
  ['SslCacheLookups', 'ssl_cache_lookups_total', 'Always 0: sessions are resumed by tickets.'],
  ['SslCacheMisses', 'ssl_cache_misses_total', 'Always 0.'],
  ['Maxpipes', 'max_pipes', 'Always 0: pipes are not used.'],
  ['PipesUsed', 'pipes_used_total', 'Always 0.'],
  ['PipesFree', 'pipes_free_total', 'Always 0.'],
  ['TotalSplicdedBytesOut', 'spliced_bytes_out_total', 'Always 0.'],
  ['CompressBpsIn', 'http_comp_bytes_in_total', 'Always 0: nothing is compressed.'],
  ['CompressBpsOut', 'http_comp_bytes_out_total', 'Always 0.'],
  ['CompressBpsRateLim', 'limit_http_comp', 'Always 0.'],
  ['ZlibMemUsage', 'current_zlib_memory', 'Always NaN, as of an HAProxy without zlib.'],
  ['MaxZlibMemUsage', 'max_zlib_memory', 'Always NaN.'],
  ['ActivePeers', 'active_peers', 'Always 0: there are no peers of stick tables.'],
  ['ConnectedPeers', 'connected_peers', 'Always 0.'],
  ['BusyPolling', 'busy_polling_enabled', 'Always 0: event loops wait in the kernel.'],
  ['CumRecvLogs', 'recv_logs_total', 'Always 0: logs are not received.'],
  ['Unstoppable Jobs', 'unstoppable_jobs', 'Always 0: a drain ends every connection.'],
];

const LABELS: Readonly<Record<Kind, readonly string[]>> = {
  frontend: ['proxy'],
  backend: ['proxy'],
  server: ['proxy', 'server'],
};

function family(name: string, help: string, labels: readonly string[]): MetricFamily {
  const type = name.endsWith('_total') ? 'counter' : 'gauge';
  return { name: `haproxy_${name}`, help, type, labels };
}

/** Every family of the view. */
export const HAPROXY_METRICS: readonly MetricFamily[] = [
  family('process_build_info', 'Version.', ['version']),
  ...PROCESS.map(([, name, help]) => family(`process_${name}`, help, [])),
  ...ALL.flatMap((kind) => [
    family(`${kind}_status`, '1 for the state that it is in.', [...LABELS[kind], 'state']),
    ...COLUMN_FAMILIES.filter(({ kinds }) => kinds.includes(kind)).map(({ suffix, help }) =>
      family(`${kind}_${suffix}`, help, LABELS[kind]),
    ),
    family(`${kind}_http_responses_total`, 'By class of status.', [...LABELS[kind], 'code']),
  ]),
  family('backend_agg_server_status', 'Endpoints in each state.', ['proxy', 'state']),
  family('backend_agg_server_check_status', 'The same.', ['proxy', 'state']),
  family('backend_agg_check_status', 'Last checks by result.', ['proxy', 'state']),
  family('server_check_status', '1 for the last result.', ['proxy', 'server', 'state']),
  family('server_check_code', 'Status of the last answer; 0: it had none.', LABELS.server),
  family('server_check_duration_seconds', 'Of the last check.', LABELS.server),
];

/** NaN is how HAProxy tells that there is no such limit or value. */
function one(
  name: string,
  labels: readonly string[],
  value: string | number | undefined = Number.NaN,
): SeriesSample {
  return { family: `haproxy_${name}`, labels, value: Number(value) };
}

/** A series for each word, 1 for the one that holds. */
function words(name: string, labels: readonly string[], all: readonly string[], now: string) {
  return all.map((word) => one(name, [...labels, word], word === now ? 1 : 0));
}

function kindOf({ type }: StatRow): Kind {
  return ALL.find((kind) => STAT_TYPE[kind] === type) ?? 'server';
}

function codes(kind: Kind, labels: readonly string[], row: StatRow): SeriesSample[] {
  const of = [row.hrsp_1xx, row.hrsp_2xx, row.hrsp_3xx, row.hrsp_4xx, row.hrsp_5xx, row.hrsp_other];
  const names = ['1xx', '2xx', '3xx', '4xx', '5xx', 'other'];
  return of.map((value, at) =>
    one(`${kind}_http_responses_total`, [...labels, names[at] ?? ''], value),
  );
}

/** The state of a server without how near it is to its end. */
function stateOf(row: StatRow): string {
  const word = String(row.status).split(' ')[0] ?? '';
  return word === 'no' ? 'UP' : word;
}

function lastCheck(row: StatRow): string | undefined {
  return row.check_status === undefined ? undefined : String(row.check_status).replace('* ', '');
}

function checkSeries(row: StatRow, labels: readonly string[]): SeriesSample[] {
  const last = lastCheck(row);
  if (last === undefined) return [];
  return [
    ...words('server_check_status', labels, CHECK_STATES, last),
    one('server_check_code', labels, row.check_code ?? 0),
    one('server_check_duration_seconds', labels, Number(row.check_duration) / 1000),
  ];
}

function aggregates(proxy: string, servers: readonly StatRow[]): SeriesSample[] {
  const states = SERVER_STATES.flatMap((state) => {
    const count = servers.filter((row) => stateOf(row) === state).length;
    return ['backend_agg_server_status', 'backend_agg_server_check_status'].map((name) =>
      one(name, [proxy, state], count),
    );
  });
  const checks = CHECK_STATES.map((state) => {
    const count = servers.filter((row) => lastCheck(row) === state).length;
    return one('backend_agg_check_status', [proxy, state], count);
  });
  return [...states, ...checks];
}

function ofRow(row: StatRow): SeriesSample[] {
  const kind = kindOf(row);
  const labels = kind === 'server' ? [row.pxname, row.svname] : [row.pxname];
  const http = row.mode === 'http';
  const now = kind === 'frontend' ? 'UP' : stateOf(row);
  return [
    ...words(`${kind}_status`, labels, kind === 'server' ? SERVER_STATES : ['DOWN', 'UP'], now),
    ...COLUMN_FAMILIES.flatMap(({ column, suffix, kinds, http: only, ms }) => {
      if (!kinds.includes(kind) || (only && !http)) return [];
      const value = row[column];
      return one(
        `${kind}_${suffix}`,
        labels,
        ms && value !== undefined ? Number(value) / 1000 : value,
      );
    }),
    ...(http ? codes(kind, labels, row) : []),
    ...(kind === 'server' ? checkSeries(row, labels) : []),
  ];
}

/** The series of `HAPROXY_METRICS`, of rows and of what `show info` tells; of servers the first. */
export function haproxyView(
  rows: readonly StatRow[],
  info: Readonly<Record<string, string | number>>,
  mostServers: number,
): SeriesSample[] {
  const all = rows.filter((row) => kindOf(row) === 'server');
  const servers = Map.groupBy(all, ({ pxname }) => pxname);
  const hidden = new Set(all.slice(mostServers));
  return [
    one('process_build_info', [String(info['Version'])], 1),
    ...PROCESS.map(([field, name]) => one(`process_${name}`, [], info[field])),
    ...rows.filter((row) => !hidden.has(row)).flatMap(ofRow),
    ...rows
      .filter((row) => kindOf(row) === 'backend')
      .flatMap(({ pxname }) => aggregates(pxname, servers.get(pxname) ?? [])),
  ];
}
