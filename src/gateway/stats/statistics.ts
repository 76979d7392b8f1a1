import { hostname } from 'node:os';
import type { Clock } from '../../base/clock.ts';
import type { SeriesSample } from '../../base/metrics.ts';
import type { ServiceState } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { HealthBoard } from '../health/health-board.ts';
import type { StatisticsReport } from '../ipc.ts';
import { processInfo } from './process-info.ts';
import { StatHistory } from './stat-history.ts';
import { statRows } from './stat-rows.ts';

/** What statistics are gathered from. */
export type StatisticsDeps = {
  readonly clock: Clock;
  readonly board: HealthBoard;
  /** Every series as workers last told them. */
  readonly samples: () => readonly SeriesSample[];
  readonly isCurrent: (series: Pick<SeriesSample, 'family' | 'labels'>) => boolean;
  readonly states: () => readonly ServiceState[];
  readonly config: () => GatewayConfig;
  readonly workers: () => number;
  readonly draining: () => boolean;
  readonly version: string;
  /** Unix ms. */
  readonly startedAtMs: number;
};

/** Whether anybody sees statistics in HAProxy's form; who does not, does not pay for them. */
function wantsStatistics({ metrics, admin, listeners }: GatewayConfig): boolean {
  if (metrics.compat === 'haproxy' || admin?.runtime) return true;
  return Object.values(listeners).some(({ routes }) => routes.some(({ stats }) => stats));
}

/** The gateway of one host in HAProxy's form, summed over its workers. */
export class Statistics {
  readonly #deps: StatisticsDeps;
  readonly #history = new StatHistory();
  readonly #begunAt: number;

  constructor(deps: StatisticsDeps) {
    this.#deps = deps;
    this.#begunAt = deps.clock.now();
  }

  /** To be called once a second, when workers have told what happened in it. */
  pulse(): void {
    if (!wantsStatistics(this.#deps.config())) return;
    this.#history.take(this.#deps.samples(), this.#deps.clock.now());
    this.#history.prune((series) => this.#deps.isCurrent(series));
  }

  /** Highest values and rates begin anew. */
  clear(): void {
    this.#history.clear();
  }

  /** A row for every listener, service and endpoint, and the fields of `show info`. */
  report(samples: readonly SeriesSample[]): StatisticsReport {
    const { clock, board, states, workers, draining, startedAtMs, version } = this.#deps;
    const now = clock.now();
    this.#history.take(samples, now);
    const config = this.#deps.config();
    const history = this.#history;
    const uptimeMs = now - this.#begunAt;
    const checks = (service: string, endpoint: string) => board.checks(service, endpoint);
    const about = { samples, config, history, uptimeMs, workers: workers() };
    const rows = statRows({ ...about, states: states(), checks, now, wall: clock.wall() });
    const info = processInfo({
      ...{ ...about, version, startedAtMs },
      pid: process.pid,
      draining: draining(),
      node: hostname(),
    });
    return { rows, info };
  }
}
