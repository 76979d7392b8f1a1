import {
  emptied,
  emptySlot,
  following,
  isServing,
  isUsed,
  isWanted,
  type Service,
  type Slot,
  slotsOf,
} from './slots.ts';
import type { Plan, Stage } from './stage.ts';
import type { ClusterView, Touched } from './view.ts';

type Groups = Plan['groups'][number][];

/** Gives replicated services as many slots as they are to have. */
export class Replicas implements Stage {
  plan(view: ClusterView, { services }: Touched, _now: number, wall: number): Plan {
    const groups = [...services].flatMap((id) => {
      const service = view.services.get(id);
      return service?.value.spec.mode.kind === 'replicated' ? scale(view, service, wall) : [];
    });
    return { groups, wakeAt: undefined };
  }
}

function scale(view: ClusterView, service: Service, wall: number): Groups {
  const { mode } = service.value.spec;
  const wanted = mode.kind === 'replicated' ? mode.replicas : 0;
  const slots = slotsOf(view, service.value.id);
  const used = [...slots.values()].filter(isUsed);
  if (used.length > wanted) {
    const surplus = inOrderOfRemoval(used).slice(0, used.length - wanted);
    return surplus.map((slot) => emptied(slot, wall));
  }
  const taken = new Set(used.map(({ slot }) => slot));
  const groups: Groups = [];
  for (let slot = 1; taken.size + groups.length < wanted; slot++) {
    if (taken.has(slot)) continue;
    const place = slots.get(String(slot)) ?? emptySlot(slot);
    groups.push([following(service, place, view, wall)]);
  }
  return groups;
}

/** Those first that do not serve, then from the nodes that have most, then the latest slots. */
function inOrderOfRemoval(slots: readonly Slot[]): Slot[] {
  const seen = new Map<string, number>();
  const ranked = [...slots]
    .map((slot) => ({ slot, serving: slot.tasks.some(isServing) }))
    .sort((a, b) => Number(b.serving) - Number(a.serving) || a.slot.slot - b.slot.slot)
    .map((one) => {
      const nodeId = one.slot.tasks.findLast(isWanted)?.value.nodeId ?? '';
      const nth = (seen.get(nodeId) ?? 0) + 1;
      seen.set(nodeId, nth);
      return { ...one, nth };
    });
  return ranked
    .sort(
      (a, b) => Number(a.serving) - Number(b.serving) || b.nth - a.nth || b.slot.slot - a.slot.slot,
    )
    .map(({ slot }) => slot);
}
