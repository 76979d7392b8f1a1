import { errorText } from '../../src/base/errors.ts';
import { type Rng, seededRng } from '../../src/base/rng.ts';
import { isOver } from '../../src/control/cluster/cluster-state.ts';
import {
  isDone,
  isServing,
  isUsed,
  isWanted,
  slotsOf,
} from '../../src/control/cluster/orchestration/slots.ts';
import { nextRun } from '../../src/control/cluster/services.ts';
import { plainAttachment } from '../../src/control/cluster/task-order.ts';
import { placeOf } from '../../src/control/cluster/templates.ts';
import { timestamp } from '../../src/control/ids.ts';
import {
  type ClusterNode,
  type ClusterService,
  type ClusterTask,
  KIND,
  type ServiceMode,
  type ServicePort,
  type ServiceSpec,
  type UpdateRule,
} from '../../src/model/cluster.ts';
import { edit } from '../../src/store/edit.ts';
import type { Change } from '../../src/store/embedded-store.ts';
import { LocalStore } from '../../src/store/local-store.ts';
import { MAX_CHANGES } from '../../src/store/store.ts';
import { ClusterLab } from '../support/cluster-lab.ts';
import { aCluster, aNode, aService, aSpec, aTemplate } from '../support/cluster-objects.ts';
import { aNetwork, aPort } from '../support/stage-bench.ts';
import { FaultyStore } from './faulty-store.ts';
import { fits, Invariants } from './invariants.ts';
import { reportChanges, SimNode, tasksByNode } from './sim-node.ts';

export type Shape = {
  readonly nodes: number;
  readonly services: number;
  /** Of each service, at most. */
  readonly replicas: number;
  /** Steps with operations and faults, before all of that stops. */
  readonly steps: number;
  /** Only updates and a troubled store: no node, no task and no scale is at fault. */
  readonly healthy: boolean;
};

/** Longest time that a node may be silent. */
const SILENCE_MS = 15_000;
/** Within so many steps after the faults everything is as it was asked for. */
const SETTLE_STEPS = 600;
const NETWORKS = ['front', 'back'];
const INGRESS = 'ingress';
/** Tasks of this image fail. */
const BROKEN = 'app:broken';

/** Runs a cluster through what a seed says. Throws when something is so that never may be. */
export async function simulate(seed: number, shape: Shape): Promise<void> {
  const simulation = new Simulation(seed, shape);
  try {
    await simulation.run();
  } catch (error) {
    const where = `seed ${seed}, step ${simulation.steps}, ${JSON.stringify(shape)}`;
    throw new Error(`${where}: ${errorText(error)}`, { cause: error });
  }
}

class Simulation {
  readonly #rng: Rng;
  readonly #shape: Shape;
  readonly #lab: ClusterLab;
  readonly #store: FaultyStore;
  readonly #invariants: Invariants;
  readonly #nodes = new Map<string, SimNode>();
  readonly #services = new Set<string>();
  #made = 0;
  #calm = false;
  steps = 0;

  constructor(seed: number, shape: Shape) {
    this.#rng = seededRng(seed);
    this.#shape = shape;
    const local = new LocalStore(':memory:');
    this.#store = new FaultyStore(local, this.#rng);
    this.#lab = new ClusterLab(undefined, local, this.#store);
    this.#lab.fate = (task) => this.#fateOf(task);
    this.#invariants = new Invariants(local, this.#store, shape.healthy);
  }

  async run(): Promise<void> {
    const { nodes, services, steps } = this.#shape;
    for (let count = 0; count < nodes; count++) this.#addNode();
    const all = [...NETWORKS, INGRESS].map((id, index) =>
      aNetwork(id, [`10.${index}.0.0/16`], { ingress: id === INGRESS }),
    );
    const networks = all.map((value) => ({ kind: KIND.network, id: value.id, value }));
    await this.#write([{ kind: KIND.cluster, id: 'cluster', value: aCluster() }, ...networks]);
    for (let count = 0; count < services; count++) await this.#create();
    while (this.steps < steps) {
      await this.#disturb();
      await this.#step();
    }
    await this.#heal();
    for (let left = SETTLE_STEPS; ; left--) {
      const fault = this.#unsettled();
      if (!fault) break;
      if (left === 0) throw new Error(`not as asked for ${SETTLE_STEPS} steps after: ${fault}`);
      await this.#step();
    }
  }

  async #step(): Promise<void> {
    this.steps++;
    const { clock, local } = this.#lab;
    clock.advance(this.#rng.below(1000));
    if (this.#store.trouble < 1 && this.#chance(0.7)) this.#store.catchUp();
    const tasks = tasksByNode(local);
    const changes: Change[] = [];
    for (const node of this.#nodes.values()) {
      const reports = node.step(tasks.get(node.id) ?? [], this.#lab.fate);
      changes.push(...reportChanges(local, node.id, reports, timestamp(clock.wall())));
      changes.push(...this.#watch(node));
    }
    await this.#tell(changes);
    for (let round = 0; round < 3; round++) {
      clock.advance(5);
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#invariants.check();
  }

  /** What the leader's side sees of a node's silence. */
  #watch(node: SimNode): Change[] {
    const now = this.#lab.clock.now();
    if (node.isUp) node.heardAt = now;
    const status = now - node.heardAt > SILENCE_MS ? 'down' : 'ready';
    const value = this.#invariants.view.nodes.get(node.id)?.value;
    if (!value || value.status === status || (status === 'ready' && !node.isUp)) return [];
    return [{ kind: KIND.node, id: node.id, value: { ...value, status } }];
  }

  #chance(likely: number): boolean {
    return this.#rng.next() < likely;
  }

  #pick<T>(all: Iterable<T>): T | undefined {
    const list = [...all];
    return list[this.#rng.below(list.length)];
  }

  /** One thing that somebody does or that goes wrong, or nothing. */
  async #disturb(): Promise<void> {
    if (this.#chance(0.02)) {
      // Who takes the lead has seen what was written before it did.
      this.#store.catchUp();
      this.#lab.lead();
    }
    if (this.#chance(0.05)) this.#store.trouble = this.#pick([0, 0, 0.1, 0.3, 1]) ?? 0;
    if (this.#chance(0.1)) await this.#change();
    if (this.#shape.healthy) return;
    if (this.#chance(0.1)) await this.#operate();
    if (this.#chance(0.1)) this.#break();
  }

  /** An update of a service. */
  async #change(): Promise<void> {
    const id = this.#pick(this.#services);
    if (id === undefined) return;
    const broken = !this.#shape.healthy && this.#chance(0.3);
    const image = broken ? BROKEN : `app:${this.#rng.below(4)}`;
    await this.#respec(id, ({ template, ports, ...spec }) => ({
      ...spec,
      ports: this.#chance(0.2) ? this.#ports() : ports,
      template: {
        ...aTemplate({ restart: template.restart, networks: template.networks }, image),
        constraints: this.#chance(0.2) ? this.#constraints() : template.constraints,
        forceUpdate: template.forceUpdate + this.#rng.below(2),
      },
    }));
  }

  async #operate(): Promise<void> {
    const id = this.#pick(this.#services);
    const node = this.#pick(this.#nodes.keys());
    switch (this.#rng.below(7)) {
      case 0:
        if (this.#services.size < this.#shape.services * 2) await this.#create();
        break;
      case 1:
        if (id === undefined || this.#chance(0.5)) break;
        this.#services.delete(id);
        await this.#write([{ kind: KIND.service, id, value: undefined }]);
        break;
      case 2:
        if (id !== undefined) await this.#scale(id);
        break;
      case 3:
        if (id !== undefined) await this.#rollBack(id);
        break;
      case 4:
        this.#addNode();
        break;
      case 5:
        if (node === undefined || this.#nodes.size < 3 || this.#chance(0.7)) break;
        this.#nodes.delete(node);
        await this.#write([{ kind: KIND.node, id: node, value: undefined }]);
        break;
      default:
        if (node !== undefined) await this.#setNode(node);
    }
  }

  #break(): void {
    const node = this.#pick(this.#nodes.values());
    if (!node) return;
    if (!node.isUp) {
      node.crashed = false;
      node.cutOff = false;
    } else if (this.#chance(0.5)) node.crash();
    else node.cutOff = true;
  }

  async #heal(): Promise<void> {
    this.#calm = true;
    this.#store.trouble = 0;
    this.#store.catchUp();
    for (const node of this.#nodes.values()) {
      node.crashed = false;
      node.cutOff = false;
      await edit<ClusterNode>(this.#lab.local, KIND.node, node.id, (value) => ({
        ...value,
        availability: 'active',
      }));
    }
  }

  #fateOf({ id, template, iteration }: ClusterTask): 'failed' | 'complete' | undefined {
    if (iteration !== undefined && this.#chance(0.3)) return 'complete';
    if (this.#calm || this.#shape.healthy) return undefined;
    if (template.container.image === BROKEN) return 'failed';
    return this.#chance(0.002) && id !== '' ? 'failed' : undefined;
  }

  /** What is not yet as it was asked for; undefined: everything is. */
  #unsettled(): string | undefined {
    const { view } = this.#invariants;
    for (const service of view.services.values()) {
      const fault = this.#unsettledService(service.value);
      if (fault) return `${service.value.id}: ${fault}`;
    }
    for (const { value } of view.tasks.values()) {
      if (!view.services.has(value.serviceId)) return `${value.id} has no service`;
      if (isOver(value.desired) && !isOver(value.report.state)) return `${value.id} still runs`;
    }
    return undefined;
  }

  #unsettledService({ id, spec, progress, job }: ClusterService): string | undefined {
    const { view } = this.#invariants;
    const { constraints } = spec.template;
    if (job) return this.#unfinishedJob({ id, spec, job });
    const global = spec.mode.kind === 'global';
    const fitting = [...view.nodes.values()].filter(({ value }) => fits(value, constraints));
    const places = new Set(fitting.map(({ value }) => value.id));
    // Of a node that fits no more nothing is left but what there was.
    const used = [...slotsOf(view, id).values()].filter(
      (slot) => isUsed(slot) && (!global || places.has(slot.nodeId) || slot.tasks.some(isWanted)),
    );
    // Its tasks wait for a node that fits, and so does an update of it.
    if (!global && fitting.length === 0) return undefined;
    const state = progress?.state;
    if (state === 'updating' || state === 'rollback_started') return `it is ${state}`;
    const wanted = global ? fitting.length : spec.mode.kind === 'replicated' && spec.mode.replicas;
    if (used.length !== wanted) return `${used.length} slots, not ${wanted}`;
    for (const { slot, nodeId, tasks } of used) {
      const serving = tasks.filter(isServing).length;
      if (serving !== 1) return `${serving} tasks serve in slot ${slot || nodeId}`;
      if (tasks.length > 5) return `${tasks.length} tasks are kept of slot ${slot || nodeId}`;
    }
    return undefined;
  }

  /** What a job has yet to do; what its nodes did before they fitted no more counts. */
  #unfinishedJob({ id, spec, job }: Pick<ClusterService, 'id' | 'spec' | 'job'>) {
    const { view } = this.#invariants;
    const { constraints } = spec.template;
    const fitting = [...view.nodes.values()].filter(({ value }) => fits(value, constraints));
    if (fitting.length === 0) return undefined;
    const own = [...view.tasksOfService(id).values()].filter(
      ({ value }) => value.iteration === job?.iteration,
    );
    const left = own.filter((task) => isWanted(task) && !isDone(task)).length;
    if (left > 0) return `${left} tasks are yet to complete`;
    const done = new Set(own.filter(isDone).map(({ value }) => placeOf(value)));
    if (spec.mode.kind === 'global-job') {
      const lacking = fitting.find(({ value }) => !done.has(value.id));
      return lacking && `${lacking.value.id} has not done it`;
    }
    const wanted = spec.mode.kind === 'replicated-job' && spec.mode.completions;
    return done.size === wanted ? undefined : `${done.size} slots are done, not ${wanted}`;
  }

  #addNode(): void {
    const id = `node${++this.#made}`;
    this.#nodes.set(id, new SimNode(id, this.#rng));
    const { clock, local } = this.#lab;
    const node = this.#nodes.get(id);
    if (node) node.heardAt = clock.now();
    const value = aNode(id, { labels: { zone: this.#zone() } });
    void local.update([{ kind: KIND.node, id, value }]);
  }

  async #create(): Promise<void> {
    const id = `service${++this.#made}`;
    this.#services.add(id);
    const rule = (): UpdateRule => ({
      parallelism: this.#rng.below(4) * Math.ceil(this.#shape.replicas / 8),
      delayMs: this.#rng.below(3) * 1000,
      monitorMs: this.#rng.below(6) * 1000,
      failureAction: this.#pick(['pause', 'continue', 'rollback'] as const) ?? 'pause',
      maxFailureRatio: this.#pick([0, 0, 0.3]) ?? 0,
      order: this.#pick(['stop-first', 'start-first'] as const) ?? 'stop-first',
    });
    const update = rule();
    const rollback = { ...rule(), order: update.order };
    const restart = { ...aTemplate().restart, delayMs: this.#rng.below(3) * 2000 };
    const networks = NETWORKS.filter(() => this.#chance(0.5)).map(plainAttachment);
    const template = aTemplate({ restart, networks, constraints: this.#constraints() });
    const spec = aSpec({ mode: this.#mode(), update, rollback, template, ports: this.#ports() });
    await this.#write([{ kind: KIND.service, id, value: aService(id, spec), expected: 0 }]);
  }

  #constraints(): string[] {
    return this.#chance(0.5) ? [] : [`node.labels.zone!=${this.#zone()}`];
  }

  #zone(): string {
    return this.#pick(['a', 'b', 'c']) ?? '';
  }

  #ports(): ServicePort[] {
    return this.#chance(0.5) ? [] : [aPort(80 + this.#rng.below(2))];
  }

  #mode(): ServiceMode {
    if (!this.#shape.healthy && this.#chance(0.3)) {
      if (this.#chance(0.3)) return { kind: 'global-job' };
      const completions = this.#replicas();
      return { kind: 'replicated-job', completions, concurrent: 1 + this.#rng.below(completions) };
    }
    const global = this.#chance(0.2);
    return global ? { kind: 'global' } : { kind: 'replicated', replicas: this.#replicas() };
  }

  #replicas(): number {
    return 1 + this.#rng.below(this.#shape.replicas);
  }

  async #scale(id: string): Promise<void> {
    await this.#respec(id, (spec) => {
      if (spec.mode.kind !== 'replicated') return spec;
      return { ...spec, mode: { kind: 'replicated', replicas: this.#replicas() } };
    });
  }

  async #rollBack(id: string): Promise<void> {
    const now = timestamp(this.#lab.clock.wall());
    await edit<ClusterService>(this.#lab.local, KIND.service, id, (service) =>
      service.previous && !service.job
        ? {
            ...service,
            spec: service.previous,
            previous: service.spec,
            specVersion: service.specVersion + 1,
            progress: {
              ...{ state: 'rollback_started', started: now, completed: undefined },
              message: 'manually requested rollback',
            },
          }
        : undefined,
    );
  }

  async #setNode(id: string): Promise<void> {
    const availability = this.#pick(['active', 'active', 'pause', 'drain'] as const) ?? 'active';
    const change = this.#chance(0.5) ? { availability } : { labels: { zone: this.#zone() } };
    await edit<ClusterNode>(this.#lab.local, KIND.node, id, (node) => ({ ...node, ...change }));
  }

  async #respec(id: string, change: (spec: ServiceSpec) => ServiceSpec): Promise<void> {
    const now = timestamp(this.#lab.clock.wall());
    await edit<ClusterService>(this.#lab.local, KIND.service, id, (service) => {
      const { job, specVersion } = service;
      const spec = change(service.spec);
      return {
        ...service,
        ...{ spec, previous: service.spec, specVersion: specVersion + 1, progress: undefined },
        ...(job && { job: nextRun(job, service.spec, spec, now) }),
      };
    });
  }

  /** What nodes say; where the leader was faster they say it again. */
  async #tell(changes: readonly Change[]): Promise<void> {
    for (let at = 0; at < changes.length; at += MAX_CHANGES) {
      const part = changes.slice(at, at + MAX_CHANGES).filter(({ kind, id, expected }) => {
        const found = this.#lab.local.get(kind, id);
        return expected === undefined || found?.version === expected;
      });
      await this.#lab.local.update(part);
    }
  }

  async #write(changes: readonly Change[]): Promise<void> {
    for (let at = 0; at < changes.length; at += MAX_CHANGES) {
      await this.#lab.local.update(changes.slice(at, at + MAX_CHANGES));
    }
  }
}
