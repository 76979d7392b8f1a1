import { SluiceError } from '../../src/base/errors.ts';
import { defaultIngress } from '../../src/control/cluster/orchestration/network-plan.ts';
import type { Plan, Stage } from '../../src/control/cluster/orchestration/stage.ts';
import { ClusterView } from '../../src/control/cluster/orchestration/view.ts';
import { NO_REPORT } from '../../src/control/cluster/report.ts';
import { plainAttachment } from '../../src/control/cluster/task-order.ts';
import {
  type ClusterNetwork,
  type ClusterNode,
  type ClusterService,
  type ClusterTask,
  KIND,
  type ServicePort,
  type ServiceSpec,
  type TaskTemplate,
} from '../../src/model/cluster.ts';
import type { Change } from '../../src/store/embedded-store.ts';
import { LocalStore } from '../../src/store/local-store.ts';
import { aNode, aService, aSpec, aTemplate } from './cluster-objects.ts';

const CREATED = '2026-01-01T00:00:00.000000000Z';

/** A node of four processors and 8 GiB. */
export function nodeOf(
  id: string,
  {
    description,
    ...change
  }: Partial<Omit<ClusterNode, 'description'>> & {
    readonly description?: Partial<ClusterNode['description']>;
  } = {},
): ClusterNode {
  const node = aNode(id, change);
  const size = { nanoCpus: 4e9, memoryBytes: 8 * 2 ** 30 };
  return { ...node, description: { ...node.description, ...size, ...description } };
}

/** An overlay that asks for these subnets. */
export function aNetwork(
  id: string,
  subnets: readonly string[] = [],
  change: Partial<ClusterNetwork['spec']> = {},
): ClusterNetwork {
  const { spec, ...rest } = defaultIngress(id, CREATED);
  const blocks = subnets.map((subnet) => ({
    ...{ subnet, ipRange: undefined, gateway: undefined, auxAddresses: {} },
  }));
  const ipam = { ...spec.ipam, blocks, chosen: blocks.length > 0 };
  return { ...rest, name: id, spec: { ...spec, ingress: false, ipam, ...change } };
}

/** What tasks of these networks are made of. */
export function joining(
  networks: readonly string[],
  change: Partial<TaskTemplate> = {},
): TaskTemplate {
  return aTemplate({ networks: networks.map(plainAttachment), ...change });
}

/** A port of a service; without a published one it is to be chosen. */
export function aPort(
  targetPort: number,
  publishedPort?: number,
  change: Partial<ServicePort> = {},
): ServicePort {
  return { name: '', transport: 'tcp', targetPort, publishedPort, mode: 'ingress', ...change };
}

/** A service that has been given nothing yet. */
export function newService(
  id: string,
  change: Partial<Omit<ServiceSpec, 'update' | 'rollback'>> = {},
): ClusterService {
  return { ...aService(id, aSpec(change)), ports: [] };
}

/** A new task of a service, as its reconciler makes it. */
export function aTask(
  id: string,
  { id: serviceId, spec, specVersion, ports }: ClusterService,
  change: Partial<ClusterTask> = {},
): ClusterTask {
  return {
    ...{ id, name: id, labels: {}, created: CREATED, updated: CREATED },
    ...{ serviceId, slot: 1, nodeId: '', specVersion, template: spec.template },
    ports: ports.length > 0 ? ports : spec.ports,
    ...{ addresses: {}, desired: 'running', report: NO_REPORT, ...change },
  };
}

/** A state in memory, and stages that work on it as a leader lets them. */
export class StageBench {
  readonly store = new LocalStore(':memory:');
  now = 0;
  /** Milliseconds since 1970. */
  wall = Date.parse(CREATED);
  #view = new ClusterView(this.store);
  #unwatch = this.store.watch((events) => this.#view.apply(events));
  #stages: readonly Stage[] = [];
  readonly #make: () => readonly Stage[];

  constructor(make: () => readonly Stage[]) {
    this.#make = make;
    this.lead();
  }

  get view(): ClusterView {
    return this.#view;
  }

  /** Another leader begins. */
  lead(): void {
    this.#unwatch();
    this.#view = new ClusterView(this.store);
    this.#unwatch = this.store.watch((events) => this.#view.apply(events));
    this.#stages = this.#make();
  }

  async put<T extends { readonly id: string }>(
    kind: 'cluster' | 'node' | 'network' | 'service' | 'task' | 'attachment',
    ...values: readonly T[]
  ): Promise<void> {
    for (const value of values) {
      await this.store.update([{ kind: KIND[kind], id: value.id, value }]);
    }
  }

  /** Shows objects to the stages that nobody has written. */
  show(kind: 'node' | 'task', values: readonly { readonly id: string }[]): void {
    const events = values.map((value) => ({
      ...{ kind, id: value.id, object: { id: value.id, version: 1, value } },
    }));
    this.#view.apply(events);
  }

  async remove(kind: 'node' | 'network' | 'service' | 'task', id: string): Promise<void> {
    await this.store.update([{ kind: KIND[kind], id, value: undefined }]);
  }

  /** Lets every stage plan until none wants anything more; groups that `keeps` refuses are lost. */
  async settle(keeps: (group: readonly Change[]) => boolean = () => true): Promise<void> {
    for (let round = 0; round < 100; round++) {
      const touched = this.#view.takeTouched();
      let written = 0;
      for (const stage of this.#stages) {
        const { groups } = stage.plan(this.#view, touched, this.now, this.wall);
        written += await this.#write(groups.filter(keeps));
      }
      if (written === 0) return;
    }
    throw new Error('the stages want more and more');
  }

  /** Lets every stage plan twice before anything is written, of the first time every second change. */
  async overlap(): Promise<void> {
    const touched = this.#view.takeTouched();
    for (const stage of this.#stages) {
      const plan = () =>
        stage
          .plan(this.#view, touched, this.now, this.wall)
          .groups.flat()
          .map((one) => [one]);
      const [first, second] = [plan(), plan()];
      await this.#write([...first.filter((_, index) => index % 2 === 0), ...second]);
    }
  }

  async #write(groups: Plan['groups']): Promise<number> {
    let written = 0;
    for (const group of groups) {
      try {
        await this.store.update(group);
        written++;
      } catch (error) {
        if (!(error instanceof SluiceError && error.code === 'E_STORE_STALE')) throw error;
      }
    }
    return written;
  }

  /** What a new stage wants of the tasks that there are. */
  planAnew(stage: Stage): { readonly tasks: readonly ClusterTask[]; readonly ms: number } {
    const start = performance.now();
    const { groups } = stage.plan(this.#view, this.#view.everything(), this.now, this.wall);
    const ms = Math.round(performance.now() - start);
    const tasks = groups.flat().filter(({ kind }) => kind === KIND.task);
    // exempt(as): stages write tasks as tasks
    return { tasks: tasks.map(({ value }) => value as ClusterTask), ms };
  }

  network(id: string): ClusterNetwork {
    return need(this.#view.networks.get(id)?.value, id);
  }

  service(id: string): ClusterService {
    return need(this.#view.services.get(id)?.value, id);
  }

  task(id: string): ClusterTask {
    return need(this.#view.tasks.get(id)?.value, id);
  }
}

function need<T>(value: T | undefined, id: string): T {
  if (value === undefined) throw new Error(`there is no ${id}`);
  return value;
}
