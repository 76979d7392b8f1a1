const CAPACITY = 1000;
const PER_SECOND = 1000;

/**
 * How much unpaid work a peer may cause: control frames, empty frames, streams that are opened and
 * thrown away. 1 000 units at once and as many a second; a reset of a request at work is 10 units.
 * Body in either direction earns units, as honest peers answer it with control frames.
 */
export class CalmBudget {
  #left = CAPACITY;
  #at = 0;

  /** Takes `cost` units; false when they are not there. `now` is in monotonic ms. */
  take(cost: number, now: number): boolean {
    if (this.#at === 0) this.#at = now;
    this.#left -= cost;
    if (this.#left >= 0) return true;
    this.#left = Math.min(CAPACITY, this.#left + ((now - this.#at) * PER_SECOND) / 1000);
    this.#at = now;
    return this.#left >= 0;
  }

  earn(units: number): void {
    this.#left = Math.min(CAPACITY, this.#left + units);
  }
}

/** The last ids of one kind; the oldest is forgotten. */
class RecentIds {
  readonly #ids: number[] = [];
  readonly #size: number;
  #next = 0;

  constructor(size: number) {
    this.#size = size;
  }

  add(id: number): void {
    this.#ids[this.#next] = id;
    this.#next = (this.#next + 1) % this.#size;
  }

  has(id: number): boolean {
    return this.#ids.includes(id);
  }
}

/** How the streams of the near past ended: it decides what a late frame for them means. */
export class ClosedStreams {
  readonly #here: RecentIds;
  readonly #there = new RecentIds(64);
  readonly #finished = new RecentIds(64);

  /**
   * `resets`: how many streams reset here are remembered. As many as can be open at a time are
   * enough, since a peer opens new ones only when it has heard of the end of old ones.
   */
  constructor(resets: number) {
    this.#here = new RecentIds(resets);
  }

  resetHere(id: number): void {
    this.#here.add(id);
  }

  resetThere(id: number): void {
    this.#there.add(id);
  }

  finished(id: number): void {
    this.#finished.add(id);
  }

  /** `reset-here`: the peer may not have known; undefined: too long ago, or never opened. */
  how(id: number): 'reset-here' | 'reset-there' | 'finished' | undefined {
    if (this.#here.has(id)) return 'reset-here';
    if (this.#there.has(id)) return 'reset-there';
    return this.#finished.has(id) ? 'finished' : undefined;
  }
}
