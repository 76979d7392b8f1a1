import type { Timer } from '../base/clock.ts';
import { errorText, SluiceError } from '../base/errors.ts';
import { conflict, failed, isUnavailable, notModified } from '../base/faults.ts';
import type { Container } from '../model/container.ts';
import type { TaskExit } from '../model/task-spec.ts';
import type { HealthMonitor } from './health-monitor.ts';
import { timestamp } from './ids.ts';
import { Launcher } from './launcher.ts';
import { type ControlParts, patch, tell, tellMounts } from './parts.ts';
import { restartDelay, startsWithDaemon } from './restart-policy.ts';
import { signalName, signalNumber } from './signals.ts';
import { DeferredStreams } from './streams.ts';
import { type WaitCondition, Waiters, type WaitResult } from './waiters.ts';

/** How long the end of a killed task is waited for. */
const KILL_WAIT_MS = 10_000;
/** Until what needs its cluster is started again while no manager answers. */
const UNAVAILABLE_MS = 5000;

function isUp({ state }: Container): boolean {
  return state.status === 'running' || state.status === 'paused';
}

/** Start, stop and everything between, one order after the other for each container. */
export class Lifecycle {
  readonly waiters = new Waiters();
  readonly #parts: ControlParts;
  readonly #launcher: Launcher;
  readonly #health: HealthMonitor;
  /** Called for a container that goes with its task. */
  readonly #removeEnded: (id: string) => Promise<void>;
  readonly #pending = new Map<string, Set<DeferredStreams>>();
  readonly #restarts = new Map<string, { timer: Timer | undefined; delayMs: number }>();
  readonly #startedAt = new Map<string, number>();
  #closed = false;

  constructor(
    parts: ControlParts,
    health: HealthMonitor,
    removeEnded: (id: string) => Promise<void>,
  ) {
    this.#parts = parts;
    this.#launcher = new Launcher(parts);
    this.#health = health;
    this.#removeEnded = removeEnded;
  }

  /** Throws `E_OBJECT_UNCHANGED` when it runs. */
  start(key: string): Promise<void> {
    const { id } = this.#parts.registry.container(key);
    return this.#parts.lock.run(id, async () => {
      const { state, name } = this.#parts.registry.container(id);
      if (state.status === 'paused') {
        throw conflict('cannot start a paused container, try unpause instead');
      }
      if (state.status === 'running') throw notModified(`container ${name} is running`);
      this.#forgetRestart(id);
      patch(this.#parts, id, { state: { restartCount: 0 } });
      await this.#launch(id);
    });
  }

  /** Throws `E_OBJECT_UNCHANGED` when it does not run. */
  async stop(
    key: string,
    options: { signal?: string | undefined; timeoutMs?: number | undefined },
  ): Promise<void> {
    const container = this.#parts.registry.container(key);
    const { id, spec, state, name } = container;
    const restarting = state.status === 'restarting';
    if (!isUp(container) && !restarting) throw notModified(`container ${name} does not run`);
    const signal = signalName(options.signal ?? spec.stopSignal);
    if (restarting && (await this.#giveUpRestart(id))) return;
    patch(this.#parts, id, { state: { stopped: true } });
    if (state.status === 'paused') await this.unpause(id);
    const timeoutMs = options.timeoutMs ?? spec.stopTimeoutMs;
    if (!(await this.#signalAndWait(id, signal, timeoutMs < 0 ? undefined : timeoutMs))) {
      await this.#killAndWait(id);
    }
    const after = this.#parts.registry.findContainer(id);
    if (after) tell(this.#parts, 'stop', after);
  }

  async restart(
    key: string,
    options: { signal?: string | undefined; timeoutMs?: number | undefined },
  ): Promise<void> {
    const container = this.#parts.registry.container(key);
    if (isUp(container) || container.state.status === 'restarting') {
      await this.stop(container.id, options);
    }
    await this.start(container.id);
    tell(this.#parts, 'restart', this.#parts.registry.container(container.id));
  }

  async kill(key: string, signalText: string): Promise<void> {
    const container = this.#parts.registry.container(key);
    const { id, spec } = container;
    const signal = signalName(signalText || 'SIGKILL');
    if (!isUp(container)) {
      throw conflict(`cannot kill container: ${key}: container ${id} is not running`);
    }
    const ends = signal === 'SIGKILL' || signal === signalName(spec.stopSignal);
    if (ends) patch(this.#parts, id, { state: { stopped: true } });
    await this.#signal(id, signal);
    if (signal === 'SIGKILL') {
      // A client that kills expects the container to be over when it is answered.
      await this.#waitEnded(id, KILL_WAIT_MS);
    }
  }

  /** Ends a container whatever it does, so that it can be removed. */
  async end(id: string): Promise<void> {
    const container = this.#parts.registry.findContainer(id);
    if (!container) return;
    const gaveUp = container.state.status === 'restarting' && (await this.#giveUpRestart(id));
    patch(this.#parts, id, { state: { stopped: true } });
    if (!gaveUp && isUp(this.#parts.registry.container(id))) await this.#killAndWait(id);
  }

  pause(key: string): Promise<void> {
    return this.#pauseOrResume(key, true);
  }

  unpause(key: string): Promise<void> {
    return this.#pauseOrResume(key, false);
  }

  /** Registered when it returns. */
  wait(key: string, condition: WaitCondition): { result: Promise<WaitResult>; cancel: () => void } {
    const container = this.#parts.registry.container(key);
    if (
      condition === 'not-running' &&
      !isUp(container) &&
      container.state.status !== 'restarting'
    ) {
      const { exitCode } = container.state;
      return { result: Promise.resolve({ exitCode, error: undefined }), cancel: () => {} };
    }
    return this.waiters.add(container.id, condition);
  }

  /** The streams of a container, also of one that is yet to start. */
  async attach(key: string): Promise<DeferredStreams> {
    const container = this.#parts.registry.container(key);
    const streams = new DeferredStreams();
    if (isUp(container)) streams.connect(await this.#parts.agent.attachTask(container.id));
    else {
      const pending = this.#pending.get(container.id) ?? new Set();
      this.#pending.set(container.id, pending.add(streams));
    }
    tell(this.#parts, 'attach', container);
    return streams;
  }

  /** Whether somebody is attached to a container that is yet to start. */
  get startsAwaited(): boolean {
    return [...this.#pending.values()].some((all) => [...all].some(({ closed }) => !closed));
  }

  /** The agent tells that a task has ended. */
  ended(id: string, exit: TaskExit): Promise<void> {
    return this.#parts.lock.run(id, () => this.#finish(id, exit));
  }

  /**
   * Takes over what runs and lets the rules see what ended meanwhile. `starting`: the daemon has
   * just started, so that containers which start with it are due.
   */
  async recover(starting: boolean): Promise<void> {
    const { agent, registry, logger } = this.#parts;
    const tasks = new Map((await agent.tasks()).map((task) => [task.id, task]));
    for (const { id, name, state, spec, sandbox } of [...registry.containers]) {
      if (!starting && state.status === 'restarting') continue;
      const task = tasks.get(id);
      if (task?.status === 'running' || task?.status === 'paused') {
        const startedAt = state.startedAt ?? timestamp(this.#parts.clock.wall());
        patch(this.#parts, id, { state: { status: task.status, pid: task.pid, startedAt } });
        this.#startedAt.set(id, this.#parts.clock.now());
        this.#watchHealth(id);
        logger.info('container taken over', { container: name, pid: task.pid });
      } else if (state.status === 'running' || state.status === 'paused') {
        const lost = { code: 255, oomKilled: false, at: this.#parts.clock.wall() };
        await this.ended(id, task?.exit ?? lost);
      } else {
        if (sandbox) await this.#launcher.unplug(id);
        if (state.status === 'restarting') patch(this.#parts, id, { state: { status: 'exited' } });
        const everStarted = state.startedAt !== undefined;
        if (
          state.status === 'restarting' ||
          startsWithDaemon(spec.restart, { ...state, everStarted })
        ) {
          this.#startBySelf(id, name);
        } else if (spec.autoRemove && everStarted) await this.#removeEnded(id);
      }
    }
  }

  /** Tries again while what it needs of its cluster is not there and nobody else has started it. */
  #startBySelf(id: string, name: string): void {
    const { registry, logger, clock } = this.#parts;
    void this.start(id).catch((error: unknown) => {
      logger.warn('container not started', { container: name, reason: errorText(error) });
      const container = registry.findContainer(id);
      if (!isUnavailable(error) || this.#closed || !container || isUp(container)) return;
      const timer = clock.after(UNAVAILABLE_MS, () => this.#startBySelf(id, name));
      this.#restarts.set(id, { timer, delayMs: 0 });
    });
  }

  /** Nothing is heard of a container any more. */
  forget(id: string): void {
    this.#forgetRestart(id);
    this.#startedAt.delete(id);
    this.#health.stop(id);
    for (const streams of this.#pending.get(id) ?? []) streams.end();
    this.#pending.delete(id);
  }

  /** Nothing starts, and no health is asked for, by itself any more. */
  close(): void {
    this.#closed = true;
    for (const id of [...this.#restarts.keys()]) this.#forgetRestart(id);
    this.#health.close();
  }

  async #launch(id: string): Promise<void> {
    const { agent } = this.#parts;
    try {
      await this.#launcher.launch(id, async () => {
        const pending = this.#pending.get(id) ?? [];
        this.#pending.delete(id);
        for (const streams of pending) {
          if (!streams.closed) streams.connect(await agent.attachTask(id));
        }
      });
    } catch (error) {
      this.#startFailed(id);
      throw error;
    }
    this.#startedAt.set(id, this.#parts.clock.now());
    const started = this.#parts.registry.findContainer(id);
    if (started) {
      tellMounts(this.#parts, 'mount', started);
      tell(this.#parts, 'start', started);
    }
    this.#watchHealth(id);
  }

  #startFailed(id: string): void {
    for (const streams of this.#pending.get(id) ?? []) streams.end();
    this.#pending.delete(id);
    if (this.#parts.registry.findContainer(id)?.spec.autoRemove) {
      void this.#removeEnded(id).catch(() => {});
    }
  }

  #watchHealth(id: string): void {
    const container = this.#parts.registry.findContainer(id);
    if (container?.spec.health) this.#health.watch(container, container.spec.health);
  }

  async #finish(id: string, exit: TaskExit): Promise<void> {
    const container = this.#parts.registry.findContainer(id);
    if (!container || !isUp(container)) return;
    this.#health.stop(id);
    const ranMs = this.#parts.clock.now() - (this.#startedAt.get(id) ?? this.#parts.clock.now());
    const finishedAt = timestamp(exit.at);
    const { code: exitCode, oomKilled } = exit;
    const lastDelayMs = this.#restarts.get(id)?.delayMs ?? 0;
    const { stopped, restartCount } = container.state;
    const delayMs = restartDelay(container.spec.restart, {
      ...{ exitCode, stopped, restartCount, ranMs, lastDelayMs },
    });
    const status = delayMs === undefined ? 'exited' : 'restarting';
    patch(this.#parts, id, { state: { status, pid: 0, exitCode, oomKilled, finishedAt } });
    const execDuration = String(Math.round(ranMs / 1000));
    tell(this.#parts, 'die', container, { exitCode: String(exitCode), execDuration });
    tellMounts(this.#parts, 'unmount', container);
    if (delayMs === undefined) await this.#launcher.unplug(id);
    this.waiters.ended(id, { exitCode, error: undefined });
    if (delayMs !== undefined) this.#restartAfter(id, delayMs);
    else if (container.spec.autoRemove) await this.#removeEnded(id);
  }

  #restartAfter(id: string, delayMs: number): void {
    const timer = this.#parts.clock.after(delayMs, () => {
      const done = this.#parts.lock.run(id, () => this.#restart(id, delayMs));
      void done.catch((error: unknown) => {
        this.#parts.logger.warn('container not restarted yet', { id, reason: errorText(error) });
        if (this.#restarts.has(id)) this.#restartAfter(id, delayMs);
      });
    });
    this.#restarts.set(id, { timer, delayMs });
  }

  async #restart(id: string, delayMs: number): Promise<void> {
    const container = this.#parts.registry.findContainer(id);
    if (container?.state.status !== 'restarting') return;
    this.#restarts.set(id, { timer: undefined, delayMs });
    const restartCount = container.state.restartCount + 1;
    patch(this.#parts, id, { state: { restartCount } });
    await this.#launch(id).catch((error: unknown) => {
      this.#parts.logger.warn('container not restarted', {
        container: container.name,
        reason: errorText(error),
      });
      patch(this.#parts, id, { state: { status: 'exited' } });
    });
  }

  #forgetRestart(id: string): void {
    this.#restarts.get(id)?.timer?.cancel();
    this.#restarts.delete(id);
  }

  /** False: it has started again in the meantime. */
  #giveUpRestart(id: string): Promise<boolean> {
    this.#forgetRestart(id);
    return this.#parts.lock.run(id, async () => {
      const { status } = this.#parts.registry.container(id).state;
      if (status !== 'restarting') return status === 'exited';
      patch(this.#parts, id, { state: { status: 'exited', stopped: true } });
      await this.#launcher.unplug(id);
      const { exitCode } = this.#parts.registry.container(id).state;
      this.waiters.ended(id, { exitCode, error: undefined });
      return true;
    });
  }

  async #signal(id: string, signal: string): Promise<void> {
    const container = this.#parts.registry.container(id);
    tell(this.#parts, 'kill', container, { signal: String(signalNumber(signal)) });
    await this.#parts.agent.signalTask(id, signal);
  }

  /** Undefined timeout: as long as it takes. Returns whether it ended. */
  async #signalAndWait(
    id: string,
    signal: string,
    timeoutMs: number | undefined,
  ): Promise<boolean> {
    const ended = this.#waitEnded(id, timeoutMs);
    try {
      await this.#signal(id, signal);
    } catch (error) {
      // It has ended by itself a moment ago, of which the agent is about to tell.
      if (!(error instanceof SluiceError) || error.code !== 'E_AGENT_TASK') throw error;
    }
    return ended;
  }

  async #killAndWait(id: string): Promise<void> {
    if (await this.#signalAndWait(id, 'SIGKILL', KILL_WAIT_MS)) return;
    throw failed(`container ${id} did not end within ${KILL_WAIT_MS / 1000} s of SIGKILL`);
  }

  async #waitEnded(id: string, timeoutMs: number | undefined): Promise<boolean> {
    const { result, cancel } = this.waiters.add(id, 'next-exit');
    const container = this.#parts.registry.findContainer(id);
    if (!container || !isUp(container)) {
      cancel();
      return true;
    }
    const late = Promise.withResolvers<false>();
    const timer =
      timeoutMs === undefined
        ? undefined
        : this.#parts.clock.after(timeoutMs, () => late.resolve(false));
    const ended = await Promise.race([result.then(() => true), late.promise]);
    timer?.cancel();
    cancel();
    return ended;
  }

  #pauseOrResume(key: string, paused: boolean): Promise<void> {
    const { id } = this.#parts.registry.container(key);
    return this.#parts.lock.run(id, async () => {
      const { state, name } = this.#parts.registry.container(id);
      const wanted = paused ? 'running' : 'paused';
      if (state.status !== wanted) {
        if (paused && state.status === 'paused')
          throw conflict(`Container ${name} is already paused`);
        throw conflict(`Container ${name} is not ${wanted}`);
      }
      await this.#parts.agent.pauseTask(id, paused);
      const next = patch(this.#parts, id, { state: { status: paused ? 'paused' : 'running' } });
      if (next) tell(this.#parts, paused ? 'pause' : 'unpause', next);
    });
  }
}
