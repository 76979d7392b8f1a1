import type { SeriesSample } from '../base/metrics.ts';
import type { AdminState, ServiceState } from '../model/endpoint-state.ts';
import type { GatewayConfig } from '../model/gateway-config.ts';
import type { RefusedRequest, SessionInfo } from '../model/session-info.ts';
import type { StatRow } from '../model/stat-row.ts';

/** Contents of the files that a configuration names, by absolute path, so that workers read none. */
export type ConfigMaterial = { readonly files: Readonly<Record<string, string>> };

/** What happened to an endpoint in one session, as far as health is concerned. */
export type OutcomeClass = 'ok' | 'refused' | 'reset' | 'timeout' | 'status5xx';

/** Outcomes of one endpoint since the last report. */
export type OutcomeBatch = {
  readonly service: string;
  readonly endpoint: string;
  readonly ok: number;
  readonly failed: number;
  /** Failures since the last success. */
  readonly tail: number;
  readonly byClass: Readonly<Partial<Record<OutcomeClass, number>>>;
};

/** What the workers of one host hold of an endpoint at the moment of a report. */
export type EndpointUsage = {
  readonly service: string;
  readonly endpoint: string;
  readonly active: number;
};

/** The host in HAProxy's form: its table, and the fields of `show info`. */
export type StatisticsReport = {
  readonly rows: readonly StatRow[];
  readonly info: Readonly<Record<string, string | number>>;
};

/** A session as its worker numbers it. */
export type WorkInfo = Omit<SessionInfo, 'id'> & { readonly serial: number };

/** Tokens taken from a rate limit's bucket since the last report. */
export type RateUse = { readonly limit: string; readonly key: string; readonly tokens: number };

/**
 * Supervisor → worker. A `listen` message carries one handle of a socket's group, of which a worker
 * may get several copies; `adoption` carries the socket on which a worker without a supervisor waits
 * to be adopted.
 */
export type ToWorker =
  | {
      type: 'configure';
      generation: number;
      config: GatewayConfig;
      material: ConfigMaterial;
      services: ServiceState[];
      /** TLS session ticket keys, newest first, 48 bytes each, base64. */
      ticketKeys: readonly string[];
      /** Signs sticky cookies; the same for all workers and across reloads. */
      cookieKey: string;
      /** Workers of this host: each enforces its share of every limit, rounded up. */
      workers: number;
    }
  | { type: 'listen'; socket: string; index: number; copy: number }
  | { type: 'unlisten'; socket: string; index: number }
  | { type: 'adoption' }
  | { type: 'service'; state: ServiceState }
  | { type: 'material'; material: ConfigMaterial }
  | { type: 'ticket-keys'; keys: readonly string[] }
  | { type: 'reopen-logs' }
  | { type: 'rate-use'; uses: RateUse[] }
  /** `pulse`: a second is over, of which highest values have been told. */
  | { type: 'stats-request'; id: number; pulse: boolean }
  /** `idle: 'wait'` leaves kept connections to their next request, which then ends them. */
  | { type: 'statistics'; id: number; report: StatisticsReport }
  | { type: 'work-request'; id: number }
  /** Ends the connections that carry it. */
  | { type: 'end-work'; serials: readonly number[] }
  | { type: 'drain'; timeoutMs: number; idle: 'close' | 'wait' };

/** Worker → supervisor. */
export type FromWorker =
  | { type: 'started' }
  | { type: 'configured'; generation: number }
  | { type: 'outcomes'; batches: OutcomeBatch[] }
  | { type: 'suspect'; service: string; endpoint: string }
  | { type: 'statistics-request'; id: number }
  /** From the form of the statistics' page; an endpoint by the name that stands there. */
  | { type: 'endpoint-order'; service: string; server: string; state: AdminState }
  | { type: 'rate-use'; uses: RateUse[] }
  | { type: 'stats'; id: number; samples: SeriesSample[]; usage: EndpointUsage[]; lagMs: number }
  | { type: 'work'; id: number; sessions: WorkInfo[]; refused: RefusedRequest[] }
  /** Why new work is refused, whenever that changes: a worker behind its time answers late. */
  | { type: 'strain'; reasons: readonly string[] }
  | { type: 'drained'; cut: number };

/** How a worker's parts speak to the supervisor; does nothing while there is none. */
export interface SupervisorLink {
  outcomes(batch: OutcomeBatch[]): void;
  suspect(service: string, endpoint: string): void;
  rateUse(uses: RateUse[]): void;
  /** Of the whole host; rejects when nobody answers. */
  statistics(): Promise<StatisticsReport>;
  /** An operator's order for an endpoint, by its name. */
  order(service: string, server: string, state: AdminState): void;
}
