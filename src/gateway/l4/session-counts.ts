import type { MetricRegistry } from '../../base/metrics.ts';
import type { FinishedSession } from '../upstream/endpoint-tally.ts';
import type { UpstreamEndpoint } from '../upstream/service-handle.ts';

/** Counts a session without HTTP for its service and its endpoint, once it is over. */
export function countSession(
  metrics: MetricRegistry,
  service: string,
  endpoint: UpstreamEndpoint | undefined,
  session: FinishedSession,
): void {
  const { outcome, received, sent } = session;
  const word = outcome === 'closed' ? 'ok' : outcome;
  metrics.cell('sluice_service_requests_total', service, word).value++;
  metrics.cell('sluice_service_bytes_received_total', service).value += received;
  metrics.cell('sluice_service_bytes_sent_total', service).value += sent;
  endpoint?.tally.finished(session);
}
