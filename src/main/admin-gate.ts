import { AdminServer } from '../api/admin-server.ts';
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
import type { Supervisor } from '../gateway/supervisor/supervisor.ts';
import { type Bind, formatBind } from '../model/address.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import type { ConfigSource } from './config-source.ts';
import type { OwnSockets } from './own-sockets.ts';
import { VERSION } from './version.ts';

/** What is asked of the whole daemon. */
export type AdminOrders = { reload(): Promise<void>; upgrade(): Promise<number> };

/** Puts the supervisor behind the admin API. */
export class AdminGate implements AdminBackend {
  readonly #supervisor: Supervisor;
  readonly #source: ConfigSource;
  readonly #logger: Logger;
  readonly #exposition = new Exposition(METRICS);
  #server: AdminServer | undefined;
  readonly #orders: AdminOrders;
  #draining = false;

  constructor(supervisor: Supervisor, source: ConfigSource, logger: Logger, orders: AdminOrders) {
    this.#orders = orders;
    this.#supervisor = supervisor;
    this.#source = source;
    this.#logger = logger;
  }

  async listen({ admin }: GatewayConfig, sockets: OwnSockets): Promise<void> {
    if (!admin) return;
    const token = typeof admin.token === 'string' && admin.token !== '' ? admin.token : undefined;
    this.#server = new AdminServer(this, token);
    const open = async (bind: Bind) => ({ bind, handle: await sockets.open(bind) });
    await this.#server.listen(await Promise.all(admin.bind.map(open)));
    this.#logger.debug('admin API listens', { bind: admin.bind.map(formatBind) });
  }

  /** From now on not ready, so that balancers in front look elsewhere. */
  draining(): void {
    this.#draining = true;
  }

  /** Leaves new connections to a successor. */
  leave(): void {
    this.#server?.leave();
  }

  close(): void {
    this.#server?.close();
  }

  get unready(): string | undefined {
    return this.#draining ? 'draining' : this.#supervisor.unready;
  }

  status(): Status {
    const { startedAt, generation, workers } = this.#supervisor;
    const started = new Date(startedAt).toISOString();
    const ready = this.unready === undefined;
    return { version: VERSION, pid: process.pid, startedAt: started, generation, ready, workers };
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
    if (state !== undefined && !board.setAdmin(service, endpoint, state)) return false;
    return weight === undefined || board.setWeight(service, endpoint, weight);
  }

  reload(): Promise<void> {
    return this.#orders.reload();
  }

  upgrade(): Promise<number> {
    return this.#orders.upgrade();
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
