import type { MetricFamily, SeriesSample } from '../../base/metrics.ts';
import type { EndpointState, ServiceState } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import { reasonWord } from './endpoint-series.ts';

/**
 * The same figures under the names, labels and types of HAProxy's own exporter: a listener is a
 * frontend, a service a backend, an endpoint a server. What the gateway does not know is left out.
 * Source: HAProxy, addons/promex.
 */
const CODES = ['1xx', '2xx', '3xx', '4xx', '5xx', 'other'];
const SERVER_STATES = ['DOWN', 'UP', 'MAINT', 'DRAIN', 'NOLB'] as const;
type ServerState = (typeof SERVER_STATES)[number];

const FRONTEND = ['proxy'];
const SERVER = ['proxy', 'server'];

function family(name: string, help: string, labels: readonly string[]): MetricFamily {
  const type = name.endsWith('_total') ? 'counter' : 'gauge';
  return { name: `haproxy_${name}`, help, type, labels };
}

/** Every family of the view. */
export const HAPROXY_METRICS: readonly MetricFamily[] = [
  family('process_build_info', 'Version.', ['version']),
  family('process_start_time_seconds', 'Start, as Unix time.', []),
  family('process_uptime_seconds', 'Since the start.', []),
  family('process_nbthread', 'Workers.', []),
  family('process_max_connections', 'Sum of the limits of all listeners.', []),
  family('process_current_connections', 'Connections open now.', []),
  family('process_connections_total', 'Connections accepted.', []),
  family('process_requests_total', 'HTTP requests answered.', []),
  family('frontend_status', '1 for the state that it is in.', ['proxy', 'state']),
  family('frontend_current_sessions', 'Connections open now.', FRONTEND),
  family('frontend_limit_sessions', 'limits.maxConnections.', FRONTEND),
  family('frontend_sessions_total', 'Connections accepted.', FRONTEND),
  family('frontend_connections_total', 'Connections accepted.', FRONTEND),
  family('frontend_bytes_in_total', 'Bytes from clients.', FRONTEND),
  family('frontend_bytes_out_total', 'Bytes to clients.', FRONTEND),
  family('frontend_requests_denied_total', 'Requests answered 429.', FRONTEND),
  family('frontend_request_errors_total', 'Malformed requests.', FRONTEND),
  family('frontend_denied_connections_total', 'Refused by access rules.', FRONTEND),
  family('frontend_http_requests_total', 'HTTP requests answered.', FRONTEND),
  family('frontend_http_responses_total', 'By class of status.', ['proxy', 'code']),
  family('backend_status', '1 for the state that it is in.', ['proxy', 'state']),
  family('backend_agg_server_status', 'Endpoints in each state.', ['proxy', 'state']),
  family('backend_current_queue', 'Requests that wait.', FRONTEND),
  family('backend_current_sessions', 'Requests or connections at work.', FRONTEND),
  family('backend_limit_sessions', 'limits.maxConnections, if set.', FRONTEND),
  family('backend_sessions_total', 'Requests or connections sent.', FRONTEND),
  family('backend_loadbalanced_total', 'Requests or connections sent.', FRONTEND),
  family('backend_bytes_in_total', 'Bytes to endpoints.', FRONTEND),
  family('backend_bytes_out_total', 'Bytes from endpoints.', FRONTEND),
  family('backend_connection_errors_total', 'Refused by endpoints.', FRONTEND),
  family('backend_response_errors_total', 'Reset or without an answer in time.', FRONTEND),
  family('backend_retry_warnings_total', 'Requests sent again.', FRONTEND),
  family('backend_redispatch_warnings_total', 'Requests sent to another endpoint.', FRONTEND),
  family('backend_client_aborts_total', 'HTTP requests whose client has left.', FRONTEND),
  family('backend_connection_attempts_total', 'Connections to endpoints begun.', FRONTEND),
  family('backend_uweight', 'Sum over the endpoints that are up.', FRONTEND),
  family('backend_weight', 'Sum over the endpoints that are up.', FRONTEND),
  family('backend_active_servers', 'Endpoints up, without backups.', FRONTEND),
  family('backend_backup_servers', 'Backups up.', FRONTEND),
  family('backend_check_up_down_total', 'Endpoints that went down.', FRONTEND),
  family('backend_http_requests_total', 'HTTP requests answered.', FRONTEND),
  family('backend_http_responses_total', 'By class of status.', ['proxy', 'code']),
  family('backend_connect_time_average_seconds', 'Mean since the start.', FRONTEND),
  family('backend_response_time_average_seconds', 'Mean since the start.', FRONTEND),
  family('server_status', '1 for the state that it is in.', ['proxy', 'server', 'state']),
  family('server_current_sessions', 'Requests or connections at work.', SERVER),
  family('server_limit_sessions', 'Limit of connections, if set.', SERVER),
  family('server_sessions_total', 'Requests or connections sent.', SERVER),
  family('server_loadbalanced_total', 'Requests or connections sent.', SERVER),
  family('server_connection_errors_total', 'Connections refused.', SERVER),
  family('server_response_errors_total', 'Reset or without an answer in time.', SERVER),
  family('server_current_queue', '0: requests wait for a service.', SERVER),
  family('server_uweight', 'Weight.', SERVER),
  family('server_weight', 'Weight.', SERVER),
];

/** What the view is made of. */
export type HaproxySource = {
  readonly samples: readonly SeriesSample[];
  readonly states: readonly ServiceState[];
  readonly config: GatewayConfig;
  readonly version: string;
  readonly startedAtMs: number;
  readonly nowMs: number;
  readonly workers: number;
};

/** Sums of the gateway's own series, by family and leading labels. */
class Figures {
  readonly #byFamily: ReadonlyMap<string, readonly SeriesSample[]>;
  /** By family and first label, which every figure of one listener or service is asked for with. */
  readonly #byOwner: ReadonlyMap<string, readonly SeriesSample[]>;

  constructor(samples: readonly SeriesSample[]) {
    this.#byFamily = Map.groupBy(samples, ({ family: name }) => name);
    this.#byOwner = Map.groupBy(samples, ({ family: name, labels }) => `${name} ${labels[0]}`);
  }

  of(name: string, owner?: string, ...labels: string[]): readonly SeriesSample[] {
    const full = `sluice_${name}`;
    if (owner === undefined) return this.#byFamily.get(full) ?? [];
    const all = this.#byOwner.get(`${full} ${owner}`) ?? [];
    return all.filter((sample) => labels.every((label, at) => sample.labels[at + 1] === label));
  }

  sum(name: string, ...labels: string[]): number {
    const [owner, ...rest] = labels;
    return this.of(name, owner, ...rest).reduce((sum, { value = 0 }) => sum + value, 0);
  }

  /** How often a histogram has observed something. */
  count(name: string, label: string): number {
    const all = this.of(name, label).flatMap(({ counts = [] }) => counts);
    return all.reduce((sum, one) => sum + one, 0);
  }

  /** Mean of what a histogram has observed; undefined when that is nothing. */
  mean(name: string, label: string): number | undefined {
    const count = this.count(name, label);
    const sum = this.of(name, label).reduce((all, sample) => all + (sample.sum ?? 0), 0);
    return count === 0 ? undefined : sum / count;
  }
}

/** NaN is how HAProxy tells that there is no such limit or value. */
function one(name: string, labels: readonly string[], value = Number.NaN): SeriesSample[] {
  return [{ family: `haproxy_${name}`, labels, value }];
}

function stateOf(endpoint: EndpointState): ServerState {
  const reason = reasonWord(endpoint);
  if (reason === 'ok') return 'UP';
  const { agent } = endpoint;
  if (reason === 'maint' || (reason === 'agent' && agent === 'maint')) return 'MAINT';
  if (reason === 'drain' || (reason === 'agent' && agent === 'drain')) return 'DRAIN';
  return 'DOWN';
}

function codes(prefix: string, own: string, proxy: string, figures: Figures): SeriesSample[] {
  return CODES.flatMap((code) =>
    one(`${prefix}_http_responses_total`, [proxy, code], figures.sum(own, proxy, code)),
  );
}

function frontends({ config }: HaproxySource, figures: Figures): SeriesSample[] {
  return Object.entries(config.listeners).flatMap(([proxy, { limits, protocol }]) => {
    const sum = (name: string, ...labels: string[]) =>
      figures.sum(`listener_${name}`, proxy, ...labels);
    const http = protocol === 'http' || protocol === 'https';
    const add = (name: string, value: number) => one(`frontend_${name}`, [proxy], value);
    return [
      ...one('frontend_status', [proxy, 'DOWN'], 0),
      ...one('frontend_status', [proxy, 'UP'], 1),
      ...add('current_sessions', sum('connections_active')),
      ...add('limit_sessions', limits.maxConnections),
      ...add('sessions_total', sum('connections_total')),
      ...add('connections_total', sum('connections_total')),
      ...add('bytes_in_total', sum('bytes_received_total')),
      ...add('bytes_out_total', sum('bytes_sent_total')),
      ...add('requests_denied_total', figures.sum('route_rate_limited_total', proxy)),
      ...add('request_errors_total', sum('bad_requests_total')),
      ...add('denied_connections_total', sum('refused_total', 'access')),
      ...(http ? add('http_requests_total', sum('requests_total')) : []),
      ...(http ? codes('frontend', 'listener_requests_total', proxy, figures) : []),
    ];
  });
}

function backend({ service, endpoints }: ServiceState, source: HaproxySource, figures: Figures) {
  const sum = (name: string, ...labels: string[]) =>
    figures.sum(`service_${name}`, service, ...labels);
  const add = (name: string, value: number | undefined) => one(`backend_${name}`, [service], value);
  const up = endpoints.filter((endpoint) => stateOf(endpoint) === 'UP');
  const failures = (kind: string) =>
    figures
      .of('endpoint_failures_total', service)
      .reduce((all, { labels, value = 0 }) => all + (labels[2] === kind ? value : 0), 0);
  const sent = sum('requests_total');
  const answered = figures.of('service_responses_total', service).length > 0;
  const weight = up.reduce((all, one) => all + one.weight, 0);
  const retries = sum('retries_total');
  return [
    ...one('backend_status', [service, 'DOWN'], up.length > 0 ? 0 : 1),
    ...one('backend_status', [service, 'UP'], up.length > 0 ? 1 : 0),
    ...SERVER_STATES.flatMap((state) =>
      one(
        'backend_agg_server_status',
        [service, state],
        endpoints.filter((endpoint) => stateOf(endpoint) === state).length,
      ),
    ),
    ...add('current_queue', sum('queue_length')),
    ...add('current_sessions', sum('active')),
    ...add('limit_sessions', source.config.services[service]?.limits?.maxConnections),
    ...add('sessions_total', sent),
    ...add('loadbalanced_total', sent),
    ...add('bytes_in_total', sum('bytes_sent_total')),
    ...add('bytes_out_total', sum('bytes_received_total')),
    ...add('connection_errors_total', failures('refused')),
    ...add('response_errors_total', failures('reset') + failures('timeout')),
    ...add('retry_warnings_total', retries),
    ...add('redispatch_warnings_total', retries - sum('retries_total', 'keep-alive-race')),
    ...add('client_aborts_total', sum('requests_total', 'client-gone')),
    ...add('connection_attempts_total', figures.count('service_connect_duration_seconds', service)),
    ...add('uweight', weight),
    ...add('weight', weight),
    ...add('active_servers', up.filter(({ backup }) => !backup).length),
    ...add('backup_servers', up.filter(({ backup }) => backup).length),
    ...add('check_up_down_total', figures.sum('health_transitions_total', service, 'down')),
    ...(answered ? add('http_requests_total', sum('responses_total')) : []),
    ...(answered ? codes('backend', 'service_responses_total', service, figures) : []),
    ...add(
      'connect_time_average_seconds',
      figures.mean('service_connect_duration_seconds', service),
    ),
    ...add(
      'response_time_average_seconds',
      figures.mean('service_request_duration_seconds', service),
    ),
  ];
}

function server(service: string, endpoint: EndpointState, figures: Figures): SeriesSample[] {
  const { id, weight, maxConnections } = endpoint;
  const add = (name: string, value: number | undefined) =>
    one(`server_${name}`, [service, id], value);
  const sum = (name: string, ...labels: string[]) =>
    figures.sum(`endpoint_${name}`, service, id, ...labels);
  const now = stateOf(endpoint);
  const sent = sum('requests_total');
  return [
    ...SERVER_STATES.flatMap((state) =>
      one('server_status', [service, id, state], state === now ? 1 : 0),
    ),
    ...add('current_sessions', sum('active')),
    ...add('limit_sessions', maxConnections),
    ...add('sessions_total', sent),
    ...add('loadbalanced_total', sent),
    ...add('connection_errors_total', sum('failures_total', 'refused')),
    ...add(
      'response_errors_total',
      sum('failures_total', 'reset') + sum('failures_total', 'timeout'),
    ),
    ...add('current_queue', 0),
    ...add('uweight', weight),
    ...add('weight', weight),
  ];
}

function ofProcess(source: HaproxySource, figures: Figures): SeriesSample[] {
  const { version, startedAtMs, nowMs, workers, config } = source;
  const limits = Object.values(config.listeners).map((one) => one.limits.maxConnections);
  return [
    ...one('process_build_info', [version], 1),
    ...one('process_start_time_seconds', [], Math.floor(startedAtMs / 1000)),
    ...one('process_uptime_seconds', [], Math.floor((nowMs - startedAtMs) / 1000)),
    ...one('process_nbthread', [], workers),
    ...one(
      'process_max_connections',
      [],
      limits.reduce((sum, limit) => sum + limit, 0),
    ),
    ...one('process_current_connections', [], figures.sum('listener_connections_active')),
    ...one('process_connections_total', [], figures.sum('listener_connections_total')),
    ...one('process_requests_total', [], figures.sum('listener_requests_total')),
  ];
}

/** The series of `HAPROXY_METRICS`; single endpoints only where they have series of their own. */
export function haproxyView(source: HaproxySource): SeriesSample[] {
  const figures = new Figures(source.samples);
  return [
    ...ofProcess(source, figures),
    ...frontends(source, figures),
    ...source.states.flatMap((state) => [
      ...backend(state, source, figures),
      ...state.endpoints
        .filter(({ id }) => figures.of('endpoint_up', state.service, id).length > 0)
        .flatMap((endpoint) => server(state.service, endpoint, figures)),
    ]),
  ];
}
