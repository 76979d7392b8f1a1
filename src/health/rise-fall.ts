import type { Rng } from '../base/rng.ts';

/** Timing and thresholds of an active check; durations in ms. */
export type RiseFallOptions = {
  readonly rise: number;
  readonly fall: number;
  readonly initialState: 'up' | 'down' | 'hold';
  readonly interval: number;
  /** While the state is in doubt. */
  readonly fastInterval: number;
  /** While down. */
  readonly downInterval: number;
};

/** The verdict of active checks; `unknown` before the first result with `hold`. */
export type CheckState = 'up' | 'down' | 'unknown';

/** What one result led to. */
export type CheckStep = {
  readonly state: CheckState;
  /** Whether this result changed the state. */
  readonly changed: boolean;
  /** Ms until the next check. */
  readonly nextDelay: number;
};

/**
 * The state of one endpoint by active checks. The first result ever decides alone; afterwards
 * `rise` good or `fall` bad results in a row are needed.
 */
export class RiseFall {
  readonly #options: RiseFallOptions;
  #state: CheckState;
  #fresh = true;
  #against = 0;
  #since: number;

  constructor(options: RiseFallOptions, now: number) {
    this.#options = options;
    this.#state = options.initialState === 'hold' ? 'unknown' : options.initialState;
    this.#since = now;
  }

  get state(): CheckState {
    return this.#state;
  }

  /** Results in a row that contradict the state. */
  get against(): number {
    return this.#against;
  }

  /** Monotonic ms of the last change of state. */
  get since(): number {
    return this.#since;
  }

  /** Takes over a state that another machine has found out; `rise` and `fall` hold from here on. */
  restore(state: 'up' | 'down', now: number): void {
    this.#state = state;
    this.#since = now;
    this.#fresh = false;
    this.#against = 0;
  }

  /** Takes the result of a check that ended at `now`. */
  result(ok: boolean, now: number): CheckStep {
    const verdict = ok ? 'up' : 'down';
    const needed = this.#fresh ? 1 : ok ? this.#options.rise : this.#options.fall;
    this.#fresh = false;
    this.#against = verdict === this.#state ? 0 : this.#against + 1;
    const changed = this.#against >= needed;
    if (changed) {
      this.#state = verdict;
      this.#since = now;
      this.#against = 0;
    }
    return { state: this.#state, changed, nextDelay: this.#delay() };
  }

  #delay(): number {
    if (this.#against > 0) return this.#options.fastInterval;
    return this.#state === 'down' ? this.#options.downInterval : this.#options.interval;
  }
}

/** Ms before the first check of an endpoint, so that many do not check at the same moment. */
export function startOffset(rng: Rng, options: RiseFallOptions): number {
  // With `hold` traffic waits for the first result, so the spread is kept short.
  const spread = options.initialState === 'hold' ? options.fastInterval : options.interval;
  return rng.next() * spread;
}
