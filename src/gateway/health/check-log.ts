import type { ProbeResult } from '../../net/probes/probe.ts';

/** What is told of an endpoint's active checks, beyond the state that they led to. */
export type CheckReport = {
  /** Undefined: none has ended yet, or there is no check. */
  readonly last: (ProbeResult & { readonly durationMs: number }) | undefined;
  readonly running: boolean;
  /** Checks that failed while it was up. */
  readonly failed: number;
  /** Times that it went down. */
  readonly downs: number;
  /** Ms since it last went up or down, or since it is known. */
  readonly sinceChangeMs: number;
  /** Ms that it has been down altogether. */
  readonly downMs: number;
  /** Thresholds; undefined without a check. */
  readonly rise: number | undefined;
  readonly fall: number | undefined;
  /** Results in a row that speak against its state. */
  readonly against: number;
};

/** What happened to one endpoint; times are monotonic ms. */
export class CheckLog {
  #last: CheckReport['last'];
  #failed = 0;
  #downs = 0;
  #changedAt: number;
  #downMs = 0;
  #up = true;

  constructor(now: number) {
    this.#changedAt = now;
  }

  checked(result: ProbeResult, durationMs: number, wasUp: boolean): void {
    this.#last = { ...result, durationMs };
    if (!result.ok && wasUp) this.#failed++;
  }

  /** Takes whether it serves now. */
  state(up: boolean, now: number): void {
    if (up === this.#up) return;
    if (up) this.#downMs += now - this.#changedAt;
    else this.#downs++;
    this.#up = up;
    this.#changedAt = now;
  }

  report(
    now: number,
    rest: Pick<CheckReport, 'running' | 'rise' | 'fall' | 'against'>,
  ): CheckReport {
    const sinceChangeMs = now - this.#changedAt;
    return {
      ...rest,
      last: this.#last,
      failed: this.#failed,
      downs: this.#downs,
      sinceChangeMs,
      downMs: this.#downMs + (this.#up ? 0 : sinceChangeMs),
    };
  }
}
