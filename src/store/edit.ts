import { errorText, SluiceError } from '../base/errors.ts';
import type { Change } from './embedded-store.ts';
import type { Store } from './store.ts';

const MAX_TRIES = 8;

/** Whether a write was refused because somebody else was faster. */
export function isStale(error: unknown): boolean {
  return error instanceof SluiceError && error.code === 'E_STORE_STALE';
}

/** What a backend refuses for its size; `error`: its own words. */
export function tooLarge(backend: string, error: unknown): SluiceError {
  const text = `this is more than the store of the cluster takes at once, ${backend}: ${errorText(error)}`;
  return new SluiceError('E_STORE_TOO_LARGE', text, { cause: error });
}

/** Whether a write was refused because it was more than the store takes at once. */
export function isTooLarge(error: unknown): boolean {
  return error instanceof SluiceError && error.code === 'E_STORE_TOO_LARGE';
}

/**
 * Writes what `plan` makes of the state as it is, again when somebody else was faster. Without
 * changes nothing is written. Whatever `plan` throws is passed on. Rejects with `E_STORE_STALE`
 * when others were faster again and again.
 */
export async function transact(store: Store, plan: () => readonly Change[]): Promise<void> {
  for (let tries = 1; ; tries++) {
    const changes = plan();
    if (changes.length === 0) return;
    try {
      await store.update(changes);
      return;
    } catch (error) {
      if (!isStale(error) || tries >= MAX_TRIES) throw error;
    }
  }
}

/** Changes one object as it is now; undefined from `change`, or no such object: nothing is done. */
export async function edit<T>(
  store: Store,
  kind: string,
  id: string,
  change: (value: T) => T | undefined,
): Promise<void> {
  await transact(store, () => {
    const found = store.get(kind, id);
    // exempt(as): the store holds what this program wrote
    const value = found && change(found.value as T);
    return found && value !== undefined ? [{ kind, id, value, expected: found.version }] : [];
  });
}
