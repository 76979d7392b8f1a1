import type { Clock } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { KIND, type TaskReport } from '../../model/cluster.ts';
import { isStale } from '../../store/edit.ts';
import type { Change } from '../../store/embedded-store.ts';
import { MAX_CHANGES, packed, type Store } from '../../store/store.ts';
import { findTask } from './cluster-state.ts';
import { isNews } from './report.ts';

const RETRY_MS = 500;

type Entry = { readonly nodeId: string; readonly report: TaskReport };

/** Writes what nodes report of their tasks, the latest of each task, many at once. */
export class ReportWriter {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** By task: no more than there are tasks. */
  readonly #waiting = new Map<string, Entry>();
  #writing = false;
  #closed = false;
  /** Reports of tasks that are not the node's. */
  foreign = 0;

  constructor(store: Store, clock: Clock, logger: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Takes a report of a node; one of another node's task is counted and dropped. */
  add(nodeId: string, taskId: string, report: TaskReport): void {
    if (findTask(this.#store, taskId)?.nodeId === nodeId) {
      this.#waiting.set(taskId, { nodeId, report });
      void this.#run();
    } else this.foreign++;
  }

  close(): void {
    this.#closed = true;
  }

  async #run(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    try {
      while (this.#waiting.size > 0 && !this.#closed) await this.#batch();
    } finally {
      this.#writing = false;
    }
  }

  async #batch(): Promise<void> {
    const batch = [...this.#waiting].slice(0, MAX_CHANGES);
    for (const [id] of batch) this.#waiting.delete(id);
    const groups = batch.map(([id, entry]) => this.#change(id, entry));
    try {
      for (const pack of packed(groups.filter(({ length }) => length > 0))) {
        await this.#store.update(pack.flat());
      }
    } catch (error) {
      for (const [id, entry] of batch) {
        if (!this.#waiting.has(id)) this.#waiting.set(id, entry);
      }
      if (isStale(error)) return;
      this.#logger.warn('reports of tasks wait for the store', { reason: errorText(error) });
      await new Promise<void>((resolve) => void this.#clock.after(RETRY_MS, resolve));
    }
  }

  #change(id: string, { nodeId, report }: Entry): Change[] {
    const task = findTask(this.#store, id);
    if (task?.nodeId !== nodeId || !isNews(task.report, report)) return [];
    const expected = this.#store.get(KIND.task, id)?.version;
    return [{ kind: KIND.task, id, value: { ...task, report }, expected }];
  }
}
