import type { MetricRegistry } from '../../base/metrics.ts';
import type { ListenerPlan, RoutePlan } from './listener-plan.ts';

/** What is counted of a finished request. */
export type FinishedSession = {
  readonly plan: ListenerPlan;
  readonly route: RoutePlan | undefined;
  readonly service: string | undefined;
  readonly status: number;
  readonly elapsedMs: number;
  readonly outcome: string;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Whether what went out came from an endpoint. */
  readonly answered: boolean;
  /** Of a gRPC call: its status by name. */
  readonly grpcStatus: string | undefined;
};

/** Counts a finished request for its listener, route and service. */
export function countSession(done: FinishedSession, metrics: MetricRegistry): void {
  const { plan, route, service, outcome } = done;
  const digit = Math.trunc(done.status / 100);
  for (const counted of [plan, route]) {
    const cell = counted?.codes[digit];
    if (cell) cell.value++;
    counted?.duration.observe(done.elapsedMs / 1000);
  }
  plan.received.value += done.bytesIn;
  plan.sent.value += done.bytesOut;
  if (service === undefined) return;
  if (done.grpcStatus) {
    metrics.cell('sluice_service_grpc_calls_total', service, done.grpcStatus).value++;
  }
  const cells = plan.cellsOf(service);
  const counted =
    outcome === 'ok' ? cells.ok : metrics.cell('sluice_service_requests_total', service, outcome);
  counted.value++;
  cells.sent.value += done.bytesIn;
  if (done.answered) cells.received.value += done.bytesOut;
}
