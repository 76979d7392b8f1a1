import type { Placed } from '../../base/bag.ts';
import type { OutcomeClass } from '../ipc.ts';
import type { EndpointRuntime } from './endpoint-runtime.ts';
import type { Lease } from './service-handle.ts';

/** Whose endpoints are leased. */
export interface Lessor {
  /** Monotonic ms. */
  now(): number;
  /** An answer has begun, so many ms after the lease; once at most for each lease. */
  leaseAnswered(endpoint: EndpointRuntime, elapsedMs: number): void;
  leaseReleased(lease: EndpointLease, outcome: OutcomeClass): void;
}

/** One unit of work on an endpoint of a service. */
export class EndpointLease implements Lease, Placed {
  place = -1;
  onDown: (() => void) | undefined;
  readonly endpoint: EndpointRuntime;
  readonly startedAt: number;
  readonly #lessor: Lessor;
  #answered = false;

  constructor(endpoint: EndpointRuntime, startedAt: number, lessor: Lessor) {
    this.endpoint = endpoint;
    this.startedAt = startedAt;
    this.#lessor = lessor;
  }

  answered(now: number): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#lessor.leaseAnswered(this.endpoint, now - this.startedAt);
  }

  release(outcome: OutcomeClass): void {
    if (!this.#answered) this.answered(this.#lessor.now());
    this.#lessor.leaseReleased(this, outcome);
  }
}
