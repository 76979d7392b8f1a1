import type { Clock, Timer } from '../../base/clock.ts';

const ASK_EVERY_MS = 250;

/** What a drain watch is built on. */
export type DrainWatchDeps = {
  readonly clock: Clock;
  /** Work under way on an endpoint now, over all workers. */
  readonly active: (service: string, endpoint: string) => Promise<number>;
  /** Told once a drain: how much work is left, 0 when it ended in time. */
  readonly drained: (service: string, endpoint: string, left: number) => void;
};

/** Follows endpoints that finish their work, each until none is left or its time is over. */
export class DrainWatch {
  readonly #deps: DrainWatchDeps;
  readonly #timers = new Map<string, Timer>();

  constructor(deps: DrainWatchDeps) {
    this.#deps = deps;
  }

  start(service: string, endpoint: string, timeoutMs: number): void {
    this.stop(service, endpoint);
    this.#wait(service, endpoint, this.#deps.clock.now() + timeoutMs);
  }

  /** Forgets an endpoint: an operator has decided otherwise. */
  stop(service: string, endpoint: string): void {
    const key = `${service}\n${endpoint}`;
    this.#timers.get(key)?.cancel();
    this.#timers.delete(key);
  }

  close(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  #wait(service: string, endpoint: string, deadline: number): void {
    const key = `${service}\n${endpoint}`;
    const timer = this.#deps.clock.after(ASK_EVERY_MS, () => {
      void this.#deps.active(service, endpoint).then((left) => {
        if (this.#timers.get(key) !== timer) return;
        if (left > 0 && this.#deps.clock.now() < deadline) {
          this.#wait(service, endpoint, deadline);
          return;
        }
        this.#timers.delete(key);
        this.#deps.drained(service, endpoint, left);
      });
    });
    this.#timers.set(key, timer);
  }
}
