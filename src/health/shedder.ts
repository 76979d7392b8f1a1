import type { Rng } from '../base/rng.ts';

/** How a process fares at one look. */
export type Strain = {
  /** Longest stall of the loop, or wait of a request for its turn, since the look before, in ms. */
  readonly lagMs: number;
  /** Share of the memory that it may take, 0 to 1 and above. */
  readonly memory: number;
};

/** Why new work is refused. */
export type ShedReason = 'lag' | 'memory';

const MAX_LAG_MS = 200;
/** Looks in a row that find it late: a single stall is over before anything could be done. */
const LATE_LOOKS = 3;
const MAX_MEMORY = 0.9;
/**
 * What the share of refused requests changes by at a look, when lag is twice the limit. Who is refused stays
 * away for seconds, so that the effect of a step shows late: larger ones make it swing.
 */
const STEP = 0.004;
/** In steps. */
const MOST_UP = 5;
/** Below this nobody waits any more: the share falls as fast as it may rise. */
const NO_LAG_MS = 20;
/**
 * To read a request and to write a refusal takes a good third of the time of serving it. One refused
 * for two served costs a sixth of what could be served at most, whatever is offered; the rest waits
 * in the kernel, where waiting costs nothing.
 */
const MAX_SHARE = 1 / 3;

/**
 * Refuses a share of new requests while a process cannot keep up. The share follows the lag in
 * proportion, so that it settles where the lag is at its limit, instead of swinging between too much
 * and too little. Without memory left, every new request is refused.
 */
export class Shedder {
  readonly #rng: Rng;
  #share = 0;
  #lateLooks = 0;
  #full = false;

  constructor(rng: Rng) {
    this.#rng = rng;
  }

  /** Takes a look, as often as the steps above are to be made. */
  observe({ lagMs, memory }: Strain): void {
    this.#lateLooks = lagMs > MAX_LAG_MS ? this.#lateLooks + 1 : 0;
    if (this.#share > 0 || this.#lateLooks >= LATE_LOOKS) {
      const excess = lagMs < NO_LAG_MS ? -MOST_UP : Math.min(MOST_UP, lagMs / MAX_LAG_MS - 1);
      this.#share = Math.min(MAX_SHARE, Math.max(0, this.#share + STEP * excess));
    }
    this.#full = memory > MAX_MEMORY;
  }

  /** Whether some are refused now. */
  get refuses(): boolean {
    return this.#full || this.#share > 0;
  }

  /** What is wrong now. */
  get reasons(): ShedReason[] {
    const reasons: ShedReason[] = [];
    if (this.#share > 0) reasons.push('lag');
    if (this.#full) reasons.push('memory');
    return reasons;
  }

  /** Why a new request is to be refused; undefined: let it in. */
  refuse(): ShedReason | undefined {
    if (this.#full) return 'memory';
    return this.#share > 0 && this.#rng.next() < this.#share ? 'lag' : undefined;
  }
}
