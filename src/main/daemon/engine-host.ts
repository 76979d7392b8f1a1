import { chmodSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { arch, cpus, hostname, release, totalmem, version } from 'node:os';
import { join } from 'node:path';
import { EngineServer } from '../../api/engine/engine-server.ts';
import type { EngineFacts } from '../../api/engine/system-routes.ts';
import { systemClock } from '../../base/clock.ts';
import { errorText, SluiceError } from '../../base/errors.ts';
import { invalid } from '../../base/faults.ts';
import type { Logger } from '../../base/logger.ts';
import { systemRng } from '../../base/rng.ts';
import { Engine } from '../../control/engine.ts';
import { newId } from '../../control/ids.ts';
import { ENGINE_METRICS, engineSamples } from '../../control/metrics.ts';
import { Exposition } from '../../gateway/metrics/exposition.ts';
import type { AgentEvents, AgentPort } from '../../link/agent-port.ts';
import { splitHostPort } from '../../model/address.ts';
import type { NativeHandle } from '../../net/handles.ts';
import { EmbeddedStore } from '../../store/embedded-store.ts';
import { PidFile } from '../pid-file.ts';
import type { LeveledLogger } from '../pino-logger.ts';
import { VERSION } from '../version.ts';
import { agentSocketOf, prefixOf } from './agent-process.ts';
import { clusterMember } from './cluster-host.ts';
import { hostFacts, optionFacts } from './host-facts.ts';
import { listenAll } from './listen.ts';
import { type DaemonSettings, daemonSettings } from './settings.ts';

/** What the engine of a daemon is started from. */
export type EngineOrder = {
  /** Values of flags by their key in daemon.json. */
  readonly flags: Readonly<Record<string, unknown>>;
  /** daemon.json; undefined: none. */
  readonly configFile: string | undefined;
  readonly descriptors: ReadonlyMap<string, NativeHandle>;
};

/** Makes the connection to the agent of a daemon; resolves when it answers. */
export type AgentStarter = (
  settings: DaemonSettings,
  events: AgentEvents,
  logger: Logger,
) => Promise<{ agent: AgentPort; close: () => Promise<void> }>;

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

/** The id of this daemon, made when its store is new. */
function identity(store: EmbeddedStore): string {
  const [found] = store.list('daemon');
  if (found) return found.id;
  const id = newId();
  store.write([{ kind: 'daemon', id, value: {} }]);
  return id;
}

/** Events of the agent for an engine that is made after its agent. */
class EventRelay implements AgentEvents {
  target: AgentEvents | undefined;

  taskExited(...args: Parameters<AgentEvents['taskExited']>): void {
    this.target?.taskExited(...args);
  }

  execExited(...args: Parameters<AgentEvents['execExited']>): void {
    this.target?.execExited(...args);
  }

  degraded(reason: string): void {
    this.target?.degraded(reason);
  }

  connected(up: boolean): void {
    this.target?.connected(up);
  }
}

function osName(): string {
  try {
    const text = readFileSync('/etc/os-release', 'utf8');
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(text)?.[1] ?? version();
  } catch {
    return version();
  }
}

function machineFacts(id: string, settings: DaemonSettings): EngineFacts {
  return {
    version: VERSION,
    name: hostname(),
    id,
    kernel: release(),
    os: osName(),
    arch: arch() === 'x64' ? 'amd64' : arch(),
    cpus: cpus().length,
    memoryBytes: totalmem(),
    dataRoot: settings.dataRoot,
    debug: settings.logLevel === 'debug',
  };
}

function serveMetrics(engine: Engine, address: string): Promise<Server> {
  const parts = splitHostPort(address);
  if (!parts) throw invalid(`invalid metrics-addr: "${address}" is not HOST:PORT`);
  const exposition = new Exposition(ENGINE_METRICS);
  const server = createServer((request, response) => {
    if (request.url !== '/metrics') {
      response.writeHead(404).end('page not found\n');
      return;
    }
    void exposition.render(engineSamples(engine)).then((text) => {
      response.writeHead(200, { 'content-type': exposition.contentType }).end(text);
    });
  });
  return new Promise((resolve, reject) => {
    const refused = (error: Error) => {
      const message = `cannot serve metrics on ${address}: ${error.message}`;
      reject(new SluiceError('E_BIND_FAILED', message, { cause: error }));
    };
    server.once('error', refused);
    server.listen({ host: parts.host || '127.0.0.1', port: Number(parts.port) }, () => {
      resolve(server);
    });
  });
}

/** The engine of a daemon with everything around it. */
export class EngineHost {
  readonly #order: EngineOrder;
  readonly #id: string;
  readonly #engine: Engine;
  readonly logger: LeveledLogger;
  /** Where the agent of this daemon takes orders. */
  readonly agentSocket: string;
  readonly #close: (() => void | Promise<void>)[];

  private constructor(
    order: EngineOrder,
    settings: DaemonSettings,
    id: string,
    engine: Engine,
    logger: LeveledLogger,
    close: (() => void | Promise<void>)[],
  ) {
    this.#order = order;
    this.#id = id;
    this.agentSocket = agentSocketOf(settings);
    this.#engine = engine;
    this.logger = logger;
    this.#close = close;
  }

  /** Resolves when the API listens. Throws when flags, file, store, agent or address refuse. */
  static async start(
    order: EngineOrder,
    startAgent: AgentStarter,
    makeLogger: LoggerMaker,
  ): Promise<EngineHost> {
    const close: (() => void | Promise<void>)[] = [];
    try {
      return await EngineHost.#start(order, startAgent, makeLogger, close);
    } catch (error) {
      for (const one of close.reverse()) await one();
      throw error;
    }
  }

  static async #start(
    order: EngineOrder,
    startAgent: AgentStarter,
    makeLogger: LoggerMaker,
    close: (() => void | Promise<void>)[],
  ): Promise<EngineHost> {
    const draft = readSettings(order, '');
    const logger = makeLogger(draft.logLevel);
    for (const warning of draft.warnings) logger.warn(warning);
    makeFolder(draft.dataRoot, 0o710);
    makeFolder(draft.execRoot, 0o711);
    const pid = new PidFile(draft.pidfile);
    pid.hold();
    close.push(() => pid.release());
    const store = EmbeddedStore.open(join(draft.dataRoot, 'state.db'));
    close.push(() => store.close());
    const id = identity(store);
    const settings = readSettings(order, id);
    const relay = new EventRelay();
    const { agent, close: closeAgent } = await startAgent(settings, relay, logger);
    close.push(closeAgent);
    const engine = new Engine({
      ...{ store, agent, logger, options: settings.options, facts: hostFacts(prefixOf(settings)) },
      ...{ clock: systemClock, rng: systemRng, plugins: settings.plugins },
    });
    relay.target = engine;
    close.push(() => engine.close());
    await engine.start();
    const member = clusterMember(engine, store, settings, logger);
    close.push(() => member.close());
    await member.start();
    if (settings.metricsAddress !== undefined) {
      const metrics = await serveMetrics(engine, settings.metricsAddress);
      close.push(
        () => void metrics.close(),
        () => metrics.closeAllConnections(),
      );
    }
    const api = new EngineServer(engine, member, () => machineFacts(id, settings), logger);
    close.push(() => api.close());
    await listenAll(api, settings, order.descriptors, logger);
    return new EngineHost(order, settings, id, engine, logger, close);
  }

  /** Reads the file again; what cannot change while it runs stays. A fault changes nothing. */
  reload(): void {
    try {
      const { options, logLevel } = readSettings(this.#order, this.#id);
      this.#engine.reload(options);
      this.logger.setLevel(logLevel);
      this.logger.info('engine options reloaded');
    } catch (error) {
      this.logger.error('engine options not reloaded', { reason: errorText(error) });
    }
  }

  /** Lets go of clients and agent. Containers run on. */
  async close(): Promise<void> {
    for (const one of this.#close.reverse()) await one();
  }
}
