import { AdminServer } from '../api/admin-server.ts';
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
  Status,
} from '../client/admin-types.ts';
import { planChange } from '../config/plan.ts';
import { redact } from '../config/resolve.ts';
import { explain } from '../gateway/explain.ts';
import { METRICS } from '../gateway/metrics/catalog.ts';
import { Exposition } from '../gateway/metrics/exposition.ts';
import { DrainWatch } from '../gateway/supervisor/drain-watch.ts';
import type { Supervisor } from '../gateway/supervisor/supervisor.ts';
import { formatBind } from '../model/address.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import type { ConfigSource } from './config-source.ts';
import { VERSION } from './version.ts';

/** Puts the supervisor behind the admin API. */
export class AdminGate implements AdminBackend {
  readonly #supervisor: Supervisor;
  readonly #source: ConfigSource;
  readonly #logger: Logger;
  readonly #exposition = new Exposition(METRICS);
  #server: AdminServer | undefined;
  readonly #drains: DrainWatch;
  #draining = false;

  constructor(supervisor: Supervisor, source: ConfigSource, logger: Logger) {
    this.#supervisor = supervisor;
    this.#source = source;
    this.#logger = logger;
    this.#drains = new DrainWatch({
      clock: systemClock,
      active: async (service, endpoint) => {
        await supervisor.refreshStats();
        return supervisor.activeOn(service, endpoint);
      },
      drained: (service, endpoint, left) => supervisor.board.noteDrained(service, endpoint, left),
    });
  }

  async listen({ admin }: GatewayConfig): Promise<void> {
    if (!admin) return;
    const token = typeof admin.token === 'string' && admin.token !== '' ? admin.token : undefined;
    this.#server = new AdminServer(this, token);
    await this.#server.listen(admin.bind);
    this.#logger.debug('admin API listens', { bind: admin.bind.map(formatBind) });
  }

  /** From now on not ready, so that balancers in front look elsewhere. */
  draining(): void {
    this.#draining = true;
  }

  async close(): Promise<void> {
    this.#drains.close();
    await this.#server?.close();
  }

  get ready(): boolean {
    return !this.#draining && this.#supervisor.ready;
  }

  status(): Status {
    const { startedAt, generation, workers } = this.#supervisor;
    const started = new Date(startedAt).toISOString();
    return { version: VERSION, startedAt: started, generation, ready: this.ready, workers };
  }

  listeners(): ListenerInfo[] {
    return Object.entries(this.#supervisor.config.listeners).map(([name, listener]) => ({
      name,
      protocol: listener.protocol,
      bind: listener.bind.map(formatBind),
      service: listener.service,
      routes: listener.routes.length,
    }));
  }

  async services(): Promise<ServiceInfo[]> {
    await this.#supervisor.refreshStats();
    return this.#supervisor.states.map(({ service, endpoints, staleSeconds }) => ({
      name: service,
      staleSeconds,
      endpoints: endpoints.map((endpoint) => ({
        ...endpoint,
        active: this.#supervisor.activeOn(service, endpoint.id),
      })),
    }));
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

  reload(): Promise<void> {
    return this.#supervisor.reload();
  }

  config(): unknown {
    return redact(this.#supervisor.config);
  }

  plan(): string[] {
    return planChange(this.#supervisor.config, this.#source.load().config);
  }

  events(): readonly EventInfo[] {
    return this.#supervisor.board.events;
  }

  follow(next: (event: EventInfo) => void): () => void {
    return this.#supervisor.board.follow(next);
  }

  explain(query: ExplainQuery): string[] {
    return explain(this.#supervisor.config, this.#supervisor.states, query);
  }

  async metrics(filter?: MetricFilter): Promise<{ contentType: string; text: string }> {
    await this.#supervisor.refreshStats();
    const text = await this.#exposition.render(this.#supervisor.samples(), filter);
    return { contentType: this.#exposition.contentType, text };
  }
}
