import type { ClusterTask } from '../../../model/cluster.ts';
import type { Change } from '../../../store/embedded-store.ts';
import { isOver } from '../cluster-state.ts';
import { lossOf, unmetBy } from './node-fitness.ts';
import { mayRestart } from './restart-rule.ts';
import {
  following,
  isDone,
  isServing,
  isWanted,
  type Service,
  type Slot,
  servicesOf,
  slotsOf,
  type Task,
  turned,
} from './slots.ts';
import type { Plan, Stage } from './stage.ts';
import type { ClusterView, Touched } from './view.ts';

/**
 * Lets another task follow one that has ended, whose node is gone, down or drained or no longer
 * meets its constraints, as the restart rule has it. On nodes of a global service only what ends by itself is followed.
 */
export class Restarts implements Stage {
  plan(view: ClusterView, touched: Touched, _now: number, wall: number): Plan {
    const groups = [...servicesOf(view, touched)].flatMap((id) => {
      const service = view.services.get(id);
      if (!service) return [];
      return [...slotsOf(view, id).values()].map((slot) => follow(view, service, slot, wall));
    });
    return { groups: groups.filter((group) => group.length > 0), wakeAt: undefined };
  }
}

type End = 'ended' | 'lost' | 'leaves';

/** Why a task that is wanted cannot stay as it is. */
function endOf(task: Task, view: ClusterView): End | undefined {
  const { value } = task;
  if (isDone(task)) return undefined;
  if (isOver(value.report.state)) return 'ended';
  if (value.nodeId === '' || value.slot === 0) return undefined;
  const loss = lossOf(value.nodeId, view);
  if (loss === 'gone' || loss === 'down') return 'lost';
  return loss || unmetIn(value, view) !== undefined ? 'leaves' : undefined;
}

function unmetIn({ nodeId, template }: ClusterTask, view: ClusterView): string | undefined {
  return unmetBy(nodeId, template.constraints, view);
}

function follow(view: ClusterView, service: Service, slot: Slot, wall: number): Change[] {
  const wanted = slot.tasks.filter(isWanted);
  const ends = new Map(wanted.map((task) => [task, endOf(task, view)]));
  const latest = wanted.at(-1);
  const end = latest && ends.get(latest);
  const follows = latest && end && mayRestart(slot, latest, wall);
  const startsFirst = service.value.spec.update.order === 'start-first';
  /** One that still serves while the next one comes up goes when that one does. */
  const lingers = (task: Task) =>
    startsFirst && (follows || !end) && ends.get(task) === 'leaves' && isServing(task);
  const stops = wanted
    .filter((task) => ends.get(task) && !lingers(task))
    .map((task) => turned(task, 'shutdown', wall, unmetIn(task.value, view)));
  return follows ? [...stops, following(service, slot, view, wall)] : stops;
}
