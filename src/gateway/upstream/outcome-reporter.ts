import type { Clock } from '../../base/clock.ts';
import type { OutcomeBatch, OutcomeClass, SupervisorLink } from '../ipc.ts';

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

/**
 * Gathers outcomes and reports them: failures within 10 ms, because an ejection hangs on them,
 * plain successes within a second.
 */
export class OutcomeReporter {
  readonly #clock: Clock;
  readonly #link: SupervisorLink;
  #pending = new Map<string, Pending>();
  #flushAt = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, link: SupervisorLink) {
    this.#clock = clock;
    this.#link = link;
  }

  note(service: string, endpoint: string, outcome: OutcomeClass): void {
    const key = `${service}\n${endpoint}`;
    let entry = this.#pending.get(key);
    if (!entry) {
      entry = { service, endpoint, ok: 0, failed: 0, tail: 0, byClass: {} };
      this.#pending.set(key, entry);
    }
    if (outcome === 'ok') {
      entry.ok++;
      entry.tail = 0;
    } else {
      entry.failed++;
      entry.tail++;
    }
    entry.byClass[outcome] = (entry.byClass[outcome] ?? 0) + 1;
    this.#schedule(outcome === 'ok' ? SUCCESS_FLUSH_MS : FAILURE_FLUSH_MS);
  }

  #schedule(delayMs: number): void {
    const at = this.#clock.now() + delayMs;
    if (at >= this.#flushAt) return;
    this.#flushAt = at;
    this.#clock.after(delayMs, () => this.#flush());
  }

  #flush(): void {
    this.#flushAt = Number.POSITIVE_INFINITY;
    if (this.#pending.size === 0) return;
    const batches: OutcomeBatch[] = [...this.#pending.values()];
    this.#pending = new Map();
    this.#link.outcomes(batches);
  }
}
