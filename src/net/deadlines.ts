import { performance } from 'node:perf_hooks';
import { Bag, type Placed } from '../base/bag.ts';

const SWEEP_MS = 250;

/** Something with a deadline that moves often; looked at by one sweep for all. */
export interface Timed extends Placed {
  /** Monotonic ms; Infinity for none. */
  deadline: number;
  expire(now: number): void;
}

/** One coarse timer for every deadline of a process: moving a deadline is one store. */
export class Deadlines {
  readonly #all = new Bag<Timed>();
  #timer: NodeJS.Timeout | undefined;

  add(timed: Timed): void {
    this.#all.add(timed);
    if (this.#timer) return;
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MS);
    this.#timer.unref();
  }

  delete(timed: Timed): void {
    this.#all.delete(timed);
    if (this.#all.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #sweep(): void {
    const now = performance.now();
    this.#all.visit((timed) => {
      if (timed.deadline <= now) timed.expire(now);
    });
  }
}

/** The deadlines of this process. */
export const deadlines = new Deadlines();
