import type { Transport } from './host-intent.ts';
import type { TaskMount } from './task-spec.ts';

/** A port inside a container. */
export type ContainerPort = { readonly port: number; readonly transport: Transport };

/** A port of the host that was asked for. */
export type PortRequest = ContainerPort & {
  /** Undefined: the network's binding address, else every address. */
  readonly hostAddress: string | undefined;
  /** Inclusive; undefined: any free port. */
  readonly hostPorts: readonly [number, number] | undefined;
};

/** A port of the host that was given. */
export type PortBinding = ContainerPort & {
  /** Undefined: every address, IPv4 and IPv6. */
  readonly hostAddress: string | undefined;
  readonly hostPort: number;
};

/** How a container is to join a network. */
export type AttachmentRequest = {
  /** Name or id, as it was given. */
  readonly network: string;
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
  readonly linkLocal: readonly string[];
  readonly mac: string | undefined;
  readonly aliases: readonly string[];
  /** `container` or `container:alias`. */
  readonly links: readonly string[];
  readonly driverOptions: Readonly<Record<string, string>>;
  /** The highest becomes the gateway; 0 is the default. */
  readonly gatewayPriority: number;
};

/** A container's join to a network, kept also while it does not run. */
export type Attachment = {
  readonly request: AttachmentRequest;
  readonly networkId: string;
  readonly networkName: string;
  /** What is in force while the sandbox exists. */
  readonly active: ActiveAttachment | undefined;
  /** Nobody asked for it: it is the way to the outside that the others lack. */
  readonly implied?: boolean;
};

/** An address with its prefix length; `pool`: of a third-party IPAM driver that it is from. */
export type AttachmentLease = {
  readonly address: string;
  readonly prefixLength: number;
  readonly pool?: string;
};

/** What a third-party network driver made for a sandbox that joined. */
export type RemoteLink = {
  /** The link's name in the host's namespace. */
  readonly source: string;
  readonly gateway4: string | undefined;
  readonly gateway6: string | undefined;
  readonly routes: readonly {
    readonly destination: string;
    readonly nextHop: string | undefined;
  }[];
  /** The driver was told to publish the container's ports. */
  readonly external: boolean;
};

export type ActiveAttachment = {
  /** 64 hex digits. */
  readonly id: string;
  /** `eth0`, … */
  readonly link: string;
  /** Empty: the driver's own, which it does not tell. */
  readonly mac: string;
  readonly ipv4: AttachmentLease | undefined;
  readonly ipv6: AttachmentLease | undefined;
  /** Present from the moment that a third-party driver has let the sandbox join. */
  readonly remote?: RemoteLink;
};

/** Which network stack a container sees. */
export type NetworkMode =
  | { readonly kind: 'networks' }
  | { readonly kind: 'none' }
  | { readonly kind: 'host' }
  | { readonly kind: 'container'; readonly id: string };

/** When a container that has ended is started again. */
export type RestartRule = {
  readonly when: 'no' | 'always' | 'unless-stopped' | 'on-failure';
  /** 0: no limit. */
  readonly maximum: number;
};

/** How a container's health is found out. */
export type ContainerHealthCheck = {
  readonly argv: readonly string[];
  /** Run by `/bin/sh -c`. */
  readonly shell: boolean;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly startPeriodMs: number;
  readonly startIntervalMs: number;
  readonly retries: number;
};

/** A mount as a container has it: the source of a volume is the volume's name. */
export type ContainerMount = TaskMount & {
  /** The volume was made for the container and goes with it. */
  readonly anonymous?: boolean;
  /** The options as they were written, to be shown again. */
  readonly mode?: string;
};

/** A health check as it is asked for or comes with an image; what is absent is not said. */
export type HealthRequest = 'none' | Partial<ContainerHealthCheck>;

/** A container as it was asked for, complete. */
export type ContainerSpec = {
  readonly image: string;
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: string;
  readonly groups: readonly string[];
  readonly hostname: string;
  readonly domainname: string;
  readonly tty: boolean;
  readonly openStdin: boolean;
  /** Input ends when the first attached client goes. */
  readonly stdinOnce: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly stopSignal: string;
  readonly stopTimeoutMs: number;
  readonly autoRemove: boolean;
  readonly restart: RestartRule;
  readonly health: ContainerHealthCheck | undefined;
  readonly mode: NetworkMode;
  readonly exposed: readonly ContainerPort[];
  readonly ports: readonly PortRequest[];
  readonly publishAll: boolean;
  readonly dns: {
    readonly servers: readonly string[];
    readonly search: readonly string[];
    readonly options: readonly string[];
  };
  /** `name:address`. */
  readonly extraHosts: readonly string[];
  readonly sysctls: Readonly<Record<string, string>>;
  readonly mounts: readonly ContainerMount[];
  readonly capabilities: readonly string[];
  readonly privileged: boolean;
  readonly noNewPrivileges: boolean;
  readonly pidHost: boolean;
  readonly limits: {
    readonly memoryBytes: number | undefined;
    readonly nanoCpus: number | undefined;
    readonly pids: number | undefined;
  };
};

/** A container of a service, whose image has a say yet in how its health is found out. */
export type ContainerTemplate = Omit<ContainerSpec, 'health'> & {
  readonly health: HealthRequest | undefined;
};

export type HealthStatus = 'starting' | 'healthy' | 'unhealthy';

/** One run of a health check; times in RFC 3339. */
export type HealthRecord = {
  readonly start: string;
  readonly end: string;
  /** -1: it took too long or could not be run. */
  readonly exitCode: number;
  readonly output: string;
};

export type ContainerHealth = {
  readonly status: HealthStatus;
  readonly failingStreak: number;
  /** The latest, oldest first. */
  readonly log: readonly HealthRecord[];
};

/** What a container does now. Times in RFC 3339; undefined: never. */
export type ContainerState = {
  readonly status: 'created' | 'running' | 'paused' | 'restarting' | 'exited';
  readonly pid: number;
  readonly exitCode: number;
  readonly error: string;
  readonly oomKilled: boolean;
  readonly startedAt: string | undefined;
  readonly finishedAt: string | undefined;
  readonly restartCount: number;
  /** By an order: no rule starts it again. */
  readonly stopped: boolean;
  readonly health: ContainerHealth | undefined;
};

/** A container with everything that is known of it. */
export type Container = {
  /** 64 hex digits; also the id of its task and its sandbox. */
  readonly id: string;
  readonly name: string;
  readonly created: string;
  readonly imageId: string;
  readonly spec: ContainerSpec;
  readonly attachments: readonly Attachment[];
  /** Its network namespace is there or is being made; never with another's or the host's. */
  readonly sandbox: boolean;
  /** Ports of the host that are held now. */
  readonly bindings: readonly PortBinding[];
  readonly state: ContainerState;
  /** The request as its client wrote it, to be shown again; only that client's API reads it. */
  readonly asked: unknown;
};
