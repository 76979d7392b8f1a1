import type { Clock } from '../base/clock.ts';
import { errorText } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { Rng } from '../base/rng.ts';
import type { AgentEvents, AgentPort } from '../link/agent-port.ts';
import type { TaskExit } from '../model/task-spec.ts';
import type { PluginOptions } from '../plugin/plugin-host.ts';
import type { EmbeddedStore } from '../store/embedded-store.ts';
import { ContainerFiles } from './container-files.ts';
import { Containers } from './containers.ts';
import type { DaemonOptions, HostFacts } from './daemon-options.ts';
import { EventLog } from './event-log.ts';
import { HostPlane } from './host-plane.ts';
import { Images } from './images.ts';
import { KeyedLock } from './keyed-lock.ts';
import { Networks } from './networks.ts';
import { type ClusterNetworks, type ControlParts, NO_CLUSTER_NETWORKS } from './parts.ts';
import { PortAllocator } from './port-allocator.ts';
import { Registry } from './registry.ts';
import { RemoteDrivers } from './remote/remote-drivers.ts';
import type { CompileContext } from './topology.ts';
import { Volumes } from './volumes.ts';

/** When an end that could not be written, as on a full disk, is tried again. */
const END_RETRY_MS = 1000;

type EngineDeps = {
  readonly store: EmbeddedStore;
  readonly agent: AgentPort;
  readonly options: DaemonOptions;
  readonly facts: HostFacts;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly logger: Logger;
  /** Where third-party drivers are looked for. */
  readonly plugins: PluginOptions;
};

/** The control plane of one host: its networks and containers over one agent. */
export class Engine implements AgentEvents {
  readonly registry: Registry;
  readonly events: EventLog;
  readonly networks: Networks;
  readonly containers: Containers;
  readonly images: Images;
  readonly volumes: Volumes;
  readonly files: ContainerFiles;
  readonly agent: AgentPort;
  readonly facts: HostFacts;
  readonly remote: RemoteDrivers;
  /** Networks of the cluster that this host is of. */
  overlays: ClusterNetworks = NO_CLUSTER_NETWORKS;
  readonly #parts: ControlParts;
  #options: DaemonOptions;
  #agentConnected = true;
  #closed = false;

  constructor({ store, agent, options, facts, clock, rng, logger, plugins }: EngineDeps) {
    this.agent = agent;
    this.facts = facts;
    this.#options = options;
    this.registry = new Registry(store);
    this.events = new EventLog(clock);
    const { registry } = this;
    this.remote = new RemoteDrivers({ store, registry, clock, logger, options: plugins });
    const ports = new PortAllocator(facts.dynamicPorts());
    for (const { id, bindings } of this.registry.containers) {
      for (const binding of bindings) ports.take(binding, id);
    }
    const current = () => this.#options;
    const overlays = () => this.overlays;
    const context: CompileContext = {
      registry: this.registry,
      facts,
      cluster: { intent: undefined, names: new Map() },
      get options() {
        return current();
      },
    };
    this.#parts = {
      registry: this.registry,
      plane: new HostPlane(context, agent),
      agent,
      remote: this.remote,
      get overlays() {
        return overlays();
      },
      events: this.events,
      ports,
      lock: new KeyedLock(),
      clock,
      rng,
      logger,
    };
    this.networks = new Networks(this.#parts);
    this.volumes = new Volumes(this.#parts);
    this.containers = new Containers(this.#parts, this.volumes);
    this.images = new Images(this.#parts);
    this.files = new ContainerFiles(this.#parts);
  }

  get options(): DaemonOptions {
    return this.#options;
  }

  /** Takes over what can change while containers run: labels and the time to stop. */
  reload({ labels, shutdownTimeoutMs }: DaemonOptions): void {
    this.#options = { ...this.#options, labels, shutdownTimeoutMs };
    this.events.emit('daemon', 'reload', '', { labels: JSON.stringify(labels) });
  }

  get context(): CompileContext {
    return this.#parts.plane.context;
  }

  /** What brings the kernel of this host to what is to be shown. */
  get plane(): HostPlane {
    return this.#parts.plane;
  }

  /** Brings host and containers to what is stored. The agent must be connected. */
  async start(): Promise<void> {
    this.networks.ensureDefaults();
    await this.#sync();
    await this.containers.lifecycle.recover(true);
    await this.#removeStrangers();
    this.remote.start();
  }

  /** Stops what runs by itself. */
  close(): void {
    this.#closed = true;
    this.remote.debts.close();
    this.containers.lifecycle.close();
  }

  /** The same, and resolves when nothing is under way that another engine would not know of. */
  async retire(): Promise<void> {
    this.close();
    await this.#parts.lock.settled();
  }

  taskExited(id: string, exit: TaskExit): void {
    const { logger, clock } = this.#parts;
    void this.containers.lifecycle.ended(id, exit).catch((error: unknown) => {
      logger.error('end of a task not handled yet', { id, reason: errorText(error) });
      clock.after(END_RETRY_MS, () => {
        if (!this.#closed) this.taskExited(id, exit);
      });
    });
  }

  execExited(id: string, exit: TaskExit): void {
    this.containers.execs.ended(id, exit);
  }

  degraded(reason: string): void {
    this.#parts.logger.warn('the host differs from what was asked for', { reason });
  }

  /** Whether orders reach the agent. */
  get agentConnected(): boolean {
    return this.#agentConnected;
  }

  connected(up: boolean): void {
    this.#agentConnected = up;
    if (!up) {
      this.#parts.logger.warn('the agent is gone; networks keep their state');
      return;
    }
    void this.#sync()
      .then(() => this.containers.lifecycle.recover(false))
      .catch((error: unknown) => {
        this.#parts.logger.error('not synchronized with the agent', { reason: errorText(error) });
      });
  }

  async #sync(): Promise<void> {
    for (const { kind, id, message } of await this.#parts.plane.sync()) {
      this.#parts.logger.warn('not in place', { kind, id, reason: message });
    }
  }

  /** Tasks that nobody knows any more, left by a death between two steps. */
  async #removeStrangers(): Promise<void> {
    for (const { id } of await this.agent.tasks()) {
      if (!this.registry.findContainer(id)) await this.agent.removeTask(id);
    }
  }
}
