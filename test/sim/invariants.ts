import { findNode, isOver, type Versioned } from '../../src/control/cluster/cluster-state.ts';
import { meets, readConstraint } from '../../src/control/cluster/orchestration/constraints.ts';
import {
  hasFailed,
  isDone,
  isServing,
  isWanted,
} from '../../src/control/cluster/orchestration/slots.ts';
import { ClusterView } from '../../src/control/cluster/orchestration/view.ts';
import { placeOf } from '../../src/control/cluster/templates.ts';
import {
  type ClusterNode,
  type ClusterService,
  type ClusterTask,
  KIND,
  type UpdateRule,
} from '../../src/model/cluster.ts';
import type { LocalStore } from '../../src/store/local-store.ts';
import type { StoreEvent } from '../../src/store/store.ts';
import type { FaultyStore } from './faulty-store.ts';

/** What must be so after every transaction and every step, whatever has happened. */
export class Invariants {
  readonly view: ClusterView;
  readonly #seen: FaultyStore;
  /** No faults and no scaling: then updates must cost no more than their rule allows. */
  readonly #healthy: boolean;
  /** Tasks that an update put in the place of one that was well, by service. */
  readonly #replacing = new Map<string, Set<string>>();
  /** Services that were seen with every task serving. */
  readonly #wasWhole = new Set<string>();
  /** As they were when the step began: the leader may not have heard since. */
  #nodes: ClusterView['nodes'] = new Map();
  #fault = '';

  /** `seen`: the state as the leader sees it. */
  constructor(store: LocalStore, seen: FaultyStore, healthy: boolean) {
    this.#seen = seen;
    this.view = new ClusterView(store);
    this.#healthy = healthy;
    store.watch((events) => this.#happened(events));
  }

  /** Throws with what is wrong. */
  check(): void {
    if (this.#fault) throw new Error(this.#fault);
    const touched = this.view.takeTouched();
    for (const id of touched.services) {
      const service = this.view.services.get(id)?.value;
      if (service) this.#checkService(service);
    }
    this.#checkAddresses(touched.tasks);
    this.#nodes = new Map(this.view.nodes);
  }

  #happened(events: readonly StoreEvent[]): void {
    for (const { kind, id, object } of events) {
      if (kind !== KIND.task || !object) continue;
      // exempt(as): the store holds what this program wrote
      const task = object.value as ClusterTask;
      const before = this.view.tasks.get(id)?.value;
      if (!before) this.#made(task);
      if (before && before.report.state !== task.report.state) this.#moved(task);
    }
    this.view.apply(events);
  }

  #made(task: ClusterTask): void {
    const latest = [...this.view.tasksOfService(task.serviceId).values()]
      .map(({ value }) => value)
      .filter((value) => placeOf(value) === placeOf(task))
      .reduce<ClusterTask | undefined>(
        (last, value) => (last && last.created > value.created ? last : value),
        undefined,
      );
    // A leader that sees late may replace what is well again.
    const late = !this.#healthy && this.#seen.trouble > 0;
    if (late || !latest || !this.#isWell(latest)) return;
    const replacing = this.#replacing.get(task.serviceId) ?? new Set();
    this.#replacing.set(task.serviceId, replacing.add(task.id));
  }

  /** Whether there is no reason but an update to replace a task. */
  #isWell({ desired, report, nodeId, template: { constraints } }: ClusterTask): boolean {
    if (isOver(desired) || isOver(report.state)) return false;
    const node = this.view.nodes.get(nodeId)?.value;
    if (nodeId === '') return true;
    if (!node || node.availability === 'drain') return false;
    return fits({ ...node, availability: 'active' }, constraints);
  }

  #moved({ id, nodeId, report, template: { constraints } }: ClusterTask): void {
    // A leader that sees late may give a task to a node that was fit when it looked.
    if (report.state !== 'assigned' || this.#seen.trouble > 0) return;
    const node = this.view.nodes.get(nodeId)?.value;
    const nodes = [node, findNode(this.#seen, nodeId), this.#nodes.get(nodeId)?.value];
    if (nodes.some((one) => one && fits(one, constraints))) return;
    this.#fault ||= `task ${id} was given to ${nodeId}, where it does not fit`;
  }

  #checkService(service: ClusterService): void {
    const tasks = [...this.view.tasksOfService(service.id).values()];
    const slots = Map.groupBy(
      tasks.filter(({ value }) => !isOver(value.desired)),
      ({ value }) => placeOf(value),
    );
    const { update, rollback, mode } = service.spec;
    const startsFirst = update.order === 'start-first' || rollback.order === 'start-first';
    for (const [place, wanted] of slots) {
      const running = wanted.filter(({ value }) => value.desired === 'running');
      const most = startsFirst ? 2 : 1;
      if (running.length > most || wanted.length > most + 1) {
        const shown = wanted.map(({ value }) => `${value.id} ${value.desired}`).join(', ');
        throw new Error(`slot ${place} of ${service.id} has several wanted tasks: ${shown}`);
      }
    }
    if (service.job) checkJob(service, tasks);
    else this.#checkParallelism(service);
    if (this.#healthy && mode.kind === 'replicated') this.#checkServing(service, tasks);
  }

  #checkParallelism(service: ClusterService): void {
    const replacing = this.#replacing.get(service.id) ?? new Set<string>();
    for (const id of replacing) {
      const task = this.view.tasks.get(id);
      const over = !task || isServing(task) || hasFailed(task) || isOver(task.value.desired);
      if (over || task.value.specVersion !== service.specVersion) replacing.delete(id);
    }
    const { parallelism } = ruleOf(service);
    if (parallelism > 0 && replacing.size > parallelism) {
      const text = `${replacing.size} tasks of ${service.id} are being replaced at once`;
      throw new Error(`${text}: its rule allows ${parallelism}`);
    }
  }

  #checkServing({ id, spec }: ClusterService, tasks: readonly Versioned<ClusterTask>[]): void {
    if (spec.mode.kind !== 'replicated') return;
    const { replicas } = spec.mode;
    const slots = (those: typeof tasks) => new Set(those.map(({ value }) => value.slot)).size;
    const serving = slots(tasks.filter(({ value }) => value.report.serving));
    if (slots(tasks.filter(isServing)) >= replicas) this.#wasWhole.add(id);
    const { order, parallelism } = spec.update;
    const down = order === 'start-first' ? 0 : parallelism || replicas;
    if (this.#wasWhole.has(id) && serving < replicas - down) {
      throw new Error(`${serving} of ${replicas} tasks of ${id} serve during an update`);
    }
  }

  /** An address is one task's, as long as something of that may run, or one service's. */
  #checkAddresses(touched: ReadonlySet<string>): void {
    if (touched.size === 0) return;
    const taken = new Map<string, string>();
    const take = (id: string, addresses: Readonly<Record<string, string>>) => {
      for (const [network, address] of Object.entries(addresses)) {
        const key = `${network} ${address}`;
        const other = taken.get(key);
        if (other) throw new Error(`${id} and ${other} both have ${key}`);
        taken.set(key, id);
      }
    };
    for (const { value } of this.view.services.values()) take(value.id, value.vips);
    for (const { value } of this.view.tasks.values()) {
      if (!isOver(value.report.state)) take(value.id, value.addresses);
    }
  }
}

/** No more tasks of a job are to run at once than its mode allows. */
function checkJob({ id, spec }: ClusterService, tasks: readonly Versioned<ClusterTask>[]): void {
  if (spec.mode.kind !== 'replicated-job') return;
  const active = tasks.filter((task) => isWanted(task) && !isDone(task));
  const slots = new Set(active.map(({ value }) => value.slot)).size;
  const { concurrent } = spec.mode;
  if (slots <= concurrent) return;
  throw new Error(`${slots} tasks of ${id} are wanted at once: its mode allows ${concurrent}`);
}

function ruleOf({ spec, progress }: ClusterService): UpdateRule {
  return progress?.state.startsWith('rollback') ? spec.rollback : spec.update;
}

/** Whether a node takes tasks that make these conditions. */
export function fits(node: ClusterNode, constraints: readonly string[]): boolean {
  if (node.status !== 'ready' || node.availability !== 'active') return false;
  return constraints.every((text) => meets(node, readConstraint(text)));
}
