import type { Change } from '../../../store/embedded-store.ts';
import { placeOf } from '../templates.ts';
import {
  emptySlot,
  following,
  isDone,
  isOfRun,
  isWanted,
  type Service,
  type Slot,
  slotsOf,
  type Task,
  turned,
} from './slots.ts';
import type { Plan, Stage } from './stage.ts';
import type { ClusterView, Touched } from './view.ts';

/**
 * Begins the tasks of replicated jobs, as many at once as may run, and ends those of earlier runs
 * of any job. A slot is used once in a run: what failed in it is followed as the restart rule has it.
 */
export class Jobs implements Stage {
  plan(view: ClusterView, { services }: Touched, _now: number, wall: number): Plan {
    const groups = [...services].flatMap((id) => {
      const service = view.services.get(id);
      if (!service?.value.job) return [];
      const slots = slotsOf(view, id);
      const ends = ended(slots, service, wall);
      // Runs of a replicated job do not overlap: what is left of one goes first.
      return ends.length > 0 ? ends : begun(slots, service, view, wall);
    });
    return { groups, wakeAt: undefined };
  }
}

type Slots = ReadonlyMap<string, Slot>;

function ended(slots: Slots, { value: service }: Service, wall: number): Change[][] {
  const tasks = [...slots.values()].flatMap((slot) => slot.tasks);
  const past = tasks.filter((task) => isWanted(task) && !isOfRun(task, service));
  return past.map((task) => [turned(task, 'shutdown', wall)]);
}

function begun(slots: Slots, service: Service, view: ClusterView, wall: number): Change[][] {
  const { mode } = service.value.spec;
  if (mode.kind !== 'replicated-job') return [];
  const tasks = [...slots.values()].flatMap((slot) => slot.tasks);
  const own = tasks.filter((task) => isOfRun(task, service.value));
  const slotsWith = (fits: (task: Task) => boolean) =>
    new Set(own.filter(fits).map(({ value }) => value.slot));
  const active = slotsWith((task) => isWanted(task) && !isDone(task));
  // More than one task may have done the same: a node that was lost has gone on by itself.
  const busy = slotsWith((task) => isWanted(task) || isDone(task));
  const used = slotsWith(() => true);
  const free = Math.min(mode.concurrent - active.size, mode.completions - busy.size);
  const groups: Change[][] = [];
  for (let slot = 1; slot <= mode.completions && groups.length < free; slot++) {
    if (used.has(slot)) continue;
    const place = placeOf({ slot, nodeId: '', iteration: 0 });
    groups.push([following(service, slots.get(place) ?? emptySlot(slot), view, wall)]);
  }
  return groups;
}
