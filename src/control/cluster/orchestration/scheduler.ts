import { type ClusterTask, KIND } from '../../../model/cluster.ts';
import type { Change } from '../../../store/embedded-store.ts';
import { timestamp } from '../../ids.ts';
import { isActive, isOver, progress, type Versioned } from '../cluster-state.ts';
import { Drafts, planOf } from './drafts.ts';
import { Failures } from './failures.ts';
import { takesTasks } from './node-fitness.ts';
import { type Explanation, explain, explainOne } from './obstacle.ts';
import { type Ask, askOf, NodeLoad, obstacleAt, type Use, useOf } from './placement.ts';
import { Spread } from './spread.ts';
import type { Plan, Stage } from './stage.ts';
import type { ClusterView, Touched } from './view.ts';

const ASSIGNED = 'scheduler assigned task to node';

type Task = Versioned<ClusterTask>;
type Given = { readonly load: NodeLoad; readonly use: Use };

/** Tasks that ask the same of a node: those of one version of a service. */
function groupOf({ id, serviceId, specVersion }: ClusterTask): string {
  return serviceId === '' ? id : `${serviceId}/${specVersion}`;
}

function isAssigned({ nodeId, report }: ClusterTask): boolean {
  return nodeId !== '' && progress(report.state) >= progress('assigned');
}

/**
 * Gives nodes to tasks. A task that has one already, as those of global services do, is held until
 * it fits there. One that cannot be placed says why, and is looked at again when a node has changed
 * or something has become free.
 */
export class Scheduler implements Stage {
  readonly #loads = new Map<string, NodeLoad>();
  /** What tasks take of their nodes, by task. */
  readonly #given = new Map<string, Given>();
  readonly #drafts = new Drafts<ClusterTask>(KIND.task);
  readonly #failures = new Failures();
  /** Ids of tasks that wait for a node, by group, and their groups; those with a node of their own. */
  readonly #waiting = new Map<string, Set<string>>();
  readonly #groups = new Map<string, string>();
  readonly #fixed = new Set<string>();
  /** Groups that no node fits, and whose tasks say so. */
  readonly #stuck = new Set<string>();
  #started = false;

  plan(view: ClusterView, touched: Touched, _now: number, wall: number): Plan {
    for (const id of touched.nodes) this.#load(id).node = view.nodes.get(id)?.value;
    if (touched.nodes.size > 0 || touched.networks.size > 0) this.#stuck.clear();
    for (const id of touched.tasks) this.#settle(view, id, wall);
    this.#started = true;
    this.#failures.forget(wall);
    const at = timestamp(wall);
    const asks = new Map<string, Ask>();
    const ask = (group: string, task: ClusterTask): Ask => {
      const known = asks.get(group) ?? askOf(task, view.networks);
      asks.set(group, known);
      return known;
    };
    const fixed = [...this.#fixed].flatMap((id) => this.#check(view.tasks.get(id), ask, at));
    const placed = [...this.#waiting].flatMap(([group, ids]) =>
      this.#place(
        group,
        [...ids].flatMap((id) => view.tasks.get(id) ?? []),
        ask,
        at,
      ),
    );
    return planOf([...fixed, ...placed]);
  }

  #load(nodeId: string): NodeLoad {
    const load = this.#loads.get(nodeId) ?? new NodeLoad();
    this.#loads.set(nodeId, load);
    return load;
  }

  /** Takes over what the state says of a task; a node that was planned for it stands. */
  #settle(view: ClusterView, id: string, wall: number): void {
    const found = view.tasks.get(id);
    const draft = this.#drafts.of(id, found);
    if (draft && isAssigned(draft)) return;
    this.#forget(id);
    const task = found?.value;
    if (task && isAssigned(task) && !isOver(task.report.state)) {
      this.#give(task, isActive(task));
      return;
    }
    this.#release(id);
    if (!task) return;
    if (isOver(task.report.state)) this.#noteFailure(task, wall);
    else if (task.report.state === 'pending' && isActive(task)) this.#await(task);
  }

  #await(task: ClusterTask): void {
    if (task.nodeId !== '') {
      this.#fixed.add(task.id);
      return;
    }
    const group = groupOf(task);
    this.#stuck.delete(group);
    this.#groups.set(task.id, group);
    this.#waiting.set(group, (this.#waiting.get(group) ?? new Set()).add(task.id));
  }

  /** It does not wait any more. */
  #forget(id: string): void {
    this.#fixed.delete(id);
    const group = this.#groups.get(id);
    if (group === undefined) return;
    this.#groups.delete(id);
    const ids = this.#waiting.get(group);
    ids?.delete(id);
    if (ids?.size === 0) {
      this.#waiting.delete(group);
      this.#stuck.delete(group);
    }
  }

  #noteFailure(task: ClusterTask, wall: number): void {
    const { id, nodeId, report } = task;
    if (nodeId === '' || (report.state !== 'failed' && report.state !== 'rejected')) return;
    // What a leader finds has the node's time; nodes' clocks may be wrong, so the rest has ours.
    const told = Date.parse(report.at);
    const found = !this.#started && told < wall;
    this.#failures.add(groupOf(task), nodeId, id, found ? told : wall);
  }

  #give(task: ClusterTask, counts: boolean): void {
    const load = this.#load(task.nodeId);
    const before = this.#given.get(task.id);
    if (before?.load === load && before.use.counts === counts) return;
    this.#release(task.id);
    const use = useOf(task, counts);
    load.add(use);
    this.#given.set(task.id, { load, use });
  }

  #release(id: string): void {
    const given = this.#given.get(id);
    if (!given) return;
    given.load.remove(given.use);
    this.#given.delete(id);
    this.#stuck.clear();
  }

  /** A task that has a node of its own. */
  #check(
    found: Task | undefined,
    ask: (group: string, task: ClusterTask) => Ask,
    at: string,
  ): Change[] {
    if (!found) return [];
    const { value } = found;
    const standing = this.#standing(found);
    if (standing) return [standing];
    const load = this.#load(value.nodeId);
    const obstacle = obstacleAt(load, ask(groupOf(value), value));
    if (!obstacle) return [this.#assign(found, value.nodeId, at)];
    const hostname = load.node?.description.hostname ?? value.nodeId;
    return this.#tell(found, explainOne(hostname, obstacle), at);
  }

  #place(
    group: string,
    tasks: readonly Task[],
    ask: (group: string, task: ClusterTask) => Ask,
    at: string,
  ): Change[] {
    const [first] = tasks;
    if (!first || this.#stuck.has(group)) return [];
    const wanted = ask(group, first.value);
    let spread: Spread | undefined;
    let explanation: Explanation | undefined;
    const changes = tasks.flatMap((task) => {
      const standing = this.#standing(task);
      if (standing) return [standing];
      spread ??= new Spread(
        this.#loads.values(),
        wanted,
        tasks.length,
        this.#failures.failing(group),
      );
      const node = explanation ? undefined : spread.next()?.node;
      if (node) return [this.#assign(task, node.id, at)];
      explanation ??= this.#explain(wanted);
      return this.#tell(task, explanation, at);
    });
    if (changes.length === 0) this.#stuck.add(group);
    return changes;
  }

  #explain(ask: Ask): Explanation {
    const loads = [...this.#loads.values()].filter(({ node }) => node !== undefined);
    return explain(loads.flatMap((load) => obstacleAt(load, ask) ?? []));
  }

  /** The node that was planned for a task at this version, once more while it takes tasks. */
  #standing(task: Task): Change | undefined {
    const draft = this.#drafts.of(task.value.id, task);
    if (!draft || !isAssigned(draft)) return undefined;
    const { node } = this.#load(draft.nodeId);
    if (node && takesTasks(node)) return this.#drafts.put(task.version, draft);
    this.#release(draft.id);
    return undefined;
  }

  #assign({ version, value }: Task, nodeId: string, at: string): Change {
    const report = {
      ...value.report,
      state: 'assigned',
      at,
      message: ASSIGNED,
      error: '',
    } as const;
    const next: ClusterTask = { ...value, nodeId, report };
    this.#give(next, true);
    return this.#drafts.put(version, next);
  }

  #tell({ version, value }: Task, { message, error }: Explanation, at: string): Change[] {
    const { report } = value;
    if (report.error === error && report.message === message) return [];
    return [this.#drafts.put(version, { ...value, report: { ...report, at, message, error } })];
  }
}
