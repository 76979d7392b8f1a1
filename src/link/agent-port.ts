import type { ClusterIntent } from '../model/cluster-intent.ts';
import type { HostDelta, HostIntent } from '../model/host-intent.ts';
import type { CarryFailure, KernelListener, ListenerTraffic } from '../model/kernel-listener.ts';
import type {
  CommitOrder,
  ExecSpec,
  FileOrder,
  FileStat,
  ImageInfo,
  ImageUpload,
  TaskExit,
  TaskLimits,
  TaskSpec,
  TaskState,
} from '../model/task-spec.ts';

/** What became of one object of an intent. */
export type ApplyFailure = {
  readonly kind: 'network' | 'sandbox' | 'attachment' | 'forward';
  readonly id: string;
  /** In words that reach the user. */
  readonly message: string;
};

/** Empty when the kernel shows everything that was asked for. */
export type ApplyReport = { readonly failures: readonly ApplyFailure[] };

/** One thing that the agent needs of the host, and whether it is there. */
export type Capability = {
  readonly name: string;
  readonly purpose: string;
  readonly available: boolean;
  /** What was found, or how to get it. */
  readonly detail: string;
  /** Without it nothing works. */
  readonly required: boolean;
};

/** The streams of a task or a further command; either side may end first. */
export interface TaskStreams {
  /** False: full, wait for `onDrain`. */
  write(data: Buffer): boolean;
  /** No more input. */
  endInput(): void;
  /** Lets go of the streams; the task runs on. */
  close(): void;
  /** A slow reader holds the output back: the task waits when its pipe is full. */
  pauseOutput(paused: boolean): void;
  onDrain: () => void;
  /** With a terminal everything is `stdout`. */
  onOutput: (stream: 'stdout' | 'stderr', data: Buffer) => void;
  /** The output has ended. */
  onEnd: () => void;
}

/** One line of a task's output as it was written; time in ns since 1970 as digits. */
export type LogEntry = {
  readonly stream: 'stdout' | 'stderr';
  readonly timeNs: bigint;
  readonly line: Buffer;
};

/** Which part of a task's output is wanted. */
export type LogQuery = {
  readonly follow: boolean;
  /** Lines from the end; undefined: all. */
  readonly tail: number | undefined;
  readonly sinceNs: bigint | undefined;
  readonly untilNs: bigint | undefined;
};

/** Figures of a task at one moment. */
export type TaskStats = {
  readonly cpuNs: number;
  readonly memoryBytes: number;
  readonly memoryLimitBytes: number;
  readonly pids: number;
  readonly links: Readonly<
    Record<string, { rxBytes: number; rxPackets: number; txBytes: number; txPackets: number }>
  >;
};

/** What the agent tells on its own. */
export interface AgentEvents {
  taskExited(id: string, exit: TaskExit): void;
  execExited(id: string, exit: TaskExit): void;
  /** The kernel's state was found different from the intent and repaired, or could not be. */
  degraded(reason: string): void;
  /** The connection to the agent was lost or is back: `sync` is due. */
  connected(up: boolean): void;
}

/**
 * The privileged plane of one host as everything else sees it. The whole intent first, then
 * deltas; the agent repairs the kernel by itself. Methods reject with `E_AGENT_*`.
 */
export interface AgentPort {
  sync(intent: HostIntent): Promise<ApplyReport>;
  apply(delta: HostDelta): Promise<ApplyReport>;
  doctor(): Promise<readonly Capability[]>;

  /**
   * Takes what the host's cluster needs of the kernel, as a whole and beside the intent: overlays
   * come before the sandboxes that join them. It stays when the agent ends; with nothing in it
   * everything of it goes.
   */
  join(cluster: ClusterIntent): Promise<ApplyReport>;
  /**
   * Takes the listeners of the gateway of this host as a whole, beside the intent and untouched by
   * `sync`; they stay when the gateway or the agent ends. Tells those that cannot be carried.
   */
  carry(listeners: readonly KernelListener[]): Promise<readonly CarryFailure[]>;
  /** What the kernel has counted of them. */
  traffic(): Promise<readonly ListenerTraffic[]>;

  images(): Promise<readonly ImageInfo[]>;
  /** One more name with its tag for an image of podman's. */
  tagImage(id: string, name: string): Promise<void>;
  /** By a name with its tag, which alone goes while there are others, or by the id of one without. */
  removeImage(key: string): Promise<void>;
  /**
   * Takes what is written as images. One piece of output answers: on `stdout` what was made, on
   * `stderr` why nothing was.
   */
  uploadImage(upload: ImageUpload): Promise<TaskStreams>;
  /** An archive of images by their names or ids, as files of a task are read. */
  saveImages(keys: readonly string[]): Promise<TaskStreams>;
  /** Makes an image of a task's files; returns its id. */
  commitTask(order: CommitOrder): Promise<string>;

  /** Makes the folder of a volume unless it is there; returns its path. */
  createVolume(name: string): Promise<string>;
  /** Removes a volume with its files. Resolves also when there is none. */
  removeVolume(name: string): Promise<void>;
  /** What the files of a volume take, in bytes. */
  volumeBytes(name: string): Promise<number>;

  /**
   * Its sandbox must be there. A task of this id that has ended is replaced and its log goes on.
   * Rejects when the image is not there.
   */
  createTask(spec: TaskSpec): Promise<void>;
  /**
   * Rejects when the command cannot be found or run; the message then contains
   * `executable file not found`, `no such file or directory`, `permission denied` or
   * `is a directory`.
   */
  startTask(id: string): Promise<TaskState>;
  /** Replaces /etc/hosts and /etc/resolv.conf of a task, also while it runs. */
  updateFiles(id: string, files: { hosts: string; resolvConf: string }): Promise<void>;
  /**
   * What a path of a task names, whether it runs or not; a link is told as a link. Rejects with
   * `E_OBJECT_NOT_FOUND`.
   */
  statFile(id: string, path: string): Promise<FileStat>;
  /**
   * Files of a task as an archive. It is read from `stdout`, where one piece on `stderr` says why it
   * is not whole, or written; then one piece of output answers as for images.
   */
  openFiles(order: FileOrder): Promise<TaskStreams>;
  /** `SIGTERM`, …; to a task's first process or to a further command by its id. */
  signalTask(id: string, signal: string): Promise<void>;
  /** Replaces its limits. Rejects when the host cannot enforce them; then the old ones hold. */
  limitTask(id: string, limits: TaskLimits): Promise<void>;
  pauseTask(id: string, paused: boolean): Promise<void>;
  /** Ends it if it runs, and drops its log. Resolves also when there is no such task. */
  removeTask(id: string): Promise<void>;
  /** With those that have ended and were not removed. */
  tasks(): Promise<readonly TaskState[]>;
  /** From `createTask` on, so that nothing of the output is missed; several may be attached. */
  attachTask(id: string): Promise<TaskStreams>;
  startExec(spec: ExecSpec): Promise<TaskStreams>;
  /** Size of a terminal in characters, of a task or a further command. */
  resize(id: string, columns: number, rows: number): Promise<void>;
  /** Lines come in order; `ended` once, after the last; the returned function stops it. */
  logs(id: string, query: LogQuery, line: (entry: LogEntry) => void, ended: () => void): () => void;
  stats(id: string): Promise<TaskStats>;
  /** Rows of `ps` for a task's processes, the titles first. */
  top(id: string, psArgs: readonly string[]): Promise<readonly (readonly string[])[]>;
}
