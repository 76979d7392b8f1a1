import { performance } from 'node:perf_hooks';

/** Requests that begin in one turn of the loop. */
const AT_ONCE = 128;
/** A time in which a process can hardly serve as many. */
const WINDOW_MS = 4;
/** Passed members are cut off the front of the queue when there are as many as these. */
const CUT = 4096;

/** Something that begins when it is its turn. */
export interface Waiter {
  /** Monotonic ms since when it waits; only the turnstile changes it. */
  waitsSince: number;
  /** Its turn has come, even if it is over by now. */
  pass(): void;
}

/**
 * Lets requests of a process begin in the order in which they came, a few in each turn of its loop,
 * so that those which have begun are answered before others begin. Thousands that begin at once are
 * served at two thirds of the speed: none finds what it needs in the caches, and the collector copies
 * them all. Who waits has done no more than bring its bytes.
 */
export class Turnstile {
  #queue: Waiter[] = [];
  #next = 0;
  #windowFrom = 0;
  #begun = 0;
  #longestMs = 0;

  /** Whether one that comes `now` may begin at once; when not, `pass` is called later. */
  enter(waiter: Waiter, now = performance.now()): boolean {
    if (this.#queue.length === 0) {
      if (now - this.#windowFrom > WINDOW_MS) {
        this.#windowFrom = now;
        this.#begun = 0;
      }
      this.#begun++;
      if (this.#begun <= AT_ONCE) return true;
      setImmediate(this.#turn);
    }
    waiter.waitsSince = now;
    this.#queue.push(waiter);
    return false;
  }

  /** The longest wait since the last call, in ms. */
  longestWait(): number {
    const longest = this.#longestMs;
    this.#longestMs = 0;
    return longest;
  }

  readonly #turn = () => {
    const end = Math.min(this.#next + AT_ONCE, this.#queue.length);
    const waited = performance.now() - (this.#queue[this.#next]?.waitsSince ?? 0);
    this.#longestMs = Math.max(this.#longestMs, waited);
    while (this.#next < end) this.#queue[this.#next++]?.pass();
    if (this.#next === this.#queue.length || this.#next >= CUT) {
      this.#queue = this.#queue.slice(this.#next);
      this.#next = 0;
    }
    if (this.#queue.length > 0) setImmediate(this.#turn);
  };
}

/** That of this process. */
export const turnstile = new Turnstile();
