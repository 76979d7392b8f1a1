import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../base/clock.ts';
import { SluiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { AgentClient } from '../../link/agent-client.ts';
import type { AgentEvents, AgentPort } from '../../link/agent-port.ts';
import { answers } from '../../net/unix-socket.ts';
import type { DaemonSettings } from './settings.ts';

const AGENT_ENTRY = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../agent.ts' : '../agent.js', import.meta.url),
);
const DEFAULT_PREFIX = 'sluice';
const PREFIX_DIGITS = 6;
/** How long an agent may take until it answers. */
const START_MS = 15_000;
const LOOK_EVERY_MS = 50;
/** How long an agent that is gone is left to whoever else might start it. */
const RESTART_AFTER_MS = 500;

/** Names of one daemon's objects in the kernel: daemons with other folders have others. */
export function prefixOf({ dataRoot, execRoot }: DaemonSettings): string {
  if (execRoot === '/run/sluice') return DEFAULT_PREFIX;
  const digest = createHash('sha256').update(`${dataRoot} ${execRoot}`).digest('hex');
  return `sl${digest.slice(0, PREFIX_DIGITS)}`;
}

/** Where the agent of a daemon takes orders. */
export function agentSocketOf({ execRoot }: DaemonSettings): string {
  return join(execRoot, 'agent.sock');
}

/**
 * The agent of a daemon. One that answers is used; else one is started, and again whenever it is
 * gone. It outlives the daemon as long as tasks run, so that their names and ports live on.
 */
export class AgentKeeper implements AgentEvents {
  readonly #settings: DaemonSettings;
  readonly #events: AgentEvents;
  readonly #logger: Logger;
  readonly #client: AgentClient;
  #pid: number | undefined;
  /** Whether that is a child of this process, and lives. */
  #child = false;
  #revival: NodeJS.Timeout | undefined;
  #fault = '';
  #seen = false;
  #closed = false;

  constructor(
    settings: DaemonSettings,
    events: AgentEvents,
    logger: Logger,
    pid: number | undefined,
  ) {
    this.#pid = pid;
    this.#settings = settings;
    this.#events = events;
    this.#logger = logger;
    this.#client = new AgentClient(this.#socket, this, systemClock);
  }

  get #socket(): string {
    return agentSocketOf(this.#settings);
  }

  /** Resolves when it answers. */
  async start(): Promise<void> {
    if (!(await answers(this.#socket))) {
      if (process.getuid?.() !== 0) throw new SluiceError('E_NODE_UNAVAILABLE', this.#noAgent());
      this.#spawn();
    }
    const end = performance.now() + START_MS;
    while (!this.#client.connected) {
      if (this.#fault !== '') throw new SluiceError('E_NODE_UNAVAILABLE', this.#fault);
      if (performance.now() > end) {
        const message = `the agent at ${this.#socket} does not answer`;
        throw new SluiceError('E_NODE_UNAVAILABLE', message);
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }

  get agent(): AgentPort {
    return this.#client;
  }

  taskExited(...args: Parameters<AgentEvents['taskExited']>): void {
    this.#events.taskExited(...args);
  }

  execExited(...args: Parameters<AgentEvents['execExited']>): void {
    this.#events.execExited(...args);
  }

  degraded(reason: string): void {
    this.#events.degraded(reason);
  }

  connected(up: boolean): void {
    if (this.#closed) return;
    // The first connection is the start's own: the engine synchronizes by itself then.
    if (this.#seen) this.#events.connected(up);
    this.#seen = true;
    if (up) return;
    // Of one that is no child of this process nothing else tells that it has ended.
    if (!this.#child) this.#pid = undefined;
    this.#reviveLater();
  }

  #reviveLater(): void {
    this.#revival ??= setTimeout(() => {
      this.#revival = undefined;
      void this.#revive();
    }, RESTART_AFTER_MS).unref();
  }

  /** The process that this daemon, or one before it, has started. */
  get pid(): number | undefined {
    return this.#pid;
  }

  /** Leaves the agent to another daemon; what is open goes on until `disconnect`. */
  leave(): void {
    this.#closed = true;
  }

  disconnect(): void {
    this.#client.close();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const busy = await this.#busy();
    this.#client.close();
    if (this.#pid !== undefined && !busy) process.kill(this.#pid, 'SIGTERM');
  }

  async #busy(): Promise<boolean> {
    try {
      const tasks = await this.#client.tasks();
      return tasks.some(({ status }) => status === 'running' || status === 'paused');
    } catch {
      return false;
    }
  }

  #noAgent(): string {
    const owner = `${process.getuid?.()}:${process.getgid?.()}`;
    const { execRoot } = this.#settings;
    return (
      `no agent answers at ${this.#socket}, and starting one needs root: start the daemon as root, ` +
      `or the agent with --exec-root ${execRoot} --owner ${owner} first`
    );
  }

  /** Goes on until an agent answers: one may end before it has. */
  async #revive(): Promise<void> {
    if (this.#closed || this.#client.connected || process.getuid?.() !== 0) return;
    if (!this.#child && !(await answers(this.#socket))) {
      this.#logger.warn('the agent is started again');
      this.#spawn();
    }
    this.#reviveLater();
  }

  #spawn(): void {
    const { dataRoot, execRoot, logLevel } = this.#settings;
    const kept = ['--log-root', join(dataRoot, 'logs'), '--volume-root', join(dataRoot, 'volumes')];
    const roots = ['--exec-root', execRoot, ...kept];
    const names = ['--prefix', prefixOf(this.#settings), '--log-level', logLevel];
    const argv = [...process.execArgv, AGENT_ENTRY, ...roots, ...names];
    // The service manager is told of the daemon alone.
    const { NOTIFY_SOCKET: _, ...env } = process.env;
    const child = spawn(process.execPath, argv, {
      env,
      detached: true,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    this.#child = true;
    this.#pid = child.pid;
    child.once('exit', (code) => {
      this.#child = false;
      this.#pid = undefined;
      if (code === 1) this.#fault = 'the agent cannot work on this host; its reasons are above';
    });
    child.unref();
  }
}

/**
 * Connects to the agent of a daemon, and starts it where there is none. Needs root for that. `pid`:
 * of an agent that a daemon before has started.
 */
export async function startAgentProcess(
  settings: DaemonSettings,
  events: AgentEvents,
  logger: Logger,
  pid?: number,
): Promise<AgentKeeper> {
  const keeper = new AgentKeeper(settings, events, logger, pid);
  await keeper.start();
  return keeper;
}
