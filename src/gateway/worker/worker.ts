import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { MetricRegistry } from '../../base/metrics.ts';
import { systemRng } from '../../base/rng.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { Listener } from '../../model/listener.ts';
import type { Service } from '../../model/service.ts';
import type { NativeHandle } from '../../net/handles.ts';
import type { AccessLogDeps } from '../access-log/access-log.ts';
import type { AccessLog, AccessRecord, LoadNow } from '../access-record.ts';
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
import { METRICS } from '../metrics/catalog.ts';
import { OutcomeReporter } from '../upstream/outcome-reporter.ts';
import { makePool } from '../upstream/pools.ts';
import { ServiceRuntime } from '../upstream/service-runtime.ts';

type Configure = Extract<ToWorker, { type: 'configure' }>;

/** What a worker is built on. */
export type WorkerDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly send: (message: FromWorker) => void;
  /** Opens the access log that a configuration asks for; called again when it changes. */
  readonly openAccessLog: (config: GatewayConfig, deps: AccessLogDeps) => AccessLog;
  readonly setLogLevel: (level: GatewayConfig['log']['level']) => void;
  /** Longest stall of the event loop since the last call, in ms. */
  readonly lagMs: () => number;
};

/** Reacts to the supervisor's messages: the listeners and services of one worker process. */
export class Worker {
  readonly #deps: WorkerDeps;
  readonly #metrics = new MetricRegistry(METRICS);
  readonly #services = new Map<string, ServiceRuntime>();
  readonly #listeners = new Map<string, ListenerRuntime>();
  readonly #handles = new Map<string, NativeHandle>();
  readonly #outcomes: OutcomeReporter;
  readonly #link: SupervisorLink;
  #http: HttpHandler | undefined;
  #config: Configure | undefined;
  #accessLog: AccessLog | undefined;

  constructor(deps: WorkerDeps) {
    this.#deps = deps;
    this.#link = {
      outcomes: (batches) => deps.send({ type: 'outcomes', batches }),
      suspect: (service, endpoint) => deps.send({ type: 'suspect', service, endpoint }),
      rateUse: (uses) => deps.send({ type: 'rate-use', uses }),
    };
    this.#outcomes = new OutcomeReporter(deps.clock, this.#link);
  }

  /** Takes one message, with the socket that came along. */
  receive(message: Exclude<ToWorker, { type: 'drain' }>, handle: NativeHandle | undefined): void {
    switch (message.type) {
      case 'configure':
        this.#configure(message);
        break;
      case 'listen':
        if (handle) this.#handles.set(message.socket, handle);
        break;
      case 'unlisten':
        this.#handles.delete(message.socket);
        break;
      case 'service':
        this.#services.get(message.state.service)?.apply(message.state);
        break;
      case 'material':
        this.#replaceMaterial(message.material);
        break;
      case 'ticket-key':
        for (const listener of this.#listeners.values()) listener.setTicketKey(message.key);
        break;
      case 'reopen-logs':
        this.reopenLogs();
        break;
      case 'rate-use':
        this.#http?.applyRemoteRates(message.uses);
        break;
      case 'stats-request':
        this.#report(message.id);
        break;
    }
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
  async drain(timeoutMs: number): Promise<void> {
    await Promise.all([...this.#listeners.values()].map((listener) => listener.drain(timeoutMs)));
    for (const service of this.#services.values()) service.close();
    await this.#accessLog?.close();
    this.#deps.send({ type: 'drained' });
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
    };
  }

  #configure(next: Configure): void {
    const before = this.#config;
    this.#config = next;
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
      accessLog: (record) => this.#accessLog?.write(record),
      cookieKey: next.cookieKey,
    });
    this.#applyListeners(before, next);
    this.#deps.send({ type: 'configured', generation: next.generation });
  }

  #applyServices(before: Configure | undefined, next: Configure): void {
    for (const [name, config] of Object.entries(next.config.services)) {
      const known = this.#services.get(name);
      if (!known) this.#services.set(name, this.#makeService(name, config, next));
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
    for (const state of next.services) this.#services.get(state.service)?.apply(state);
  }

  #makeService(name: string, config: Service, { workers }: Configure): ServiceRuntime {
    return new ServiceRuntime(name, config, {
      clock: this.#deps.clock,
      rng: systemRng,
      logger: this.#deps.logger,
      metrics: this.#metrics,
      outcomes: this.#outcomes,
      workers,
      makePool: (service, endpoint) => makePool(name, service, endpoint, this.#pools()),
    });
  }

  #pools() {
    return {
      clock: this.#deps.clock,
      metrics: this.#metrics,
      file: (path: string) => this.#config?.material.files[path] ?? '',
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
      void listener.drain(next.config.shutdown.timeout).then(() => {
        this.#metrics.remove(
          (family, labels) => family.labels[0] === 'listener' && labels[0] === name,
        );
      });
    }
    for (const [name, listener] of this.#listeners) {
      // Many routes take a while to compile: now, rather than when the first request waits.
      this.#http?.prepare(listener);
      this.#attach(name, listener, next.config);
    }
  }

  #makeListener(
    name: string,
    { config, material, ticketKey, workers }: Configure,
  ): ListenerRuntime {
    const listener = new ListenerRuntime(name, config.listeners[name] as never, material, {
      clock: this.#deps.clock,
      logger: this.#deps.logger,
      metrics: this.#metrics,
      services: (service) => this.#services.get(service),
      handlers: { http: (connection, of) => this.#http?.handle(connection, of) },
      accessLog: (record) => this.#accessLog?.write(record),
      defaults: config.defaults,
      workers,
    });
    listener.setTicketKey(ticketKey);
    return listener;
  }

  /** Gives a listener the sockets of its binds and takes back those it no longer names. */
  #attach(name: string, listener: ListenerRuntime, config: GatewayConfig): void {
    const sockets = listeningSockets(name, config.listeners[name] as Listener);
    const wanted = new Set(sockets.map(({ key }) => key));
    for (const key of listener.bound) if (!wanted.has(key)) listener.removeHandle(key);
    for (const key of wanted) {
      const handle = this.#handles.get(key);
      if (handle && !listener.bound.includes(key)) listener.addHandle(key, handle);
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
      for (const { id: endpoint, load } of service.endpoints) {
        if (load.active > 0) usage.push({ service: service.name, endpoint, active: load.active });
      }
    }
    const lagMs = this.#deps.lagMs();
    this.#metrics.cell('sluice_event_loop_lag_seconds').value = lagMs / 1000;
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
