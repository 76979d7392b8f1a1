import { SluiceError } from '../base/errors.ts';
import type { ServiceCatalog } from './catalog.ts';
import type { Change, Stored } from './embedded-store.ts';
import type { HostWatch } from './hosts.ts';

/** Changes of one transaction at most: what every backend takes whole. Larger work is cut. */
export const MAX_CHANGES = 60;

/**
 * Bytes of JSON in one transaction of several changes, at most: twice in base 64, as some have it, they
 * fit into half a megabyte. Source: Consul, `txn_max_req_len`.
 */
const MAX_BYTES = 256 * 1024;

/** One object as it became; `object` undefined: it is gone. */
export type StoreEvent = {
  readonly kind: string;
  readonly id: string;
  readonly object: Stored | undefined;
};

/**
 * The state of a cluster: JSON objects by kind and id, mirrored whole in memory, so that reading
 * takes no time and control loops see one consistent state. Writers name the version they read.
 */
export interface Store {
  get(kind: string, id: string): Stored | undefined;
  list(kind: string): readonly Stored[];
  /**
   * Makes all changes or none; the mirror and the watchers have them when it resolves. Rejects with
   * `E_STORE_STALE`, with `E_STORE_TOO_LARGE`, or with `E_STORE_FAILED` when the backend is away: what became of it is then
   * unknown until the watch goes on.
   */
  update(changes: readonly Change[]): Promise<number>;
  /**
   * Told of every change after it is in the mirror, in order and without a gap; what changed while
   * the backend was away comes as one batch. The returned function ends it.
   */
  watch(listener: (events: readonly StoreEvent[], version: number) => void): () => void;
  /** Shows services to others; undefined: the backend is no directory of services. */
  readonly catalog?: ServiceCatalog | undefined;
  /** Tells of hosts that fail; undefined: the backend has no agents on hosts. */
  readonly hosts?: HostWatch | undefined;
  /** Whether the backend answers now; while it does not, the mirror stands still. */
  readonly available: boolean;
  /**
   * Stands for leader under this id until the returned function is called; at most one leads at any
   * time, and one that cannot renew its lease is told so before another may lead. Who is told that it
   * leads has everything in the mirror that was written before its turn.
   */
  campaign(id: string, onChange: (leads: boolean) => void): () => Promise<void>;
  close(): Promise<void>;
}

/**
 * Groups of changes that belong together, put together as far as they fit into one transaction, in
 * their order. Throws when a group has more changes than that.
 */
export function packed(groups: readonly (readonly Change[])[]): (readonly Change[])[][] {
  const packs: (readonly Change[])[][] = [];
  let [count, bytes] = [MAX_CHANGES, 0];
  for (const group of groups) {
    checkSize(group);
    const size = JSON.stringify(group).length;
    count += group.length;
    bytes += size;
    if (count > MAX_CHANGES || bytes > MAX_BYTES) {
      packs.push([]);
      [count, bytes] = [group.length, size];
    }
    packs.at(-1)?.push(group);
  }
  return packs;
}

/** Throws when no backend could take these changes at once. */
export function checkSize(changes: readonly Change[]): void {
  if (changes.length <= MAX_CHANGES) return;
  const text = `${changes.length} changes at once: a transaction takes ${MAX_CHANGES} at most`;
  throw new SluiceError('E_STORE_FAILED', text);
}
