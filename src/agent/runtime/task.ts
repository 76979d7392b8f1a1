import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, totalmem } from 'node:os';
import { join } from 'node:path';
import type { Timer } from '../../base/clock.ts';
import { SluiceError } from '../../base/errors.ts';
import { Cgroup, type CgroupMounts, type GroupLimits } from '../../kernel/cgroup.ts';
import type { TaskStats, TaskStreams } from '../../link/agent-port.ts';
import type {
  CommitOrder,
  ExecSpec,
  FileStat,
  TaskExit,
  TaskSpec,
  TaskState,
} from '../../model/task-spec.ts';
import type { AgentTools } from '../plane/tools.ts';
import { Command } from './command.ts';
import type { ToolPaths } from './command-line.ts';
import { isAlive, type ProcessId, signalProcess, startOf } from './holder.ts';
import { provideSources } from './mount-sources.ts';
import { type FileView, readFiles, statFile, viewOf, writeFiles } from './task-files.ts';
import { TaskLog } from './task-log.ts';

/** Further commands of one task at the same time. */
const MAX_EXECS = 256;
const FILES_MODE = 0o644;
/** Until the last process of a task that has ended has left its control group. */
const EMPTY_AFTER_MS = 100;
const KILL_WAIT_MS = 10_000;
const FREEZE_LOOK_MS = 5;
const FREEZE_TRIES = 200;

export type TaskHome = {
  readonly folder: string;
  readonly logPath: string;
  /** Control groups' path below their mounts, before the task's own. */
  readonly groupPath: string;
  readonly cgroups: CgroupMounts | undefined;
  readonly tool: ToolPaths;
};

export type TaskEvents = {
  readonly taskExited: (id: string, exit: TaskExit) => void;
  readonly execExited: (id: string, exit: TaskExit) => void;
};

/** `SIGTERM`, `TERM` or a number; undefined when there is no such signal. */
export function signalNumber(name: string): number | undefined {
  if (/^\d+$/.test(name)) return Number(name) <= 64 ? Number(name) : undefined;
  const full = name.toUpperCase().startsWith('SIG')
    ? name.toUpperCase()
    : `SIG${name.toUpperCase()}`;
  return Object.entries(constants.signals).find(([signal]) => signal === full)?.[1];
}

/** One task, whoever runs it: its folder, its streams and log, further commands and its end. */
export abstract class Task {
  readonly log: TaskLog;
  readonly command: Command;
  protected readonly tools: AgentTools;
  protected readonly home: TaskHome;
  protected readonly groupPath: string;
  /** Its control group, where there are any. */
  protected readonly group: Cgroup | undefined;
  readonly #events: TaskEvents;
  readonly #execs = new Map<string, Command>();
  #spec: TaskSpec;
  #exit: TaskExit | undefined;
  #paused = false;
  #emptied: Timer | undefined;

  constructor(tools: AgentTools, home: TaskHome, spec: TaskSpec, events: TaskEvents) {
    this.tools = tools;
    this.home = home;
    this.groupPath = `${home.groupPath}/${spec.id}`;
    this.group = home.cgroups && Cgroup.at(home.cgroups, this.groupPath);
    this.#spec = spec;
    this.#events = events;
    this.log = new TaskLog(
      home.logPath,
      () => tools.clock.wall(),
      (reason) => tools.logger.warn('output of a task is not kept', { task: spec.id, reason }),
    );
    const shape = { tty: spec.tty, stdin: spec.openStdin };
    this.command = new Command(tools, home.folder, shape, (stream, data) =>
      this.log.append(stream, data),
    );
    this.command.onExit = (exit) => this.#ended(exit);
  }

  /** Refuses what cannot work; nothing is made yet. */
  protected abstract check(): void;
  /** Makes what the runtime needs, once the folder is there. */
  protected abstract layOut(): Promise<void>;
  abstract start(): Promise<void>;
  /** Throws for a command that cannot be found or run. */
  protected abstract execArgv(spec: ExecSpec, process: ProcessId): string[];
  /** The process of a further command, by its number on the host. */
  protected abstract execPid(id: string, command: Command): number | undefined;
  /** Lends the folder of its image's files, with what it has written itself. */
  protected abstract withRoot<T>(use: (root: string) => T): Promise<T>;
  /** Its files as one archive. Throws where that makes no sense. */
  abstract export(): Promise<TaskStreams>;
  /** Makes an image of its files; returns its id. Throws where that makes no sense. */
  abstract commit(order: CommitOrder): Promise<string>;
  /** Takes away what the runtime keeps of a task that has ended. */
  protected abstract discard(): Promise<void>;

  get spec(): TaskSpec {
    return this.#spec;
  }

  get state(): TaskState {
    const { id } = this.spec;
    if (this.#exit) return { id, status: 'exited', pid: 0, exit: this.#exit };
    if (!this.command.running) return { id, status: 'created', pid: 0, exit: undefined };
    const pid = this.#process?.pid ?? 0;
    return { id, status: this.#paused ? 'paused' : 'running', pid, exit: undefined };
  }

  /** The task's first process. */
  get #process(): ProcessId | undefined {
    try {
      const stat = readFileSync(join(this.home.folder, 'pid'), 'utf8');
      const start = startOf(stat);
      return start === undefined ? undefined : { pid: Number.parseInt(stat, 10), start };
    } catch {
      return undefined;
    }
  }

  /** Makes the folder and the streams. */
  async prepare(): Promise<void> {
    const { folder } = this.home;
    provideSources(this.spec.mounts);
    this.check();
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true, mode: 0o711 });
    writeFileSync(join(folder, 'hostname'), `${this.spec.hostname}\n`, { mode: FILES_MODE });
    this.updateFiles(this.spec);
    await this.layOut();
    await this.command.prepare();
    // Last: a folder without it is a leftover.
    this.#keepSpec();
  }

  #keepSpec(): void {
    writeFileSync(join(this.home.folder, 'spec.json'), JSON.stringify(this.spec), { mode: 0o600 });
  }

  updateFiles(files: { hosts: string; resolvConf: string }): void {
    // In place: the task sees the file itself, not its name.
    writeFileSync(join(this.home.folder, 'hosts'), files.hosts, { mode: FILES_MODE });
    writeFileSync(join(this.home.folder, 'resolv.conf'), files.resolvConf, { mode: FILES_MODE });
  }

  adopt(): void {
    this.command.adopt();
  }

  /** Tells of limits that the host cannot enforce. */
  protected warnOf(missing: readonly string[]): void {
    if (missing.length === 0) return;
    this.tools.logger.warn('the host cannot enforce some limits of a task', {
      task: this.spec.id,
      limits: missing,
    });
  }

  /** Puts other limits in place, at once when it runs. */
  setLimits(limits: GroupLimits): void {
    if (this.command.running) {
      const missing = this.group?.limit(limits) ?? ['memory', 'cpu', 'pids'];
      if (missing.length > 0) {
        // What could be set is taken back: all or nothing.
        this.group?.limit(this.spec.limits);
        throw new SluiceError(
          'E_AGENT_UNSUPPORTED',
          `the host does not take these limits of a running task: ${missing.join(', ')}`,
        );
      }
    }
    this.#spec = { ...this.spec, limits };
    this.#keepSpec();
  }

  /** Whether the kernel ended it for want of memory. */
  protected oomKilled(): boolean {
    return this.group?.oomKilled() ?? false;
  }

  #ended(exit: TaskExit): void {
    this.#exit = { ...exit, oomKilled: this.oomKilled() };
    this.#paused = false;
    this.log.flush();
    this.group?.kill();
    this.#emptied = this.tools.clock.after(EMPTY_AFTER_MS, () => this.group?.remove());
    this.#events.taskExited(this.spec.id, this.#exit);
  }

  #running(): ProcessId {
    const process = this.#process;
    if (!this.command.running || !process || !isAlive(process)) {
      throw new SluiceError('E_AGENT_TASK', `task ${this.spec.id} is not running`);
    }
    return process;
  }

  signal(signal: number): void {
    signalProcess(this.#running(), signal);
  }

  async pause(paused: boolean): Promise<void> {
    this.#running();
    if (!this.group?.freeze(paused)) {
      throw new SluiceError(
        'E_AGENT_UNSUPPORTED',
        'tasks cannot be paused: the host has no freezer control group',
      );
    }
    this.#paused = paused;
    for (let tries = 0; tries < FREEZE_TRIES && this.group.frozen !== paused; tries++) {
      await new Promise<void>((resolve) => this.tools.clock.after(FREEZE_LOOK_MS, resolve));
    }
  }

  /** Starts one more command in the task's namespaces. */
  async exec(spec: ExecSpec): Promise<TaskStreams> {
    const process = this.#running();
    if (this.#execs.size >= MAX_EXECS) {
      throw new SluiceError('E_AGENT_TASK', `a task runs at most ${MAX_EXECS} further commands`);
    }
    const argv = this.execArgv(spec, process);
    const folder = join(this.home.folder, `exec-${spec.id.replaceAll(/[^\w-]/g, '_')}`);
    mkdirSync(folder, { recursive: true });
    const shape = { tty: spec.tty, stdin: spec.stdin };
    const command = new Command(this.tools, folder, shape, () => {});
    await command.prepare();
    const streams = command.attach();
    this.#execs.set(spec.id, command);
    command.onExit = (exit) => {
      this.#execs.delete(spec.id);
      rmSync(folder, { recursive: true, force: true });
      this.#events.execExited(spec.id, exit);
    };
    try {
      await command.start([], argv);
    } catch (error) {
      this.#execs.delete(spec.id);
      command.drop();
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
    return streams;
  }

  findExec(id: string): Command | undefined {
    return this.#execs.get(id);
  }

  /** Looks at files as the task sees them or, when it does not run, as it would. */
  protected async withFiles<T>(path: string, use: (view: FileView) => T): Promise<T> {
    const pid = this.command.running ? this.#process?.pid : undefined;
    if (pid !== undefined) return use({ root: `/proc/${pid}/root`, path });
    return this.withRoot((root) => use(viewOf(path, this.spec.mounts, root)));
  }

  statFile(path: string): Promise<FileStat> {
    return this.withFiles(path, (view) => statFile(view, path));
  }

  readFiles(path: string): Promise<TaskStreams> {
    return this.withFiles(path, (view) => readFiles(view, path, this.home.tool));
  }

  /** `own`: files become those of the task's user. */
  writeFiles(path: string, _own: boolean): Promise<TaskStreams> {
    return this.withFiles(path, (view) => writeFiles(view, path, this.home.tool));
  }

  /** Signals a further command. */
  signalExec(id: string, signal: number): void {
    const command = this.#execs.get(id);
    const pid = (command && this.execPid(id, command)) ?? 0;
    if (pid > 0) process.kill(pid, signal);
  }

  /** Its processes by their numbers on the host. */
  processes(): number[] {
    const first = this.#running();
    const all = this.group?.processes() ?? [];
    return all.length > 0 ? all : [first.pid];
  }

  stats(): TaskStats {
    const process = this.#running();
    const figures = this.group?.figures() ?? { cpuNs: 0, memoryBytes: 0, pids: 1 };
    return {
      ...figures,
      memoryLimitBytes: this.spec.limits.memoryBytes ?? totalmem(),
      links: linkFigures(readFileSync(`/proc/${process.pid}/net/dev`, 'utf8')),
    };
  }

  /** Ends the task and removes what it left, its log as well. */
  async remove(): Promise<void> {
    if (this.command.running) {
      const ended = new Promise<void>((resolve) => {
        const tell = this.command.onExit;
        this.command.onExit = (exit) => {
          tell(exit);
          resolve();
        };
        this.tools.clock.after(KILL_WAIT_MS, resolve);
      });
      if (this.#paused) this.group?.freeze(false);
      const process = this.#process;
      if (process) signalProcess(process, 'SIGKILL');
      if (this.spec.pidHost) this.group?.kill();
      await ended;
    }
    this.command.drop();
    await this.discard();
    this.group?.remove();
    this.log.drop();
    rmSync(this.home.folder, { recursive: true, force: true });
  }

  /** Lets go of a task that has ended, for another of the same id; its log stays. */
  retire(): void {
    // The other one's group has the same path, and is empty until it starts.
    this.#emptied?.cancel();
    this.command.drop();
    this.log.close();
  }

  /** Lets go without ending it. */
  release(): void {
    this.command.release();
    for (const exec of this.#execs.values()) exec.release();
    this.log.close();
  }
}

function linkFigures(text: string): TaskStats['links'] {
  const links: Record<
    string,
    { rxBytes: number; rxPackets: number; txBytes: number; txPackets: number }
  > = {};
  for (const line of text.split('\n')) {
    const [, name, rest = ''] = /^\s*([^:\s]+):\s*(.+)$/.exec(line) ?? [];
    if (name === undefined || name === 'lo') continue;
    const values = rest.trim().split(/\s+/).map(Number);
    links[name] = {
      rxBytes: values[0] ?? 0,
      rxPackets: values[1] ?? 0,
      txBytes: values[8] ?? 0,
      txPackets: values[9] ?? 0,
    };
  }
  return links;
}
