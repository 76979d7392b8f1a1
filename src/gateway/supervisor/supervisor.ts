import { randomBytes } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { errorText, SluiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { MetricRegistry } from '../../base/metrics.ts';
import type { AdminState, EndpointSpec, ServiceState } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { NativeHandle } from '../../net/handles.ts';
import { newTicketKey } from '../../net/ticket-keys.ts';
import type { ClusterBackends } from '../discovery/cluster-source.ts';
import { DiscoveryHub } from '../discovery/discovery-hub.ts';
import { HealthBoard } from '../health/health-board.ts';
import type {
  ConfigMaterial,
  FromWorker,
  OutcomeBatch,
  StatisticsReport,
  ToWorker,
} from '../ipc.ts';
import { SERIES } from '../metrics/catalog.ts';
import { type KernelCarrier, KernelPlane } from '../plane/kernel-plane.ts';
import { Statistics } from '../stats/statistics.ts';
import { Figures } from './figures.ts';
import { Fleet } from './fleet.ts';
import type { HandoverMessage, Inheritance, Knowledge } from './handover.ts';
import { SessionList } from './session-list.ts';
import { type BoundSocket, closeSockets, SocketSet } from './socket-set.ts';
import type { WorkerLaunch, WorkerProcess } from './worker-process.ts';

/** Workers that crash so often before the first has served will not serve at all. */
const START_CRASHES = 3;

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
  /** The number of workers that a configuration asks for on this machine. */
  readonly slotsOf: (config: GatewayConfig) => number;
  /** What a predecessor or the service manager has left to this process. */
  readonly inheritance: Inheritance;
  /** Opens the socket on which a worker without a supervisor waits to be adopted. */
  readonly adoption: (slot: number) => NativeHandle | undefined;
  readonly setLogLevel: (level: GatewayConfig['log']['level']) => void;
  /** The node agent; undefined: none, sockets carry everything. */
  readonly carrier?: KernelCarrier | undefined;
  /** Who serves what in the cluster of this host; undefined: it is of none. */
  readonly cluster?: ClusterBackends | undefined;
  /** Carries out an order from a page of statistics; an endpoint by its name. */
  readonly order: (service: string, server: string, state: AdminState) => void;
  readonly version: string;
  /** Reads the configuration anew; throws `E_CONFIG_INVALID` with every diagnostic. */
  readonly load: () => LoadedConfig;
  /** Makes ready what stands around the supervisor; throws when it cannot, with nothing changed. */
  readonly prepare: (next: GatewayConfig) => Promise<OuterChange>;
};

/** A change that has been made ready: one of the two has to be called. */
export type OuterChange = { commit(): Promise<void>; abort(): void };

/**
 * The process that owns the sockets and the truth: it reads the configuration, follows discovery
 * and health once for the whole host, and keeps the workers up to date. No traffic passes here.
 */
export class Supervisor {
  readonly #deps: SupervisorDeps;
  readonly #sockets: SocketSet;
  readonly #fleet: Fleet;
  readonly #registry = new MetricRegistry(SERIES);
  readonly #board: HealthBoard;
  readonly #discovery: DiscoveryHub;
  readonly #plane: KernelPlane;
  readonly #states = new Map<string, ServiceState>();
  readonly #strain = new Map<WorkerProcess, readonly string[]>();
  readonly #adoptions: (NativeHandle | undefined)[] = [];
  readonly #madeCookieKey: string;
  #ticketKeys: readonly string[];
  #loaded: LoadedConfig;
  #generation = 1;
  #reloading: Promise<void> = Promise.resolve();
  /** The one that calls share until it reads the configuration. */
  #nextReload: Promise<void> | undefined;
  #left = false;
  #served = false;
  #adoptable = false;
  readonly startedAt: number;
  readonly figures: Figures;
  /** In HAProxy's form. */
  readonly statistics: Statistics;
  readonly sessions = new SessionList(() => this.#fleet);

  constructor(loaded: LoadedConfig, deps: SupervisorDeps) {
    this.#loaded = loaded;
    this.#deps = deps;
    this.startedAt = deps.clock.wall();
    const { sockets, descriptors, knowledge } = deps.inheritance;
    this.#madeCookieKey = knowledge?.cookieKey ?? randomBytes(32).toString('base64');
    this.#ticketKeys = knowledge?.ticketKeys ?? [newTicketKey()];
    this.#sockets = new SocketSet(descriptors, sockets);
    this.#discovery = new DiscoveryHub({
      clock: deps.clock,
      logger: deps.logger,
      metrics: this.#registry,
      cluster: deps.cluster,
      onEndpoints: (service: string, specs: readonly EndpointSpec[]) =>
        this.#board.setEndpoints(service, specs),
    });
    this.#board = new HealthBoard({
      clock: deps.clock,
      logger: deps.logger,
      metrics: this.#registry,
      onChange: (state: ServiceState) => this.#publish(state),
    });
    this.#plane = new KernelPlane({
      clock: deps.clock,
      logger: deps.logger,
      metrics: this.#registry,
      carrier: deps.carrier,
    });
    this.figures = new Figures({
      registry: this.#registry,
      plane: this.#plane,
      fleet: () => this.#fleet,
      states: () => this.states,
      config: () => this.config,
    });
    this.statistics = new Statistics({
      clock: deps.clock,
      board: this.#board,
      samples: () => this.figures.samples(),
      isCurrent: (series) => this.figures.isCurrent(series),
      states: () => this.states,
      config: () => this.config,
      workers: () => this.#fleet.workers.length,
      draining: () => this.#left,
      version: deps.version,
      startedAtMs: this.startedAt,
    });
    this.#fleet = new Fleet(
      deps.launch,
      {
        configure: () => this.#configureMessage(),
        sockets: () => this.#sockets.all,
        adoption: (slot) => this.#adoption(slot),
        message: (worker, message) => this.#receive(worker, message),
        gone: (worker) => this.#forget(worker),
        pulse: () => this.statistics.pulse(),
      },
      deps.clock,
      deps.logger,
      {
        restarts: this.#registry.cell('sluice_worker_restarts_total'),
        looping: this.#registry.cell('sluice_worker_crash_loops'),
      },
    );
  }

  get config(): GatewayConfig {
    return this.#loaded.config;
  }

  get generation(): number {
    return this.#generation;
  }

  get plane(): KernelPlane {
    return this.#plane;
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

  /** Why workers refuse new requests, by what they reported within the last second. */
  get strain(): string[] {
    return [...new Set([...this.#strain.values()].flat())];
  }

  get ready(): boolean {
    return this.unready === undefined;
  }

  /** Why not every worker serves, in words. */
  get unready(): string | undefined {
    const [loop] = this.#fleet.crashLoops;
    if (loop) {
      const { slot, crashes, how } = loop;
      return `worker ${slot} crashes at its start: ${crashes} times in a row, last with ${how}`;
    }
    const serving = this.#fleet.workers.filter((worker) => worker.ready).length;
    const { slots } = this.#fleet;
    return slots > 0 && serving === slots ? undefined : `${serving} of ${slots} workers serve`;
  }

  /**
   * Binds, starts health, discovery and workers; resolves when every worker serves. Rejects with
   * `E_BIND_FAILED`, or with `E_WORKER_START` when the workers do not come up.
   */
  async start(): Promise<void> {
    const slots = this.#deps.slotsOf(this.config);
    this.#sockets.prepare(this.config, slots);
    this.#warn();
    this.#follow();
    const { knowledge } = this.#deps.inheritance;
    if (knowledge) this.#board.restore(knowledge.health);
    this.#registry.cell('sluice_config_last_reload_successful').value = 1;
    this.#registry.cell('sluice_config_generation').value = this.#generation;
    // The endpoints are told of in the next turn, and the first workers must know them.
    await new Promise((resolve) => setImmediate(resolve));
    this.#fleet.start(slots);
    while (!this.ready) {
      const loop = this.#fleet.crashLoops.find(({ crashes }) => crashes >= START_CRASHES);
      if (loop) throw new SluiceError('E_WORKER_START', this.unready ?? '');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    this.#sockets.dropInherited();
    this.#served = true;
  }

  /**
   * Reads the configuration again and applies it object by object. Calls that come while one is
   * under way share the next one. Rejects, with nothing changed, when the files have errors.
   */
  reload(): Promise<void> {
    this.#nextReload ??= this.#reloading
      .catch(() => {})
      .then(() => new Promise<void>((resolve) => setImmediate(resolve)))
      .then(() => {
        this.#reloading = this.#nextReload ?? Promise.resolve();
        this.#nextReload = undefined;
        return this.#reload();
      });
    return this.#nextReload;
  }

  /** Resolves when every worker has taken in what it was sent before; after 500 ms at most. */
  async settle(): Promise<void> {
    // Sources that have just told something new are heard first.
    await new Promise((resolve) => setImmediate(resolve));
    await this.figures.settle();
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

  /** Makes a new session ticket key; tickets of the one before are good for one more period. */
  rotateTicketKey(): void {
    this.#ticketKeys = [newTicketKey(), ...this.#ticketKeys.slice(0, 1)];
    this.#fleet.broadcast({ type: 'ticket-keys', keys: this.#ticketKeys });
  }

  /** The host as it is now, in HAProxy's form. */
  async statisticsReport(): Promise<StatisticsReport> {
    await this.figures.refresh();
    return this.statistics.report(this.figures.samples());
  }

  /**
   * Lets all work finish, at most for the given time, then ends the workers; the number of
   * connections that were cut off. May be called again with a shorter time.
   */
  async drain(timeoutMs: number): Promise<number> {
    const sockets = this.#sockets.all;
    this.#stopFollowing();
    if (!this.#left) this.#sockets.close(sockets);
    // One that has never served would take away what its predecessor has put there.
    if (!this.#served) this.#plane.leave();
    const withdrawn = this.#left || !this.#served ? undefined : this.#plane.withdraw();
    this.#left = true;
    const [cut] = await Promise.all([this.#fleet.drain(timeoutMs, 'close'), withdrawn]);
    return cut;
  }

  /** As `drain`, when a successor has taken the sockets over and serves. */
  leave(timeoutMs: number): Promise<number> {
    this.#stopFollowing();
    this.#plane.leave();
    closeSockets(this.#sockets.all);
    this.#left = true;
    return this.#fleet.drain(timeoutMs, 'wait');
  }

  /** Tells everything that a successor takes over, in order. */
  handOver(send: (message: HandoverMessage, handle?: NativeHandle) => void): void {
    for (const { key, handles } of this.#sockets.all) {
      for (const [index, handle] of handles.entries()) send({ type: 'socket', key, index }, handle);
    }
    for (const [name, handle] of this.#deps.inheritance.descriptors) {
      send({ type: 'descriptor', name }, handle);
    }
    send({ type: 'knowledge', knowledge: this.#knowledge });
  }

  /** From now on workers can be adopted when this process is gone; not before it holds its place. */
  offerAdoption(): void {
    this.#adoptable = true;
    this.#fleet.offerAdoption();
  }

  get #knowledge(): Knowledge {
    return {
      health: this.#board.snapshot(),
      ticketKeys: this.#ticketKeys,
      cookieKey: this.#cookieKey,
    };
  }

  #stopFollowing(): void {
    this.#discovery.close();
    this.#board.close();
  }

  #adoption(slot: number): NativeHandle | undefined {
    if (!this.#adoptable) return undefined;
    this.#adoptions[slot] ??= this.#deps.adoption(slot);
    return this.#adoptions[slot];
  }

  async #reload(): Promise<void> {
    try {
      const next = this.#deps.load();
      const slots = this.#deps.slotsOf(next.config);
      const outer = await this.#deps.prepare(next.config);
      const removed = this.#prepareSockets(next.config, slots, outer);
      this.#loaded = next;
      this.#generation++;
      this.#deps.setLogLevel(next.config.log.level);
      this.#fleet.deal();
      this.#fleet.broadcast(this.#configureMessage());
      if (slots !== this.#fleet.slots) this.#fleet.resize(slots, next.config.shutdown.timeout);
      this.#sockets.close(removed);
      this.#follow();
      this.#noteReload(true);
      this.#warn();
      this.#deps.logger.info('configuration reloaded', { generation: this.#generation });
      await outer.commit();
      await this.#fleet.settle(this.#generation);
    } catch (error) {
      this.#noteReload(false);
      this.#deps.logger.error('reload refused, the running configuration serves on', {
        why: errorText(error),
      });
      throw error;
    }
  }

  #prepareSockets(config: GatewayConfig, slots: number, outer: OuterChange): BoundSocket[] {
    try {
      return this.#sockets.prepare(config, slots).removed;
    } catch (error) {
      outer.abort();
      throw error;
    }
  }

  get #cookieKey(): string {
    const { cookieKey } = this.config;
    return typeof cookieKey === 'string' && cookieKey !== '' ? cookieKey : this.#madeCookieKey;
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

  #follow(): void {
    for (const name of this.#states.keys()) {
      if (!(name in this.config.services)) this.#states.delete(name);
    }
    this.#board.configure(this.config, this.#loaded.material);
    this.#discovery.configure(this.config);
    this.#plane.configure(this.config);
  }

  #publish(state: ServiceState): void {
    this.#states.set(state.service, state);
    this.#fleet.broadcast({ type: 'service', state });
    this.#plane.update(this.#states, state);
  }

  #configureMessage(): ToWorker {
    return {
      type: 'configure',
      generation: this.#generation,
      config: this.config,
      material: this.#loaded.material,
      services: [...this.#states.values()],
      ticketKeys: this.#ticketKeys,
      cookieKey: this.#cookieKey,
      workers: this.#deps.slotsOf(this.config),
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
        this.figures.take(worker, message);
        break;
      case 'statistics-request':
        void this.statisticsReport().then((report) =>
          worker.send({ type: 'statistics', id: message.id, report }),
        );
        break;
      case 'endpoint-order':
        this.#deps.order(message.service, message.server, message.state);
        break;
      case 'work':
        this.sessions.take(worker, message);
        break;
      case 'strain':
        if (this.#fleet.workers.includes(worker)) this.#strain.set(worker, message.reasons);
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

  #forget(worker: WorkerProcess): void {
    this.figures.forget(worker);
    this.#strain.delete(worker);
  }
}
