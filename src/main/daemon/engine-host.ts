import { chmodSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { LINGER_MS } from '../../api/engine/calls.ts';
import { EngineServer } from '../../api/engine/engine-server.ts';
import { errorText, SluiceError } from '../../base/errors.ts';
import { invalid } from '../../base/faults.ts';
import type { ClusterEdge } from '../cluster-edge.ts';
import { PidFile } from '../pid-file.ts';
import type { LeveledLogger } from '../pino-logger.ts';
import type { Estate, PassOn, Send } from '../succession.ts';
import { agentSocketOf } from './agent-process.ts';
import { type Bequest, EngineCore } from './engine-core.ts';
import type { Front } from './front.ts';
import { optionFacts } from './host-facts.ts';
import { type EngineSockets, openFronts } from './listen.ts';
import { type DaemonSettings, daemonSettings } from './settings.ts';

/** What the engine of a daemon is started from. */
export type EngineOrder = {
  /** Values of flags by their key in daemon.json. */
  readonly flags: Readonly<Record<string, unknown>>;
  /** daemon.json; undefined: none. */
  readonly configFile: string | undefined;
  readonly sockets: EngineSockets;
  /** The gateway's in the same daemon; undefined: it has none. */
  readonly edge: ClusterEdge | undefined;
  /** What a daemon before has to leave; resolves when it is left. Undefined: there is none. */
  readonly claim: (() => Promise<Bequest>) | undefined;
  /** Called when neither this process nor its successor can go on with the engine. */
  readonly onLost: () => void;
};

type LoggerMaker = (level: DaemonSettings['logLevel']) => LeveledLogger;

function readConfigFile(path: string | undefined): Record<string, unknown> {
  if (path === undefined) return {};
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw invalid(`cannot read the configuration file ${path}: ${errorText(error)}`);
  }
  try {
    const value: unknown = JSON.parse(text || '{}');
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return value as Record<string, unknown>;
    }
  } catch (error) {
    throw invalid(`cannot read the configuration file ${path}: ${errorText(error)}`);
  }
  throw invalid(`cannot read the configuration file ${path}: it must hold a JSON object`);
}

function readSettings({ flags, configFile }: EngineOrder, id: string): DaemonSettings {
  return daemonSettings(flags, readConfigFile(configFile), optionFacts(id));
}

function makeFolder(path: string, mode: number): void {
  try {
    mkdirSync(path, { recursive: true, mode });
    // A gateway may have made it for itself alone; sockets in it have modes of their own.
    if (statSync(path).uid === process.getuid?.()) chmodSync(path, mode);
  } catch (error) {
    throw new SluiceError(
      'E_NODE_UNAVAILABLE',
      `cannot make ${path}: ${errorText(error)}; start as root, or give --data-root and --exec-root that are yours`,
      { cause: error },
    );
  }
}

/** How long calls may take that an upgrade waits for. */
const BRIEF_MS = 10_000;
const LOOK_EVERY_MS = 20;

/** The engine of a daemon with everything around it. */
export class EngineHost implements Estate {
  readonly #order: EngineOrder;
  readonly #settings: DaemonSettings;
  readonly #pid: PidFile;
  readonly logger: LeveledLogger;
  #core: EngineCore;
  readonly #api: EngineServer;
  #fronts: readonly Front[] = [];
  /** When everything is over that a successor could not take over. */
  #left: Promise<void> = Promise.resolve();
  /** What `release` has given away. */
  #bequest: Bequest | undefined;
  #state: 'serving' | 'released' | 'succeeded' | 'ended' = 'serving';

  private constructor(
    order: EngineOrder,
    settings: DaemonSettings,
    pid: PidFile,
    logger: LeveledLogger,
    core: EngineCore,
  ) {
    this.#order = order;
    this.#settings = settings;
    this.#pid = pid;
    this.logger = logger;
    this.#core = core;
    const { engine, member } = core;
    this.#api = new EngineServer(engine, member, () => this.#core.facts, logger);
  }

  /** Resolves when the API listens. Throws when flags, file, store, agent or address refuse. */
  static async start(order: EngineOrder, makeLogger: LoggerMaker): Promise<EngineHost> {
    const settings = readSettings(order, '');
    const logger = makeLogger(settings.logLevel);
    for (const warning of settings.warnings) logger.warn(warning);
    makeFolder(settings.dataRoot, 0o710);
    makeFolder(settings.execRoot, 0o711);
    const pid = new PidFile(settings.pidfile);
    if (!order.claim) pid.hold();
    try {
      const bequest = await order.claim?.();
      const read = (id: string) => readSettings(order, id);
      const core = await EngineCore.start(settings.dataRoot, read, logger, order.edge, bequest);
      const host = new EngineHost(order, settings, pid, logger, core);
      await host.#listen();
      pid.hold(true);
      return host;
    } catch (error) {
      pid.release();
      throw error;
    }
  }

  async #listen(): Promise<void> {
    try {
      const { sockets } = this.#order;
      this.#fronts = await openFronts(this.#api, this.#settings, sockets, this.logger);
    } catch (error) {
      await this.#core.close();
      throw error;
    }
  }

  /** Where the agent of a daemon takes orders. */
  static agentSocket(order: EngineOrder): string {
    return agentSocketOf(readSettings(order, ''));
  }

  /** Reads the file again; what cannot change while it runs stays. A fault changes nothing. */
  reload(): void {
    try {
      const { options, logLevel } = readSettings(this.#order, this.#core.id);
      this.#core.engine.reload(options);
      this.logger.setLevel(logLevel);
      this.logger.info('engine options reloaded');
    } catch (error) {
      this.logger.error('engine options not reloaded', { reason: errorText(error) });
    }
  }

  handOver(send: Send): void {
    for (const { key, handle } of this.#fronts) send({ type: 'front', key }, handle);
  }

  /**
   * Answers what is under way, keeps new clients waiting, and lets go of the state. Throws when calls
   * take too long; then all goes on as before.
   */
  async release(): Promise<Bequest> {
    const end = performance.now() + BRIEF_MS;
    this.#api.leave();
    await delay(LINGER_MS);
    for (;;) {
      for (const front of this.#fronts) front.hold();
      const late = await this.#api.brief(Math.max(0, end - performance.now()));
      const { startsAwaited } = this.#core.engine.containers.lifecycle;
      if (late.length === 0 && !startsAwaited) break;
      // Whoever is attached to a container that is yet to start is about to start it.
      for (const front of this.#fronts) front.release();
      if (performance.now() > end) {
        this.#api.stay();
        const what = late[0] ?? 'a client is attached to a container that is yet to start';
        throw new SluiceError('E_UPGRADE_REFUSED', `still under way after 10 s: ${what}`);
      }
      await delay(LOOK_EVERY_MS);
    }
    this.#state = 'released';
    const core = this.#core;
    this.#left = this.#api.left().then(() => core.disconnect());
    this.#bequest = await core.retire();
    return this.#bequest;
  }

  /** Takes the state back, and goes on as it was. */
  async resume(): Promise<void> {
    if (this.#state !== 'released') return;
    const { settings } = this.#core;
    try {
      // Not what the files say now, which may be what the successor has failed of.
      this.#core = await EngineCore.start(
        settings.dataRoot,
        () => settings,
        this.logger,
        this.#order.edge,
        this.#bequest,
      );
    } catch (error) {
      this.logger.error('the engine does not come back', { reason: errorText(error) });
      this.#order.onLost();
      return;
    }
    this.#state = 'serving';
    this.#api.serve(this.#core.engine, this.#core.member);
    for (const front of this.#fronts) front.release();
  }

  async leave(passOn: PassOn): Promise<void> {
    this.#state = 'succeeded';
    for (const front of this.#fronts) {
      await front.passOn((socket) => passOn({ type: 'client', key: front.key }, socket));
    }
  }

  /** Resolves, after `leave`, when the streams that this process still carries have ended. */
  get left(): Promise<void> {
    return this.#left;
  }

  /** Serves a client that the daemon before has accepted. */
  take(key: string, socket: Socket): void {
    const front = this.#fronts.find((one) => one.key === key);
    if (front) front.take(socket);
    else socket.destroy();
  }

  /** Lets go of clients and agent. Containers run on. */
  async close(): Promise<void> {
    const before = this.#state;
    this.#state = 'ended';
    if (before !== 'succeeded') for (const front of this.#fronts) front.close();
    this.#api.close();
    if (before === 'serving') await this.#core.close();
    this.#pid.release();
  }
}
