import type { Change } from '../../../store/embedded-store.ts';
import type { Versioned } from '../cluster-state.ts';
import type { Plan } from './stage.ts';

/**
 * What a stage has planned of objects that it has not yet seen written. As long as an object is at
 * the version that was planned upon, the plan stands: it is asked for again, never made anew.
 */
export class Drafts<T extends { readonly id: string }> {
  readonly #kind: string;
  readonly #drafts = new Map<string, Versioned<T>>();

  constructor(kind: string) {
    this.#kind = kind;
  }

  /** What stands for this object; undefined: nothing, or the object has moved on. */
  of(id: string, object: Versioned<T> | undefined): T | undefined {
    const draft = this.#drafts.get(id);
    if (draft === undefined || draft.version === object?.version) return draft?.value;
    this.#drafts.delete(id);
    return undefined;
  }

  /** Plans another value for an object that was read at a version. */
  put(version: number, value: T): Change {
    this.#drafts.set(value.id, { version, value });
    return { kind: this.#kind, id: value.id, value, expected: version };
  }
}

/** A plan of changes that do not need one another, each to be written or dropped by itself. */
export function planOf(changes: readonly Change[]): Plan {
  return { groups: changes.map((change) => [change]), wakeAt: undefined };
}
