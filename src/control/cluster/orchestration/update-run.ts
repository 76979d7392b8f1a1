import type { ClusterService, UpdateRule } from '../../../model/cluster.ts';
import { timestamp } from '../../ids.ts';
import { hasFailed, isCurrent, isServing, isWanted, type Slot, type Task } from './slots.ts';
import type { ClusterView } from './view.ts';

/** The replacement of one slot's task; times in ms of the clock's `now`. */
type Replacement = {
  /** The task that takes over; empty: none does yet. */
  taskId: string;
  ranAt: number | undefined;
  /** When it had come up, or failed to. */
  settledAt: number | undefined;
  failed: boolean;
};

const UNTOUCHED = { taskId: '', ranAt: undefined, settledAt: undefined };

/**
 * What has been seen of an update while it goes on. It is all read from the state, so that another
 * leader, which begins with nothing, finds the same but for some of the times.
 */
export class UpdateRun {
  readonly specVersion: number;
  readonly #slots = new Map<string, Replacement>();
  #lastFailed = '';
  #isNew = true;

  /** Tasks that were made before it are none of its. */
  readonly #since: string;

  constructor({ specVersion, progress }: ClusterService, wall: number) {
    this.specVersion = specVersion;
    const goes = progress && progress.completed === undefined;
    this.#since = goes ? progress.started : timestamp(wall);
  }

  /** Takes in how the slots are now; `old`: the places of those that are still to be replaced. */
  look(
    slots: ReadonlyMap<string, Slot>,
    old: ReadonlySet<string>,
    service: ClusterService,
    view: ClusterView,
    { monitorMs }: UpdateRule,
    now: number,
  ): void {
    for (const place of this.#slots.keys()) if (!slots.has(place)) this.#slots.delete(place);
    for (const [place, slot] of slots) {
      const isOld = old.has(place);
      const latest = isOld ? [] : this.#latestOf(slot, service, view);
      const begun = this.#isNew && this.#wasReplaced(slot, latest);
      const known = this.#slots.get(place);
      const replacement = known ?? { ...UNTOUCHED, failed: false };
      if (isOld || begun) this.#slots.set(place, replacement);
      // What had replaced it may itself have become old.
      if (isOld) Object.assign(replacement, UNTOUCHED);
      else if (known || begun) this.#follow(replacement, latest, monitorMs, now);
    }
    this.#isNew = false;
  }

  /** The task whose failure was one too many; empty: none was. */
  failedBy({ maxFailureRatio }: UpdateRule): string {
    const failed = [...this.#slots.values()].filter((one) => one.failed).length;
    return failed > maxFailureRatio * this.#slots.size ? this.#lastFailed : '';
  }

  /** How many slots may be replaced now. */
  free({ parallelism, delayMs }: UpdateRule, now: number): number {
    if (parallelism === 0) return Number.POSITIVE_INFINITY;
    const busy = [...this.#slots.values()].filter(
      ({ taskId, settledAt }) =>
        taskId !== '' && (settledAt === undefined || settledAt + delayMs > now),
    );
    return Math.max(0, parallelism - busy.length);
  }

  /** When all that was replaced has been watched for long enough; undefined: not all came up. */
  overAt({ monitorMs }: UpdateRule): number | undefined {
    let last = Number.NEGATIVE_INFINITY;
    for (const { settledAt } of this.#slots.values()) {
      if (settledAt === undefined) return undefined;
      last = Math.max(last, settledAt + monitorMs);
    }
    return last;
  }

  /** When the next pause between two slots is over. */
  nextAt({ delayMs }: UpdateRule, now: number): number | undefined {
    const ends = [...this.#slots.values()]
      .map(({ settledAt }) => (settledAt ?? Number.NEGATIVE_INFINITY) + delayMs)
      .filter((at) => at > now);
    return ends.length === 0 ? undefined : Math.min(...ends);
  }

  #follow(one: Replacement, latest: readonly Task[], monitorMs: number, now: number): void {
    const known = latest.find(({ value }) => value.id === one.taskId);
    // One that had to leave its node is followed by another, which counts in its place.
    const left = known && !isWanted(known) && !hasFailed(known);
    const first = latest.find((task) => isWanted(task) || hasFailed(task)) ?? latest.at(-1);
    const task = one.taskId === '' ? first : left ? latest.at(-1) : known;
    if (task) one.taskId = task.value.id;
    if (task && task.value.report.state === 'running') one.ranAt ??= now;
    const nothing = !latest.some(isWanted);
    if (!task || nothing || hasFailed(task) || isServing(task)) one.settledAt ??= now;
    if (!task || !hasFailed(task) || one.failed) return;
    if (one.ranAt !== undefined && now - one.ranAt > monitorMs) return;
    one.failed = true;
    this.#lastFailed = task.value.id;
  }

  /** The tasks of a slot that it made there, or the one that it kept. */
  #latestOf({ tasks }: Slot, service: ClusterService, view: ClusterView): readonly Task[] {
    const current = tasks.slice(tasks.findLastIndex((task) => !isCurrent(task, service, view)) + 1);
    const made = current.filter(({ value }) => value.created >= this.#since);
    if (made.length > 0) return made;
    return current.length > 0 ? current.slice(-1) : tasks.filter(isWanted).slice(-1);
  }

  /** Whether the leader before this one has replaced what was in a slot, as far as can be seen. */
  #wasReplaced({ tasks }: Slot, latest: readonly Task[]): boolean {
    const [first] = latest;
    const last = latest.at(-1);
    if (!first || !last) return false;
    const isNew = first.value.created >= this.#since;
    const settled = isServing(last) || hasFailed(last);
    return settled ? isNew && latest.length < tasks.length : isNew || tasks.length > 1;
  }
}
