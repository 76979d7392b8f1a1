const WINDOW_SECONDS = 10;

/** Limits retries to a share of recent requests plus a floor, so that they never pile up. */
export class RetryBudget {
  readonly #ratio: number;
  readonly #floor: number;
  readonly #requests = new Float64Array(WINDOW_SECONDS);
  readonly #retries = new Float64Array(WINDOW_SECONDS);
  #second = 0;

  /** `ratio` from 0 to 1; `floorPerSecond` retries are always allowed. */
  constructor(ratio: number, floorPerSecond = 3) {
    this.#ratio = ratio;
    this.#floor = floorPerSecond * WINDOW_SECONDS;
  }

  request(now: number): void {
    const at = this.#slot(now);
    this.#requests[at] = (this.#requests[at] ?? 0) + 1;
  }

  /** Takes one retry from the budget; false when there is none left. */
  tryRetry(now: number): boolean {
    const at = this.#slot(now);
    const sum = (a: number, b: number) => a + b;
    const allowed = this.#floor + this.#ratio * this.#requests.reduce(sum, 0);
    if (this.#retries.reduce(sum, 0) + 1 > allowed) return false;
    this.#retries[at] = (this.#retries[at] ?? 0) + 1;
    return true;
  }

  #slot(now: number): number {
    const second = Math.floor(now / 1000);
    const from = Math.max(this.#second + 1, second - WINDOW_SECONDS + 1);
    for (let s = from; s <= second; s++) {
      this.#requests[s % WINDOW_SECONDS] = 0;
      this.#retries[s % WINDOW_SECONDS] = 0;
    }
    this.#second = Math.max(this.#second, second);
    return this.#second % WINDOW_SECONDS;
  }
}
