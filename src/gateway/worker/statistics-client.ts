import type { Clock } from '../../base/clock.ts';
import type { FromWorker, StatisticsReport } from '../ipc.ts';

const WAIT_MS = 2000;
/** A report so young serves once more, so that many readers cost the supervisor as much as one. */
const FRESH_MS = 100;

/** Asks the supervisor for the statistics of the whole host. */
export class StatisticsClient {
  readonly #clock: Clock;
  readonly #send: (message: FromWorker) => void;
  readonly #waiting = new Map<number, (report: StatisticsReport) => void>();
  #asked: { at: number; report: Promise<StatisticsReport> } | undefined;
  #id = 0;

  constructor(clock: Clock, send: (message: FromWorker) => void) {
    this.#clock = clock;
    this.#send = send;
  }

  /** Rejects when no supervisor answers in time. */
  ask(): Promise<StatisticsReport> {
    const now = this.#clock.now();
    if (this.#asked && now - this.#asked.at < FRESH_MS) return this.#asked.report;
    const report = this.#request();
    this.#asked = { at: now, report };
    return report;
  }

  /** Something has been ordered: what is known is old. */
  forget(): void {
    this.#asked = undefined;
  }

  take(id: number, report: StatisticsReport): void {
    this.#waiting.get(id)?.(report);
    this.#waiting.delete(id);
  }

  #request(): Promise<StatisticsReport> {
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(WAIT_MS, () => {
        this.#waiting.delete(id);
        reject(new Error('the supervisor does not answer'));
      });
      this.#waiting.set(id, (report) => {
        timer.cancel();
        resolve(report);
      });
      this.#send({ type: 'statistics-request', id });
    });
  }
}
