import { performance } from 'node:perf_hooks';
/** A pending timer; `cancel` is idempotent. */
export type Timer = { cancel(): void };

/** Time as the pure cores see it, so that a test can drive it. */
export interface Clock {
  /** Monotonic milliseconds since an arbitrary start; for every duration and deadline. */
  now(): number;
  /** Wall-clock milliseconds since 1970; for certificates, cookies and logs only. */
  wall(): number;
  /** Runs `task` once after `delayMs`. A pending timer does not keep the process alive. */
  after(delayMs: number, task: () => void): Timer;
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(delayMs, task) {
    const timer = setTimeout(task, delayMs);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** A clock that stands still until `advance` is called; timers fire in order of their time. */
export class ManualClock implements Clock {
  #now = 0;
  readonly #epoch: number;
  #timers: { at: number; seq: number; task: () => void }[] = [];
  #seq = 0;

  constructor(epoch = 1_700_000_000_000) {
    this.#epoch = epoch;
  }

  now(): number {
    return this.#now;
  }

  wall(): number {
    return this.#epoch + this.#now;
  }

  after(delayMs: number, task: () => void): Timer {
    const entry = { at: this.#now + Math.max(0, delayMs), seq: this.#seq++, task };
    this.#timers.push(entry);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((timer) => timer !== entry);
      },
    };
  }

  /** Moves time on by `ms` and runs what falls due, at its own time. */
  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const due = this.#timers
        .filter((timer) => timer.at <= until)
        .sort((a, b) => a.at - b.at || a.seq - b.seq)[0];
      if (!due) break;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      this.#now = due.at;
      due.task();
    }
    this.#now = until;
  }
}
