import { hostname } from 'node:os';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { MetricRegistry } from '../../base/metrics.ts';
import { systemRng } from '../../base/rng.ts';
import type { ServiceState } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { Listener } from '../../model/listener.ts';
import type { Service } from '../../model/service.ts';
import { resolveTimeouts } from '../../model/timeouts.ts';
import type { NativeHandle } from '../../net/handles.ts';
import { TicketKeys } from '../../net/ticket-keys.ts';
import { turnstile } from '../../net/turnstile.ts';
import type { AccessLogDeps } from '../access-log/access-log.ts';
import type { AccessLog, AccessRecord, LoadNow } from '../access-record.ts';
import type { HealthBoard } from '../health/health-board.ts';
import { createHttpHandler, type HttpHandler } from '../http/http-handler.ts';
import type {
  ConfigMaterial,
  EndpointUsage,
  FromWorker,
  SupervisorLink,
  ToWorker,
} from '../ipc.ts';
import { ListenerRuntime } from '../listener/listener-runtime.ts';
import { listeningSockets } from '../listening-sockets.ts';
import { SERIES } from '../metrics/catalog.ts';
import type { WorkerLoad } from '../metrics/worker-load.ts';
import type { HandoverMessage } from '../supervisor/handover.ts';
import { OutcomeReporter } from '../upstream/outcome-reporter.ts';
import { makePool } from '../upstream/pools.ts';
import { ServiceRuntime } from '../upstream/service-runtime.ts';
import { loneBoard } from './lone-health.ts';
import { OverloadGuard, type Resources } from './overload.ts';
import { watchSilence } from './silence-watch.ts';
import { StatisticsClient } from './statistics-client.ts';

const HOST = hostname();

type Configure = Extract<ToWorker, { type: 'configure' }>;

/** What a worker is built on. */
export type WorkerDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly send: (message: FromWorker) => void;
  /** Opens the access log that a configuration asks for; called again when it changes. */
  readonly openAccessLog: (config: GatewayConfig, deps: AccessLogDeps) => AccessLog | undefined;
  readonly setLogLevel: (level: GatewayConfig['log']['level']) => void;
  readonly load: () => WorkerLoad;
  readonly resources: Resources;
};

/** A descriptor of a listening socket; copies of one differ in nothing. */
type OpenSocket = {
  readonly key: string;
  readonly index: number;
  readonly copy: number;
  readonly handle: NativeHandle;
};

/** Reacts to the supervisor's messages: the listeners and services of one worker process. */
export class Worker {
  readonly #deps: WorkerDeps;
  readonly #metrics = new MetricRegistry(SERIES);
  readonly #services = new Map<string, ServiceRuntime>();
  readonly #listeners = new Map<string, ListenerRuntime>();
  readonly #sockets = new Map<string, OpenSocket>();
  readonly #tickets = new TicketKeys();
  readonly #outcomes: OutcomeReporter;
  readonly #overload: OverloadGuard;
  readonly #link: SupervisorLink;
  readonly #statistics: StatisticsClient;
  #http: HttpHandler | undefined;
  #config: Configure | undefined;
  /** Set while there is no supervisor. */
  #board: HealthBoard | undefined;
  #accessLog: AccessLog | undefined;

  constructor(deps: WorkerDeps) {
    this.#deps = deps;
    this.#statistics = new StatisticsClient(deps.clock, deps.send);
    this.#link = {
      outcomes: (batches) => {
        if (this.#board) this.#board.reportOutcomes(batches);
        else deps.send({ type: 'outcomes', batches });
      },
      suspect: (service, endpoint) => {
        if (this.#board) this.#board.suspect(service, endpoint);
        else deps.send({ type: 'suspect', service, endpoint });
      },
      rateUse: (uses) => deps.send({ type: 'rate-use', uses }),
      statistics: () => this.#statistics.ask(),
      order: (service, server, state) => {
        this.#statistics.forget();
        deps.send({ type: 'endpoint-order', service, server, state });
      },
    };
    this.#overload = new OverloadGuard({
      clock: deps.clock,
      logger: deps.logger,
      metrics: this.#metrics,
      resources: deps.resources,
      memoryLimit: () => this.#config?.config.memory,
      workers: () => this.#config?.workers ?? 1,
      waitMs: () => turnstile.longestWait(),
      onChange: (reasons) => deps.send({ type: 'strain', reasons }),
    });
    this.#outcomes = new OutcomeReporter(deps.clock, this.#link);
    watchSilence(() => this.#services.values(), this.#link);
  }

  /** Takes one message, with the socket that came along. */
  receive(
    message: Exclude<ToWorker, { type: 'drain' | 'adoption' }>,
    handle: NativeHandle | undefined,
  ): void {
    switch (message.type) {
      case 'configure':
        this.#configure(message);
        break;
      case 'listen':
        if (handle)
          this.#listen({ key: message.socket, index: message.index, copy: message.copy, handle });
        break;
      case 'unlisten':
        this.#unlisten(message.socket, message.index);
        break;
      case 'service':
        this.#apply(message.state);
        break;
      case 'material':
        this.#replaceMaterial(message.material);
        break;
      case 'ticket-keys':
        this.#tickets.set(message.keys);
        break;
      case 'reopen-logs':
        this.reopenLogs();
        break;
      case 'rate-use':
        this.#http?.applyRemoteRates(message.uses);
        break;
      case 'statistics':
        this.#statistics.take(message.id, message.report);
        break;
      case 'work-request':
        this.#tellWork(message.id);
        break;
      case 'end-work': {
        const serials = new Set(message.serials);
        for (const listener of this.#listeners.values()) listener.endWorks(serials);
        break;
      }
      case 'stats-request':
        this.#report(message.id);
        if (message.pulse) this.#metrics.turnPeaks();
        break;
    }
  }

  /** The supervisor is gone: from here on this worker checks its endpoints by itself. */
  goAlone(): void {
    if (!this.#config || this.#board) return;
    const { config, material } = this.#config;
    const { clock, logger } = this.#deps;
    const services = this.#states;
    this.#board = loneBoard(
      { config, material, services },
      { clock, logger, metrics: this.#metrics, onChange: (state) => this.#apply(state) },
    );
  }

  /** Tells everything that a new supervisor takes over from this worker. */
  handOver(send: (message: HandoverMessage, handle?: NativeHandle) => void): void {
    if (!this.#config) return;
    for (const { key, index, copy, handle } of this.#sockets.values()) {
      if (copy === 0) send({ type: 'socket', key, index }, handle);
    }
    const { cookieKey } = this.#config;
    const none = { services: this.#states, ejections: [], weights: [], overlays: [] };
    const health = this.#board?.snapshot() ?? none;
    const ticketKeys = this.#tickets.texts;
    send({ type: 'knowledge', knowledge: { health, ticketKeys, cookieKey } });
  }

  #tellWork(id: number): void {
    const listeners = [...this.#listeners.values()];
    const sessions = listeners.flatMap((listener) => listener.works());
    const refused = listeners.flatMap(({ refusedRequest }) => refusedRequest ?? []);
    this.#deps.send({ type: 'work', id, sessions, refused });
  }

  get #states(): ServiceState[] {
    return [...this.#services.values()].map(({ name, endpoints }) => ({
      service: name,
      endpoints: endpoints.map(({ state }) => state),
      staleSeconds: 0,
    }));
  }

  #apply(state: ServiceState): void {
    this.#services.get(state.service)?.apply(state);
  }

  /** Where the supervisor that this worker knew could be asked. */
  get adminAddress(): { host: string; port: number } | undefined {
    const bind = this.#config?.config.admin?.bind[0];
    return bind?.kind === 'ip' ? { host: bind.host, port: bind.port } : undefined;
  }

  get shutdownTimeoutMs(): number {
    return this.#config?.config.shutdown.timeout ?? 0;
  }

  /** Takes no new connection, finishes what is under way until the deadline, and says so. */
  async drain(timeoutMs: number, idle: 'close' | 'wait'): Promise<void> {
    const cuts = await Promise.all(
      [...this.#listeners.values()].map((listener) => listener.drain(timeoutMs, idle)),
    );
    for (const service of this.#services.values()) service.close();
    await this.#accessLog?.close();
    this.#deps.send({ type: 'drained', cut: cuts.reduce((sum, cut) => sum + cut, 0) });
  }

  #listen(socket: OpenSocket): void {
    const id = socketId(socket);
    // A second one is not needed: both are the same socket.
    if (this.#sockets.has(id)) socket.handle.close();
    else this.#sockets.set(id, socket);
    if (this.#config) this.#attachAll(this.#config.config);
  }

  #unlisten(key: string, index: number): void {
    for (const [id, socket] of this.#sockets) {
      if (socket.key !== key || socket.index !== index) continue;
      this.#sockets.delete(id);
      for (const listener of this.#listeners.values()) {
        if (listener.bound.includes(id)) listener.removeHandle(id);
      }
    }
  }

  /** Opens the access log's file anew, which a rotation has moved away. */
  reopenLogs(): void {
    this.#accessLog?.reopen();
  }

  #loadFor({ listener, service, endpoint }: AccessRecord): LoadNow {
    const open = [...this.#listeners.values()].reduce((sum, { active }) => sum + active, 0);
    const of = service === undefined ? undefined : this.#services.get(service);
    const loads = of?.endpoints ?? [];
    return {
      worker: open,
      listener: this.#listeners.get(listener)?.active ?? 0,
      service: loads.reduce((sum, { load }) => sum + load.active, 0),
      endpoint: loads.find(({ id }) => id === endpoint)?.load.active ?? 0,
      queue: of?.queued ?? 0,
      host: HOST,
    };
  }

  #configure(next: Configure): void {
    const before = this.#config;
    this.#config = next;
    this.#tickets.set(next.ticketKeys);
    if (!before || differs(before.config.log, next.config.log)) {
      this.#deps.setLogLevel(next.config.log.level);
      void this.#accessLog?.close();
      this.#accessLog = this.#deps.openAccessLog(next.config, {
        logger: this.#deps.logger,
        dropped: this.#metrics.cell('sluice_access_log_dropped_total'),
        load: (record) => this.#loadFor(record),
      });
    }
    this.#applyServices(before, next);
    this.#http ??= createHttpHandler({
      clock: this.#deps.clock,
      logger: this.#deps.logger,
      metrics: this.#metrics,
      link: this.#link,
      services: (name) => this.#services.get(name),
      cookieKey: next.cookieKey,
      overload: this.#overload,
    });
    this.#http.cookies.changeKey(next.cookieKey);
    this.#applyListeners(before, next);
    this.#deps.send({ type: 'configured', generation: next.generation });
  }

  #applyServices(before: Configure | undefined, next: Configure): void {
    for (const [name, config] of Object.entries(next.config.services)) {
      const known = this.#services.get(name);
      if (!known) this.#services.set(name, this.#makeService(name, config));
      else if (differs(before?.config.services[name], config)) known.update(config);
    }
    for (const [name, service] of this.#services) {
      if (name in next.config.services) continue;
      this.#services.delete(name);
      service.close();
      this.#metrics.remove(
        (family, labels) => family.labels[0] === 'service' && labels[0] === name,
      );
    }
    for (const state of next.services) this.#apply(state);
  }

  #makeService(name: string, config: Service): ServiceRuntime {
    return new ServiceRuntime(name, config, {
      clock: this.#deps.clock,
      rng: systemRng,
      logger: this.#deps.logger,
      metrics: this.#metrics,
      outcomes: this.#outcomes,
      workers: () => this.#config?.workers ?? 1,
      makePool: (service, endpoint) => makePool(name, service, endpoint, this.#pools()),
    });
  }

  #pools() {
    return {
      clock: this.#deps.clock,
      metrics: this.#metrics,
      file: (path: string) => this.#config?.material.files[path] ?? '',
      unacknowledgedMs: () =>
        resolveTimeouts(this.#config?.config.defaults.timeouts).unacknowledged,
    };
  }

  #applyListeners(before: Configure | undefined, next: Configure): void {
    for (const [name, config] of Object.entries(next.config.listeners)) {
      const known = this.#listeners.get(name);
      const same = known && !differs(before?.config.listeners[name], config);
      const sameOuter = !differs(before?.config.defaults, next.config.defaults);
      if (known && !(same && sameOuter)) known.update(config, next.material, next.config.defaults);
      if (!known) this.#listeners.set(name, this.#makeListener(name, next));
    }
    for (const [name, listener] of this.#listeners) {
      if (name in next.config.listeners) continue;
      this.#listeners.delete(name);
      void listener.drain(next.config.shutdown.timeout, 'close').then(() => {
        this.#metrics.remove(
          (family, labels) => family.labels[0] === 'listener' && labels[0] === name,
        );
      });
    }
    // Many routes take a while to compile: now, rather than when the first request waits.
    for (const listener of this.#listeners.values()) this.#http?.prepare(listener);
    this.#attachAll(next.config);
  }

  #attachAll(config: GatewayConfig): void {
    for (const [name, listener] of this.#listeners) this.#attach(name, listener, config);
  }

  #makeListener(name: string, { config, material }: Configure): ListenerRuntime {
    return new ListenerRuntime(name, config.listeners[name] as never, material, {
      clock: this.#deps.clock,
      logger: this.#deps.logger,
      metrics: this.#metrics,
      services: (service) => this.#services.get(service),
      handlers: { http: (connection, of) => this.#http?.handle(connection, of) },
      accessLog: () => this.#accessLog,
      tickets: this.#tickets,
      overload: this.#overload,
      defaults: config.defaults,
      workers: () => this.#config?.workers ?? 1,
    });
  }

  /** Gives a listener the sockets of its binds and takes back those it no longer names. */
  #attach(name: string, listener: ListenerRuntime, config: GatewayConfig): void {
    const sockets = listeningSockets(name, config.listeners[name] as Listener);
    const wanted = new Set(sockets.map(({ key }) => key));
    const own = [...this.#sockets].filter(([, { key }]) => wanted.has(key));
    for (const id of listener.bound)
      if (!own.some(([mine]) => mine === id)) listener.removeHandle(id);
    for (const [id, { handle }] of own) {
      if (!listener.bound.includes(id)) listener.addHandle(id, handle);
    }
  }

  #replaceMaterial(material: ConfigMaterial): void {
    if (!this.#config) return;
    this.#config = { ...this.#config, material };
    const { config } = this.#config;
    for (const [name, listener] of this.#listeners) {
      const own = config.listeners[name];
      if (own) listener.update(own, material, config.defaults);
    }
    for (const service of this.#services.values()) {
      if (service.config.tls) for (const endpoint of service.endpoints) endpoint.closePool();
    }
  }

  #report(id: number): void {
    const usage: EndpointUsage[] = [];
    for (const service of this.#services.values()) {
      for (const runtime of service.endpoints) {
        const { id: endpoint, load } = runtime;
        runtime.countIdle();
        if (load.active > 0) usage.push({ service: service.name, endpoint, active: load.active });
      }
    }
    const { lagMs, busy, heap } = this.#deps.load();
    this.#metrics.cell('sluice_event_loop_lag_seconds').value = lagMs / 1000;
    this.#metrics.cell('sluice_event_loop_busy_ratio').value = busy;
    this.#metrics.cell('sluice_worker_heap_bytes', 'used').value = heap.used;
    this.#metrics.cell('sluice_worker_heap_bytes', 'reserved').value = heap.reserved;
    const { descriptors } = this.#deps.resources;
    if (Number.isFinite(descriptors))
      this.#metrics.cell('sluice_worker_max_fds').value = descriptors;
    const all = this.#metrics.samples();
    const samples = this.#config?.config.metrics.perEndpoint
      ? all
      : all.filter(({ family }) => !family.startsWith('sluice_endpoint_'));
    this.#deps.send({ type: 'stats', id, samples, usage, lagMs });
  }
}

function differs(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) !== JSON.stringify(b);
}

function socketId({ key, index, copy }: OpenSocket): string {
  return `${key} #${index}.${copy}`;
}
