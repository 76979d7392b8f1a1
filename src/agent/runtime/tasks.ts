import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, SluiceError } from '../../base/errors.ts';
import {
  type CgroupMounts,
  findCgroups,
  removeGroups,
  usableCgroups,
} from '../../kernel/cgroup.ts';
import { COMMAND_PATH, must } from '../../kernel/exec.ts';
import type { LogEntry, LogQuery, TaskStats, TaskStreams } from '../../link/agent-port.ts';
import type {
  CommitOrder,
  ExecSpec,
  FileOrder,
  FileStat,
  ImageInfo,
  ImageUpload,
  TaskLimits,
  TaskSpec,
  TaskState,
} from '../../model/task-spec.ts';
import type { AgentTools } from '../plane/tools.ts';
import { PodmanRuntime } from './podman/podman-runtime.ts';
import { ProcessTask } from './process-task.ts';
import { signalNumber, type Task, type TaskEvents, type TaskHome } from './task.ts';

const HOST_IMAGE: ImageInfo = {
  id: `sha256:${createHash('sha256').update('the file system of the host').digest('hex')}`,
  names: ['host:latest'],
  digests: [],
  runtime: 'process',
  created: '1970-01-01T00:00:00Z',
  sizeBytes: 0,
  entrypoint: [],
  command: ['/bin/sh'],
  env: [`PATH=${COMMAND_PATH}`],
  cwd: '/',
  user: '',
  exposed: [],
  volumes: [],
  labels: {},
  stopSignal: undefined,
  health: undefined,
};

/** Where a command is, for scripts that run with an environment that is not ours. */
export function findTool(name: string): string {
  const found = COMMAND_PATH.split(':')
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new SluiceError('E_AGENT_UNSUPPORTED', `the command ${name} is not installed on this host`);
}

/** The tasks of a host, of whichever runtime. */
export class Tasks {
  readonly #tools: AgentTools;
  readonly #logRoot: string;
  readonly #events: TaskEvents;
  readonly #cgroups: CgroupMounts | undefined;
  readonly #podman: PodmanRuntime;
  readonly #tasks = new Map<string, Task>();

  constructor(tools: AgentTools, logRoot: string, events: TaskEvents) {
    this.#tools = tools;
    this.#logRoot = logRoot;
    this.#events = events;
    this.#cgroups = usableCgroups(findCgroups(), tools.naming.table);
    this.#podman = new PodmanRuntime(tools, this.#cgroups);
    mkdirSync(this.#root, { recursive: true, mode: 0o711 });
    mkdirSync(logRoot, { recursive: true, mode: 0o700 });
  }

  get #root(): string {
    return join(this.#tools.execRoot, 'tasks');
  }

  #home(id: string): TaskHome {
    return {
      folder: join(this.#root, id),
      logPath: join(this.#logRoot, `${id}.log`),
      groupPath: this.#tools.naming.table,
      cgroups: this.#cgroups,
      tool: findTool,
    };
  }

  #make(spec: TaskSpec): Task {
    const home = this.#home(spec.id);
    if (spec.runtime === 'podman') return this.#podman.make(home, spec, this.#events);
    return new ProcessTask(this.#tools, home, spec, this.#events);
  }

  /** Takes up what an earlier agent left. */
  adopt(): void {
    for (const id of readdirSync(this.#root)) {
      const { folder } = this.#home(id);
      try {
        // exempt(as): written by ourselves
        const spec = JSON.parse(readFileSync(join(folder, 'spec.json'), 'utf8')) as TaskSpec;
        const task = this.#make(spec);
        this.#tasks.set(id, task);
        task.adopt();
      } catch (error) {
        this.#tools.logger.warn('a task of an earlier agent cannot be taken up', {
          task: id,
          error: errorText(error),
        });
        if (!existsSync(join(folder, 'spec.json'))) {
          rmSync(folder, { recursive: true, force: true });
        }
      }
    }
  }

  async images(): Promise<readonly ImageInfo[]> {
    return [HOST_IMAGE, ...(await this.#podman.images.list())];
  }

  tagImage(id: string, name: string): Promise<void> {
    return this.#podman.images.tag(id, name);
  }

  removeImage(key: string): Promise<void> {
    return this.#podman.images.remove(key);
  }

  uploadImage(upload: ImageUpload): TaskStreams {
    return this.#podman.images.upload(upload);
  }

  async saveImages(keys: readonly string[]): Promise<TaskStreams> {
    return this.#podman.images.save(keys);
  }

  commit(order: CommitOrder): Promise<string> {
    return this.#find(order.task).commit(order);
  }

  #find(id: string): Task {
    const task = this.#tasks.get(id);
    if (task) return task;
    throw new SluiceError('E_AGENT_TASK', `no such task: ${id}`);
  }

  async create(spec: TaskSpec): Promise<void> {
    if (!/^[0-9a-f]{12,64}$/.test(spec.id)) {
      throw new SluiceError('E_AGENT_SPEC', `a task's id is 12 to 64 hex digits, not "${spec.id}"`);
    }
    const [image] = spec.image.split(':');
    const isHost = image === 'host' || spec.image === HOST_IMAGE.id;
    if (spec.runtime === 'process' && !isHost) {
      throw new SluiceError('E_AGENT_IMAGE', `no such image: ${spec.image}`);
    }
    const former = this.#tasks.get(spec.id);
    if (former?.command.running) {
      throw new SluiceError('E_AGENT_TASK', `task ${spec.id} is running`);
    }
    former?.retire();
    const task = this.#make(spec);
    await task.prepare();
    this.#tasks.set(spec.id, task);
  }

  async start(id: string): Promise<TaskState> {
    const task = this.#find(id);
    if (task.state.status !== 'created') {
      throw new SluiceError('E_AGENT_TASK', `task ${id} is ${task.state.status}`);
    }
    await task.start();
    return task.state;
  }

  updateFiles(id: string, files: { hosts: string; resolvConf: string }): void {
    this.#find(id).updateFiles(files);
  }

  statFile(id: string, path: string): Promise<FileStat> {
    return this.#find(id).statFile(path);
  }

  async openFiles(order: FileOrder): Promise<TaskStreams> {
    const task = this.#find(order.task);
    if (order.kind === 'export') return task.export();
    if (order.kind === 'read') return task.readFiles(order.path);
    return task.writeFiles(order.path, order.own);
  }

  signal(id: string, name: string): void {
    const signal = signalNumber(name);
    if (signal === undefined) throw new SluiceError('E_AGENT_SPEC', `invalid signal: ${name}`);
    const task = this.#tasks.get(id);
    if (task) {
      task.signal(signal);
      return;
    }
    const owner = [...this.#tasks.values()].find((one) => one.findExec(id));
    if (!owner) throw new SluiceError('E_AGENT_TASK', `no such task or command: ${id}`);
    owner.signalExec(id, signal);
  }

  setLimits(id: string, limits: TaskLimits): void {
    this.#find(id).setLimits(limits);
  }

  pause(id: string, paused: boolean): Promise<void> {
    return this.#find(id).pause(paused);
  }

  async remove(id: string): Promise<void> {
    const task = this.#tasks.get(id);
    if (!task) {
      await this.#podman.forget(id);
      return;
    }
    await task.remove();
    this.#tasks.delete(id);
  }

  list(): TaskState[] {
    return [...this.#tasks.values()].map(({ state }) => state);
  }

  attach(id: string): TaskStreams {
    return this.#find(id).command.attach();
  }

  exec(spec: ExecSpec): Promise<TaskStreams> {
    return this.#find(spec.task).exec(spec);
  }

  resize(id: string, columns: number, rows: number): void {
    const command =
      this.#tasks.get(id)?.command ??
      [...this.#tasks.values()].map((task) => task.findExec(id)).find((one) => one !== undefined);
    if (!command) throw new SluiceError('E_AGENT_TASK', `no such task or command: ${id}`);
    command.resize(columns, rows);
  }

  logs(
    id: string,
    query: LogQuery,
    line: (entry: LogEntry) => void,
    ended: () => void,
  ): () => void {
    const task = this.#find(id);
    for (const entry of task.log.read(query)) line(entry);
    if (!query.follow || task.state.status === 'exited') {
      ended();
      return () => {};
    }
    const { untilNs } = query;
    const stop = task.log.follow((entry) => {
      if (untilNs === undefined || entry.timeNs <= untilNs) line(entry);
    });
    const streams = task.command.attach();
    streams.onOutput = () => {};
    streams.onEnd = () => {
      stop();
      ended();
    };
    return () => {
      stop();
      streams.close();
    };
  }

  stats(id: string): TaskStats {
    return this.#find(id).stats();
  }

  async top(id: string, psArgs: readonly string[]): Promise<string[][]> {
    const pids = new Set(this.#find(id).processes());
    const args = psArgs.length === 0 ? ['-ef'] : psArgs;
    const text = await must(this.#tools.exec, ['ps', ...args]);
    const [head = '', ...lines] = text.trimEnd().split('\n');
    const titles = head.trim().split(/\s+/);
    const column = titles.indexOf('PID');
    if (column < 0) {
      throw new SluiceError('E_AGENT_SPEC', "couldn't find PID field in ps output");
    }
    const rows = lines.map((line) => {
      const fields = line.trim().split(/\s+/);
      const last = titles.length - 1;
      return [...fields.slice(0, last), fields.slice(last).join(' ')];
    });
    return [titles, ...rows.filter((row) => pids.has(Number(row[column])))];
  }

  /** Lets go of all tasks; they run on. */
  release(): void {
    for (const task of this.#tasks.values()) task.release();
    const { groupPath } = this.#home('');
    if (this.#tasks.size === 0) removeGroups(groupPath);
  }
}
