import type { MetricFilter } from '../base/metrics.ts';
import type { AdminState, ServiceState } from '../model/endpoint-state.ts';

/** What `GET /v1/status` tells. */
export type Status = {
  readonly version: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly generation: number;
  readonly ready: boolean;
  readonly workers: readonly { slot: number; pid: number | undefined; ready: boolean }[];
  /** Whether the node agent answers; undefined: none is configured. */
  readonly agentConnected: boolean | undefined;
};

/** One listener as `GET /v1/listeners` tells of it. */
export type ListenerInfo = {
  readonly name: string;
  readonly protocol: string;
  readonly bind: readonly string[];
  readonly service: string | undefined;
  readonly routes: number;
  /** What carries it now. */
  readonly plane: 'kernel' | 'user';
  /** Why it is not, or not to be, the kernel; empty when it is. */
  readonly planeReason: string;
};

/** An endpoint with the work under way on it. */
export type EndpointInfo = ServiceState['endpoints'][number] & { readonly active: number };

/** A service as `GET /v1/services` tells of it. */
export type ServiceInfo = {
  readonly name: string;
  readonly staleSeconds: number;
  readonly endpoints: readonly EndpointInfo[];
};

/** A change of health. */
export type EventInfo = {
  readonly at: number;
  readonly service: string;
  readonly endpoint: string;
  readonly to: 'up' | 'down';
  readonly reason: string;
};

/** A request whose way is to be explained. */
export type ExplainQuery = {
  readonly listen: string;
  readonly host?: string | undefined;
  readonly path?: string | undefined;
  readonly method?: string | undefined;
  readonly sni?: string | undefined;
  readonly source?: string | undefined;
};

/** An order for an endpoint. */
export type EndpointOrder = { readonly state?: AdminState; readonly weight?: number };

/** What the admin API asks of the daemon. */
export interface AdminBackend {
  /** Why new requests are refused at the moment; empty when none are. */
  readonly strain: readonly string[];
  /** Why it is not ready, in words. */
  readonly unready: string | undefined;
  status(): Status;
  listeners(): ListenerInfo[];
  services(): Promise<ServiceInfo[]>;
  /** False when there is no such endpoint. */
  order(service: string, endpoint: string, order: EndpointOrder): boolean;
  /** Rejects with the reason when the files have errors. */
  reload(): Promise<void>;
  /** The process that serves from now on. Rejects with the reason when it could not take over. */
  upgrade(): Promise<number>;
  /** The running configuration, without secrets. */
  config(): unknown;
  /** What the text would change. */
  plan(): string[];
  events(): readonly EventInfo[];
  /** Tells of every change from now on, until the returned function is called. */
  follow(next: (event: EventInfo) => void): () => void;
  /** Step by step, in words. */
  explain(query: ExplainQuery): string[];
  metrics(filter?: MetricFilter): Promise<{ contentType: string; text: string }>;
}
