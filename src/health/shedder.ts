import type { Rng } from '../base/rng.ts';

/** How a process fares at one look. */
export type Strain = {
  /** Longest stall of the event loop since the look before, in ms. */
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
/** The share of new requests that is refused grows and shrinks by these at each look. */
const GROWTH = 0.2;
const RECOVERY = 0.1;
/** Some are always let in, so that a look can show whether it has become better. */
const MAX_SHARE = 0.9;

/**
 * Refuses a share of new requests while a process cannot keep up: more as long as it stays behind,
 * less as soon as it has caught up. Without memory left, every new request is refused.
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
    const late = this.#lateLooks >= LATE_LOOKS;
    const next = late ? this.#share + GROWTH : this.#share - RECOVERY;
    this.#share = Math.min(MAX_SHARE, Math.max(0, next));
    if (this.#share < RECOVERY / 2) this.#share = 0;
    this.#full = memory > MAX_MEMORY;
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
