import { setTimeout as delay } from 'node:timers/promises';
import { errorText, SluiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { Campaign, type LeaseBackend } from './campaign.ts';
import type { ServiceCatalog } from './catalog.ts';
import { isTooLarge } from './edit.ts';
import type { Change, Stored } from './embedded-store.ts';
import type { HostWatch } from './hosts.ts';
import { Mirror, type StoreListener } from './mirror.ts';
import { checkSize, type Store, type StoreEvent } from './store.ts';

/** Where a backend's watch writes what it sees. */
export type Feed = {
  /** Everything that there is, as of a version. */
  replace(objects: readonly { kind: string; object: Stored }[], version: number): void;
  /** What has changed since the version before. */
  apply(events: readonly StoreEvent[], version: number): void;
};

/** A key-value store that several managers share. Calls reject when it does not answer in time. */
export interface SharedBackend extends LeaseBackend {
  /** How it is called in messages: `Consul at http://…`. */
  readonly name: string;
  /** Makes all changes or none; their version. `stale` names one that is at another version. */
  commit(changes: readonly Change[]): Promise<{ version: number } | { stale: string }>;
  /** Follows every change until the signal fires; rejects when it cannot go on. */
  follow(feed: Feed, signal: AbortSignal): Promise<void>;
  readonly catalog?: ServiceCatalog;
  readonly hosts?: HostWatch;
  /** Something failed: another address, if there is one, is used from now on. */
  turn(): void;
  close(): void;
}

/** How long a first view of the state may take. */
const FIRST_VIEW_MS = 15_000;
/** How long a change that was made may take until the watch brings it. */
const ECHO_MS = 10_000;
const RETRY_MS = 200;
const MAX_RETRY_MS = 2000;

/** The one object of its kind that each leader writes when its turn begins. */
const LEAD = 'lead';

/** The state of a cluster in a store that its managers share. */
export class SharedStore implements Store {
  readonly #backend: SharedBackend;
  readonly #logger: Logger;
  readonly #mirror = new Mirror();
  readonly #ending = new AbortController();
  readonly #campaigns = new Set<Campaign>();
  #available = false;
  #reason = 'it has not answered yet';

  private constructor(backend: SharedBackend, logger: Logger) {
    this.#backend = backend;
    this.#logger = logger;
  }

  /** Resolves with the whole state in memory. Throws `E_STORE_FAILED`. */
  static async open(backend: SharedBackend, logger: Logger): Promise<SharedStore> {
    const store = new SharedStore(backend, logger);
    const first = new Promise<void>((resolve) => {
      void store.#follow(resolve);
    });
    const late = AbortSignal.timeout(FIRST_VIEW_MS);
    const over = new Promise<never>((_, reject) => {
      late.addEventListener('abort', () => reject(store.#failed('cannot read')));
    });
    try {
      await Promise.race([first, over]);
      return store;
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  get catalog(): ServiceCatalog | undefined {
    return this.#backend.catalog;
  }

  get hosts(): HostWatch | undefined {
    return this.#backend.hosts;
  }

  get available(): boolean {
    return this.#available;
  }

  get(kind: string, id: string): Stored | undefined {
    return this.#mirror.get(kind, id);
  }

  list(kind: string): readonly Stored[] {
    return this.#mirror.list(kind);
  }

  watch(listener: StoreListener): () => void {
    return this.#mirror.watch(listener);
  }

  async update(changes: readonly Change[]): Promise<number> {
    checkSize(changes);
    this.#checkKnown(changes);
    let made: Awaited<ReturnType<SharedBackend['commit']>>;
    try {
      made = await this.#backend.commit(changes);
    } catch (error) {
      if (isTooLarge(error)) throw error;
      throw this.#failed('cannot write to', error);
    }
    if ('stale' in made) {
      const text = `${made.stale} was changed by another manager: read it again`;
      throw new SluiceError('E_STORE_STALE', text);
    }
    if (!(await this.#mirror.reached(made.version, ECHO_MS))) {
      throw this.#failed('do not hear again from', 'the change was made but its echo is missing');
    }
    return made.version;
  }

  campaign(id: string, onChange: (leads: boolean) => void): () => Promise<void> {
    let turn = 0;
    let told = false;
    const tell = (leads: boolean) => {
      if (leads === told) return;
      told = leads;
      onChange(leads);
    };
    const changed = async (leads: boolean) => {
      const own = ++turn;
      if (!leads) return tell(false);
      while (turn === own && !(await this.#catchesUp(id))) await delay(RETRY_MS);
      if (turn === own) tell(true);
    };
    const campaign = new Campaign(this.#backend, id, changed, this.#logger);
    this.#campaigns.add(campaign);
    return async () => {
      this.#campaigns.delete(campaign);
      await campaign.close();
    };
  }

  /**
   * Whoever leads has to know all that the one before wrote: a write of its own that is in the
   * mirror comes after all of that.
   */
  async #catchesUp(id: string): Promise<boolean> {
    try {
      await this.update([{ kind: LEAD, id: LEAD, value: { holder: id } }]);
      return true;
    } catch (error) {
      this.#logger.debug('the lead waits for the state', { reason: errorText(error) });
      return false;
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#campaigns].map((one) => one.close()));
    this.#ending.abort();
    this.#backend.close();
  }

  /** Fails early where the mirror knows already that a change comes too late. */
  #checkKnown(changes: readonly Change[]): void {
    for (const { kind, id, expected } of changes) {
      const found = this.#mirror.get(kind, id)?.version ?? 0;
      if (expected === undefined || found <= expected) continue;
      throw new SluiceError(
        'E_STORE_STALE',
        `${kind} ${id} is at version ${found}, not ${expected}: read it again`,
      );
    }
  }

  async #follow(onFirst: () => void): Promise<void> {
    const { signal } = this.#ending;
    let wait = RETRY_MS;
    const seen = () => {
      if (!this.#available) this.#logger.info('the store of the cluster answers');
      this.#available = true;
      wait = RETRY_MS;
      onFirst();
    };
    const feed: Feed = {
      replace: (objects, version) => {
        this.#mirror.replace(objects, version);
        seen();
      },
      apply: (events, version) => {
        this.#mirror.apply(events, version);
        seen();
      },
    };
    while (!signal.aborted) {
      try {
        await this.#backend.follow(feed, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#away(errorText(error));
      }
      this.#backend.turn();
      await delay(wait);
      wait = Math.min(MAX_RETRY_MS, wait * 2);
    }
  }

  #away(reason: string): void {
    if (this.#available || this.#reason !== reason) {
      this.#logger.warn('the store of the cluster is away', { reason });
    }
    this.#available = false;
    this.#reason = reason;
  }

  #failed(what: string, error: unknown = this.#reason): SluiceError {
    const text = `${what} the store of the cluster, ${this.#backend.name}: ${errorText(error)}`;
    return new SluiceError('E_STORE_FAILED', text, { cause: error });
  }
}
