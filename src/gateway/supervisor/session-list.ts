import type { RefusedRequest, SessionInfo } from '../../model/session-info.ts';
import type { FromWorker } from '../ipc.ts';
import type { Fleet } from './fleet.ts';
import type { WorkerProcess } from './worker-process.ts';

const WAIT_MS = 500;
/** Identifiers of a worker's sessions are its slot and, below, its own numbers. */
const SERIALS = 2 ** 40;

type Told = Extract<FromWorker, { type: 'work' }>;

/** Asks the workers what they have under way. */
export class SessionList {
  readonly #fleet: () => Fleet;
  readonly #awaited = new Map<number, (worker: WorkerProcess, told: Told) => void>();
  #id = 0;

  constructor(fleet: () => Fleet) {
    this.#fleet = fleet;
  }

  /** Requests and sessions under way, the oldest first; of workers that answer within 500 ms. */
  async sessions(): Promise<SessionInfo[]> {
    const answers = await this.#ask();
    const sessions = answers.flatMap(([{ slot }, { sessions }]) =>
      sessions.map(({ serial, ...rest }) => ({
        id: (slot * SERIALS + serial).toString(16),
        ...rest,
      })),
    );
    return sessions.sort((a, b) => b.ageMs - a.ageMs);
  }

  /** The last request of each listener that could not be read, the latest first. */
  async refusedRequests(): Promise<RefusedRequest[]> {
    const answers = await this.#ask();
    const all = answers.flatMap(([, { refused }]) => refused).sort((a, b) => b.at - a.at);
    return all.filter(
      ({ listener }, at) => all.findIndex((one) => one.listener === listener) === at,
    );
  }

  /** Ends the connections that carry sessions. */
  end(ids: readonly string[]): void {
    const numbers = ids.map((id) => Number.parseInt(id, 16));
    for (const worker of this.#fleet().workers) {
      const serials = numbers
        .filter((number) => Math.floor(number / SERIALS) === worker.slot)
        .map((number) => number % SERIALS);
      if (serials.length > 0) worker.send({ type: 'end-work', serials });
    }
  }

  /** Takes what a worker tells. */
  take(worker: WorkerProcess, told: Told): void {
    this.#awaited.get(told.id)?.(worker, told);
  }

  #ask(): Promise<[WorkerProcess, Told][]> {
    const id = ++this.#id;
    const fleet = this.#fleet();
    const missing = new Set(fleet.workers);
    const answers: [WorkerProcess, Told][] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#awaited.set(id, (worker, told) => {
      answers.push([worker, told]);
      missing.delete(worker);
      if (missing.size === 0) resolve();
    });
    fleet.broadcast({ type: 'work-request', id });
    const timer = setTimeout(resolve, missing.size === 0 ? 0 : WAIT_MS);
    return promise.then(() => {
      clearTimeout(timer);
      this.#awaited.delete(id);
      return answers;
    });
  }
}
