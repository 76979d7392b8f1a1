import { ManualClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { isOver, nodesOf, progress, tasksOf } from '../../src/control/cluster/cluster-state.ts';
import { Leader } from '../../src/control/cluster/orchestration/leader.ts';
import { defaultIngress } from '../../src/control/cluster/orchestration/network-plan.ts';
import { stages } from '../../src/control/cluster/orchestration/orchestration.ts';
import type { Stage } from '../../src/control/cluster/orchestration/stage.ts';
import { isNews } from '../../src/control/cluster/report.ts';
import { timestamp } from '../../src/control/ids.ts';
import {
  type ClusterNode,
  type ClusterService,
  type ClusterTask,
  KIND,
  type ServiceSpec,
  type TaskReport,
} from '../../src/model/cluster.ts';
import { edit } from '../../src/store/edit.ts';
import type { Change } from '../../src/store/embedded-store.ts';
import { LocalStore } from '../../src/store/local-store.ts';
import { MAX_CHANGES, type Store } from '../../src/store/store.ts';
import { aCluster, aNode, aService } from './cluster-objects.ts';

/** What a simulated node makes of a task that it is about to start or that runs. */
export type Fate = (task: ClusterTask) => 'failed' | 'complete' | 'stuck' | undefined;

/**
 * A cluster in memory: the real store, leader and stages; nodes that do with their tasks what a
 * node does, one move in each step; time that stands until it is moved.
 */
export class ClusterLab {
  readonly clock = new ManualClock();
  /** The state as it is. */
  readonly local: LocalStore;
  /** The state as the leader sees it. */
  readonly store: Store;
  readonly stages: () => readonly Stage[];
  leader: Leader;
  fate: Fate = () => undefined;

  constructor(
    all: () => readonly Stage[] = stages,
    local = new LocalStore(':memory:'),
    store: Store = local,
  ) {
    this.local = local;
    this.store = store;
    this.stages = all;
    this.leader = this.#newLeader();
  }

  /** One with nodes of these names. */
  static async of(...nodes: string[]): Promise<ClusterLab> {
    const lab = new ClusterLab();
    await lab.found(nodes.map((id) => aNode(id)));
    return lab;
  }

  get tasks(): ClusterTask[] {
    return tasksOf(this.local).map(({ value }) => value);
  }

  /** Tasks of a slot or node, the oldest first. */
  of(serviceId: string, slot?: number | string): ClusterTask[] {
    return this.tasks
      .filter((task) => task.serviceId === serviceId)
      .filter((task) => slot === undefined || task.slot === slot || task.nodeId === slot)
      .sort((a, b) => (a.created < b.created ? -1 : 1));
  }

  running(serviceId: string): ClusterTask[] {
    return this.of(serviceId).filter(({ report }) => report.state === 'running');
  }

  service(id: string): ClusterService {
    // exempt(as): the store holds what this program wrote
    return this.local.get(KIND.service, id)?.value as ClusterService;
  }

  async found(nodes: readonly ClusterNode[], taskHistory = 5): Promise<void> {
    const cluster = aCluster(taskHistory);
    const ingress = defaultIngress('ingress', cluster.created);
    const changes = [
      { kind: KIND.cluster, id: cluster.id, value: cluster },
      { kind: KIND.network, id: ingress.id, value: ingress },
      ...nodes.map((value) => ({ kind: KIND.node, id: value.id, value })),
    ];
    for (let at = 0; at < changes.length; at += MAX_CHANGES) {
      await this.local.update(changes.slice(at, at + MAX_CHANGES));
    }
    await this.settle();
  }

  async create(name: string, spec: ServiceSpec): Promise<void> {
    const value = aService(name, spec);
    await this.local.update([{ kind: KIND.service, id: name, value, expected: 0 }]);
    await this.settle();
  }

  /** As the API changes a service: another version, and what it was before. */
  async respec(name: string, change: (spec: ServiceSpec) => ServiceSpec): Promise<void> {
    await edit<ClusterService>(this.local, KIND.service, name, (service) => ({
      ...service,
      spec: change(service.spec),
      ...{ previous: service.spec, previousLabels: service.labels },
      labels: { ...service.labels, version: String(service.specVersion + 1) },
      specVersion: service.specVersion + 1,
      ports: change(service.spec).ports,
      progress: undefined,
    }));
    await this.settle();
  }

  async drop(name: string): Promise<void> {
    await this.local.update([{ kind: KIND.service, id: name, value: undefined }]);
    await this.settle();
  }

  async node(id: string, change: Partial<ClusterNode>): Promise<void> {
    await edit<ClusterNode>(this.local, KIND.node, id, (node) => ({ ...node, ...change }));
    await this.settle();
  }

  async report(id: string, change: Partial<TaskReport>): Promise<void> {
    await edit<ClusterTask>(this.local, KIND.task, id, (task) => {
      const report = { ...task.report, ...change, at: timestamp(this.clock.wall()) };
      return isNews(task.report, report) ? { ...task, report } : undefined;
    });
  }

  /** Another manager leads from now on. */
  lead(): void {
    this.leader.end();
    this.leader = this.#newLeader();
  }

  #newLeader(): Leader {
    const { store, clock } = this;
    return new Leader({ store, clock, logger: silentLogger }, this.stages());
  }

  /** Lets the leader do what there is to do now. */
  async settle(): Promise<void> {
    for (let round = 0; round < 6; round++) {
      this.clock.advance(5);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Each node makes one move with each of its tasks. */
  async step(): Promise<void> {
    const nodes = new Map(nodesOf(this.local).map(({ value }) => [value.id, value]));
    const changes = tasksOf(this.local).flatMap(({ value, version }): Change[] => {
      const node = nodes.get(value.nodeId);
      if (!node || node.status === 'down') return [];
      const news = moved(value, this.fate);
      const report = news && { ...value.report, ...news, at: timestamp(this.clock.wall()) };
      if (!report || !isNews(value.report, report)) return [];
      return [{ kind: KIND.task, id: value.id, value: { ...value, report }, expected: version }];
    });
    for (let at = 0; at < changes.length; at += MAX_CHANGES) {
      await this.local.update(changes.slice(at, at + MAX_CHANGES));
    }
    await this.settle();
  }

  /** Steps until it is so. Throws after `most` of them. */
  async until(text: string, condition: () => boolean, most = 100): Promise<void> {
    for (let steps = 0; !condition(); steps++) {
      if (steps >= most) throw new Error(`not within ${most} steps: ${text}`);
      await this.step();
    }
  }

  /** Lets time pass in which nodes do nothing. */
  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    await this.settle();
  }
}

/** The next thing that a node says of a task, as `TaskRun` would; undefined: nothing. */
export function moved(
  { desired, report, ...rest }: ClusterTask,
  fate: Fate,
): Partial<TaskReport> | undefined {
  const { state } = report;
  if (isOver(state) || progress(state) < progress('assigned')) return undefined;
  if (isOver(desired)) {
    return report.serving ? { serving: false } : { state: 'shutdown', serving: false };
  }
  const happens = fate({ desired, report, ...rest });
  switch (state) {
    case 'assigned':
      return { state: 'accepted' };
    case 'accepted':
      return { state: 'preparing' };
    case 'preparing':
      return { state: 'ready' };
    case 'ready':
      return desired === 'ready' ? undefined : { state: 'starting' };
    default:
      if (happens === 'stuck') return undefined;
      if (happens) return { state: happens, serving: false };
      return { state: 'running', serving: true };
  }
}
