import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { SluiceError } from '../../base/errors.ts';
import { must } from '../../kernel/exec.ts';
import type { TaskStreams } from '../../link/agent-port.ts';
import type { TaskExit } from '../../model/task-spec.ts';
import type { AgentTools } from '../plane/tools.ts';
import { heldFd, holdOpen, isAlive, type ProcessId, signalProcess, startOf } from './holder.ts';
import { STARTED, WAIT_SCRIPT } from './scripts.ts';
import { Fanout, openChildPipes, PipeStdio, type Stdio, TerminalStdio } from './stdio.ts';

const START_TIMEOUT_MS = 20_000;
const MAX_START_ERROR_BYTES = 4096;
const KILLED = 137;

export type CommandShape = { readonly tty: boolean; readonly stdin: boolean };

type OnOutput = (stream: 'stdout' | 'stderr', data: Buffer) => void;

/**
 * A command with its streams and its end, kept in a folder so that the next agent finds it:
 * `stdin`, `stdout`, `stderr` are pipes, `exit` is its exit status, `waiter` the process that waits
 * for it, `holder` the process that keeps open what must outlive the agent.
 */
export class Command {
  readonly #tools: AgentTools;
  readonly #folder: string;
  readonly #shape: CommandShape;
  readonly #onOutput: OnOutput;
  readonly #fanout: Fanout;
  #stdio: Stdio | undefined;
  #holder: ProcessId | undefined;
  #waiter: ProcessId | undefined;
  #inputEndsAtStart = false;
  #starting = false;
  #ended: TaskExit | undefined;
  #poll: NodeJS.Timeout | undefined;
  onExit: (exit: TaskExit) => void = () => {};

  constructor(tools: AgentTools, folder: string, shape: CommandShape, onOutput: OnOutput) {
    this.#tools = tools;
    this.#folder = folder;
    this.#shape = shape;
    this.#onOutput = onOutput;
    this.#fanout = new Fanout(() => this.#stdio);
  }

  get exit(): TaskExit | undefined {
    return this.#ended;
  }

  get running(): boolean {
    return this.#waiter !== undefined && this.#ended === undefined;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #pipePaths(withInput: boolean) {
    return {
      stdout: this.#path('stdout'),
      stderr: this.#path('stderr'),
      stdin: withInput ? this.#path('stdin') : undefined,
    };
  }

  /** Makes the streams; from now on readers can attach. */
  async prepare(): Promise<void> {
    if (this.#shape.tty) {
      const { native } = this.#tools;
      if (!native) {
        throw new SluiceError(
          'E_AGENT_UNSUPPORTED',
          'terminals need the optional package koffi, which is not installed',
        );
      }
      return;
    }
    const names = ['stdout', 'stderr', ...(this.#shape.stdin ? ['stdin'] : [])];
    const paths = names.map((name) => this.#path(name));
    if (this.#tools.native) for (const path of paths) this.#tools.native.makeFifo(path);
    else await must(this.#tools.exec, ['mkfifo', '-m', '600', ...paths]);
    this.#openPipes(this.#shape.stdin);
  }

  #openPipes(withInput: boolean): void {
    this.#stdio = new PipeStdio(
      this.#pipePaths(withInput),
      (stream, data) => this.#take(stream, data),
      () => this.#fanout.drained(),
      () => this.#dropHolder(),
    );
  }

  #openTerminal(master: number): void {
    const { native } = this.#tools;
    this.#stdio = new TerminalStdio(
      master,
      (stream, data) => this.#take(stream, data),
      () => this.#fanout.drained(),
      (fd, columns, rows) => native?.resizeTerminal(fd, columns, rows),
    );
  }

  #take(stream: 'stdout' | 'stderr', data: Buffer): void {
    this.#onOutput(stream, data);
    this.#fanout.output(stream, data);
  }

  attach(): TaskStreams {
    const streams = this.#fanout.attach();
    const endInput = streams.endInput.bind(streams);
    // Input that ends before there is a reader would be lost with its pipe.
    streams.endInput = () => {
      if (this.#waiter) endInput();
      else this.#inputEndsAtStart = true;
    };
    return streams;
  }

  resize(columns: number, rows: number): void {
    this.#stdio?.resize(columns, rows);
  }

  /**
   * Runs `outer`, within it the waiting process, and within that `inner`. Resolves when the command
   * runs; rejects with what its way into the namespaces said.
   */
  async start(outer: readonly string[], inner: readonly string[]): Promise<void> {
    rmSync(this.#path('exit'), { force: true });
    this.#starting = true;
    const { fds, close } = this.#childStreams();
    const [stdin, stdout, stderr] = fds;
    let child: ChildProcess;
    try {
      const waiting = ['/bin/sh', '-c', WAIT_SCRIPT, 'sluice-wait', this.#folder];
      const [file = '', ...rest] = [...outer, ...waiting, ...inner];
      child = spawn(file, rest, {
        stdio: [stdin, stdout, 'pipe', stderr],
        detached: true,
        cwd: '/',
        env: {},
      });
    } finally {
      close();
    }
    child.unref();
    this.#waiter = this.#record('waiter', child.pid);
    child.on('error', () => {});
    child.on('exit', () => this.#check());
    const refusal = await startRefusal(child);
    this.#starting = false;
    if (refusal !== undefined) {
      signalProcess(this.#waiter ?? { pid: 0, start: '' }, 'SIGKILL');
      this.#waiter = undefined;
      throw new SluiceError('E_AGENT_SPEC', refusal);
    }
    if (this.#inputEndsAtStart) this.#stdio?.endInput();
    // It may have ended already; that is told after whoever started it knows of the start.
    setImmediate(() => this.#check());
  }

  #childStreams(): { fds: number[]; close: () => void } {
    const { native } = this.#tools;
    if (this.#shape.tty && native) {
      const { master, slave } = native.openTerminal();
      this.#setHolder(holdOpen([master]));
      this.#openTerminal(master);
      return { fds: [slave, slave, slave], close: () => closeSync(slave) };
    }
    const child = openChildPipes(this.#pipePaths(this.#shape.stdin));
    if (this.#shape.stdin && !this.#inputEndsAtStart) {
      const writer = openSync(this.#path('stdin'), 'r+');
      this.#setHolder(holdOpen([writer]));
      closeSync(writer);
    }
    return child;
  }

  #setHolder(holder: ProcessId | undefined): void {
    this.#holder = holder;
    if (holder) writeFileSync(this.#path('holder'), `${holder.pid} ${holder.start}`);
  }

  #dropHolder(): void {
    if (this.#holder) signalProcess(this.#holder, 'SIGKILL');
    this.#holder = undefined;
    rmSync(this.#path('holder'), { force: true });
  }

  #record(name: string, pid: number | undefined): ProcessId | undefined {
    if (pid === undefined) return undefined;
    try {
      const start = startOf(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? '';
      writeFileSync(this.#path(name), `${pid} ${start}`);
      return { pid, start };
    } catch {
      return { pid, start: '' };
    }
  }

  #recorded(name: string): ProcessId | undefined {
    try {
      const [pid, start = ''] = readFileSync(this.#path(name), 'utf8').split(' ');
      return { pid: Number(pid), start };
    } catch {
      return undefined;
    }
  }

  /** Takes up a command that another agent made. */
  adopt(): void {
    this.#waiter = this.#recorded('waiter');
    this.#holder = this.#recorded('holder');
    const holds = this.#holder !== undefined && isAlive(this.#holder);
    const fresh = this.#waiter === undefined;
    if (this.#waiter && this.#readExit()) {
      if (!this.#shape.tty && existsSync(this.#path('stdout'))) this.#openPipes(false);
      this.#check();
      return;
    }
    if (!this.#shape.tty) this.#openPipes(this.#shape.stdin && (holds || fresh));
    else if (this.#holder && holds) {
      const master = this.#tools.native?.takeFd(this.#holder.pid, heldFd(0));
      if (master !== undefined) this.#openTerminal(master);
    }
    if (!fresh) this.#poll = setInterval(() => this.#check(), 250).unref();
  }

  #readExit(): TaskExit | undefined {
    try {
      const text = readFileSync(this.#path('exit'), 'utf8').trim();
      if (text === '') return undefined;
      const at = Math.round(statSync(this.#path('exit')).mtimeMs);
      return { code: Number(text), oomKilled: false, at };
    } catch {
      return undefined;
    }
  }

  /** Looks whether the command has ended. */
  #check(): void {
    if (this.#ended || this.#starting || !this.#waiter) return;
    const lost = { code: KILLED, oomKilled: false, at: Math.round(this.#tools.clock.wall()) };
    const exit = this.#readExit() ?? (isAlive(this.#waiter) ? undefined : lost);
    if (!exit) return;
    this.#ended = exit;
    clearInterval(this.#poll);
    this.#stdio?.finish();
    this.#stdio = undefined;
    this.#dropHolder();
    // First the exit, so that whoever sees the end of the streams finds it.
    this.onExit(exit);
    this.#fanout.end();
  }

  /** The process that waits for the command, or its parent in the way there. */
  get waiterPid(): number | undefined {
    return this.#waiter?.pid;
  }

  /** Lets go without ending the command. */
  release(): void {
    clearInterval(this.#poll);
    this.#stdio?.finish();
    this.#stdio = undefined;
  }

  /** Ends what keeps descriptors open, for a command that is not there any more. */
  drop(): void {
    this.release();
    this.#dropHolder();
    this.#fanout.end();
  }
}

/** What the child says before it becomes the command; undefined: it became it. */
function startRefusal(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    let said = '';
    const finish = (refusal: string | undefined) => {
      clearTimeout(timer);
      child.stderr?.destroy();
      resolve(refusal);
    };
    const timer = setTimeout(
      () => finish(`the command did not start within ${START_TIMEOUT_MS} ms`),
      START_TIMEOUT_MS,
    );
    child.stderr?.on('data', (data: Buffer) => {
      if (said.length < MAX_START_ERROR_BYTES) said += data.toString();
      if (said.endsWith(STARTED)) finish(undefined);
    });
    child.stderr?.on('error', () => {});
    child.stderr?.on('close', () => finish(said.trim() || 'the command was ended on its way'));
    child.on('error', (error) => finish(error.message));
  });
}
