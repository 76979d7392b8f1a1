import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { arch, cpus, hostname, release, totalmem, version } from 'node:os';
import { join } from 'node:path';
import type { EngineFacts } from '../../api/engine/system-routes.ts';
import { systemClock } from '../../base/clock.ts';
import { SluiceError } from '../../base/errors.ts';
import { invalid } from '../../base/faults.ts';
import type { Logger } from '../../base/logger.ts';
import { systemRng } from '../../base/rng.ts';
import type { ClusterMember } from '../../control/cluster/member.ts';
import { Engine } from '../../control/engine.ts';
import type { Exec } from '../../control/execs.ts';
import { newId } from '../../control/ids.ts';
import { ENGINE_METRICS, engineSamples } from '../../control/metrics.ts';
import { Exposition } from '../../gateway/metrics/exposition.ts';
import type { AgentEvents } from '../../link/agent-port.ts';
import { splitHostPort } from '../../model/address.ts';
import { EmbeddedStore } from '../../store/embedded-store.ts';
import type { ClusterEdge } from '../cluster-edge.ts';
import { VERSION } from '../version.ts';
import { type AgentKeeper, prefixOf, startAgentProcess } from './agent-process.ts';
import { clusterMember } from './cluster-host.ts';
import { hostFacts } from './host-facts.ts';
import type { DaemonSettings } from './settings.ts';

/** What lives in the memory of an engine, and passes to the one that takes its place. */
export type Bequest = {
  readonly agentPid: number | undefined;
  /** What opens the keys of a locked manager. */
  readonly unlockKey: string | undefined;
  readonly execs: readonly Exec[];
};

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

type Closer = () => void | Promise<void>;

async function closeAll(closers: readonly Closer[]): Promise<void> {
  for (const one of closers.toReversed()) await one();
}

type Parts = {
  readonly id: string;
  readonly settings: DaemonSettings;
  readonly relay: EventRelay;
  readonly keeper: AgentKeeper;
  readonly engine: Engine;
  readonly member: ClusterMember;
};

/** Starts what stands on a store; `closers` gets the ends of its parts in their order. */
async function startParts(
  store: EmbeddedStore,
  id: string,
  settings: DaemonSettings,
  logger: Logger,
  edge: ClusterEdge | undefined,
  bequest: Bequest | undefined,
  closers: Closer[],
): Promise<Parts> {
  const relay = new EventRelay();
  const keeper = await startAgentProcess(settings, relay, logger, bequest?.agentPid);
  closers.push(() => keeper.close());
  const { options, plugins } = settings;
  const engine = new Engine({
    ...{ store, agent: keeper.agent, logger, options, plugins },
    ...{ facts: hostFacts(prefixOf(settings)), clock: systemClock, rng: systemRng },
  });
  engine.containers.execs.adopt(bequest?.execs ?? []);
  relay.target = engine;
  closers.push(() => engine.close());
  const member = clusterMember(engine, store, settings, logger, edge);
  await engine.start();
  closers.push(() => member.close());
  await member.start();
  if (bequest?.unlockKey !== undefined && member.state === 'locked') {
    await member.unlock(bequest.unlockKey);
  }
  if (settings.metricsAddress !== undefined) {
    const metrics = await serveMetrics(engine, settings.metricsAddress);
    closers.push(() => {
      metrics.close();
      metrics.closeAllConnections();
    });
  }
  return { id, settings, relay, keeper, engine, member };
}

/** The engine with its store, its agent and its place in a cluster. */
export class EngineCore {
  readonly #parts: Parts;
  readonly #closers: readonly Closer[];

  private constructor(parts: Parts, closers: readonly Closer[]) {
    this.#parts = parts;
    this.#closers = closers;
  }

  /** `read` makes the settings of a daemon of that id. Throws when store, agent or address refuse. */
  static async start(
    dataRoot: string,
    read: (id: string) => DaemonSettings,
    logger: Logger,
    edge?: ClusterEdge,
    bequest?: Bequest,
  ): Promise<EngineCore> {
    const closers: Closer[] = [];
    try {
      const store = EmbeddedStore.open(join(dataRoot, 'state.db'));
      closers.push(() => store.close());
      const id = identity(store);
      const parts = await startParts(store, id, read(id), logger, edge, bequest, closers);
      return new EngineCore(parts, closers);
    } catch (error) {
      await closeAll(closers);
      throw error;
    }
  }

  get id(): string {
    return this.#parts.id;
  }

  get engine(): Engine {
    return this.#parts.engine;
  }

  get member(): ClusterMember {
    return this.#parts.member;
  }

  /** What it was started from, with what has been reloaded since. */
  get settings(): DaemonSettings {
    return { ...this.#parts.settings, options: this.engine.options };
  }

  get facts(): EngineFacts {
    return machineFacts(this.id, this.settings);
  }

  /**
   * Lets go of store and cluster, so that another engine may have them. Streams of tasks go on, and
   * those who wait for the end of one are told of it, until `disconnect`.
   */
  async retire(): Promise<Bequest> {
    const { relay, keeper, engine, member } = this.#parts;
    const { lifecycle, execs } = engine.containers;
    const { unlockKey } = member;
    await engine.retire();
    relay.target = {
      taskExited: (id, { code: exitCode }) =>
        lifecycle.waiters.removed(id, { exitCode, error: undefined }),
      execExited: (id, exit) => execs.ended(id, exit),
      degraded: () => {},
      connected: () => {},
    };
    keeper.leave();
    await closeAll(this.#closers);
    return { agentPid: keeper.pid, unlockKey, execs: execs.all };
  }

  /** After `retire`, ends what has gone on. */
  disconnect(): void {
    this.#parts.keeper.disconnect();
  }

  /** Lets go of clients and agent. Containers run on. */
  async close(): Promise<void> {
    await closeAll(this.#closers);
  }
}
