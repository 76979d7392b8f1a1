import type { EndpointLoad } from '../../balance/balancer.ts';
import type { SilenceDetector } from '../../health/silence.ts';
import type { EndpointAddress } from '../../model/address.ts';
import type { EndpointState } from '../../model/endpoint-state.ts';
import type { Service } from '../../model/service.ts';
import type { HttpClientPool } from '../../net/http-exchange.ts';
import type { OutcomeClass } from '../ipc.ts';
import type { EndpointTally } from './endpoint-tally.ts';

/** One endpoint as sessions use it; the object lives as long as the endpoint is configured. */
export interface UpstreamEndpoint {
  readonly id: string;
  readonly address: EndpointAddress;
  /** The latest state; replaced whole. */
  readonly state: EndpointState;
  readonly load: EndpointLoad;
  readonly weight: number;
  readonly tally: EndpointTally;
  /** HTTP sessions report to it. */
  readonly silence: SilenceDetector;
  /** HTTP connections to it, made at first use. */
  pool(): HttpClientPool;
}

/** Of a request that has not been sent anywhere yet. */
export const NO_TRIES: ReadonlySet<string> = new Set();

/** What a pick may look at. */
export type PickRequest = {
  /** Client address. */
  readonly source: string;
  /** Value of the balancing key, when it is not the source. */
  readonly key?: string | undefined;
  /** Endpoint id that a sticky cookie named (already verified). */
  readonly sticky?: string | undefined;
  /** Ids tried before. */
  readonly tried: ReadonlySet<string>;
};

/** One unit of work on an endpoint; exactly one of its ends is called, once. */
export interface Lease {
  readonly endpoint: UpstreamEndpoint;
  /** Monotonic ms. */
  readonly startedAt: number;
  /** Called when the endpoint goes down, is ejected or set to maint while it is held. */
  onDown: (() => void) | undefined;
  /** First byte of the answer is there (for latency averages), at a time in monotonic ms. */
  answered(now: number): void;
  /**
   * Work is over; a 5xx or failure counts against the endpoint. An endpoint that never answered
   * counts as if it did now.
   */
  release(outcome: OutcomeClass): void;
}

/** Why there is no endpoint for a request. */
export type NoLease = 'no-endpoint' | 'queue-full' | 'queue-timeout' | 'cancelled';

/** A service as sessions use it. */
export interface ServiceHandle {
  readonly name: string;
  readonly config: Service;
  /**
   * Picks an endpoint and counts the work on it. Calls back at once when there is room, later when
   * the request has to queue. Returns a function that gives up waiting.
   */
  acquire(request: PickRequest, done: (result: Lease | NoLease) => void): () => void;
  /** Whether a retry is within the budget; counts it when it is. */
  tryRetry(): boolean;
  /** The endpoint that a pick would take now, without counting it, with reasons why others not. */
  explain(request: PickRequest): {
    chosen: string | undefined;
    notes: { endpoint: string; note: string }[];
  };
  readonly endpoints: readonly UpstreamEndpoint[];
}
