import { errorText } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';

/** What a shared store needs so that one of several managers leads. */
export interface LeaseBackend {
  /** Life of a lease that nobody renews, at the least. */
  readonly leaseMs: number;
  /** Between two renewals of a leader; undefined: a quarter of its lease's life. */
  readonly renewMs?: number | undefined;
  /** A new lease; its id. */
  grant(): Promise<string>;
  /** False: the lease is over. */
  renew(lease: string): Promise<boolean>;
  /** Takes the one lock under a lease, for this manager. False: another one holds it. */
  lock(lease: string, holder: string): Promise<boolean>;
  /** Ends a lease, and with it the lock. */
  revoke(lease: string): Promise<void>;
}

/** Renewals within the life of a lease, so that two may fail. */
const RENEWALS = 4;
const RETRY_MS = 1000;
/** A leader that cannot renew steps down this much before its lease ends, of its life. */
const MARGIN = 0.1;

/**
 * One manager's standing for leader. The end of the lease is counted from before the request that
 * renewed it was sent, so it is told that it leads no more before the store lets another one.
 */
export class Campaign {
  readonly #backend: LeaseBackend;
  readonly #id: string;
  readonly #onChange: (leads: boolean) => void;
  readonly #logger: Logger;
  readonly #running: Promise<void>;
  #over = false;
  #leads = false;
  #wake: () => void = () => {};
  #deadline: NodeJS.Timeout | undefined;

  constructor(
    backend: LeaseBackend,
    id: string,
    onChange: (leads: boolean) => void,
    logger: Logger,
  ) {
    this.#backend = backend;
    this.#id = id;
    this.#onChange = onChange;
    this.#logger = logger;
    this.#running = this.#run();
  }

  /** Gives the lead back, so that another one has it at once. */
  async close(): Promise<void> {
    this.#over = true;
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#over) {
      try {
        await this.#term();
      } catch (error) {
        this.#logger.debug('standing for leader failed', { reason: errorText(error) });
      }
      if (!this.#over) await this.#pause(RETRY_MS);
    }
  }

  /** From a new lease to its end. */
  async #term(): Promise<void> {
    const { leaseMs, renewMs = leaseMs / RENEWALS } = this.#backend;
    let since = performance.now();
    const lease = await this.#backend.grant();
    try {
      let fresh = true;
      while (!this.#over) {
        const asked = performance.now();
        if (!fresh && !(await this.#renewed(lease, since))) return;
        if (!fresh) since = asked;
        fresh = false;
        this.#watchEnd(since);
        if (!this.#leads && (await this.#backend.lock(lease, this.#id))) this.#tell(true, since);
        await this.#pause(this.#leads ? renewMs : RETRY_MS);
      }
    } finally {
      clearTimeout(this.#deadline);
      this.#tell(false, since);
      await this.#backend.revoke(lease).catch(() => {});
    }
  }

  /** Whether the lease goes on; what fails for a moment is tried until its end. */
  async #renewed(lease: string, since: number): Promise<boolean> {
    for (;;) {
      try {
        return await this.#backend.renew(lease);
      } catch (error) {
        if (this.#over || this.#left(since) <= 0) throw error;
        await this.#pause(RETRY_MS / 2);
      }
    }
  }

  #left(since: number): number {
    return since + this.#backend.leaseMs * (1 - MARGIN) - performance.now();
  }

  /** A request that hangs must not keep the lead beyond the lease. */
  #watchEnd(since: number): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#tell(false, since), this.#left(since));
  }

  #tell(leads: boolean, since: number): void {
    const now = leads && !this.#over && this.#left(since) > 0;
    if (now === this.#leads) return;
    this.#leads = now;
    this.#logger.info(now ? 'this manager leads the cluster' : 'this manager leads no more');
    this.#onChange(now);
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#over) this.#wake();
    });
  }
}
