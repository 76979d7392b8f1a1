import type { Stored } from './embedded-store.ts';
import type { StoreEvent } from './store.ts';

export type StoreListener = (events: readonly StoreEvent[], version: number) => void;

type Waiter = { readonly version: number; readonly resolve: () => void };

/** The objects of a store in memory, and everybody who is told when they change. */
export class Mirror {
  readonly #kinds = new Map<string, Map<string, Stored>>();
  /** Lists as they were last asked for; a change of their kind drops them. */
  readonly #lists = new Map<string, readonly Stored[]>();
  readonly #listeners = new Set<StoreListener>();
  #waiters: Waiter[] = [];
  #version = 0;

  /** The version of the latest change that is in it. */
  get version(): number {
    return this.#version;
  }

  get(kind: string, id: string): Stored | undefined {
    return this.#kinds.get(kind)?.get(id);
  }

  /** Every object of a kind, by id. */
  list(kind: string): readonly Stored[] {
    let list = this.#lists.get(kind);
    if (!list) {
      list = [...(this.#kinds.get(kind)?.values() ?? [])].sort((a, b) => (a.id < b.id ? -1 : 1));
      this.#lists.set(kind, list);
    }
    return list;
  }

  watch(listener: StoreListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Takes changes over and tells everybody; those that it has already are left out. */
  apply(events: readonly StoreEvent[], version: number): void {
    const news = events.filter((event) => this.#isNew(event));
    for (const event of news) this.#put(event);
    this.#version = version;
    if (news.length > 0) for (const listener of [...this.#listeners]) listener(news, version);
    const due = this.#waiters.filter((waiter) => waiter.version <= version);
    this.#waiters = this.#waiters.filter((waiter) => waiter.version > version);
    for (const { resolve } of due) resolve();
  }

  /** Becomes exactly these objects; what differs is told as one batch. */
  replace(objects: readonly { kind: string; object: Stored }[], version: number): void {
    const kept = new Set(objects.map(({ kind, object }) => `${kind}/${object.id}`));
    const gone = [...this.#kinds].flatMap(([kind, all]) =>
      [...all.keys()]
        .filter((id) => !kept.has(`${kind}/${id}`))
        .map((id): StoreEvent => ({ kind, id, object: undefined })),
    );
    const there = objects.map(({ kind, object }) => ({ kind, id: object.id, object }));
    this.apply([...gone, ...there], version);
  }

  /** Resolves when everything up to this version is in it; false: not within the time. */
  reached(version: number, timeoutMs: number): Promise<boolean> {
    if (this.#version >= version) return Promise.resolve(true);
    return new Promise((resolve) => {
      const waiter = {
        version,
        resolve: () => {
          clearTimeout(timer);
          resolve(true);
        },
      };
      const timer = setTimeout(() => {
        this.#waiters = this.#waiters.filter((one) => one !== waiter);
        resolve(false);
      }, timeoutMs);
      this.#waiters.push(waiter);
    });
  }

  #isNew({ kind, id, object }: StoreEvent): boolean {
    const known = this.get(kind, id);
    return known?.version !== object?.version;
  }

  #put({ kind, id, object }: StoreEvent): void {
    this.#lists.delete(kind);
    const all = this.#kinds.get(kind) ?? new Map<string, Stored>();
    if (object) all.set(id, object);
    else all.delete(id);
    this.#kinds.set(kind, all);
  }
}
