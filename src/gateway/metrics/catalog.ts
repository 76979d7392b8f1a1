import type { MetricFamily } from '../../base/metrics.ts';
import { ENDPOINT_TALLY } from '../upstream/endpoint-tally.ts';

const LATENCY_SECONDS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
] as const;

function counter(name: string, help: string, ...labels: string[]): MetricFamily {
  return { name, help, type: 'counter', labels };
}

function gauge(name: string, help: string, ...labels: string[]): MetricFamily {
  return { name, help, type: 'gauge', labels };
}

function latency(name: string, help: string, ...labels: string[]): MetricFamily {
  return { name, help, type: 'histogram', labels, buckets: LATENCY_SECONDS };
}

/**
 * Every metric of the gateway. Label values are names from the configuration or words from the
 * code, never anything that a client sent.
 */
export const METRICS: readonly MetricFamily[] = [
  counter('sluice_listener_connections_total', 'Connections accepted.', 'listener'),
  gauge('sluice_listener_connections_active', 'Connections open now.', 'listener'),
  counter(
    'sluice_listener_refused_total',
    'Connections refused or ended, by reason.',
    'listener',
    'reason',
  ),
  counter(
    'sluice_listener_bytes_received_total',
    'Bytes from clients; in the kernel plane with the headers of the packets.',
    'listener',
  ),
  counter(
    'sluice_listener_bytes_sent_total',
    'Bytes to clients; in the kernel plane with the headers of the packets.',
    'listener',
  ),
  gauge(
    'sluice_listener_kernel',
    '1 when the kernel carries the listener, 0 when sockets do; only with an agent.',
    'listener',
  ),
  counter(
    'sluice_listener_kernel_packets_total',
    'Packets that the kernel forwarded for a listener, by direction.',
    'listener',
    'direction',
  ),
  counter(
    'sluice_listener_requests_total',
    'HTTP requests answered, by class of status.',
    'listener',
    'code',
  ),
  counter(
    'sluice_listener_bad_requests_total',
    'HTTP requests refused as malformed or over a limit.',
    'listener',
    'reason',
  ),
  latency(
    'sluice_listener_request_duration_seconds',
    'From request head to the last byte of the answer.',
    'listener',
  ),
  counter(
    'sluice_route_requests_total',
    'HTTP requests taken by a route, by class of status.',
    'listener',
    'route',
    'code',
  ),
  latency(
    'sluice_route_request_duration_seconds',
    'From request head to the last byte of the answer.',
    'listener',
    'route',
  ),
  counter('sluice_route_rate_limited_total', 'Requests answered 429.', 'listener', 'route'),
  counter(
    'sluice_service_requests_total',
    'Requests or connections sent to a service, by outcome.',
    'service',
    'outcome',
  ),
  counter(
    'sluice_service_responses_total',
    "Responses of the service's endpoints, by class of status.",
    'service',
    'code',
  ),
  counter(
    'sluice_service_grpc_calls_total',
    'gRPC calls, by the status that the client got; `other` when it got none.',
    'service',
    'grpc_status',
  ),
  latency(
    'sluice_service_request_duration_seconds',
    'From picking an endpoint to its response head (HTTP) or the end (TCP).',
    'service',
  ),
  latency('sluice_service_connect_duration_seconds', 'Time to connect to an endpoint.', 'service'),
  counter('sluice_service_retries_total', 'Requests sent again, by cause.', 'service', 'cause'),
  counter(
    'sluice_service_retry_budget_exhausted_total',
    'Retries not made because the budget was used up.',
    'service',
  ),
  gauge('sluice_service_queue_length', 'Requests that wait for an endpoint.', 'service'),
  counter(
    'sluice_service_queue_refused_total',
    'Requests refused by a full queue or its deadline.',
    'service',
    'reason',
  ),
  gauge('sluice_service_active', 'Requests or connections at work.', 'service'),
  counter('sluice_service_bytes_received_total', 'Bytes from endpoints.', 'service'),
  counter('sluice_service_bytes_sent_total', 'Bytes to endpoints.', 'service'),
  gauge(
    'sluice_endpoint_up',
    '1 when the endpoint takes traffic; else 0, with the reason: check, ejected, drain, maint, agent, unchecked.',
    'service',
    'endpoint',
    'reason',
  ),
  counter(
    'sluice_endpoint_requests_total',
    'Requests or connections sent to an endpoint.',
    'service',
    'endpoint',
  ),
  counter(
    'sluice_endpoint_failures_total',
    'Failures of an endpoint, by class.',
    'service',
    'endpoint',
    'class',
  ),
  gauge(
    'sluice_endpoint_active',
    'Requests or connections at work on an endpoint.',
    'service',
    'endpoint',
  ),
  gauge(
    'sluice_endpoint_idle_connections',
    'Connections to an endpoint that are kept and idle.',
    'service',
    'endpoint',
  ),
  gauge(
    'sluice_metrics_endpoints_omitted',
    'Endpoints without series of their own: `metrics.maxEndpoints`, or `perEndpoint: false`.',
  ),
  counter('sluice_health_transitions_total', "Changes of an endpoint's health.", 'service', 'to'),
  counter('sluice_health_checks_total', 'Active checks, by result.', 'service', 'result'),
  counter(
    'sluice_agent_checks_total',
    'Agents asked, by result: reply, unreachable, malformed.',
    'service',
    'result',
  ),
  counter('sluice_ejections_total', 'Endpoints put aside because of live traffic.', 'service'),
  gauge('sluice_service_endpoints', 'Endpoints of a service, by state.', 'service', 'state'),
  gauge(
    'sluice_discovery_age_seconds',
    'Since the source of the endpoints last answered.',
    'service',
  ),
  gauge(
    'sluice_discovery_refused_endpoints',
    'Endpoints that a source named and that are left out, by reason.',
    'service',
    'reason',
  ),
  counter(
    'sluice_tls_handshakes_total',
    'TLS handshakes finished, by version.',
    'listener',
    'version',
    'resumed',
  ),
  counter('sluice_tls_failures_total', 'TLS handshakes failed, by reason.', 'listener', 'reason'),
  {
    name: 'sluice_certificate_not_after_seconds',
    help: 'Unix time at which a certificate expires.',
    type: 'gauge',
    labels: ['listener', 'certificate'],
    merge: 'max',
  },
  counter(
    'sluice_certificate_reloads_total',
    'Changed certificate, key and other files, by result.',
    'result',
  ),
  counter('sluice_udp_flows_total', 'UDP flows opened.', 'listener'),
  gauge('sluice_udp_flows_active', 'UDP flows open now.', 'listener'),
  counter('sluice_udp_dropped_total', 'Datagrams dropped, by reason.', 'listener', 'reason'),
  {
    name: 'sluice_config_last_reload_successful',
    help: '1 when the last reload was applied.',
    type: 'gauge',
    labels: [],
    merge: 'max',
  },
  counter('sluice_config_reloads_total', 'Reloads, by result.', 'result'),
  gauge('sluice_config_generation', 'Number of the configuration in force.'),
  gauge('sluice_kernel_agent_connected', '1 when the node agent answers; only with an agent.'),
  counter(
    'sluice_kernel_apply_failures_total',
    'Changes of the kernel plane that the node agent has not taken.',
  ),
  gauge('sluice_workers', 'Worker processes that serve.'),
  counter('sluice_worker_restarts_total', 'Workers replaced after an unexpected end.'),
  gauge('sluice_worker_crash_loops', 'Worker slots whose workers crash at their start.'),
  {
    name: 'sluice_event_loop_lag_seconds',
    help: "Longest stall of a worker's event loop in the last second.",
    type: 'gauge',
    labels: [],
    merge: 'max',
  },
  gauge(
    'sluice_event_loop_busy_ratio',
    'Share of the last second in which event loops worked, summed over the workers.',
  ),
  gauge('sluice_worker_heap_bytes', 'JavaScript heap of the workers: used, reserved.', 'state'),
  {
    name: 'sluice_worker_max_fds',
    help: 'Most files that a worker may have open.',
    type: 'gauge',
    labels: [],
    merge: 'max',
  },
  {
    name: 'sluice_overloaded',
    help: '1 while a worker refuses new requests, by reason.',
    type: 'gauge',
    labels: ['reason'],
    merge: 'max',
  },
  counter(
    'sluice_overload_shed_total',
    'Connections or requests refused to protect the process, by reason.',
    'reason',
  ),
  counter('sluice_access_log_dropped_total', 'Access log lines dropped because the sink was slow.'),
];

/** All that processes report, with what only HAProxy's forms tell. */
export const SERIES: readonly MetricFamily[] = [...METRICS, ENDPOINT_TALLY];

/** The class of a status as the `code` label: `1xx` … `5xx`. */
export function codeClass(status: number): string {
  return `${Math.trunc(status / 100)}xx`;
}
