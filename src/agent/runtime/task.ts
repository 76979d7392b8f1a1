import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, totalmem } from 'node:os';
import { join } from 'node:path';
import { SluiceError } from '../../base/errors.ts';
import { Cgroup, type CgroupMounts } from '../../kernel/cgroup.ts';
import { netnsPath } from '../../kernel/netns.ts';
import type { TaskStats, TaskStreams } from '../../link/agent-port.ts';
import type { ExecSpec, TaskExit, TaskSpec, TaskState } from '../../model/task-spec.ts';
import type { AgentTools } from '../plane/tools.ts';
import { findAccount } from './accounts.ts';
import { Command } from './command.ts';
import {
  becomeCommand,
  mountTable,
  type ToolPaths,
  taskEnv,
  unsharePrefix,
} from './command-line.ts';
import { checkCommand } from './command-lookup.ts';
import { isAlive, type ProcessId, signalProcess, startOf } from './holder.ts';
import { BECOME_SCRIPT, ENTER_SCRIPT, JOIN_SCRIPT } from './scripts.ts';
import { TaskLog } from './task-log.ts';

/** Further commands of one task at the same time. */
const MAX_EXECS = 256;
const FILES_MODE = 0o644;
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

function children(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** One task of the process runtime. */
export class Task {
  readonly spec: TaskSpec;
  readonly log: TaskLog;
  readonly command: Command;
  readonly #tools: AgentTools;
  readonly #home: TaskHome;
  readonly #events: TaskEvents;
  readonly #group: Cgroup | undefined;
  readonly #execs = new Map<string, Command>();
  #exit: TaskExit | undefined;
  #paused = false;

  constructor(tools: AgentTools, home: TaskHome, spec: TaskSpec, events: TaskEvents) {
    this.#tools = tools;
    this.#home = home;
    this.spec = spec;
    this.#events = events;
    this.log = new TaskLog(home.logPath, () => tools.clock.wall());
    this.#group = home.cgroups && Cgroup.at(home.cgroups, `${home.groupPath}/${spec.id}`);
    const shape = { tty: spec.tty, stdin: spec.openStdin };
    this.command = new Command(tools, home.folder, shape, (stream, data) =>
      this.log.append(stream, data),
    );
    this.command.onExit = (exit) => this.#ended(exit);
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
      const stat = readFileSync(join(this.#home.folder, 'pid'), 'utf8');
      const start = startOf(stat);
      return start === undefined ? undefined : { pid: Number.parseInt(stat, 10), start };
    } catch {
      return undefined;
    }
  }

  /** Makes the folder and the streams. */
  async prepare(): Promise<void> {
    const { folder } = this.#home;
    const { spec } = this;
    // Refused before anything is made: unknown users, mounts and forbidden characters.
    findAccount(spec.user, spec.groups);
    const mounts = mountTable(spec, folder, existsSync);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true, mode: 0o711 });
    writeFileSync(join(folder, 'hostname'), `${spec.hostname}\n`, { mode: FILES_MODE });
    this.updateFiles(spec);
    writeFileSync(join(folder, 'fstab'), mounts.map((line) => `${line}\n`).join(''));
    await this.command.prepare();
    // Last: a folder without it is a leftover.
    writeFileSync(join(folder, 'spec.json'), JSON.stringify(spec), { mode: 0o600 });
  }

  updateFiles(files: { hosts: string; resolvConf: string }): void {
    // In place: the task sees the file itself, not its name.
    writeFileSync(join(this.#home.folder, 'hosts'), files.hosts, { mode: FILES_MODE });
    writeFileSync(join(this.#home.folder, 'resolv.conf'), files.resolvConf, { mode: FILES_MODE });
  }

  adopt(): void {
    this.command.adopt();
  }

  async start(): Promise<void> {
    const { spec } = this;
    const { folder, tool } = this.#home;
    const account = findAccount(spec.user, spec.groups);
    const env = taskEnv(spec, account, spec.hostname);
    checkCommand(spec.argv[0] ?? '', env, spec.cwd, spec.mounts);
    this.#joinable();
    const netns =
      spec.sandbox === 'host' ? undefined : netnsPath(this.#tools.naming.netns(spec.sandbox));
    await this.command.start(unsharePrefix(tool, netns, spec.pidHost), [
      '/bin/sh',
      '-c',
      ENTER_SCRIPT,
      'sluice-enter',
      folder,
      spec.hostname,
      ...becomeCommand(
        tool,
        {
          account,
          capabilities: spec.capabilities,
          noNewPrivileges: spec.noNewPrivileges,
          privileged: spec.privileged,
        },
        { argv: spec.argv, env, cwd: spec.cwd, tty: spec.tty },
      ),
    ]);
  }

  #joinable(): void {
    const missing = this.#group?.create(this.spec.limits) ?? [];
    if (missing.length > 0) {
      this.#tools.logger.warn('the host cannot enforce some limits of a task', {
        task: this.spec.id,
        limits: missing,
      });
    }
    const files = this.#group?.joinFiles ?? [];
    writeFileSync(join(this.#home.folder, 'cgroups'), files.map((file) => `${file}\n`).join(''));
  }

  #ended(exit: TaskExit): void {
    this.#exit = { ...exit, oomKilled: this.#group?.oomKilled() ?? false };
    this.#paused = false;
    this.log.flush();
    this.#group?.kill();
    this.#tools.clock.after(100, () => this.#group?.remove());
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
    if (!this.#group?.freeze(paused)) {
      throw new SluiceError(
        'E_AGENT_UNSUPPORTED',
        'tasks cannot be paused: the host has no freezer control group',
      );
    }
    this.#paused = paused;
    for (let tries = 0; tries < FREEZE_TRIES && this.#group.frozen !== paused; tries++) {
      await new Promise<void>((resolve) => this.#tools.clock.after(FREEZE_LOOK_MS, resolve));
    }
  }

  /** Starts one more command in the task's namespaces. */
  async exec(spec: ExecSpec): Promise<TaskStreams> {
    const process = this.#running();
    if (this.#execs.size >= MAX_EXECS) {
      throw new SluiceError('E_AGENT_TASK', `a task runs at most ${MAX_EXECS} further commands`);
    }
    const { tool } = this.#home;
    const account = findAccount(spec.user || this.spec.user, this.spec.groups);
    const env = taskEnv(
      { env: [...this.spec.env, ...spec.env], tty: spec.tty },
      account,
      this.spec.hostname,
    );
    const cwd = spec.cwd || this.spec.cwd;
    checkCommand(spec.argv[0] ?? '', env, cwd, this.spec.mounts);
    const folder = join(this.#home.folder, `exec-${spec.id.replaceAll(/[^\w-]/g, '_')}`);
    mkdirSync(folder, { recursive: true });
    const command = new Command(
      this.#tools,
      folder,
      { tty: spec.tty, stdin: spec.stdin },
      () => {},
    );
    await command.prepare();
    const streams = command.attach();
    this.#execs.set(spec.id, command);
    command.onExit = (exit) => {
      this.#execs.delete(spec.id);
      rmSync(folder, { recursive: true, force: true });
      this.#events.execExited(spec.id, exit);
    };
    const pidFlag = this.spec.pidHost ? [] : ['--pid'];
    const identity = { ...this.spec, account };
    try {
      await command.start(
        [],
        [
          '/bin/sh',
          '-c',
          JOIN_SCRIPT,
          'sluice-join',
          join(this.#home.folder, 'cgroups'),
          tool('nsenter'),
          `--target=${process.pid}`,
          '--mount',
          '--uts',
          '--ipc',
          '--net',
          ...pidFlag,
          '/bin/sh',
          '-c',
          BECOME_SCRIPT,
          'sluice-become',
          ...becomeCommand(tool, identity, { argv: spec.argv, env, cwd, tty: spec.tty }),
        ],
      );
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

  /** Signals a further command. */
  signalExec(id: string, signal: number): void {
    const [first = 0] = children(this.#execs.get(id)?.waiterPid ?? 0);
    const pid = this.spec.pidHost ? first : (children(first)[0] ?? 0);
    if (pid > 0) process.kill(pid, signal);
  }

  /** Its processes by their numbers on the host. */
  processes(): number[] {
    const first = this.#running();
    const all = this.#group?.processes() ?? [];
    return all.length > 0 ? all : [first.pid];
  }

  stats(): TaskStats {
    const process = this.#running();
    const figures = this.#group?.figures() ?? { cpuNs: 0, memoryBytes: 0, pids: 1 };
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
        this.#tools.clock.after(KILL_WAIT_MS, resolve);
      });
      if (this.#paused) this.#group?.freeze(false);
      const process = this.#process;
      if (process) signalProcess(process, 'SIGKILL');
      if (this.spec.pidHost) this.#group?.kill();
      await ended;
    }
    this.command.drop();
    this.#group?.remove();
    this.log.drop();
    rmSync(this.#home.folder, { recursive: true, force: true });
  }

  /** Lets go of a task that has ended, for another of the same id; its log stays. */
  retire(): void {
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
