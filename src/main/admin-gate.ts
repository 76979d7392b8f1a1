import { AdminServer } from '../api/admin-server.ts';
import { RuntimeServer } from '../api/runtime/runtime-server.ts';
import { systemClock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { MetricFilter } from '../base/metrics.ts';
import type {
  AdminBackend,
  EndpointOrder,
  EventInfo,
  ExplainQuery,
  ListenerInfo,
  ServiceInfo,
  StatisticsInfo,
  Status,
} from '../client/admin-types.ts';
import { planChange } from '../config/plan.ts';
import { redact } from '../config/resolve.ts';
import { explain } from '../gateway/explain.ts';
import { METRICS } from '../gateway/metrics/catalog.ts';
import { Exposition } from '../gateway/metrics/exposition.ts';
import { HAPROXY_METRICS, haproxyView } from '../gateway/metrics/haproxy-view.ts';
import { DrainWatch } from '../gateway/supervisor/drain-watch.ts';
import type { Supervisor } from '../gateway/supervisor/supervisor.ts';
import { type EndpointAddress, formatBind } from '../model/address.ts';
import type { AdminState, EndpointSpec } from '../model/endpoint-state.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import type { RefusedRequest, SessionInfo } from '../model/session-info.ts';
import type { ConfigSource } from './config-source.ts';
import type { OwnSockets } from './own-sockets.ts';
import { VERSION } from './version.ts';

type RuntimeSettings = NonNullable<GatewayConfig['admin']>['runtime'];

/** What is asked of the whole daemon. */
export type AdminOrders = {
  reload(): Promise<void>;
  upgrade(): Promise<number>;
  /** Why it was not taken, in words. */
  replaceCertificate(file: string, pem: string): string | undefined;
  /** The configuration that holds, with what only a start takes up as it was then. */
  inForce(): GatewayConfig;
};

/** Puts the supervisor behind the admin API. */
export class AdminGate implements AdminBackend {
  readonly #supervisor: Supervisor;
  readonly #source: ConfigSource;
  readonly #logger: Logger;
  readonly #exposition = new Exposition(METRICS);
  readonly #haproxy = new Exposition(HAPROXY_METRICS, false);
  #server: AdminServer | undefined;
  #runtime: RuntimeServer | undefined;
  readonly #drains: DrainWatch;
  readonly #orders: AdminOrders;
  #phase: 'starting' | 'serving' | 'draining' = 'starting';

  constructor(supervisor: Supervisor, source: ConfigSource, logger: Logger, orders: AdminOrders) {
    this.#orders = orders;
    this.#supervisor = supervisor;
    this.#source = source;
    this.#logger = logger;
    this.#drains = new DrainWatch({
      clock: systemClock,
      active: async (service, endpoint) => {
        await supervisor.figures.refresh();
        return supervisor.figures.activeOn(service, endpoint);
      },
      drained: (service, endpoint, left) => supervisor.board.noteDrained(service, endpoint, left),
    });
  }

  /** Answers from now on where a configuration says, and nowhere else. */
  async apply({ admin }: GatewayConfig, sockets: OwnSockets): Promise<void> {
    const token = typeof admin?.token === 'string' && admin.token !== '' ? admin.token : undefined;
    this.#server ??= new AdminServer(this, token);
    this.#server.token = token;
    const wanted = new Map((admin?.bind ?? []).map((bind) => [formatBind(bind), bind]));
    for (const address of this.#server.addresses) {
      if (!wanted.delete(address)) this.#server.leaveAddress(address);
    }
    await this.#server.listen(
      [...wanted.values()].map((bind) => ({ bind, handle: sockets.handle('admin', bind) })),
    );
    this.#logger.debug('admin API listens', { bind: this.#server.addresses });
    await this.#applyRuntime(admin?.runtime, sockets);
  }

  async #applyRuntime(runtime: RuntimeSettings, sockets: OwnSockets): Promise<void> {
    this.#runtime ??= new RuntimeServer(this);
    if (runtime) this.#runtime.level = runtime.level;
    const wanted = new Map((runtime?.bind ?? []).map((bind) => [formatBind(bind), bind]));
    for (const address of this.#runtime.addresses) {
      if (!wanted.delete(address)) this.#runtime.leaveAddress(address);
    }
    await this.#runtime.listen(
      [...wanted.values()].map((bind) => ({ bind, handle: sockets.handle('runtime', bind) })),
    );
  }

  /** From now on not ready, so that balancers in front look elsewhere. */
  draining(): void {
    this.#phase = 'draining';
  }

  /** The daemon's start is complete. */
  serving(): void {
    this.#phase = 'serving';
  }

  /** Leaves new connections to a successor. */
  leave(): void {
    this.#server?.leave();
    this.#runtime?.leave();
  }

  close(): void {
    this.#drains.close();
    this.#runtime?.close();
    this.#server?.close();
  }

  get strain(): string[] {
    return this.#supervisor.strain;
  }

  get unready(): string | undefined {
    return this.#phase === 'serving' ? this.#supervisor.unready : this.#phase;
  }

  status(): Status {
    const { startedAt, generation, workers, plane } = this.#supervisor;
    return {
      version: VERSION,
      pid: process.pid,
      startedAt: new Date(startedAt).toISOString(),
      generation,
      ready: this.unready === undefined,
      workers,
      agentConnected: plane.connected,
    };
  }

  listeners(): ListenerInfo[] {
    return Object.entries(this.#supervisor.config.listeners).map(([name, listener]) => ({
      name,
      protocol: listener.protocol,
      bind: listener.bind.map(formatBind),
      service: listener.service,
      routes: listener.routes.length,
      plane: this.#supervisor.plane.stateOf(name).plane,
      planeReason: this.#supervisor.plane.stateOf(name).reason,
    }));
  }

  async services(): Promise<ServiceInfo[]> {
    await this.#supervisor.figures.refresh();
    return this.#supervisor.states.map(({ service, endpoints, staleSeconds }) => ({
      name: service,
      staleSeconds,
      endpoints: endpoints.map((endpoint) => ({
        ...endpoint,
        active: this.#supervisor.figures.activeOn(service, endpoint.id),
        initialWeight: this.#supervisor.board.givenWeight(service, endpoint.id) ?? endpoint.weight,
      })),
    }));
  }

  /** As `order`, of an endpoint by the name that HAProxy's forms have for it. */
  orderServer(service: string, server: string, state: AdminState): void {
    const { endpoints = [] } = this.#supervisor.states.find((one) => one.service === service) ?? {};
    const endpoint = endpoints.find(({ id, name }) => (name ?? id) === server);
    if (endpoint) this.order(service, endpoint.id, { state });
  }

  order(service: string, endpoint: string, { state, weight }: EndpointOrder): boolean {
    const { board } = this.#supervisor;
    if (state !== undefined) {
      if (!board.setAdmin(service, endpoint, state)) return false;
      const timeoutMs = this.#supervisor.config.services[service]?.drain.timeout ?? 0;
      if (state === 'drain') this.#drains.start(service, endpoint, timeoutMs);
      else this.#drains.stop(service, endpoint);
    }
    return weight === undefined || board.setWeight(service, endpoint, weight);
  }

  statistics(): Promise<StatisticsInfo> {
    return this.#supervisor.statisticsReport();
  }

  sessions(): Promise<SessionInfo[]> {
    return this.#supervisor.sessions.sessions();
  }

  endSessions(ids: readonly string[]): void {
    this.#supervisor.sessions.end(ids);
  }

  refusedRequests(): Promise<RefusedRequest[]> {
    return this.#supervisor.sessions.refusedRequests();
  }

  clearStatistics(): void {
    this.#supervisor.statistics.clear();
  }

  addEndpoint(service: string, spec: EndpointSpec): string | undefined {
    return this.#supervisor.board.addEndpoint(service, spec);
  }

  removeEndpoint(service: string, endpoint: string): string | undefined {
    return this.#supervisor.board.removeEndpoint(service, endpoint);
  }

  moveEndpoint(service: string, endpoint: string, address: EndpointAddress): boolean {
    return this.#supervisor.board.moveEndpoint(service, endpoint, address);
  }

  certificates(): string[] {
    const { listeners } = this.#supervisor.config;
    const files = Object.values(listeners).flatMap(({ tls }) => tls?.certificates ?? []);
    return [...new Set(files.map(({ cert }) => cert))];
  }

  replaceCertificate(file: string, pem: string): string | undefined {
    return this.#orders.replaceCertificate(file, pem);
  }

  reload(): Promise<void> {
    return this.#orders.reload();
  }

  upgrade(): Promise<number> {
    return this.#orders.upgrade();
  }

  config(): unknown {
    return redact(this.#orders.inForce());
  }

  plan(): string[] {
    return planChange(this.#orders.inForce(), this.#source.load().config);
  }

  events(): readonly EventInfo[] {
    return this.#supervisor.board.events;
  }

  follow(next: (event: EventInfo) => void): () => void {
    return this.#supervisor.board.follow(next);
  }

  explain(query: ExplainQuery): string[] {
    const { config, states, plane } = this.#supervisor;
    return explain(config, states, query, (listener) => plane.stateOf(listener));
  }

  async metrics(filter?: MetricFilter): Promise<{ contentType: string; text: string }> {
    await this.#supervisor.figures.refresh();
    const samples = this.#supervisor.figures.samples();
    const text = await this.#exposition.render(samples, filter);
    const { contentType } = this.#exposition;
    if (this.#supervisor.config.metrics.compat !== 'haproxy') return { contentType, text };
    const { perEndpoint, maxEndpoints } = this.#supervisor.config.metrics;
    const most = perEndpoint ? maxEndpoints : 0;
    const { rows, info } = this.#supervisor.statistics.report(samples);
    const view = haproxyView(rows, info, most);
    return { contentType, text: `${text}\n${await this.#haproxy.render(view, filter)}` };
  }
}
