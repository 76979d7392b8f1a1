/** Suspects one endpoint that used to answer and has left all outstanding requests unanswered. */
export class SilenceDetector {
  readonly #limitMs: number;
  #answeredBefore = false;
  #waiting = 0;
  #quietSince = 0;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  /** A request was sent. */
  started(now: number): void {
    if (this.#waiting === 0) this.#quietSince = now;
    this.#waiting++;
  }

  /** A request got the first byte of its answer. */
  firstByte(now: number): void {
    this.#answeredBefore = true;
    this.#waiting = Math.max(0, this.#waiting - 1);
    this.#quietSince = now;
  }

  /** A request ended; `answered` tells whether `firstByte` was reported for it. */
  finished(answered: boolean): void {
    if (!answered) this.#waiting = Math.max(0, this.#waiting - 1);
  }

  suspect(now: number): boolean {
    return this.#answeredBefore && this.#waiting > 0 && now - this.#quietSince >= this.#limitMs;
  }
}
