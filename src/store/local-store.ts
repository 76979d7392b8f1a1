import { type Change, EmbeddedStore } from './embedded-store.ts';
import { Mirror, type StoreListener } from './mirror.ts';
import { checkSize, type Store } from './store.ts';

/** The state of a cluster with one manager, in a file of its own. */
export class LocalStore implements Store {
  readonly available = true;
  readonly #file: EmbeddedStore;
  readonly #mirror = new Mirror();

  /** `:memory:` keeps nothing. Throws `E_STORE_FAILED`. */
  constructor(path: string) {
    this.#file = EmbeddedStore.open(path);
    this.#mirror.replace(this.#file.all(), this.#file.version);
  }

  get(kind: string, id: string) {
    return this.#mirror.get(kind, id);
  }

  list(kind: string) {
    return this.#mirror.list(kind);
  }

  async update(changes: readonly Change[]): Promise<number> {
    checkSize(changes);
    const version = this.#file.write(changes);
    const events = changes.map(({ kind, id, value }) => ({
      kind,
      id,
      object: value === undefined ? undefined : { id, version, value },
    }));
    this.#mirror.apply(events, version);
    return version;
  }

  watch(listener: StoreListener): () => void {
    return this.#mirror.watch(listener);
  }

  /** There is nobody else. */
  campaign(_id: string, onChange: (leads: boolean) => void): () => Promise<void> {
    let over = false;
    queueMicrotask(() => {
      if (!over) onChange(true);
    });
    return async () => {
      if (!over) onChange(false);
      over = true;
    };
  }

  async close(): Promise<void> {
    this.#file.close();
  }
}
