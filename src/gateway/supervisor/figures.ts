import type { MetricRegistry, SeriesSample } from '../../base/metrics.ts';
import type { ServiceState } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { EndpointUsage, FromWorker } from '../ipc.ts';
import { MetricAggregator } from '../metrics/aggregator.ts';
import { SERIES } from '../metrics/catalog.ts';
import { EndpointSeries } from '../metrics/endpoint-series.ts';
import type { KernelPlane } from '../plane/kernel-plane.ts';
import type { Fleet } from './fleet.ts';
import type { WorkerProcess } from './worker-process.ts';

const WAIT_MS = 500;

/** Whose figures they are. */
export type FiguresDeps = {
  readonly registry: MetricRegistry;
  readonly plane: KernelPlane;
  readonly fleet: () => Fleet;
  readonly states: () => readonly ServiceState[];
  readonly config: () => GatewayConfig;
};

/** What workers count, added up over all of them and with the supervisor's own figures. */
export class Figures {
  readonly #deps: FiguresDeps;
  readonly #aggregator = new MetricAggregator(SERIES);
  readonly #endpoints = new EndpointSeries(SERIES);
  readonly #usage = new Map<WorkerProcess, readonly EndpointUsage[]>();
  readonly #awaited = new Map<number, { missing: number; resolve: () => void }>();

  constructor(deps: FiguresDeps) {
    this.#deps = deps;
  }

  /** Every series of this host: the workers' and the supervisor's own. */
  samples(): SeriesSample[] {
    const { registry, fleet, states, config } = this.#deps;
    registry.cell('sluice_workers').value = fleet().workers.filter(({ ready }) => ready).length;
    const own = this.#endpoints.update(states(), config());
    registry.remove((family, labels) => !this.isCurrent({ family: family.name, labels }));
    this.#aggregator.update('supervisor', [...registry.samples(), ...own]);
    this.#aggregator.prune((sample) => this.isCurrent(sample));
    return this.#aggregator.samples().filter((sample) => this.#endpoints.isShown(sample));
  }

  /** Whether what a series tells of is still there. */
  isCurrent(series: Parameters<EndpointSeries['isCurrent']>[0]): boolean {
    return this.#endpoints.isCurrent(series);
  }

  /** Work under way on an endpoint, over all workers, as last reported. */
  activeOn(service: string, endpoint: string): number {
    let active = this.#deps.plane.activeOn(service, endpoint);
    for (const usages of this.#usage.values()) {
      for (const usage of usages) {
        if (usage.service === service && usage.endpoint === endpoint) active += usage.active;
      }
    }
    return active;
  }

  /** Asks for figures now; who does not answer in time is left out. */
  async refresh(): Promise<void> {
    await this.#inTime((late) =>
      Promise.all([this.#askWorkers(late), Promise.race([this.#deps.plane.refresh(), late])]),
    );
  }

  /** Resolves when every worker has taken in what it was sent before; after 500 ms at most. */
  async settle(): Promise<void> {
    await this.#inTime((late) => this.#askWorkers(late));
  }

  /** Takes what a worker has counted. */
  take(worker: WorkerProcess, message: Extract<FromWorker, { type: 'stats' }>): void {
    // The last words of a process whose end is known already have been counted with it.
    if (!this.#deps.fleet().workers.includes(worker)) return;
    this.#aggregator.update(keyOf(worker), message.samples);
    this.#usage.set(worker, message.usage);
    const awaited = this.#awaited.get(message.id);
    if (awaited && --awaited.missing === 0) awaited.resolve();
  }

  /** Keeps what a worker that is gone has counted. */
  forget(worker: WorkerProcess): void {
    this.#aggregator.retire(keyOf(worker));
    this.#usage.delete(worker);
  }

  async #inTime(ask: (late: Promise<void>) => Promise<unknown>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, WAIT_MS);
    });
    await ask(late);
    clearTimeout(timer);
  }

  async #askWorkers(late: Promise<void>): Promise<void> {
    const fleet = this.#deps.fleet();
    const missing = fleet.workers.length;
    const id = fleet.requestStats(false);
    if (missing === 0) return;
    const answered = new Promise<void>((resolve) => {
      this.#awaited.set(id, { missing, resolve });
    });
    await Promise.race([answered, late]);
    this.#awaited.delete(id);
  }
}

function keyOf({ slot, pid }: WorkerProcess): string {
  return `${slot}:${pid}`;
}
