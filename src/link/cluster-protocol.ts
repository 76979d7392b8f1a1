import type {
  AttachmentWish,
  NodeAssignment,
  NodeDescription,
  NodeRole,
  OverlayNetwork,
  TaskReport,
} from '../model/cluster.ts';
import type { AssignmentDiff } from './assignment.ts';

/** Of the first frame of a peer that has no certificate. */
export const MAX_STRANGER_BYTES = 64 * 1024;
/** Of a frame of a node with a certificate: reports of all its tasks fit well. */
export const MAX_NODE_BYTES = 8 * 1024 * 1024;
/** Heartbeats that may be missed before the other side counts as gone. */
export const MISSED_BEATS = 3;
/** Share by which heartbeats come earlier or later, so that nodes do not beat together. */
export const BEAT_JITTER = 0.1;
export const DEFAULT_HEARTBEAT_MS = 5000;
/** Reports in one message. */
export const MAX_REPORTS = 1000;
/** Addresses that a node tells of itself. */
export const MAX_ADDRESSES = 64;
/** Containers that one node may have on attachable networks. */
export const MAX_ATTACHMENTS = 10_000;

/** What a node that is to become one of the cluster's asks for. */
export type JoinOrder = {
  readonly open: 'join';
  readonly token: string;
  /** PEM of the request for its certificate. */
  readonly request: string;
  readonly hostname: string;
  readonly availability: string;
  /** It can reach a store that several managers share. */
  readonly shared: boolean;
};

/** What it gets. */
export type JoinGrant = {
  readonly nodeId: string;
  readonly clusterId: string;
  readonly role: NodeRole;
  readonly certificate: string;
  /** PEM of the roots to trust. */
  readonly roots: readonly string[];
  /** Addresses of managers. */
  readonly managers: readonly string[];
  /** Only for a manager: what opens the cluster's sealed values, in base 64. */
  readonly dataKey: string | undefined;
};

/** What a node of the cluster begins its session with. */
export type SessionHello = {
  readonly open: 'session';
  readonly description: NodeDescription;
  /** Where others reach it; empty: as the manager sees it. */
  readonly address: string;
  readonly dataPathAddress: string;
  /** Of a manager: where its control port is. */
  readonly managerAddress: string | undefined;
  /** Version of the assignment that it lives by. */
  readonly assignment: string;
  /** What others rely on of it is in place. */
  readonly shown: boolean;
};

/** What a manager wants to read of tasks' output; times in ns since 1970 in decimal. */
export type LogsOrder = {
  /** Names the connection that the node is to open for it. */
  readonly stream: string;
  readonly tasks: readonly string[];
  readonly follow: boolean;
  /** Lines from the end of each task's; undefined: all. */
  readonly tail: number | undefined;
  readonly since: string | undefined;
  readonly until: string | undefined;
};

/** What a node begins the connection with that it opens for one of those. */
export type LogsHello = { readonly open: 'logs'; readonly stream: string };

/** A line on that connection, which ends after the last; `data` in base 64. */
export type TaskLine = {
  readonly taskId: string;
  readonly from: 'stdout' | 'stderr';
  readonly timeNs: string;
  readonly data: string;
};

/** What a node sends in its session. */
export type NodeMessage =
  | { readonly beat: number }
  | { readonly reports: readonly { readonly taskId: string; readonly report: TaskReport }[] }
  /** Its containers on attachable networks, all of them; what is not among them goes. */
  | { readonly attach: readonly AttachmentWish[] }
  /** Which network of the cluster a container of its own is to join, by name or id. */
  | { readonly find: string; readonly ask: number }
  /** It has the assignment of this version; `shown`: and what others rely on is in place. */
  | { readonly applied: string; readonly shown: boolean }
  /** The difference did not fit: it asks for the whole. */
  | { readonly lost: true }
  /** PEM of a request for its next certificate. */
  | { readonly renew: string };

/** What holds for the whole session, sent again when it changes. */
export type SessionTerms = {
  readonly heartbeatMs: number;
  readonly managers: readonly string[];
  readonly roots: readonly string[];
  /** Of the node as it is to be; another one than its certificate's: it asks for the next. */
  readonly role: NodeRole;
  /** SHA-256 in hex of the root that its certificate is to be from. */
  readonly issuer: string;
};

/** What a manager sends in a session. */
export type ManagerMessage =
  | { readonly terms: SessionTerms }
  | { readonly beat: number }
  | { readonly whole: NodeAssignment; readonly version: string }
  | { readonly diff: AssignmentDiff; readonly base: string; readonly version: string }
  /** Every node has acknowledged that it sends nothing new to these tasks. */
  | { readonly drained: readonly string[] }
  | { readonly certificate: string; readonly dataKey: string | undefined }
  | { readonly logs: LogsOrder }
  /** Undefined network: there is none, or containers may not join it, as `denied` says. */
  | {
      readonly answer: number;
      readonly network: OverlayNetwork | undefined;
      readonly denied: string;
    }
  | Refusal;

/** Why a manager does not serve a peer; the connection ends after it. */
export type Refusal = {
  readonly refused: string;
  readonly code: 'E_CLUSTER_REFUSED' | 'E_REQUEST_INVALID' | 'E_NODE_UNAVAILABLE';
  /** Another manager leads: `host:port`. */
  readonly leader?: string | undefined;
  /** The node is no more of the cluster. */
  readonly removed?: boolean;
};
