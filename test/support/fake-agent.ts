import { setTimeout as delay } from 'node:timers/promises';
import type {
  AgentEvents,
  AgentPort,
  ApplyReport,
  LogEntry,
  LogQuery,
  TaskStreams,
} from '../../src/link/agent-port.ts';
import type { HostDelta, HostIntent } from '../../src/model/host-intent.ts';
import type { ExecSpec, ImageInfo, TaskSpec, TaskState } from '../../src/model/task-spec.ts';

const IMAGE: ImageInfo = {
  id: `sha256:${'ab'.repeat(32)}`,
  names: ['host:latest', 'nginx:latest', 'busybox:latest', 'redis:latest', 'alpine:latest'],
  digests: [],
  runtime: 'process',
  created: '2026-01-01T00:00:00Z',
  sizeBytes: 0,
  entrypoint: [],
  command: ['sleep'],
  env: [],
  cwd: '',
  user: '',
  exposed: [],
  volumes: [],
  labels: {},
  stopSignal: undefined,
  health: undefined,
};

class FakeStreams implements TaskStreams {
  onDrain: () => void = () => {};
  onOutput: (stream: 'stdout' | 'stderr', data: Buffer) => void = () => {};
  onEnd: () => void = () => {};
  readonly written: (string | undefined)[] = [];
  onInput: (text: string | undefined) => void = () => {};

  write(data: Buffer): boolean {
    this.written.push(String(data));
    this.onInput(String(data));
    return true;
  }

  endInput(): void {
    this.written.push(undefined);
    this.onInput(undefined);
  }

  close(): void {}

  pauseOutput(): void {}
}

type FakeTask = { spec: TaskSpec; state: TaskState; streams: FakeStreams[]; log: LogEntry[] };

/**
 * An agent without a kernel for tests of what stands above it. Commands: `exit N`, `echo TEXT`,
 * `cat` (until its input ends), `missing`, `denied`, `ignore` (SIGTERM); anything else sleeps.
 */
export class FakeAgent implements AgentPort {
  readonly host = {
    networks: new Map<string, unknown>(),
    sandboxes: new Map<string, HostIntent['sandboxes'][number]>(),
    forwards: new Map<string, HostIntent['forwards'][number]>(),
    names: [] as HostIntent['names'][number][],
  };
  readonly running = new Map<string, FakeTask>();
  readonly files = new Map<string, { hosts: string; resolvConf: string }>();
  /** Host ports that a foreign program holds. */
  readonly foreignPorts = new Set<number>();
  /** Exit code of health probes and other commands. */
  execCode = 0;
  events: AgentEvents | undefined;
  #pid = 1000;

  async sync(intent: HostIntent): Promise<ApplyReport> {
    for (const map of [this.host.networks, this.host.sandboxes, this.host.forwards]) map.clear();
    this.host.names = [];
    return this.apply({ put: intent, remove: {} });
  }

  async apply({ put, remove }: HostDelta): Promise<ApplyReport> {
    const dropped = new Set([
      ...(remove.names ?? []),
      ...(put.names ?? []).map((one) => one.network),
    ]);
    this.host.names = [
      ...this.host.names.filter(({ network }) => !dropped.has(network)),
      ...(put.names ?? []),
    ];
    for (const id of remove.networks ?? []) this.host.networks.delete(id);
    for (const id of remove.sandboxes ?? []) this.host.sandboxes.delete(id);
    for (const id of remove.forwards ?? []) this.host.forwards.delete(id);
    for (const one of put.networks ?? []) this.host.networks.set(one.id, one);
    for (const one of put.sandboxes ?? []) this.host.sandboxes.set(one.id, one);
    const failures = (put.forwards ?? []).flatMap((one) => {
      if (this.foreignPorts.has(one.port)) {
        return [{ kind: 'forward' as const, id: one.id, message: `port ${one.port} is in use` }];
      }
      this.host.forwards.set(one.id, one);
      return [];
    });
    return { failures };
  }

  async doctor() {
    return [];
  }

  async join() {
    return { failures: [] };
  }

  async carry() {
    return [];
  }

  async traffic() {
    return [];
  }

  async images() {
    return [IMAGE];
  }

  async tagImage(): Promise<void> {}

  async removeImage(): Promise<void> {}

  async uploadImage(): Promise<TaskStreams> {
    return new FakeStreams();
  }

  async saveImages(): Promise<TaskStreams> {
    return new FakeStreams();
  }

  async commitTask(): Promise<string> {
    return IMAGE.id;
  }

  async createVolume(name: string): Promise<string> {
    return `/volumes/${name}/_data`;
  }

  async removeVolume(): Promise<void> {}

  async volumeBytes(): Promise<number> {
    return 0;
  }

  async createTask(spec: TaskSpec): Promise<void> {
    const log = this.running.get(spec.id)?.log ?? [];
    const state: TaskState = { id: spec.id, status: 'created', pid: 0, exit: undefined };
    this.running.set(spec.id, { spec, state, streams: [], log });
  }

  async startTask(id: string): Promise<TaskState> {
    const task = this.#task(id);
    const [command = '', ...rest] = task.spec.argv;
    if (command === 'missing') {
      throw new Error('exec: "missing": executable file not found in $PATH');
    }
    if (command === 'denied') throw new Error('exec: "/etc": permission denied');
    task.state = { id, status: 'running', pid: this.#pid++, exit: undefined };
    for (const streams of task.streams) {
      streams.onInput = (text) => this.#input(task, command, text);
      for (const text of streams.written) streams.onInput(text);
    }
    if (command === 'exit') setImmediate(() => this.finish(id, Number(rest[0])));
    if (command === 'echo') {
      setImmediate(() => {
        this.#output(task, 'stdout', `${rest.join(' ')}\n`);
        this.finish(id, 0);
      });
    }
    return task.state;
  }

  async updateFiles(id: string, files: { hosts: string; resolvConf: string }): Promise<void> {
    this.files.set(id, files);
  }

  async statFile(_: string, path: string) {
    return { name: path, mode: 0o100644, size: 0, mtimeMs: 0, link: '' };
  }

  async openFiles(): Promise<TaskStreams> {
    return new FakeStreams();
  }

  async signalTask(id: string, signal: string): Promise<void> {
    const task = this.#task(id);
    if (signal === 'SIGTERM' && task.spec.argv[0] === 'ignore') return;
    if (signal === 'SIGCONT' || signal === 'SIGHUP') return;
    this.finish(id, signal === 'SIGKILL' ? 137 : 143);
  }

  async limitTask(id: string, limits: TaskSpec['limits']): Promise<void> {
    const task = this.#task(id);
    task.spec = { ...task.spec, limits };
  }

  async pauseTask(id: string, paused: boolean): Promise<void> {
    const task = this.#task(id);
    task.state = { ...task.state, status: paused ? 'paused' : 'running' };
  }

  async removeTask(id: string): Promise<void> {
    this.running.delete(id);
  }

  async tasks() {
    return [...this.running.values()].map(({ state }) => state);
  }

  async attachTask(id: string): Promise<TaskStreams> {
    const task = this.#task(id);
    const streams = new FakeStreams();
    if (task.state.status === 'running') {
      streams.onInput = (text) => this.#input(task, task.spec.argv[0] ?? '', text);
    }
    task.streams.push(streams);
    return streams;
  }

  async startExec({ id, argv }: ExecSpec): Promise<TaskStreams> {
    if (argv[0] === 'missing')
      throw new Error('exec: "missing": executable file not found in $PATH');
    const streams = new FakeStreams();
    const code = argv[0] === 'exit' ? Number(argv[1]) : this.execCode;
    setImmediate(() => {
      streams.onOutput('stdout', Buffer.from(`${argv.join(' ')}\n`));
      streams.onEnd();
      this.events?.execExited(id, { code, oomKilled: false, at: Date.now() });
    });
    return streams;
  }

  async resize(): Promise<void> {}

  logs(id: string, _: LogQuery, line: (entry: LogEntry) => void, ended: () => void): () => void {
    for (const entry of this.running.get(id)?.log ?? []) line(entry);
    setImmediate(ended);
    return () => {};
  }

  async stats() {
    return { cpuNs: 1, memoryBytes: 2, memoryLimitBytes: 3, pids: 1, links: {} };
  }

  async top() {
    return [
      ['PID', 'CMD'],
      ['1', 'sleep'],
    ];
  }

  /** Ends a task as if by itself. */
  finish(id: string, code: number): void {
    const task = this.running.get(id);
    if (!task || !['running', 'paused'].includes(task.state.status)) return;
    const exit = { code, oomKilled: false, at: Date.now() };
    task.state = { id, status: 'exited', pid: 0, exit };
    for (const streams of task.streams.splice(0)) streams.onEnd();
    this.events?.taskExited(id, exit);
  }

  #input(task: FakeTask, command: string, text: string | undefined): void {
    if (command !== 'cat') return;
    if (text === undefined) void delay(1).then(() => this.finish(task.spec.id, 0));
    else this.#output(task, 'stdout', text);
  }

  #output(task: FakeTask, stream: 'stdout' | 'stderr', text: string): void {
    const line = Buffer.from(text);
    task.log.push({ stream, timeNs: BigInt(Date.now()) * 1_000_000n, line });
    for (const streams of task.streams) streams.onOutput(stream, line);
  }

  #task(id: string): FakeTask {
    const task = this.running.get(id);
    if (!task) throw new Error(`no task ${id}`);
    return task;
  }
}
