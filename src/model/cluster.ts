import type { AttachmentRequest, ContainerTemplate } from './container.ts';
import type { Transport } from './host-intent.ts';
import type { Network } from './network.ts';

/** Name, labels and the two times of every object of a cluster; times in RFC 3339. */
export type ObjectMeta = {
  /** 25 digits of base 36. */
  readonly id: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly created: string;
  readonly updated: string;
};

/**
 * Kinds of a cluster's objects in its store; secrets and configurations share one. A `name` keeps a
 * name for one object, so that two managers cannot give it away at the same moment.
 */
export const KIND = {
  cluster: 'cluster',
  node: 'node',
  service: 'service',
  task: 'task',
  file: 'file',
  network: 'network',
  attachment: 'attachment',
  name: 'name',
} as const;

/** What an operator decided for a whole cluster; times in ms. */
export type ClusterSpec = {
  readonly labels: Readonly<Record<string, string>>;
  /** Tasks kept for each slot, the ended ones as far as there is room; -1: all of them. */
  readonly taskHistory: number;
  readonly heartbeatMs: number;
  /** Life of a node's certificate. */
  readonly certificateMs: number;
  /** Managers that start need the unlock key. */
  readonly autolock: boolean;
  /** Counts forced rotations of the CA. */
  readonly forceRotate: number;
};

/** The cluster itself: one object, whose id is the cluster's. */
export type Cluster = ObjectMeta & {
  readonly spec: ClusterSpec;
  /** Blocks that subnets of overlays are taken from, and the prefix length of those. */
  readonly addressPools: readonly string[];
  readonly subnetBits: number;
  readonly dataPathPort: number;
  readonly joinSecrets: { readonly worker: string; readonly manager: string };
  /** Key that managers ask for at their start, sealed as the others are; empty: none yet. */
  readonly sealedUnlockKey: string;
  readonly ca: {
    /** PEM of the root. */
    readonly certificate: string;
    /** PEM of its key, sealed with the key that managers share. */
    readonly sealedKey: string;
    /**
     * While another root takes over: that root, also signed by the present one, so that a node
     * which trusts only this one believes it.
     */
    readonly next:
      | {
          readonly certificate: string;
          readonly sealedKey: string;
          readonly crossSigned: string;
        }
      | undefined;
  };
  /** Keys of encrypted overlays, the newest last, each sealed. */
  readonly sealedOverlayKeys: readonly {
    readonly id: number;
    readonly key: string;
    readonly made: string;
  }[];
};

export type NodeRole = 'worker' | 'manager';
export type NodeAvailability = 'active' | 'pause' | 'drain';
export type NodeStatus = 'unknown' | 'down' | 'ready' | 'disconnected';

/** What a node is able to do and run, as it told itself. */
export type NodeDescription = {
  readonly hostname: string;
  readonly os: string;
  readonly arch: string;
  readonly nanoCpus: number;
  readonly memoryBytes: number;
  readonly engineVersion: string;
  readonly engineLabels: Readonly<Record<string, string>>;
  /** Network drivers, by name. */
  readonly networkDrivers: readonly string[];
  /** Of its network stack: another one after each boot. */
  readonly epoch: string;
  /** Every address that others may reach it at. */
  readonly addresses?: readonly string[];
  /** It has a gateway that takes requests to the cluster's services. */
  readonly gateway?: boolean;
};

/** A host of the cluster: what was asked of it, and what was seen of it. */
export type ClusterNode = ObjectMeta & {
  readonly role: NodeRole;
  readonly availability: NodeAvailability;
  readonly description: NodeDescription;
  readonly status: NodeStatus;
  readonly statusMessage: string;
  /** Address that managers and other nodes reach it at. */
  readonly address: string;
  /** Address of its end of the overlay's tunnels. */
  readonly dataPathAddress: string;
  /** Manager: `address:port` of its control port. */
  readonly managerAddress: string | undefined;
  readonly leader: boolean;
  /** SHA-256 in hex of the root that signed its certificate; empty: none was given yet. */
  readonly issuer?: string;
};

/** How a service's port is published. `undefined` published port: one is chosen. */
export type ServicePort = {
  readonly name: string;
  readonly transport: Transport;
  readonly targetPort: number;
  readonly publishedPort: number | undefined;
  readonly mode: 'ingress' | 'host';
};

/** How many tasks, and where. */
export type ServiceMode =
  | { readonly kind: 'replicated'; readonly replicas: number }
  | { readonly kind: 'global' }
  | {
      readonly kind: 'replicated-job';
      /** Tasks that are to complete, and how many of them may run at once. */
      readonly completions: number;
      readonly concurrent: number;
    }
  | { readonly kind: 'global-job' };

/** Which run of a job the present one is, counted from 0, and when it began. */
export type JobRun = { readonly iteration: number; readonly began: string };

/** How tasks are replaced; times in ms; `parallelism` 0: all at once. */
export type UpdateRule = {
  readonly parallelism: number;
  readonly delayMs: number;
  readonly monitorMs: number;
  readonly failureAction: 'pause' | 'continue' | 'rollback';
  /** 0 to 1. */
  readonly maxFailureRatio: number;
  readonly order: 'stop-first' | 'start-first';
};

/** When a task that has ended is followed by another one in its slot. */
export type TaskRestartRule = {
  readonly condition: 'none' | 'on-failure' | 'any';
  readonly delayMs: number;
  /** 0: no limit. */
  readonly maxAttempts: number;
  /** Attempts are counted within it; 0: for ever. */
  readonly windowMs: number;
};

/** A secret's or configuration's file inside a task. */
export type FileReference = {
  readonly kind: 'secret' | 'config';
  readonly id: string;
  readonly name: string;
  readonly target: string;
  readonly uid: string;
  readonly gid: string;
  readonly mode: number;
};

/** What each task of a service is made of. */
export type TaskTemplate = {
  /** Templates in hostname, environment and mounts are not yet expanded. */
  readonly container: ContainerTemplate;
  readonly files: readonly FileReference[];
  readonly networks: readonly AttachmentRequest[];
  readonly restart: TaskRestartRule;
  readonly stopGraceMs: number;
  /** `key==value` and `key!=value`. */
  readonly constraints: readonly string[];
  /** Labels that tasks are spread over, such as `node.labels.zone`. */
  readonly spread: readonly string[];
  /** 0: no limit. */
  readonly maxReplicasPerNode: number;
  readonly reservations: { readonly nanoCpus: number; readonly memoryBytes: number };
  /** Changes force a replacement of every task. */
  readonly forceUpdate: number;
  /** `user:password` for the registry of the image: sealed where it is kept, open where a node gets it. */
  readonly login?: string;
};

/** A service as it was asked for. */
export type ServiceSpec = {
  readonly mode: ServiceMode;
  readonly template: TaskTemplate;
  readonly update: UpdateRule;
  readonly rollback: UpdateRule;
  readonly resolution: 'vip' | 'dnsrr';
  readonly ports: readonly ServicePort[];
  /** The request as its client wrote it, to be shown again; only that client's API reads it. */
  readonly asked: unknown;
};

/** How far an update is. */
export type UpdateProgress = {
  readonly state:
    | 'updating'
    | 'paused'
    | 'completed'
    | 'rollback_started'
    | 'rollback_paused'
    | 'rollback_completed';
  readonly started: string;
  readonly completed: string | undefined;
  readonly message: string;
};

/** A service of the cluster with everything that was allocated for it. */
export type ClusterService = ObjectMeta & {
  readonly spec: ServiceSpec;
  readonly previous: ServiceSpec | undefined;
  /** The labels that it had beside `previous`. */
  readonly previousLabels?: Readonly<Record<string, string>>;
  /** Counts the versions of what in `spec` tasks are made of; a task of another one is replaced. */
  readonly specVersion: number;
  /**
   * Address with prefix length by network id, the ingress network's among them: IPv4, or IPv6 where
   * a network has only that.
   */
  readonly vips: Readonly<Record<string, string>>;
  /** The IPv6 ones beside them, of networks that have both families. */
  readonly vips6?: Readonly<Record<string, string>>;
  /**
   * As in `spec`, every port given that is published in ingress mode. One that is another service's
   * is left out.
   */
  readonly ports: readonly ServicePort[];
  readonly progress: UpdateProgress | undefined;
  /** Of a job alone: its tasks are to complete once in each run. */
  readonly job?: JobRun;
};

/** Only ever moves forward, in this order. */
export const TASK_STATES = [
  'new',
  'pending',
  'assigned',
  'accepted',
  'preparing',
  'ready',
  'starting',
  'running',
  'complete',
  'shutdown',
  'failed',
  'rejected',
  'remove',
  'orphaned',
] as const;

export type ClusterTaskState = (typeof TASK_STATES)[number];

/** How far a task is. */
export type TaskReport = {
  readonly state: ClusterTaskState;
  readonly at: string;
  readonly message: string;
  readonly error: string;
  readonly containerId: string;
  readonly pid: number;
  readonly exitCode: number;
  /** Ports of the node that host-mode publishing has given. */
  readonly hostPorts: readonly ServicePort[];
  /** Takes new connections: it runs, its health check passed, and it is not being drained. */
  readonly serving: boolean;
  /** Every gateway has acknowledged that it sends nothing new. */
  readonly drained: boolean;
};

/** One running instance that is wanted, on its way to a node or on it. */
export type ClusterTask = ObjectMeta & {
  readonly serviceId: string;
  /** Counted from 1; 0: one a node. */
  readonly slot: number;
  /** Empty until it is scheduled. */
  readonly nodeId: string;
  readonly specVersion: number;
  /** The run of a job that it is part of. */
  readonly iteration?: number;
  /** The service's at that version; complete, so that a node needs nothing else. */
  readonly template: TaskTemplate;
  readonly ports: readonly ServicePort[];
  /** Addresses with prefix length by network id: IPv4, or IPv6 where a network has only that. */
  readonly addresses: Readonly<Record<string, string>>;
  /** The IPv6 ones beside them, of networks that have both families. */
  readonly addresses6?: Readonly<Record<string, string>>;
  /** Gateways reach it by the mesh, though it may publish no port. */
  readonly meshed?: boolean;
  readonly desired: ClusterTaskState;
  /** Why it is to end, where neither an operator nor another version of its service asks for that. */
  readonly reason?: string;
  /** Until a node is assigned written by the leader, then by that node alone. */
  readonly report: TaskReport;
};

/** A secret or a configuration; `data` in base 64, a secret's encrypted where it is kept. */
export type ClusterFile = ObjectMeta & {
  readonly kind: 'secret' | 'config';
  readonly data: string;
};

/** A subnet of an overlay; no other has its VNI, which is from 4096 up unless it was asked for. */
export type OverlaySubnet = {
  readonly vni: number;
  readonly subnet: string;
  readonly gateway: string;
};

/** A network of the cluster: as it was asked for, and what was chosen for it. */
export type ClusterNetwork = ObjectMeta & {
  /** Its blocks are complete once `segments` are. */
  readonly spec: Omit<Network, 'id' | 'name' | 'created' | 'labels'>;
  /** Empty until subnets and VNIs are allocated. */
  readonly segments: readonly OverlaySubnet[];
};

/** How a node wants a container of its own, which is no task, on an attachable network. */
export type AttachmentWish = {
  /** Of this one join of the container, which has another one each time; 64 hex digits. */
  readonly endpointId: string;
  readonly containerId: string;
  /** Id. */
  readonly network: string;
  /** Names by which members find it, in lower case, the primary one first. */
  readonly names: readonly string[];
  /** Without prefix length; undefined: whatever is free. */
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
  /** Undefined: made of the address. */
  readonly mac: string | undefined;
};

/** A container of a node on an attachable network: a member as a task is, and its node's own. */
export type ClusterAttachment = AttachmentWish & {
  readonly id: string;
  readonly nodeId: string;
  /** With prefix length; empty: none was given yet. */
  readonly address: string;
  /** The IPv6 one beside it, of networks that have both families; otherwise empty. */
  readonly address6: string;
  /** Why it gets no address; otherwise empty. */
  readonly error: string;
};

/** An overlay as a node has to build it while a task or an attachment there needs it. */
export type OverlayNetwork = {
  readonly id: string;
  readonly name: string;
  readonly segments: readonly OverlaySubnet[];
  readonly mtu: number;
  readonly encrypted: boolean;
  readonly internal: boolean;
  /** Containers that are no tasks may join it. */
  readonly attachable: boolean;
  readonly ingress: boolean;
};

/** Where an address of an overlay lives. */
export type OverlayEndpoint = {
  readonly network: string;
  /** Without prefix length. */
  readonly address: string;
  readonly mac: string;
  readonly nodeId: string;
};

/** A task of a service as the data plane of every node needs it. */
export type ServiceMember = {
  readonly serviceId: string;
  readonly taskId: string;
  readonly name: string;
  readonly nodeId: string;
  readonly addresses: Readonly<Record<string, string>>;
  readonly addresses6?: Readonly<Record<string, string>>;
  /** It keeps what it has and gets nothing new. */
  readonly draining: boolean;
  /** Its node is down: what it has not answered yet begins anew elsewhere. */
  readonly lost?: boolean;
};

/** A service as the data plane of every node needs it. */
export type ServiceBackends = {
  readonly serviceId: string;
  readonly name: string;
  readonly created: string;
  readonly resolution: 'vip' | 'dnsrr';
  readonly vips: Readonly<Record<string, string>>;
  readonly vips6?: Readonly<Record<string, string>>;
  readonly ports: readonly ServicePort[];
  readonly aliases: Readonly<Record<string, readonly string[]>>;
  /** Names of its tasks' networks, by id. */
  readonly networkNames: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Those that take new connections first, each of both by id. */
  readonly tasks: readonly ServiceMember[];
};

/**
 * Everything that one node has to show and run. A node gets it whole, then as differences by id,
 * each with a version that it acknowledges; it keeps the last one on disk and lives by it while no
 * manager is to be reached.
 */
export type NodeAssignment = {
  readonly tasks: readonly ClusterTask[];
  /** Only what these tasks refer to, decrypted. */
  readonly files: readonly ClusterFile[];
  /** Of these tasks' networks and its own attachments'; of every node, the ingress network. */
  readonly networks: readonly OverlayNetwork[];
  /** On these networks, whichever node's; its own also while they lack an address. */
  readonly attachments: readonly ClusterAttachment[];
  readonly endpoints: readonly OverlayEndpoint[];
  readonly services: readonly ServiceBackends[];
  /** Tunnel ends and addresses by node, this one's among them. */
  readonly peers: readonly {
    readonly nodeId: string;
    readonly address: string;
    readonly dataPathAddress: string;
    /** All that it has, these among them, as far as it tells. */
    readonly addresses?: readonly string[];
    readonly epoch: string;
    /** UDP port of the tunnel's end; the same on all. */
    readonly dataPathPort: number;
  }[];
  /** For encrypted overlays, the newest last; 20 bytes in hex: key and salt of AES-128-GCM. */
  readonly keys: readonly { readonly id: number; readonly key: string }[];
};
