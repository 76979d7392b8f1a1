import type { HealthRequest } from './container.ts';

/** A directory, file, volume or memory file system that a task sees at `target`. */
export type TaskMount = {
  /** An empty volume gets what the image has at its target, unless an option is `nocopy`. */
  readonly kind: 'bind' | 'volume' | 'tmpfs';
  /** Path on the host; empty for tmpfs. */
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  readonly options: readonly string[];
  /** A source that is not there becomes a directory. */
  readonly makeSource?: boolean;
};

/** A command to run in a sandbox, complete: nothing is looked up any more. */
export type TaskSpec = {
  /** 64 hex digits: the container's id. */
  readonly id: string;
  readonly runtime: 'process' | 'podman';
  /** What the runtime understands: `host` of the process runtime, podman's by their id. */
  readonly image: string;
  readonly argv: readonly string[];
  /** `NAME=value`. */
  readonly env: readonly string[];
  readonly cwd: string;
  /** Name or number, with an optional `:group`; empty: the runtime's default. */
  readonly user: string;
  /** Further groups, by name or number. */
  readonly groups: readonly string[];
  readonly hostname: string;
  /** A terminal: one raw stream instead of two. */
  readonly tty: boolean;
  readonly openStdin: boolean;
  /** A sandbox by id; `host`: the host's own network. */
  readonly sandbox: string;
  readonly hosts: string;
  readonly resolvConf: string;
  readonly mounts: readonly TaskMount[];
  readonly capabilities: readonly string[];
  readonly noNewPrivileges: boolean;
  readonly pidHost: boolean;
  /** Keeps every capability. */
  readonly privileged: boolean;
  readonly limits: TaskLimits;
};

/** What a task may use at most; undefined: no limit. */
export type TaskLimits = {
  readonly memoryBytes: number | undefined;
  /** In thousand-millionths of a processor. */
  readonly nanoCpus: number | undefined;
  readonly pids: number | undefined;
};

/** Images that come: an archive of images or the files of one as a stream, or from a registry. */
export type ImageUpload =
  | { readonly kind: 'load' }
  | {
      readonly kind: 'pull';
      /** Name with its tag or digest. */
      readonly name: string;
      /** Such as `linux/arm64`; empty: the host's. */
      readonly platform: string;
      /** `user:password`; empty: nobody's. */
      readonly credentials: string;
      /** Certificates are not checked, and HTTP will do. */
      readonly insecure: boolean;
    }
  | {
      readonly kind: 'import';
      /** Name with its tag; empty: none. */
      readonly name: string;
      /** Instructions such as `CMD ["sh"]`. */
      readonly changes: readonly string[];
      readonly message: string;
    };

/** An image that a runtime can make a task of, with what holds where the task says nothing. */
export type ImageInfo = {
  /** `sha256:` and 64 hex digits. */
  readonly id: string;
  /** Names with their tags, such as `busybox:latest`; the process runtime's is `host:latest`. */
  readonly names: readonly string[];
  /** Names with the digests that registries know it by, such as `busybox@sha256:…`. */
  readonly digests: readonly string[];
  readonly runtime: TaskSpec['runtime'];
  /** RFC 3339. */
  readonly created: string;
  readonly sizeBytes: number;
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: string;
  /** `80/tcp`, … */
  readonly exposed: readonly string[];
  /** Paths that get a volume of their own where nothing else is mounted. */
  readonly volumes: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly stopSignal: string | undefined;
  /** Where its container says nothing. */
  readonly health: HealthRequest | undefined;
};

/** What a path of a task names. */
export type FileStat = {
  readonly name: string;
  /** Type and rights. Source: inode(7). */
  readonly mode: number;
  readonly size: number;
  /** Since 1970. */
  readonly mtimeMs: number;
  /** Where a link leads; empty: it is none. */
  readonly link: string;
};

/** Files of a task as an archive, which comes or goes as a stream. Source: tar(5). */
export type FileOrder =
  | { readonly kind: 'read'; readonly task: string; readonly path: string }
  | {
      readonly kind: 'write';
      readonly task: string;
      readonly path: string;
      /** Files become those of the task's user. */
      readonly own: boolean;
    }
  /** Everything but what is mounted. */
  | { readonly kind: 'export'; readonly task: string };

/** What an image made of a task's files is to be. */
export type CommitOrder = {
  readonly task: string;
  /** Name with its tag; empty: none. */
  readonly name: string;
  readonly author: string;
  readonly message: string;
  /** Instructions such as `CMD ["sh"]`. */
  readonly changes: readonly string[];
  /** The task stands still meanwhile. */
  readonly pause: boolean;
};

/** One more command in a running task. */
export type ExecSpec = {
  readonly id: string;
  readonly task: string;
  readonly argv: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: string;
  readonly tty: boolean;
  readonly stdin: boolean;
};

/** How a task or a further command ended. */
export type TaskExit = {
  /** 0–255; 128 + signal when a signal ended it. */
  readonly code: number;
  readonly oomKilled: boolean;
  /** Wall-clock ms since 1970. */
  readonly at: number;
};

/** A task as its runtime sees it. */
export type TaskState = {
  readonly id: string;
  readonly status: 'created' | 'running' | 'paused' | 'exited';
  /** Process id on the host; 0 when it does not run. */
  readonly pid: number;
  readonly exit: TaskExit | undefined;
};
