import { SluiceError } from '../../src/base/errors.ts';
import type { Rng } from '../../src/base/rng.ts';
import type { Change } from '../../src/store/embedded-store.ts';
import type { LocalStore } from '../../src/store/local-store.ts';
import { Mirror, type StoreListener } from '../../src/store/mirror.ts';
import { checkSize, type Store, type StoreEvent } from '../../src/store/store.ts';

/**
 * A manager's store as it is while its backend is troubled: it sees changes late, some writes fail,
 * and of some that were made it is told that they failed.
 */
export class FaultyStore implements Store {
  #trouble = 0;
  readonly #truth: LocalStore;
  readonly #rng: Rng;
  readonly #mirror = new Mirror();
  #late: { events: readonly StoreEvent[]; version: number }[] = [];

  constructor(truth: LocalStore, rng: Rng) {
    this.#truth = truth;
    this.#rng = rng;
    truth.watch((events, version) => {
      this.#late.push({ events, version });
      if (this.trouble === 0) this.catchUp();
    });
  }

  /** How likely a write fails; 0: nothing fails or is late. */
  get trouble(): number {
    return this.#trouble;
  }

  set trouble(likely: number) {
    this.#trouble = likely;
    if (likely === 0) this.catchUp();
  }

  get available(): boolean {
    return this.trouble < 1;
  }

  get(kind: string, id: string) {
    return this.#mirror.get(kind, id);
  }

  list(kind: string) {
    return this.#mirror.list(kind);
  }

  watch(listener: StoreListener): () => void {
    return this.#mirror.watch(listener);
  }

  async update(changes: readonly Change[]): Promise<number> {
    checkSize(changes);
    const chance = this.#rng.next();
    if (chance < this.trouble) throw new SluiceError('E_STORE_FAILED', 'the store is away');
    const version = await this.#truth.update(changes);
    if (chance < this.trouble * 2) {
      throw new SluiceError('E_STORE_FAILED', 'the change was made but its echo is missing');
    }
    this.catchUp();
    return version;
  }

  /** What has happened so far is seen. */
  catchUp(): void {
    const late = this.#late;
    this.#late = [];
    for (const { events, version } of late) this.#mirror.apply(events, version);
  }

  campaign(): () => Promise<void> {
    return async () => {};
  }

  async close(): Promise<void> {}
}
