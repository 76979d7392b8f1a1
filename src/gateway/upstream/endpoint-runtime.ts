import type { EndpointLoad } from '../../balance/balancer.ts';
import { Bag } from '../../base/bag.ts';
import type { Cell, LevelCell } from '../../base/metrics.ts';
import { isUsable } from '../../health/eligible.ts';
import { SilenceDetector } from '../../health/silence.ts';
import type { EndpointAddress } from '../../model/address.ts';
import type { EndpointState } from '../../model/endpoint-state.ts';
import type { HttpClientPool } from '../../net/http-exchange.ts';
import type { EndpointLease } from './endpoint-lease.ts';
import type { EndpointTally } from './endpoint-tally.ts';
import type { NoteOutcome } from './outcome-reporter.ts';
import type { UpstreamEndpoint } from './service-handle.ts';

/** Unanswered for as long as this, an endpoint that used to answer is suspected. */
const SILENT_MS = 700;

/** What is told of one endpoint. */
export type EndpointCells = {
  readonly requests: Cell;
  readonly active: LevelCell;
  readonly idle: Cell;
  readonly tally: EndpointTally;
  readonly outcome: NoteOutcome;
};

/** An endpoint as one worker holds it: latest state, live load, kept connections. */
export class EndpointRuntime implements UpstreamEndpoint {
  readonly id: string;
  readonly address: EndpointAddress;
  readonly load: EndpointLoad = { active: 0, ewmaMs: Number.NaN, ewmaAt: 0 };
  readonly silence = new SilenceDetector(SILENT_MS);
  readonly cells: EndpointCells;
  state: EndpointState;
  /** Effective weight, slow start included. */
  weight: number;
  readonly #makePool: () => HttpClientPool;
  #pool: HttpClientPool | undefined;
  /** What is at work on it. */
  readonly leases = new Bag<EndpointLease>();

  constructor(state: EndpointState, makePool: () => HttpClientPool, cells: EndpointCells) {
    this.id = state.id;
    this.address = state.address;
    this.state = state;
    this.weight = state.weight;
    this.cells = cells;
    this.#makePool = makePool;
  }

  get tally(): EndpointTally {
    return this.cells.tally;
  }

  pool(): HttpClientPool {
    this.#pool ??= this.#makePool();
    return this.#pool;
  }

  /** Counts the connections that are kept and idle. */
  countIdle(): void {
    this.cells.idle.value = this.#pool?.idle ?? 0;
  }

  /** Forgets the kept connections: the next request opens new ones. */
  closePool(): void {
    this.#pool?.close();
    this.#pool = undefined;
  }

  /** Takes the newest state; whether it means that nothing that waits will be answered. */
  apply(state: EndpointState): boolean {
    const wasUsable = isUsable(this.state);
    this.state = state;
    const drains = state.admin === 'drain' || state.agent === 'drain';
    return wasUsable && !isUsable(state) && !drains;
  }

  /** Tells everything that waits on this endpoint to look elsewhere. */
  goDown(): void {
    this.closePool();
    this.leases.visit((lease) => lease.onDown?.());
  }
}
