import { performance } from 'node:perf_hooks';
import type { ServerExchange } from '../../net/http-exchange.ts';
import type { AccessRecord } from '../access-record.ts';
import type { ListenerRuntime } from '../listener/listener-runtime.ts';
import type { Lease, UpstreamEndpoint } from '../upstream/service-handle.ts';
import type { HttpDeps } from './http-deps.ts';
import type { ListenerPlan, RoutePlan } from './listener-plan.ts';
import { headerValue } from './matcher.ts';

/** What is told of a request, by metrics and by the access log, once it is over. */
export class SessionAccount {
  readonly startedAt = performance.now();
  route: RoutePlan | undefined;
  service: string | undefined;
  status = 0;
  bytesIn = 0;
  bytesOut = 0;
  retries = 0;
  /** Of a gRPC call: its status by name. */
  grpcStatus: string | undefined;
  /** The last that has had it. */
  endpoint: UpstreamEndpoint | undefined;
  /** Whether what goes out comes from an endpoint. */
  answered = false;
  #leasedAt = 0;
  #responseMs: number | undefined;
  readonly #exchange: ServerExchange;
  readonly #listener: ListenerRuntime;
  readonly #plan: ListenerPlan;
  readonly #client: string;
  readonly #deps: HttpDeps;

  constructor(
    exchange: ServerExchange,
    listener: ListenerRuntime,
    plan: ListenerPlan,
    client: string,
    deps: HttpDeps,
  ) {
    this.#exchange = exchange;
    this.#listener = listener;
    this.#plan = plan;
    this.#client = client;
    this.#deps = deps;
  }

  /** An endpoint takes the request. */
  leased({ endpoint, startedAt }: Lease): void {
    this.endpoint = endpoint;
    this.#leasedAt = startedAt;
    this.answered = false;
  }

  /** The endpoint's first byte is there. */
  firstByte(now: number): void {
    this.answered = true;
    this.#responseMs = now - this.#leasedAt;
  }

  /** Counts what the endpoint answered, whether or not the client gets it. */
  response(status: number): void {
    const cells = this.service === undefined ? undefined : this.#plan.cellsOf(this.service);
    const cell = cells?.codes[Math.trunc(status / 100)];
    if (cell) cell.value++;
    this.endpoint?.tally.responded(status);
  }

  /** Counts the request for its listener, route and service, and writes its line. */
  close(outcome: string): void {
    const durationMs = performance.now() - this.startedAt;
    const digit = Math.trunc(this.status / 100);
    for (const counted of [this.#plan, this.route]) {
      const cell = counted?.codes[digit];
      if (cell) cell.value++;
      counted?.duration.observe(durationMs / 1000);
    }
    this.#plan.received.value += this.bytesIn;
    this.#plan.sent.value += this.bytesOut;
    if (this.service !== undefined) this.#countService(this.service, outcome);
    this.endpoint?.tally.finished({
      outcome,
      sent: this.bytesIn,
      received: this.answered ? this.bytesOut : 0,
      waitMs: this.#leasedAt - this.startedAt,
      responseMs: this.#responseMs,
      totalMs: durationMs,
    });
    this.#listener.accessLog?.write(this.#record(outcome, durationMs));
  }

  #countService(service: string, outcome: string): void {
    const { metrics } = this.#deps;
    if (this.grpcStatus) {
      metrics.cell('sluice_service_grpc_calls_total', service, this.grpcStatus).value++;
    }
    const cells = this.#plan.cellsOf(service);
    const counted =
      outcome === 'ok' ? cells.ok : metrics.cell('sluice_service_requests_total', service, outcome);
    counted.value++;
    cells.sent.value += this.bytesIn;
    if (this.answered) cells.received.value += this.bytesOut;
  }

  #record(outcome: string, durationMs: number): AccessRecord {
    const { head, connection } = this.#exchange;
    return {
      listener: this.#listener.name,
      route: this.route?.name,
      service: this.service,
      endpoint: this.endpoint?.id,
      endpointName: this.endpoint?.state.name,
      client: this.#client,
      clientPort: connection.client.port,
      startedAt: this.#deps.clock.wall() - durationMs,
      durationMs,
      waitMs: this.#leasedAt > 0 ? this.#leasedAt - this.startedAt : undefined,
      responseMs: this.#responseMs,
      retries: this.retries,
      bytesIn: this.bytesIn,
      bytesOut: this.bytesOut,
      outcome,
      local: connection.local,
      tls: connection.tls && { version: connection.tls.version, cipher: connection.tls.cipher },
      http: {
        method: head.method,
        authority: head.authority,
        target: head.query === undefined ? head.path : `${head.path}?${head.query}`,
        version: head.version,
        status: this.status,
        referer: headerValue(head.headers, 'referer'),
        userAgent: headerValue(head.headers, 'user-agent'),
      },
    };
  }
}
