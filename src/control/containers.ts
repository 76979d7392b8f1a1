import { conflict, invalid } from '../base/faults.ts';
import type { LogEntry, LogQuery, TaskStats } from '../link/agent-port.ts';
import type {
  Attachment,
  AttachmentRequest,
  Container,
  ContainerSpec,
  ContainerState,
  RestartRule,
} from '../model/container.ts';
import type { Network } from '../model/network.ts';
import { checkAttachment, isJoinable, withAttachment, withoutAttachment } from './attachments.ts';
import { isTask } from './cluster/task-order.ts';
import {
  type ContainerOrder,
  checkMode,
  checkName,
  checkOrder,
  checkRestartRule,
  completeSpec,
  needImage,
} from './container-order.ts';
import { Execs } from './execs.ts';
import { HealthMonitor } from './health-monitor.ts';
import { hostsFile, resolvConf } from './host-files.ts';
import { newId, shortId, stamp } from './ids.ts';
import { Lifecycle } from './lifecycle.ts';
import { lookUp } from './lookup.ts';
import { generateName } from './names.ts';
import { type ControlParts, patch, tell, tellJoin } from './parts.ts';
import { RemoteAttachments } from './remote/remote-attachments.ts';
import type { Volumes } from './volumes.ts';

const CREATED: ContainerState = {
  status: 'created',
  pid: 0,
  exitCode: 0,
  error: '',
  oomKilled: false,
  startedAt: undefined,
  finishedAt: undefined,
  restartCount: 0,
  stopped: false,
  health: undefined,
};

/** What is to be different about a container. */
export type ContainerChange = {
  /** Those that are given; undefined takes one away. */
  readonly limits: Partial<ContainerSpec['limits']>;
  /** When it is started again; undefined: as before. */
  readonly restart: RestartRule | undefined;
  /** What its request, as it is shown, turns into. */
  readonly asked: (asked: unknown) => unknown;
};

/** Containers kept at once; more are refused. */
const MAX_CONTAINERS = 10_000;

function isUp({ state }: Container): boolean {
  return state.status === 'running' || state.status === 'paused';
}

/** The containers of this host. */
export class Containers {
  readonly execs: Execs;
  readonly lifecycle: Lifecycle;
  readonly #parts: ControlParts;
  readonly #remote: RemoteAttachments;
  readonly #volumes: Volumes;

  constructor(parts: ControlParts, volumes: Volumes) {
    this.#parts = parts;
    this.#volumes = volumes;
    this.#remote = new RemoteAttachments(parts);
    this.execs = new Execs(parts);
    const health = new HealthMonitor(parts, this.execs);
    this.lifecycle = new Lifecycle(parts, health, (id) => this.#drop(id, true));
  }

  /** Throws in the words that users know; then nothing is left behind. */
  async create(order: ContainerOrder): Promise<{ id: string; warnings: string[] }> {
    const { registry, agent, clock, rng, plane } = this.#parts;
    checkOrder(order);
    const image = needImage(await agent.images(), order.image);
    if (registry.containerCount >= MAX_CONTAINERS) {
      throw conflict(`there are ${MAX_CONTAINERS} containers, which is the maximum: remove some`);
    }
    if (order.name !== undefined) this.#checkFree(order.name);
    const mode = checkMode(order, (key) => registry.container(key).id);
    const attachments = await this.#attachments(order, mode.kind);
    const bare = completeSpec(order, image, mode);
    const container = await this.#volumes.provide(order.mounts, image, (mounts) => {
      if (order.name !== undefined) this.#checkFree(order.name);
      const made: Container = {
        id: newId(),
        name: order.name ?? generateName(rng, (one) => registry.nameTaken(one) !== undefined),
        created: stamp(clock),
        imageId: image.id,
        spec: { ...bare, mounts },
        attachments,
        sandbox: false,
        bindings: [],
        state: CREATED,
        asked: order.asked,
      };
      registry.putContainer(made);
      return made;
    });
    const { spec } = container;
    tell(this.#parts, 'create', container);
    const warnings: string[] = [];
    if (mode.kind === 'host' && (spec.ports.length > 0 || spec.publishAll)) {
      warnings.push('Published ports are discarded when using host network mode');
    }
    if (spec.ports.length > 0 && !plane.context.options.rules) {
      warnings.push('Published ports have no effect: the daemon runs without rules');
    }
    return { id: container.id, warnings };
  }

  /** `withVolumes`: those that were made for it go as well. */
  async remove(key: string, force: boolean, withVolumes: boolean): Promise<void> {
    const container = this.#parts.registry.container(key);
    const { id, name, state } = container;
    if (isUp(container) || state.status === 'restarting') {
      if (!force) {
        throw conflict(
          `cannot remove container "${name}": container is ${state.status}: stop the container before removing or force remove`,
        );
      }
      await this.lifecycle.end(id);
    }
    await this.#parts.lock.run(id, () => this.#drop(id, withVolumes));
  }

  async rename(key: string, name: string): Promise<void> {
    const { registry, plane } = this.#parts;
    const before = registry.container(key);
    if (name === '') throw invalid('Neither old nor new names may be empty');
    const bare = name.replace(/^\//, '');
    checkName(bare);
    if (bare === before.name) {
      throw invalid('Renaming a container with the same name as its current name');
    }
    this.#checkFree(bare);
    await this.#parts.lock.run(before.id, async () => {
      const after = patch(this.#parts, before.id, { name: bare });
      if (!after) return;
      if (after.sandbox) await plane.refresh(after);
      tell(this.#parts, 'rename', after, { oldName: `/${before.name}` });
    });
  }

  /** Changes limits and restart rule. Throws, and changes nothing, when one of them cannot be. */
  async update(key: string, change: ContainerChange): Promise<void> {
    const { id } = this.#parts.registry.container(key);
    await this.#parts.lock.run(id, async () => {
      const container = this.#parts.registry.container(id);
      const { spec, asked } = container;
      const { restart = spec.restart } = change;
      checkRestartRule(restart);
      if (spec.autoRemove && restart.when !== 'no') {
        throw invalid(
          'Restart policy cannot be updated because AutoRemove is enabled for the container',
        );
      }
      const limits = { ...spec.limits, ...change.limits };
      const limited = Object.keys(change.limits).length > 0;
      if (limited && isUp(container)) await this.#parts.agent.limitTask(id, limits);
      const after = { spec: { ...spec, limits, restart }, asked: change.asked(asked) };
      const next = patch(this.#parts, id, after);
      if (next) tell(this.#parts, 'update', next);
    });
  }

  /** Removes what does not run and `wanted` agrees to. Returns the ids. */
  async prune(wanted: (container: Container) => boolean): Promise<string[]> {
    const idle = [...this.#parts.registry.containers].filter(
      (one) => ['created', 'exited'].includes(one.state.status) && wanted(one),
    );
    for (const { id } of idle) await this.#parts.lock.run(id, () => this.#drop(id, false));
    this.#parts.events.emit('container', 'prune', '', { reclaimed: '0' });
    return idle.map(({ id }) => id);
  }

  async connect(networkKey: string, key: string, request: AttachmentRequest): Promise<void> {
    const { registry, lock } = this.#parts;
    const { id, spec } = registry.container(key);
    const network = await this.#network(networkKey, spec);
    await lock.run(id, async () => {
      const before = registry.container(id);
      const attachments = withAttachment(before, network, request);
      const store = (all: Attachment[]) => patch(this.#parts, id, { attachments: all });
      const after = before.sandbox
        ? await this.#remote.activate(before, attachments, store)
        : store(attachments);
      if (!after) return;
      try {
        await this.#replug(await this.#remote.join(after), before);
      } catch (error) {
        await this.#unplug(registry.container(id), network);
        throw error;
      }
      const added = after.attachments.find(({ networkId }) => networkId === network.id);
      if (added) tellJoin(this.#parts, 'connect', after, added);
    });
  }

  async disconnect(networkKey: string, key: string): Promise<void> {
    const { registry, lock } = this.#parts;
    const { id, spec } = registry.container(key);
    // One that it is on is known here: nobody has to be asked to leave it.
    const known = lookUp(registry.networks, networkKey, 'network');
    const network = known ?? (await this.#network(networkKey, spec));
    await lock.run(id, async () => {
      const before = registry.container(id);
      const after = await this.#unplug(before, network);
      if (!after) return;
      const gone = before.attachments.find(({ networkId }) => networkId === network.id);
      if (gone) tellJoin(this.#parts, 'disconnect', after, gone);
    });
  }

  top(key: string, psArgs: readonly string[]): Promise<readonly (readonly string[])[]> {
    const container = this.#needRunning(key);
    return this.#parts.agent.top(container.id, psArgs);
  }

  /** Undefined: it does not run. */
  async stats(key: string): Promise<TaskStats | undefined> {
    const container = this.#parts.registry.container(key);
    return isUp(container) ? this.#parts.agent.stats(container.id) : undefined;
  }

  /** Returns what stops it. */
  logs(
    key: string,
    query: LogQuery,
    line: (entry: LogEntry) => void,
    ended: () => void,
  ): () => void {
    const container = this.#parts.registry.container(key);
    const follow = query.follow && (isUp(container) || container.state.status === 'restarting');
    return this.#parts.agent.logs(container.id, { ...query, follow }, line, ended);
  }

  /** Size of the terminal in characters. */
  async resize(key: string, columns: number, rows: number): Promise<void> {
    const { id } = this.#needRunning(key);
    await this.#parts.agent.resize(id, columns, rows);
  }

  #needRunning(key: string): Container {
    const container = this.#parts.registry.container(key);
    if (!isUp(container)) throw conflict(`container ${container.id} is not running`);
    return container;
  }

  #checkFree(name: string): void {
    const owner = this.#parts.registry.nameTaken(name);
    if (!owner) return;
    throw conflict(
      `Conflict. The container name "/${name}" is already in use by container "${owner.id}". You have to remove (or rename) that container to be able to reuse that name.`,
    );
  }

  /** By id, name or the beginning of an id: of this host, or one of the cluster that it may join. */
  async #network(key: string, spec: Pick<ContainerSpec, 'labels'>): Promise<Network> {
    const { registry, overlays } = this.#parts;
    const own = lookUp(registry.networks, key, 'network');
    if (own && (own.scope !== 'swarm' || isTask(spec))) return own;
    return (await overlays.find(key)) ?? registry.network(key);
  }

  async #attachments(order: ContainerOrder, kind: string): Promise<Container['attachments']> {
    if (kind !== 'networks') return [];
    const networks = new Map<AttachmentRequest, Network>();
    for (const request of order.attachments) {
      networks.set(request, await this.#network(request.network, order.spec));
    }
    const seen = new Set<string>();
    return [...networks].map(([request, network]) => {
      checkAttachment(request, network);
      if (!isJoinable(network) || seen.has(network.id)) {
        throw invalid(`network ${network.name} cannot be joined like this`);
      }
      seen.add(network.id);
      this.#checkLinks(request, network);
      return { request, networkId: network.id, networkName: network.name, active: undefined };
    });
  }

  #checkLinks({ links }: AttachmentRequest, network: Network): void {
    for (const link of links) {
      const [target = ''] = link.split(':');
      const peer = this.#parts.registry.container(target);
      if (network.name === 'bridge' && !isUp(peer)) {
        throw conflict(`Cannot link to a non running container: /${peer.name} AS ${link}`);
      }
    }
  }

  /** Takes a container off a network; returns it as it is then. */
  async #unplug(before: Container, network: Network): Promise<Container | undefined> {
    const { registry } = this.#parts;
    const attachments = withoutAttachment(before, network, registry);
    const leaving = before.attachments.filter((one) => !attachments.includes(one));
    const owed = this.#remote.owe(leaving);
    const after = patch(this.#parts, before.id, { attachments });
    try {
      if (after) await this.#replug(after, before);
    } finally {
      await this.#remote.settle(owed);
    }
    return after;
  }

  async #replug(after: Container, before: Container): Promise<void> {
    const { plane, agent } = this.#parts;
    if (!after.sandbox) return;
    await plane.refresh(after, before);
    await this.#remote.program(after);
    if (!isUp(after)) return;
    await agent.updateFiles(after.id, {
      hosts: hostsFile(after, plane.context),
      resolvConf: resolvConf(after, plane.context),
    });
  }

  /** The lock of the container is held, or nobody else can have it. */
  async #drop(id: string, withVolumes: boolean): Promise<void> {
    const { registry, agent, plane, logger } = this.#parts;
    const container = registry.findContainer(id);
    if (!container) return;
    this.lifecycle.forget(id);
    this.execs.forget(id);
    const owed = this.#remote.owe(container.attachments);
    registry.dropContainer(id);
    try {
      if (container.sandbox) await plane.withdraw({ ...container, sandbox: false }, container);
    } finally {
      await this.#remote.settle(owed);
    }
    await agent.removeTask(id).catch((error: unknown) => {
      logger.warn('task not removed', { container: shortId(id), reason: String(error) });
    });
    if (withVolumes) await this.#volumes.release(container);
    this.lifecycle.waiters.removed(id, { exitCode: container.state.exitCode, error: undefined });
    tell(this.#parts, 'destroy', container);
  }
}
