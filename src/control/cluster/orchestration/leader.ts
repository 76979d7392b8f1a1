import type { Clock, Timer } from '../../../base/clock.ts';
import { errorText } from '../../../base/errors.ts';
import type { Logger } from '../../../base/logger.ts';
import { isStale, isTooLarge } from '../../../store/edit.ts';
import type { Change } from '../../../store/embedded-store.ts';
import { packed, type Store } from '../../../store/store.ts';
import type { Plan, Stage } from './stage.ts';
import { ClusterView, type Touched, Unseen } from './view.ts';

export type LeaderDeps = {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
};

type Group = Plan['groups'][number];

/** Changes within this time are looked at together. */
const GATHER_MS = 5;
/** How long a store that is away is left alone, doubled from try to try. */
const RETRY_MS = 100;
const MAX_RETRY_MS = 5000;
/** How long a stage that threw is left alone. */
const THROWN_MS = 5000;

/** A stage with what it has yet to see. */
class Seat {
  readonly stage: Stage;
  #seen = new Unseen();
  /** When it asked to be woken. */
  wakeAt: number | undefined;
  heldUntil = 0;

  constructor(stage: Stage) {
    this.stage = stage;
  }

  tell(touched: Touched): void {
    this.#seen.add(touched);
  }

  take(): Touched {
    const touched = this.#seen;
    this.#seen = new Unseen();
    this.wakeAt = undefined;
    return touched;
  }

  /** When it has something to do, in ms of the clock's `now`; undefined: nothing is planned. */
  dueAt(now: number): number | undefined {
    const at = this.#seen.isEmpty ? this.wakeAt : now;
    return at === undefined ? undefined : Math.max(at, this.heldUntil);
  }
}

/**
 * Runs stages over the state of a cluster while its manager leads, one round at a time: each stage
 * sees what changed since it last looked, what the stages before it wrote among it. It is started
 * by its construction.
 */
export class Leader {
  readonly #deps: LeaderDeps;
  readonly #view: ClusterView;
  readonly #seats: readonly Seat[];
  readonly #unwatch: () => void;
  #timer: { at: number; timer: Timer } | undefined;
  #running = false;
  #over = false;
  /** The store did not take the last changes: waits that long before it tries again. */
  #waitMs = 0;
  #notBefore = 0;

  constructor(deps: LeaderDeps, stages: readonly Stage[]) {
    this.#deps = deps;
    this.#view = new ClusterView(deps.store);
    this.#seats = stages.map((stage) => new Seat(stage));
    this.#unwatch = deps.store.watch((events) => {
      this.#view.apply(events);
      if (!this.#running) this.#arm(this.#now + GATHER_MS);
    });
    this.#arm(this.#now);
  }

  /** Nothing is written any more, but for a transaction that is on its way. */
  end(): void {
    this.#over = true;
    this.#timer?.timer.cancel();
    this.#unwatch();
  }

  get #now(): number {
    return this.#deps.clock.now();
  }

  #arm(wanted: number): void {
    const at = Math.max(wanted, this.#notBefore);
    if (this.#over || (this.#timer && this.#timer.at <= at)) return;
    this.#timer?.timer.cancel();
    const timer = this.#deps.clock.after(Math.max(0, at - this.#now), () => {
      this.#timer = undefined;
      void this.#round();
    });
    this.#timer = { at, timer };
  }

  async #round(): Promise<void> {
    this.#running = true;
    for (const seat of this.#seats) {
      if (this.#over || !(await this.#turn(seat))) break;
    }
    this.#running = false;
    this.#spread();
    const now = this.#now;
    const due = this.#seats.flatMap((seat) => seat.dueAt(now) ?? []);
    if (due.length > 0) this.#arm(Math.max(now + GATHER_MS, Math.min(...due)));
  }

  /** What has changed since this was last asked is news to every stage. */
  #spread(): void {
    const touched = this.#view.takeTouched();
    for (const seat of this.#seats) seat.tell(touched);
  }

  /** False: the store is away. */
  async #turn(seat: Seat): Promise<boolean> {
    this.#spread();
    const { clock } = this.#deps;
    const now = clock.now();
    const due = seat.dueAt(now);
    if (due === undefined || due > now) return true;
    const touched = seat.take();
    try {
      const plan = seat.stage.plan(this.#view, touched, now, clock.wall());
      seat.wakeAt = plan.wakeAt;
      if (await this.#write(plan.groups)) return true;
      seat.tell(this.#view.everything());
      return false;
    } catch (error) {
      const { name } = seat.stage.constructor;
      this.#deps.logger.error('a stage failed', { stage: name, reason: errorText(error) });
      seat.tell(this.#view.everything());
      seat.heldUntil = now + THROWN_MS;
      return true;
    }
  }

  /** False: the store is away, and the rest was not written. */
  async #write(groups: readonly Group[]): Promise<boolean> {
    for (const pack of packed(groups)) {
      let outcome = await this.#commit(pack.flat());
      // One that is refused must not take the others with it.
      const parts = outcome === 'refused' && pack.length > 1 ? pack : [];
      for (const group of parts) outcome = await this.#commit(group);
      if (outcome === 'away') return false;
    }
    return true;
  }

  async #commit(changes: readonly Change[]): Promise<'done' | 'refused' | 'away'> {
    if (this.#over || this.#notBefore > this.#now) return 'away';
    try {
      await this.#deps.store.update(changes);
      this.#waitMs = 0;
      return 'done';
    } catch (error) {
      if (isStale(error)) return 'refused';
      if (isTooLarge(error)) {
        const ids = changes.map(({ kind, id }) => `${kind} ${id}`).join();
        this.#deps.logger.error('not written', { changes: ids, reason: errorText(error) });
        return 'refused';
      }
      this.#away(error);
      return 'away';
    }
  }

  #away(error: unknown): void {
    const { logger } = this.#deps;
    if (this.#waitMs === 0) logger.warn('loops wait for the store', { reason: errorText(error) });
    this.#waitMs = Math.min(MAX_RETRY_MS, Math.max(RETRY_MS, this.#waitMs * 2));
    this.#notBefore = this.#now + this.#waitMs;
  }
}
