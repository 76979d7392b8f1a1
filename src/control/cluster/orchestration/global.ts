import type { ServiceMode } from '../../../model/cluster.ts';
import type { Change } from '../../../store/embedded-store.ts';
import { lossOf, takesTasks, unmetBy } from './node-fitness.ts';
import { mayRestart } from './restart-rule.ts';
import {
  emptied,
  emptySlot,
  following,
  hasFailed,
  isDone,
  isFinished,
  isOfRun,
  isWanted,
  type Service,
  type Slot,
  slotsOf,
  turned,
} from './slots.ts';
import type { Plan, Stage } from './stage.ts';
import type { ClusterView, Touched } from './view.ts';

/**
 * Gives global services one task on each node that fits, and global jobs one in each of their runs
 * on those that were there when it began.
 */
export class Global implements Stage {
  plan(view: ClusterView, touched: Touched, _now: number, wall: number): Plan {
    const ids = touched.nodes.size > 0 ? view.services.keys() : touched.services;
    const groups = [...ids].flatMap((id) => {
      const service = view.services.get(id);
      return service && KINDS.includes(service.value.spec.mode.kind)
        ? spread(view, service, wall)
        : [];
    });
    return { groups: groups.filter((group) => group.length > 0), wakeAt: undefined };
  }
}

const KINDS: readonly ServiceMode['kind'][] = ['global', 'global-job'];

function spread(view: ClusterView, service: Service, wall: number): Change[][] {
  const slots = slotsOf(view, service.value.id);
  const { spec, job } = service.value;
  const { constraints } = spec.template;
  const missing = [...view.nodes.values()].flatMap(({ value: node }) => {
    const slot = slots.get(node.id) ?? emptySlot(0, node.id);
    const fits = takesTasks(node) && unmetBy(node.id, constraints, view) === undefined;
    const late = job && node.created > job.began;
    return fits && !late && isOpen(slot, service, wall)
      ? [[following(service, slot, view, wall)]]
      : [];
  });
  return [...missing, ...[...slots.values()].map((slot) => leaving(slot, constraints, view, wall))];
}

/** Whether a node has no task, and not because the last one ended and is not to be restarted. */
function isOpen(slot: Slot, { value: service }: Service, wall: number): boolean {
  const latest = slot.tasks.at(-1);
  if (!latest) return true;
  if (slot.tasks.some(isWanted)) return false;
  if (!isOfRun(latest, service)) return true;
  return !isFinished(slot) && (!hasFailed(latest) || mayRestart(slot, latest, wall));
}

function leaving(
  slot: Slot,
  constraints: readonly string[],
  view: ClusterView,
  wall: number,
): Change[] {
  const { nodeId, tasks } = slot;
  if (!view.nodes.has(nodeId)) return emptied(slot, wall);
  const unmet = unmetBy(nodeId, constraints, view);
  if (lossOf(nodeId, view) === undefined && unmet === undefined) return [];
  return tasks
    .filter((task) => isWanted(task) && !isDone(task))
    .map((task) => turned(task, 'shutdown', wall, unmet));
}
