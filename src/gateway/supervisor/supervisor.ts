import { randomBytes } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { MetricRegistry, type SeriesSample } from '../../base/metrics.ts';
import type { EndpointSpec, ServiceState } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import { DiscoveryHub } from '../discovery/discovery-hub.ts';
import { HealthBoard } from '../health/health-board.ts';
import type { ConfigMaterial, EndpointUsage, FromWorker, OutcomeBatch, ToWorker } from '../ipc.ts';
import { MetricAggregator } from '../metrics/aggregator.ts';
import { METRICS } from '../metrics/catalog.ts';
import { EndpointSeries } from '../metrics/endpoint-series.ts';
import { Fleet } from './fleet.ts';
import { type BoundSocket, closeSockets, SocketSet } from './socket-set.ts';
import type { WorkerLaunch, WorkerProcess } from './worker-process.ts';

const STATS_WAIT_MS = 500;
const REMOVED_LISTEN_GRACE_MS = 1000;

/** A configuration that has passed every check, with the files that it names. */
export type LoadedConfig = {
  readonly config: GatewayConfig;
  readonly material: ConfigMaterial;
  /** What deserves a look, in words, with its place. */
  readonly warnings: readonly string[];
};

/** What a supervisor is built on. */
export type SupervisorDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly launch: WorkerLaunch;
  readonly slots: number;
  /** Sockets handed over by the service manager, by name. */
  readonly descriptors: ReadonlyMap<string, number>;
  readonly setLogLevel: (level: GatewayConfig['log']['level']) => void;
  /** Reads the configuration anew; throws `E_CONFIG_INVALID` with every diagnostic. */
  readonly load: () => LoadedConfig;
};

/**
 * The process that owns the sockets and the truth: it reads the configuration, follows discovery
 * and health once for the whole host, and keeps the workers up to date. No traffic passes here.
 */
export class Supervisor {
  readonly #deps: SupervisorDeps;
  readonly #sockets: SocketSet;
  readonly #fleet: Fleet;
  readonly #registry = new MetricRegistry(METRICS);
  readonly #aggregator = new MetricAggregator(METRICS);
  readonly #endpointSeries = new EndpointSeries(METRICS);
  readonly #board: HealthBoard;
  readonly #discovery: DiscoveryHub;
  readonly #states = new Map<string, ServiceState>();
  readonly #usage = new Map<WorkerProcess, EndpointUsage[]>();
  readonly #cookieKey: string;
  #ticketKey = randomBytes(48).toString('base64');
  #loaded: LoadedConfig;
  #generation = 1;
  #reloading: Promise<void> | undefined;
  #awaited = new Map<number, { missing: number; resolve: () => void }>();
  readonly startedAt: number;

  constructor(loaded: LoadedConfig, deps: SupervisorDeps) {
    this.#loaded = loaded;
    this.#deps = deps;
    const { cookieKey } = loaded.config;
    this.#cookieKey =
      typeof cookieKey === 'string' ? cookieKey : randomBytes(32).toString('base64');
    this.startedAt = deps.clock.wall();
    this.#sockets = new SocketSet(deps.slots, deps.descriptors);
    this.#discovery = new DiscoveryHub({
      clock: deps.clock,
      logger: deps.logger,
      metrics: this.#registry,
      onEndpoints: (service: string, specs: readonly EndpointSpec[]) =>
        this.#board.setEndpoints(service, specs),
    });
    this.#board = new HealthBoard({
      clock: deps.clock,
      logger: deps.logger,
      metrics: this.#registry,
      onChange: (state: ServiceState) => this.#publish(state),
    });
    this.#fleet = new Fleet(
      deps.launch,
      {
        configure: () => this.#configureMessage(),
        sockets: () => this.#sockets.all,
        message: (worker, message) => this.#receive(worker, message),
        gone: (worker) => this.#forget(worker),
      },
      deps.clock,
      deps.logger,
      this.#registry.cell('sluice_worker_restarts_total'),
    );
  }

  get config(): GatewayConfig {
    return this.#loaded.config;
  }

  get generation(): number {
    return this.#generation;
  }

  get board(): HealthBoard {
    return this.#board;
  }

  get states(): ServiceState[] {
    return [...this.#states.values()].map((state) => ({
      ...state,
      staleSeconds: this.#discovery.staleSeconds(state.service),
    }));
  }

  get workers(): { slot: number; pid: number | undefined; ready: boolean }[] {
    return this.#fleet.workers.map(({ slot, pid, ready }) => ({ slot, pid, ready }));
  }

  get ready(): boolean {
    const workers = this.#fleet.workers;
    return workers.length === this.#deps.slots && workers.every((worker) => worker.ready);
  }

  /** Binds, starts health, discovery and workers; resolves when every worker serves. */
  async start(): Promise<void> {
    this.#sockets.prepare(this.config);
    this.#warn();
    this.#follow();
    this.#registry.cell('sluice_config_last_reload_successful').value = 1;
    this.#registry.cell('sluice_config_generation').value = this.#generation;
    this.#fleet.start(this.#deps.slots);
    while (!this.ready) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /**
   * Reads the configuration again and applies it object by object. Calls that come while one is
   * under way share the next one. Rejects, with nothing changed, when the files have errors.
   */
  reload(): Promise<void> {
    this.#reloading ??= new Promise<void>((resolve) => setImmediate(resolve))
      .then(() => this.#reload())
      .finally(() => {
        this.#reloading = undefined;
      });
    return this.#reloading;
  }

  /** Replaces the contents of the files that the configuration names (new certificates). */
  replaceMaterial(material: ConfigMaterial): void {
    this.#loaded = { ...this.#loaded, material };
    this.#fleet.broadcast({ type: 'material', material });
  }

  /** Has every worker open its log files anew. */
  reopenLogs(): void {
    this.#fleet.broadcast({ type: 'reopen-logs' });
  }

  /** Counts changed files that were taken or refused. */
  noteMaterial(result: 'applied' | 'refused'): void {
    this.#registry.cell('sluice_certificate_reloads_total', result).value++;
  }

  get material(): ConfigMaterial {
    return this.#loaded.material;
  }

  /** Makes a new session ticket key and gives it to every worker. */
  rotateTicketKey(): void {
    this.#ticketKey = randomBytes(48).toString('base64');
    this.#fleet.broadcast({ type: 'ticket-key', key: this.#ticketKey });
  }

  /** Work under way on an endpoint, over all workers, as last reported. */
  activeOn(service: string, endpoint: string): number {
    let active = 0;
    for (const usages of this.#usage.values()) {
      for (const usage of usages) {
        if (usage.service === service && usage.endpoint === endpoint) active += usage.active;
      }
    }
    return active;
  }

  /** Asks the workers for their figures now; a worker that does not answer in time is left out. */
  async refreshStats(): Promise<void> {
    const id = this.#fleet.requestStats();
    const missing = this.#fleet.workers.length;
    if (missing === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, STATS_WAIT_MS);
      this.#awaited.set(id, {
        missing,
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
      });
    });
    this.#awaited.delete(id);
  }

  /** Every series of this host: the workers' and the supervisor's own. */
  samples(): SeriesSample[] {
    this.#registry.cell('sluice_workers').value = this.#fleet.workers.filter((w) => w.ready).length;
    const series = this.#endpointSeries;
    const own = series.update(this.states, this.config.metrics);
    this.#registry.remove((family, labels) => !series.isCurrent({ family: family.name, labels }));
    this.#aggregator.update('supervisor', [...this.#registry.samples(), ...own]);
    this.#aggregator.prune((sample) => series.isCurrent(sample));
    return this.#aggregator.samples().filter((sample) => series.isShown(sample));
  }

  /** Lets all work finish, at most for the given time, then ends the workers. */
  async drain(timeoutMs: number): Promise<void> {
    this.#discovery.close();
    this.#board.close();
    await this.#fleet.drain(timeoutMs);
    closeSockets(this.#sockets.all);
  }

  async #reload(): Promise<void> {
    try {
      const next = this.#deps.load();
      const { added, removed } = this.#sockets.prepare(next.config);
      this.#loaded = next;
      this.#generation++;
      this.#deps.setLogLevel(next.config.log.level);
      for (const socket of added) this.#fleet.listen(socket);
      this.#fleet.broadcast(this.#configureMessage());
      this.#retire(removed);
      this.#follow();
      this.#noteReload(true);
      this.#warn();
      this.#deps.logger.info('configuration reloaded', { generation: this.#generation });
    } catch (error) {
      this.#noteReload(false);
      this.#deps.logger.error('reload refused, the running configuration serves on', {
        why: errorText(error),
      });
      throw error;
    }
  }

  #warn(): void {
    for (const what of this.#loaded.warnings) this.#deps.logger.warn('configuration', { what });
  }

  #noteReload(applied: boolean): void {
    const result = applied ? 'applied' : 'refused';
    this.#registry.cell('sluice_config_reloads_total', result).value++;
    this.#registry.cell('sluice_config_last_reload_successful').value = applied ? 1 : 0;
    this.#registry.cell('sluice_config_generation').value = this.#generation;
  }

  #retire(removed: readonly BoundSocket[]): void {
    for (const { key } of removed) this.#fleet.broadcast({ type: 'unlisten', socket: key });
    // Connections in the accept queue are taken by the workers before the last descriptor closes.
    if (removed.length > 0) setTimeout(() => closeSockets(removed), REMOVED_LISTEN_GRACE_MS);
  }

  #follow(): void {
    for (const name of this.#states.keys()) {
      if (!(name in this.config.services)) this.#states.delete(name);
    }
    this.#board.configure(this.config, this.#loaded.material);
    this.#discovery.configure(this.config);
  }

  #publish(state: ServiceState): void {
    this.#states.set(state.service, state);
    this.#fleet.broadcast({ type: 'service', state });
  }

  #configureMessage(): ToWorker {
    return {
      type: 'configure',
      generation: this.#generation,
      config: this.config,
      material: this.#loaded.material,
      services: [...this.#states.values()],
      ticketKey: this.#ticketKey,
      cookieKey: this.#cookieKey,
      workers: this.#deps.slots,
    };
  }

  #receive(worker: WorkerProcess, message: FromWorker): void {
    switch (message.type) {
      case 'outcomes':
        this.#board.reportOutcomes(message.batches);
        for (const batch of message.batches) this.#countFailures(batch);
        break;
      case 'suspect':
        this.#board.suspect(message.service, message.endpoint);
        break;
      case 'rate-use':
        this.#fleet.broadcast({ type: 'rate-use', uses: message.uses }, worker);
        break;
      case 'stats':
        this.#takeStats(worker, message);
        break;
    }
  }

  #countFailures({ service, endpoint, byClass }: OutcomeBatch): void {
    for (const [kind, count] of Object.entries(byClass)) {
      if (kind === 'ok' || !count) continue;
      const cell = this.#registry.cell('sluice_endpoint_failures_total', service, endpoint, kind);
      cell.value += count;
    }
  }

  #takeStats(worker: WorkerProcess, message: Extract<FromWorker, { type: 'stats' }>): void {
    // The last words of a process whose end is known already have been counted with it.
    if (!this.#fleet.workers.includes(worker)) return;
    this.#aggregator.update(workerKey(worker), message.samples);
    this.#usage.set(worker, message.usage);
    const awaited = this.#awaited.get(message.id);
    if (awaited && --awaited.missing === 0) awaited.resolve();
  }

  #forget(worker: WorkerProcess): void {
    this.#aggregator.retire(workerKey(worker));
    this.#usage.delete(worker);
  }
}

function workerKey(worker: WorkerProcess): string {
  return `${worker.slot}:${worker.pid}`;
}
