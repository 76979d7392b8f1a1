import type { Rng } from '../../src/base/rng.ts';
import { isOver, progress, tasksOf } from '../../src/control/cluster/cluster-state.ts';
import { isNews } from '../../src/control/cluster/report.ts';
import { type ClusterTask, KIND, type TaskReport } from '../../src/model/cluster.ts';
import type { Change } from '../../src/store/embedded-store.ts';
import type { LocalStore } from '../../src/store/local-store.ts';
import { type Fate, moved } from '../support/cluster-lab.ts';

/** How likely a node hears of its tasks, moves one, and is heard in one step. */
const QUICK = 0.8;

/**
 * A node with what it knows and runs by itself: it hears of its tasks when it is not cut off, and
 * goes on with what it knows when it is.
 */
export class SimNode {
  readonly id: string;
  readonly #rng: Rng;
  readonly #runs = new Map<string, ClusterTask>();
  /** Neither hears nor is heard. */
  cutOff = false;
  crashed = false;
  /** When it was last heard of, in ms. */
  heardAt = 0;

  constructor(id: string, rng: Rng) {
    this.id = id;
    this.#rng = rng;
  }

  get isUp(): boolean {
    return !this.cutOff && !this.crashed;
  }

  /** Its containers end with it. */
  crash(): void {
    this.crashed = true;
    for (const [id, task] of this.#runs) {
      const { state } = task.report;
      if (isOver(state) || progress(state) < progress('starting')) continue;
      this.#say(id, task, { state: 'failed', error: 'the node went down', serving: false });
    }
  }

  /** One step of everything on it; what it has to say. */
  step(tasks: readonly ClusterTask[], fate: Fate): ReadonlyMap<string, TaskReport> {
    if (this.crashed) return new Map();
    if (this.isUp && this.#rng.next() < QUICK) this.#hear(tasks);
    for (const [id, task] of this.#runs) {
      const news = this.#rng.next() < QUICK ? moved(task, fate) : undefined;
      if (news) this.#say(id, task, news);
    }
    const heard = this.isUp && this.#rng.next() < QUICK;
    return new Map(heard ? [...this.#runs].map(([id, { report }]) => [id, report]) : []);
  }

  #say(id: string, task: ClusterTask, news: Partial<TaskReport>): void {
    this.#runs.set(id, { ...task, report: { ...task.report, ...news } });
  }

  #hear(tasks: readonly ClusterTask[]): void {
    const wanted = new Map(
      tasks
        .filter(({ report }) => progress(report.state) >= progress('assigned'))
        .map((task) => [task.id, task]),
    );
    for (const id of this.#runs.keys()) if (!wanted.has(id)) this.#runs.delete(id);
    for (const [id, task] of wanted) {
      const report = this.#runs.get(id)?.report ?? task.report;
      this.#runs.set(id, { ...task, report });
    }
  }
}

/** Tasks by the node that they are on. */
export function tasksByNode(store: LocalStore): Map<string, ClusterTask[]> {
  return Map.groupBy(
    tasksOf(store).map(({ value }) => value),
    ({ nodeId }) => nodeId,
  );
}

/** What a node says of its tasks, as the leader's side writes it. */
export function reportChanges(
  store: LocalStore,
  nodeId: string,
  reports: ReadonlyMap<string, TaskReport>,
  at: string,
): Change[] {
  return [...reports].flatMap(([id, said]) => {
    const found = store.get(KIND.task, id);
    // exempt(as): the store holds what this program wrote
    const task = found?.value as ClusterTask | undefined;
    if (!task || task.nodeId !== nodeId) return [];
    const report = { ...said, at: said.state === task.report.state ? task.report.at : at };
    if (!isNews(task.report, report)) return [];
    return [{ kind: KIND.task, id, value: { ...task, report }, expected: found?.version }];
  });
}
