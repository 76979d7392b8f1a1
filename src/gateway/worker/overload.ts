import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { MetricRegistry } from '../../base/metrics.ts';
import { systemRng } from '../../base/rng.ts';
import { Shedder, type ShedReason } from '../../health/shedder.ts';

const LOOK_EVERY_MS = 100;
/** Descriptors for what is not a client's: the process itself, checks, logs, sockets. */
const RESERVED_DESCRIPTORS = 64;
const REASONS: readonly ShedReason[] = ['lag', 'memory'];

/** The resources of a process as it can measure them. */
export type Resources = {
  /** Most files that it may have open. */
  readonly descriptors: number;
  /** Share that is taken of the memory that all workers share; `limit` in bytes, if it is set. */
  memory(workers: number, limit: number | undefined): number;
};

/** What a guard is built on. */
export type OverloadDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  readonly resources: Resources;
  readonly workers: () => number;
  readonly memoryLimit: () => number | undefined;
  /** Longest wait of a request for its turn since the last call, in ms. */
  readonly waitMs: () => number;
  /** Told why new work is refused, whenever that changes; empty: it is not. */
  readonly onChange: (reasons: readonly ShedReason[]) => void;
};

/** Turns new work away before a worker runs out of descriptors, memory or time. */
export class OverloadGuard {
  readonly #deps: OverloadDeps;
  readonly #shedder = new Shedder(systemRng);
  readonly #maxConnections: number;
  #connections = 0;
  #told = '';

  constructor(deps: OverloadDeps) {
    this.#deps = deps;
    // A connection of a client may need another one to an endpoint.
    const spare = Math.max(2, deps.resources.descriptors - RESERVED_DESCRIPTORS);
    this.#maxConnections = Math.floor(spare / 2);
    this.#look(deps.clock.now());
  }

  /** Whether there is a descriptor for one more client, and one for its endpoint; counts when not. */
  refuseConnection(): boolean {
    if (this.#connections < this.#maxConnections) return false;
    this.noteShed('descriptors');
    return true;
  }

  opened(): void {
    this.#connections++;
  }

  closed(): void {
    this.#connections--;
  }

  /** Whether a new request or L4 connection is to be refused; counts it when it is. */
  refuseWork(): boolean {
    const reason = this.#shedder.refuse();
    if (reason) this.noteShed(reason);
    return reason !== undefined;
  }

  /** Whether some work is refused now. */
  get refusesWork(): boolean {
    return this.#shedder.refuses;
  }

  noteShed(reason: ShedReason | 'descriptors'): void {
    this.#deps.metrics.cell('sluice_overload_shed_total', reason).value++;
  }

  #look(before: number): void {
    this.#deps.clock.after(LOOK_EVERY_MS, () => {
      const { clock, metrics, logger, resources, workers, memoryLimit, waitMs } = this.#deps;
      const now = clock.now();
      const lagMs = Math.max(0, now - before - LOOK_EVERY_MS, waitMs());
      this.#shedder.observe({ lagMs, memory: resources.memory(workers(), memoryLimit()) });
      const { reasons } = this.#shedder;
      for (const reason of REASONS) {
        metrics.cell('sluice_overloaded', reason).value = reasons.includes(reason) ? 1 : 0;
      }
      const text = reasons.join(', ');
      if (text !== this.#told) {
        if (text) logger.warn('overloaded: new requests are refused', { reasons });
        else logger.info('no longer overloaded');
        this.#told = text;
        this.#deps.onChange(reasons);
      }
      this.#look(now);
    });
  }
}
