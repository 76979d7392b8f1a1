import type { Clock } from '../../base/clock.ts';
import type { OutcomeClass, SupervisorLink } from '../ipc.ts';

const FAILURE_FLUSH_MS = 10;
const SUCCESS_FLUSH_MS = 1000;

type Pending = {
  service: string;
  endpoint: string;
  ok: number;
  failed: number;
  tail: number;
  byClass: Partial<Record<OutcomeClass, number>>;
};

/** Notes how a piece of work on one endpoint ended. */
export type NoteOutcome = (outcome: OutcomeClass) => void;

/**
 * Gathers outcomes and reports them: failures within 10 ms, because an ejection hangs on them,
 * plain successes within a second.
 */
export class OutcomeReporter {
  readonly #clock: Clock;
  readonly #link: SupervisorLink;
  #pending: Pending[] = [];
  #flushAt = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, link: SupervisorLink) {
    this.#clock = clock;
    this.#link = link;
  }

  /** Where the outcomes of one endpoint are noted. */
  of(service: string, endpoint: string): NoteOutcome {
    let entry: Pending | undefined;
    let list: Pending[] | undefined;
    return (outcome) => {
      if (!entry || list !== this.#pending) {
        entry = { service, endpoint, ok: 0, failed: 0, tail: 0, byClass: {} };
        list = this.#pending;
        list.push(entry);
      }
      this.#count(entry, outcome);
    };
  }

  #count(entry: Pending, outcome: OutcomeClass): void {
    entry.byClass[outcome] = (entry.byClass[outcome] ?? 0) + 1;
    if (outcome === 'ok') {
      entry.ok++;
      entry.tail = 0;
      // No flush that is under way comes later than this one would.
      if (this.#flushAt === Number.POSITIVE_INFINITY) this.#flushIn(SUCCESS_FLUSH_MS);
    } else {
      entry.failed++;
      entry.tail++;
      if (this.#clock.now() + FAILURE_FLUSH_MS < this.#flushAt) this.#flushIn(FAILURE_FLUSH_MS);
    }
  }

  #flushIn(delayMs: number): void {
    this.#flushAt = this.#clock.now() + delayMs;
    this.#clock.after(delayMs, () => this.#flush());
  }

  #flush(): void {
    this.#flushAt = Number.POSITIVE_INFINITY;
    if (this.#pending.length === 0) return;
    const batches = this.#pending;
    this.#pending = [];
    this.#link.outcomes(batches);
  }
}
