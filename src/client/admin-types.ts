import type { MetricFilter } from '../base/metrics.ts';
import type { EndpointAddress } from '../model/address.ts';
import type { AdminState, EndpointSpec, ServiceState } from '../model/endpoint-state.ts';
import type { RefusedRequest, SessionInfo } from '../model/session-info.ts';
import type { StatRow } from '../model/stat-row.ts';

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
export type EndpointInfo = ServiceState['endpoints'][number] & {
  readonly active: number;
  /** What it was given, apart from all orders. */
  readonly initialWeight?: number;
};

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

/** The gateway in HAProxy's form: its table, and the fields of `show info`. */
export type StatisticsInfo = {
  readonly rows: readonly StatRow[];
  readonly info: Readonly<Record<string, string | number>>;
};

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
  /** Every listener, service and endpoint, summed over the workers. */
  statistics(): Promise<StatisticsInfo>;
  /** Requests and sessions under way, the oldest first. */
  sessions(): Promise<SessionInfo[]>;
  /** Ends the connections that carry sessions. */
  endSessions(ids: readonly string[]): void;
  /** The last request of each listener that could not be read, the latest first. */
  refusedRequests(): Promise<RefusedRequest[]>;
  /** Highest values and rates begin anew. */
  clearStatistics(): void;
  /** Adds an endpoint that takes no traffic yet; why not, in HAProxy's words. */
  addEndpoint(service: string, spec: EndpointSpec): string | undefined;
  /** Takes an endpoint in state maint away; why not, in HAProxy's words. */
  removeEndpoint(service: string, endpoint: string): string | undefined;
  /** Gives an endpoint another address; false when another endpoint is there already. */
  moveEndpoint(service: string, endpoint: string, address: EndpointAddress): boolean;
  /** Files of certificates that listeners name. */
  certificates(): string[];
  /** Puts a certificate with its key in the place of a file until it changes; why not, in words. */
  replaceCertificate(file: string, pem: string): string | undefined;
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
