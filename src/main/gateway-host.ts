import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../base/clock.ts';
import { errorText, SluiceError } from '../base/errors.ts';
import { AT_START } from '../config/plan.ts';
import type { Inheritance } from '../gateway/supervisor/handover.ts';
import { type OuterChange, Supervisor } from '../gateway/supervisor/supervisor.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import { AdminGate } from './admin-gate.ts';
import { dismissOrphans, openSocket, takePlace } from './adoption.ts';
import { AgentCarrier } from './agent-carrier.ts';
import { type ClusterEdge, wantsCluster } from './cluster-edge.ts';
import { CodeCache } from './code-cache.ts';
import type { ConfigSource, SourcedConfig } from './config-source.ts';
import type { DaemonPart } from './daemon-part.ts';
import { Demo } from './demo.ts';
import { identityOf } from './identity.ts';
import { replaceCertificate, watchMaterial } from './material-watch.ts';
import { OwnSockets } from './own-sockets.ts';
import type { LeveledLogger } from './pino-logger.ts';
import type { RunDirectory } from './run-directory.ts';
import type { ServiceManager } from './service-manager.ts';
import { type Estate, type Send, startSuccessor } from './succession.ts';
import { VERSION } from './version.ts';

const WORKER_ENTRY = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url),
);

function slotsOf(config: GatewayConfig): number {
  return config.workers === 'auto' ? availableParallelism() : config.workers;
}

/**
 * V8 moves allocation sites whose objects once survived a scavenge to the old space for good. A
 * request's objects are garbage within a millisecond, but from there they keep all they refer to
 * alive until the next full collection: a tenth of a loaded worker's time went into copying that.
 */
const WORKER_ARGV = [...process.execArgv, '--no-allocation-site-pretenuring'];

/** For the workers of a daemon whose start has failed. */
const ABANDON_MS = 2000;

/** What a gateway's process is built on. */
export type GatewayHostDeps = {
  readonly source: ConfigSource;
  readonly loaded: SourcedConfig;
  /** What the node in this daemon tells of its cluster; undefined: it is no node. */
  readonly cluster?: ClusterEdge | undefined;
  readonly logger: LeveledLogger;
  readonly inheritance: Inheritance;
  readonly directory: RunDirectory | undefined;
  /** Whether a running daemon waits for this one to take over. */
  readonly succeeds: boolean;
  readonly manager: ServiceManager;
  /** Called when the work that a successor has not taken over is done. */
  readonly onLeft: () => void;
  /** Where the node agent takes orders when the configuration does not say. */
  readonly agentSocket?: string | undefined;
  /** What passes to a successor beside the gateway. */
  readonly engine?: () => Estate | undefined;
  /** Starts, as the last part, what a successor can only have when its predecessor lets go. */
  readonly claim?: () => Promise<void>;
};

/** The supervisor with all that stands around it in its process, from its start to its end. */
export class GatewayHost implements DaemonPart {
  readonly #deps: GatewayHostDeps;
  readonly #sockets: OwnSockets;
  readonly #code: CodeCache;
  readonly supervisor: Supervisor;
  readonly #admin: AdminGate;
  readonly #carrier: AgentCarrier | undefined;
  readonly #demo = new Demo();
  #stopMaterial: () => void = () => {};
  /** Files that an order has replaced, with what they held then. */
  readonly #pins = new Map<string, string>();
  #rotation: { everyMs: number; timer: NodeJS.Timeout } | undefined;
  /** The configuration that holds, and the one that was read last. */
  #inForce: SourcedConfig;
  #read: SourcedConfig;
  /** The files are to be read again with the next reload. */
  #reread = false;
  #state: 'starting' | 'serving' | 'upgrading' | 'ending' = 'starting';
  #superseded = false;
  #stopSuccessor: () => void = () => {};

  constructor(deps: GatewayHostDeps) {
    const { source, loaded, logger, inheritance, directory } = deps;
    this.#deps = deps;
    this.#inForce = loaded;
    this.#read = loaded;
    this.#sockets = new OwnSockets(inheritance.own);
    const identity = identityOf(loaded.config);
    this.#code = new CodeCache(identity);
    const socket = loaded.config.agent?.socket ?? deps.agentSocket;
    this.#carrier = socket === undefined ? undefined : new AgentCarrier(socket, logger);
    this.supervisor = new Supervisor(loaded, {
      clock: systemClock,
      logger,
      launch: {
        entry: WORKER_ENTRY,
        execArgv: WORKER_ARGV,
        env: this.#code.environment(process.env),
        ...identity,
      },
      slotsOf,
      inheritance,
      adoption: (slot) => directory && openSocket(directory.worker(slot), logger),
      carrier: this.#carrier,
      cluster: deps.cluster,
      order: (service, server, state) => this.#admin.orderServer(service, server, state),
      version: VERSION,
      load: () => this.#load(),
      prepare: (next) => this.#prepare(next),
      setLogLevel: (level) => logger.setLevel(level),
    });
    this.#admin = new AdminGate(this.supervisor, source, logger, {
      reload: () => this.#reload(),
      upgrade: () => this.upgrade(),
      inForce: () => this.#shown(),
      replaceCertificate: (file, pem) =>
        replaceCertificate(this.supervisor, source, this.#pins, file, pem),
    });
  }

  /** Resolves when everything serves; `announce` says so. */
  async start(): Promise<void> {
    const { loaded, source, logger, directory, succeeds } = this.#deps;
    const { config } = loaded;
    try {
      // First, so that nothing serves yet when an address is taken.
      await this.#sockets.prepare(config);
      await this.#demo.apply(config, this.#sockets);
      if (!succeeds) await this.#admin.apply(config, this.#sockets);
      await this.supervisor.start();
      if (succeeds) await this.#admin.apply(config, this.#sockets);
      await this.#deps.claim?.();
    } catch (error) {
      await this.supervisor.drain(ABANDON_MS);
      this.#code.remove();
      throw error;
    }
    this.#sockets.dropInherited();
    if (directory) takePlace(directory, logger);
    this.supervisor.offerAdoption();
    this.#stopMaterial = watchMaterial(this.supervisor, source, logger, this.#pins);
    this.#rotateEvery(config.tickets.rotate);
    this.#code.fill(WORKER_ARGV);
    if (this.#state === 'starting') this.#state = 'serving';
    const { cluster } = this.#deps;
    if (!cluster) return;
    cluster.take = () => this.#takeCluster();
    // What it has told since this one's configuration was read.
    await this.#takeCluster();
  }

  #stopTimers(): void {
    this.#stopMaterial();
    clearInterval(this.#rotation?.timer);
    this.#deps.manager.close();
  }

  #rotateEvery(everyMs: number): void {
    if (this.#rotation?.everyMs === everyMs) return;
    clearInterval(this.#rotation?.timer);
    const timer = setInterval(() => this.supervisor.rotateTicketKey(), everyMs);
    this.#rotation = { everyMs, timer };
  }

  /** Makes ready what a reload changes in this process. */
  async #prepare(next: GatewayConfig): Promise<OuterChange> {
    const change = await this.#sockets.prepare(next);
    const commit = async () => {
      this.#inForce = this.#read;
      this.#tellWanted();
      await this.#demo.apply(next, this.#sockets);
      await this.#admin.apply(next, this.#sockets);
      change.commit();
      this.#rotateEvery(next.tickets.rotate);
      // What an order had put in the place of files is what was read from them again.
      if (this.#pins.size > 0) this.supervisor.replaceMaterial(this.supervisor.material);
      this.#pins.clear();
      const started = this.#deps.loaded.config;
      for (const key of AT_START) {
        if (JSON.stringify(started[key]) === JSON.stringify(next[key])) continue;
        const what = `${key}: takes an upgrade or a restart`;
        this.#deps.logger.warn('configuration', { what });
      }
    };
    return { commit, abort: () => change.abort() };
  }

  /** The configuration that holds, with what only a start takes up as it was then. */
  #shown(): GatewayConfig {
    const { agent, user, group } = this.#deps.loaded.config;
    return { ...this.supervisor.config, agent, user, group };
  }

  /** Tells everybody that this process serves. */
  announce(): void {
    const { manager, inheritance } = this.#deps;
    this.#admin.serving();
    manager.ready(this.#statusText());
    dismissOrphans(inheritance.orphans);
  }

  reopenLogs(): void {
    this.supervisor.reopenLogs();
  }

  reload(): void {
    this.reopenLogs();
    // A refusal has been logged and counted where it was found.
    this.#reload().catch(() => {});
  }

  async #reload(): Promise<void> {
    this.#mustServe('reload');
    const { manager } = this.#deps;
    manager.reloading();
    try {
      this.#reread = true;
      await this.supervisor.reload();
    } finally {
      manager.ready(this.#statusText());
    }
  }

  /** The files stay as they were read when it is the cluster that has changed. */
  #load(): SourcedConfig {
    const { source } = this.#deps;
    this.#read = this.#reread ? source.load() : source.again(this.#inForce);
    this.#reread = false;
    return this.#read;
  }

  /** Takes in what the cluster has told; resolves when every worker knows it. */
  async #takeCluster(): Promise<void> {
    const { cluster, logger } = this.#deps;
    if (!cluster || this.#state !== 'serving') return;
    try {
      if (cluster.part === this.#inForce.part) await this.supervisor.settle();
      else await this.supervisor.reload();
    } catch {
      // A refusal has been logged and counted where it was found.
    }
    cluster.complain(logger);
  }

  #tellWanted(): void {
    const { cluster } = this.#deps;
    if (cluster) cluster.wanted = wantsCluster(this.#inForce.written);
  }

  /**
   * Lets a new daemon take over, and ends this one when its work is done. Resolves with the new
   * process; rejects with `E_UPGRADE_REFUSED`, in which case this one serves on.
   */
  async upgrade(): Promise<number> {
    this.#mustServe('upgrade');
    this.#state = 'upgrading';
    const { logger } = this.#deps;
    try {
      const pid = await startSuccessor(this.#estate, (stop) => {
        this.#stopSuccessor = stop;
      });
      logger.info('a new daemon has taken over', { pid });
      void this.#leave();
      return pid;
    } catch (error) {
      if (this.#state === 'upgrading') this.#state = 'serving';
      void this.#takeCluster();
      logger.error('upgrade refused, this daemon serves on', { why: errorText(error) });
      throw error;
    } finally {
      this.#stopSuccessor = () => {};
    }
  }

  get #estate(): Estate {
    const engine = this.#deps.engine?.();
    return {
      handOver: (send: Send) => {
        engine?.handOver(send);
        if (this.#deps.cluster) send({ type: 'cluster', mesh: this.#deps.cluster.mesh });
        this.#sockets.handOver(send);
        this.supervisor.handOver(send);
      },
      release: async () => {
        if (!engine) throw new Error('there is no engine to take over');
        return engine.release();
      },
      resume: async () => engine?.resume(),
      leave: async (passOn) => engine?.leave(passOn),
    };
  }

  /** Finishes the work under way; asked again, at once. */
  async stop(signal: string): Promise<void> {
    const { logger, manager, directory } = this.#deps;
    const again = this.#state === 'ending';
    this.#state = 'ending';
    this.#stopSuccessor();
    const timeoutMs = again ? 0 : this.supervisor.config.shutdown.timeout;
    logger.info(again ? 'ending at once' : 'draining', { signal, timeoutMs });
    manager.stopping();
    this.#admin.draining();
    this.#stopTimers();
    const cut = await this.supervisor.drain(timeoutMs);
    if (!this.#superseded) directory?.clear();
    await this.#end(cut);
  }

  /** Ends after the work that a successor has not taken over. */
  async #leave(): Promise<void> {
    this.#state = 'ending';
    this.#superseded = true;
    this.#stopTimers();
    this.#admin.leave();
    this.#demo.close();
    await this.#end(await this.supervisor.leave(this.supervisor.config.shutdown.timeout));
    this.#deps.onLeft();
  }

  async #end(cut: number): Promise<void> {
    this.#deps.logger.info('ended', { connectionsCut: cut });
    this.#admin.close();
    this.#carrier?.close();
    this.#demo.close();
    this.#code.remove();
    await this.#deps.logger.settle();
  }

  #mustServe(what: string): void {
    if (this.#state === 'serving') return;
    const why = {
      starting: 'this daemon is starting',
      upgrading: 'an upgrade is under way',
      ending: 'this daemon is ending',
    };
    const text = `no ${what} now: ${why[this.#state]}`;
    this.#deps.logger.warn(text);
    throw new SluiceError('E_BUSY', text);
  }

  #statusText(): string {
    const { workers, generation } = this.supervisor;
    return `serving configuration ${generation} with ${workers.length} worker(s)`;
  }
}
