import { KIND } from '../../model/cluster.ts';
import type { Change } from '../../store/embedded-store.ts';

const idOf = (kind: string, name: string) => `${kind}.${name}`;

/** Written with an object, fails while another of its kind has the name. */
export function claimName(kind: string, name: string, id: string): Change {
  return { kind: KIND.name, id: idOf(kind, name), value: { id }, expected: 0 };
}

/** Written when the object goes. */
export function releaseName(kind: string, name: string): Change {
  return { kind: KIND.name, id: idOf(kind, name), value: undefined };
}
