import type { EndpointAddress } from './address.ts';

/** An endpoint as discovery or the configuration names it. */
export type EndpointSpec = {
  /** Unique in its service: the address as text. */
  readonly id: string;
  /** What HAProxy's surfaces call it; undefined: its id. */
  readonly name?: string | undefined;
  readonly address: EndpointAddress;
  readonly weight: number;
  readonly backup: boolean;
  readonly maxConnections?: number | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
};

/** What an operator has decided of an endpoint. Source: HAProxy management guide, `set server`. */
export type AdminState = 'ready' | 'drain' | 'maint';

/** What the endpoint's own agent asks for, apart from what an operator has decided. */
export type AgentState = AdminState | 'down';

/** An endpoint with everything observed of it; whole lists of these travel, never changes. */
export type EndpointState = EndpointSpec & {
  readonly admin: AdminState;
  /** Undefined: no agent is asked. */
  readonly agent?: AgentState | undefined;
  /** By active checks; `unknown` before the first result with `initialState: hold`. */
  readonly check: 'up' | 'down' | 'unknown';
  /** Put aside because of what live traffic met. */
  readonly ejected: boolean;
  /** Why it is not simply up, in words; empty otherwise. */
  readonly reason: string;
  /** Wall-clock ms since it last came up after having been down; 0 when it never was. */
  readonly upSince: number;
};

/** Every endpoint of one service. */
export type ServiceState = {
  readonly service: string;
  readonly endpoints: readonly EndpointState[];
  /** Seconds since the source of the endpoints last answered; 0 for a static list. */
  readonly staleSeconds: number;
};
