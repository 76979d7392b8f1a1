import type { Change } from '../../../store/embedded-store.ts';
import { Agenda } from './agenda.ts';
import { sameWork } from './same-work.ts';
import {
  hasFailed,
  isGone,
  isServing,
  isWanted,
  type Slot,
  servicesOf,
  slotsOf,
  type Task,
  turned,
} from './slots.ts';
import type { Plan, Stage } from './stage.ts';
import type { ClusterView, Touched } from './view.ts';

/**
 * Brings the tasks of a slot one after another. One that is to be `ready` gets to run once those
 * before it that have to leave are gone, and after one that ended by itself, once the delay of the
 * restart rule is over. Where the one before it stays meanwhile, it leaves when the next one serves.
 */
export class Handover implements Stage {
  readonly #agenda = new Agenda();

  plan(view: ClusterView, touched: Touched, now: number, wall: number): Plan {
    const groups: Change[][] = [];
    for (const id of this.#agenda.take(servicesOf(view, touched), now)) {
      for (const slot of slotsOf(view, id).values()) {
        groups.push(...superseded(slot).map((task) => [turned(task, 'shutdown', wall)]));
        const next = slot.tasks.find(({ value }) => value.desired === 'ready');
        const wait = next ? waits(slot, next, view, wall) : Number.POSITIVE_INFINITY;
        if (next && wait === 0) groups.push([turned(next, 'running', wall)]);
        else if (Number.isFinite(wait)) this.#agenda.note(id, now + wait);
      }
    }
    return { groups, wakeAt: this.#agenda.wakeAt };
  }
}

/** Tasks that stayed until a later one serves, which one does. */
function superseded({ tasks }: Slot): Task[] {
  const wanted = tasks.filter(isWanted);
  return wanted.slice(0, Math.max(0, wanted.findLastIndex(isServing)));
}

/** How many ms a task has still to wait for its turn; infinite: until something changes. */
function waits({ tasks }: Slot, { value }: Task, view: ClusterView, wall: number): number {
  const before = tasks.slice(
    0,
    tasks.findIndex((task) => task.value.id === value.id),
  );
  if (before.some((task) => !isWanted(task) && !isGone(task, view))) {
    return Number.POSITIVE_INFINITY;
  }
  const last = before.at(-1);
  if (!last || last.value.desired === 'remove' || !hasFailed(last)) return 0;
  if (!sameWork(last.value, value)) return 0;
  const { delayMs } = value.template.restart;
  return Math.max(0, Math.min(delayMs, Date.parse(value.created) + delayMs - wall));
}
