import type { TestContext } from 'node:test';
import { Worker } from 'node:worker_threads';

/** How one request ended. `closed` is an end of the connection without a whole answer. */
export type Outcome = 'ok' | 'status' | 'mismatch' | 'refused' | 'reset' | 'closed' | 'timeout';

/** A bounded load. Each request carries its number in `x-seq` and expects `bodyOf` it back. */
export type LoadOptions = {
  port: number;
  host?: string;
  connections: number;
  /** Steady arrivals, whether or not earlier ones were answered; absent: as fast as answers come. */
  perSecond?: number;
  /** Absent: until `stop`. */
  seconds?: number;
  method?: 'GET' | 'POST';
  path?: string;
  authority?: string;
  /** False: a new connection for each request. */
  keepAlive?: boolean;
  /** False: any body is right, as for backends that know nothing of sequence numbers. */
  check?: boolean;
  timeoutMs?: number;
  /** Source addresses, used in turn. */
  from?: readonly string[];
};

/** Columns by sequence number. `tookMs` counts from when the request was due. */
export type LoadResult = {
  dueMs: number[];
  tookMs: number[];
  status: number[];
  outcome: Outcome[];
  backend: string[];
};

/** One request that did not get its own body with a 2xx. */
export type Failure = {
  seq: number;
  dueMs: number;
  tookMs: number;
  status: number;
  outcome: Outcome;
};

/** What the clients of one load saw. */
export class LoadReport {
  readonly result: LoadResult;

  constructor(result: LoadResult) {
    this.result = result;
  }

  get sent(): number {
    return this.result.outcome.length;
  }

  failures(): Failure[] {
    const { outcome, dueMs, tookMs, status } = this.result;
    return outcome.flatMap((one, seq) =>
      one === 'ok'
        ? []
        : [
            {
              seq,
              dueMs: dueMs[seq] ?? 0,
              tookMs: tookMs[seq] ?? 0,
              status: status[seq] ?? 0,
              outcome: one,
            },
          ],
    );
  }

  /** How many failed, by what happened, as text: `3 status 502, 1 reset`; `0` when none. */
  summary(): string {
    const counts = new Map<string, number>();
    for (const { outcome, status } of this.failures()) {
      const what = outcome === 'status' ? `status ${status}` : outcome;
      counts.set(what, (counts.get(what) ?? 0) + 1);
    }
    return [...counts].map(([what, count]) => `${count} ${what}`).join(', ') || '0';
  }

  /** The latency below which `percent` of the answers due in [fromMs, toMs) stayed. */
  percentile(percent: number, fromMs = 0, toMs = Number.POSITIVE_INFINITY): number {
    const { dueMs, tookMs } = this.result;
    const chosen = tookMs.filter((_, seq) => {
      const due = dueMs[seq] ?? 0;
      return due >= fromMs && due < toMs;
    });
    chosen.sort((a, b) => a - b);
    return chosen[Math.min(chosen.length - 1, Math.floor((chosen.length * percent) / 100))] ?? 0;
  }

  get worstMs(): number {
    return this.result.tookMs.reduce((worst, one) => Math.max(worst, one), 0);
  }

  /** How many were answered by `backend` among those due in [fromMs, toMs). */
  served(backend: string, fromMs = 0, toMs = Number.POSITIVE_INFINITY): number {
    const { dueMs, backend: by } = this.result;
    let count = 0;
    for (const [seq, name] of by.entries()) {
      const due = dueMs[seq] ?? 0;
      if (name === backend && due >= fromMs && due < toMs) count++;
    }
    return count;
  }
}

/** A load that runs. */
export type Load = {
  /** Milliseconds since it began, on the scale of `dueMs` (within a few ms). */
  elapsedMs(): number;
  stop(): void;
  readonly done: Promise<LoadReport>;
};

/** Starts a load in a thread of its own; it ends with the test at the latest. */
export async function startLoad(t: TestContext, options: LoadOptions): Promise<Load> {
  const worker = new Worker(new URL('./load-worker.ts', import.meta.url), { workerData: options });
  await new Promise((resolve) => worker.once('online', resolve));
  // A test that fails before it stops its load must not leave it running.
  t.after(() => worker.terminate());
  const from = performance.now();
  const done = new Promise<LoadReport>((resolve, reject) => {
    worker.once('message', (result: LoadResult) => resolve(new LoadReport(result)));
    worker.once('error', reject);
  });
  return {
    elapsedMs: () => performance.now() - from,
    stop: () => worker.postMessage('stop'),
    done,
  };
}

/** Runs a load to its end. */
export async function runLoad(t: TestContext, options: LoadOptions): Promise<LoadReport> {
  return (await startLoad(t, options)).done;
}

/** One small request every 20 ms on a connection of its own: what others feel during an attack. */
export function startCanary(
  t: TestContext,
  options: Omit<LoadOptions, 'connections'>,
): Promise<Load> {
  return startLoad(t, {
    connections: 50,
    perSecond: 50,
    keepAlive: false,
    timeoutMs: 5000,
    ...options,
  });
}
