import type { Clock, Timer } from '../../base/clock.ts';

type Waiter<T> = {
  deadline: number;
  attempt: () => T | undefined;
  resolve: (result: T) => void;
};

/** Requests that wait for room, first in first out, each until its deadline. */
export class WaitQueue<T> {
  readonly #clock: Clock;
  readonly #expired: T;
  readonly #waiters = new Set<Waiter<T>>();
  #timer: Timer | undefined;

  constructor(clock: Clock, expired: T) {
    this.#clock = clock;
    this.#expired = expired;
  }

  get length(): number {
    return this.#waiters.size;
  }

  /** Adds a waiter; the returned function takes it out without calling it. */
  add(timeoutMs: number, attempt: () => T | undefined, resolve: (result: T) => void): () => void {
    const waiter = { deadline: this.#clock.now() + timeoutMs, attempt, resolve };
    this.#waiters.add(waiter);
    this.#arm();
    return () => this.#waiters.delete(waiter);
  }

  /** Lets the first waiters try again, until one finds no room. */
  serve(): void {
    for (const waiter of this.#waiters) {
      const result = waiter.attempt();
      if (result === undefined) return;
      this.#waiters.delete(waiter);
      waiter.resolve(result);
    }
  }

  #arm(): void {
    const first = this.#waiters.values().next().value;
    if (this.#timer || !first) return;
    const delay = Math.max(1, first.deadline - this.#clock.now());
    this.#timer = this.#clock.after(delay, () => {
      this.#timer = undefined;
      this.#expire();
      this.#arm();
    });
  }

  #expire(): void {
    const now = this.#clock.now();
    for (const waiter of this.#waiters) {
      if (waiter.deadline > now) return;
      this.#waiters.delete(waiter);
      waiter.resolve(this.#expired);
    }
  }
}
