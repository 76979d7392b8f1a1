import { type ClusterTask, KIND } from '../../../model/cluster.ts';
import type { Change } from '../../../store/embedded-store.ts';
import { timestamp } from '../../ids.ts';
import { isOver, progress } from '../cluster-state.ts';
import { Agenda } from './agenda.ts';
import { planOf } from './drafts.ts';
import { deleted, isWanted, type Slot, servicesOf, slotsOf, type Task, turned } from './slots.ts';
import type { Plan, Stage } from './stage.ts';
import type { ClusterView, Touched } from './view.ts';

/** How long a node may be down until its tasks are given up. */
export const ORPHAN_MS = 24 * 3600_000;

/**
 * Takes tasks away: those of services that went, those that are to be removed and run no more, and
 * of each slot those that are too old to be shown. Says of which ones nobody will ever hear again.
 * Takes attachments away whose node went.
 */
export class Reaper implements Stage {
  readonly #agenda = new Agenda();
  /** When each node that is down was first seen so, in ms of the clock's `now`. */
  readonly #downSince = new Map<string, number>();

  plan(view: ClusterView, touched: Touched, now: number, wall: number): Plan {
    const nodes = this.#agenda.take(touched.nodes, now);
    for (const id of nodes) this.#watch(id, view, now);
    const services = servicesOf(view, { ...touched, nodes });
    if (touched.cluster) for (const id of view.services.keys()) services.add(id);
    const changes = [...services].flatMap((id) => this.#ofService(id, view, now, wall));
    changes.push(...this.#strandedAttachments(view, touched, nodes, now));
    return { ...planOf(changes), wakeAt: this.#agenda.wakeAt };
  }

  /** Those whose node will not say any more when their container has gone. */
  #strandedAttachments(
    view: ClusterView,
    { attachments }: Touched,
    nodes: Iterable<string>,
    now: number,
  ): Change[] {
    const added = [...attachments].flatMap((id) => view.attachments.get(id)?.value.nodeId ?? []);
    const lost = [...new Set([...nodes, ...added])].filter((id) => this.#isLost(id, view, now));
    const stranded = lost.flatMap((nodeId) => [...view.attachmentsOfNode(nodeId).values()]);
    return stranded.map(({ version, value: { id } }) => ({
      ...{ kind: KIND.attachment, id, value: undefined, expected: version },
    }));
  }

  #watch(id: string, view: ClusterView, now: number): void {
    if (view.nodes.get(id)?.value.status !== 'down') {
      this.#downSince.delete(id);
      return;
    }
    const since = this.#downSince.get(id) ?? now;
    this.#downSince.set(id, since);
    if (now - since < ORPHAN_MS) this.#agenda.note(id, since + ORPHAN_MS);
  }

  #ofService(id: string, view: ClusterView, now: number, wall: number): Change[] {
    const going = !view.services.has(id);
    const changes: Change[] = [];
    for (const slot of slotsOf(view, id).values()) {
      const surplus = going ? [] : this.#surplus(slot, view);
      for (const task of slot.tasks) {
        const { desired, report, nodeId } = task.value;
        const removed = going || desired === 'remove';
        const lost = nodeId !== '' && this.#isLost(nodeId, view, now);
        if (surplus.includes(task)) changes.push(deleted(task));
        else if (removed && (lost || mayGo(task))) changes.push(deleted(task));
        else if (going && desired !== 'remove') changes.push(turned(task, 'remove', wall));
        else if (lost && !isWanted(task) && !isOver(report.state))
          changes.push(orphaned(task, wall));
      }
    }
    return changes;
  }

  #isLost(nodeId: string, view: ClusterView, now: number): boolean {
    if (!view.nodes.has(nodeId)) return true;
    const since = this.#downSince.get(nodeId);
    return since !== undefined && now - since >= ORPHAN_MS;
  }

  /**
   * What no node ever had is not worth showing. Of the others never the latest: it says how the
   * slot is, and what follows it is named after it.
   */
  #surplus({ tasks }: Slot, { cluster }: ClusterView): readonly Task[] {
    const never = tasks.filter((task) => !isWanted(task) && !wasAssigned(task));
    const history = cluster?.spec.taskHistory ?? -1;
    if (history < 0) return never;
    const { maxAttempts = 0 } = tasks.at(-1)?.value.template.restart ?? {};
    // Attempts are counted by the tasks that there were.
    const limit = Math.max(history, maxAttempts > 0 ? maxAttempts + 1 : 0);
    const old = tasks
      .slice(0, -1)
      .filter((task) => !isWanted(task) && isOver(task.value.report.state));
    return [...never, ...old.slice(0, Math.max(0, tasks.length - never.length - limit))];
  }
}

function wasAssigned({ value: { report } }: Task): boolean {
  return progress(report.state) >= progress('assigned');
}

/** Whether no node has anything of a task. */
function mayGo(task: Task): boolean {
  return isOver(task.value.report.state) || !wasAssigned(task);
}

function orphaned({ version, value }: Task, wall: number): Change {
  const at = timestamp(wall);
  const error = 'the node has not been heard of again';
  const report = { ...value.report, state: 'orphaned' as const, at, error, serving: false };
  const next: ClusterTask = { ...value, report, updated: at };
  return { kind: KIND.task, id: value.id, value: next, expected: version };
}
