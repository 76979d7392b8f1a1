import { conflict } from '../../base/faults.ts';
import { KIND } from '../../model/cluster.ts';
import type { Change } from '../../store/embedded-store.ts';

/** Services, networks, secrets and configurations that a cluster holds, of each at most. */
const MAX_OBJECTS = 10_000;

const idOf = (kind: string, name: string) => `${kind}.${name}`;

/** Written with an object, fails while another of its kind has the name. */
export function claimName(kind: string, name: string, id: string): Change {
  return { kind: KIND.name, id: idOf(kind, name), value: { id }, expected: 0 };
}

/** Written when the object goes. */
export function releaseName(kind: string, name: string): Change {
  return { kind: KIND.name, id: idOf(kind, name), value: undefined };
}

/** Throws when a cluster holds so many of a kind that there is no room for another one. */
export function checkRoom(count: number, what: string): void {
  if (count < MAX_OBJECTS) return;
  throw conflict(`there are ${MAX_OBJECTS} ${what}s, which is the maximum: remove some`);
}
