import { errorText, SluiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { ClusterTask, ClusterTaskState, TaskReport } from '../../model/cluster.ts';
import type { Container } from '../../model/container.ts';
import { isOver, progress } from './cluster-state.ts';

/** What the tasks of a node share. */
export type TaskHost = {
  /** Makes the container of a task, not yet started; its id. */
  prepare(task: ClusterTask): Promise<string>;
  start(containerId: string): Promise<void>;
  /** Resolves when it has ended. */
  stop(containerId: string, graceMs: number): Promise<void>;
  /** Takes away the container and what was made for it. */
  remove(taskId: string, containerId: string): Promise<void>;
  find(containerId: string): Container | undefined;
  now(): string;
  report(taskId: string, report: TaskReport): void;
  readonly logger: Logger;
};

/** How long the word that nobody sends anything new is waited for. */
const DRAIN_MS = 5000;

function isUp(container: Container | undefined): boolean {
  return container?.state.status === 'running' || container?.state.status === 'paused';
}

/** One task on this node, from its acceptance to its removal; steps follow one another. */
export class TaskRun {
  readonly #host: TaskHost;
  #task: ClusterTask;
  #report: TaskReport;
  #running = false;
  #gone = false;
  #starting = false;
  #drained = Promise.withResolvers<void>();

  /** `containerId`: of the container that was made for it before, or empty. */
  constructor(host: TaskHost, task: ClusterTask, containerId: string) {
    this.#host = host;
    this.#task = task;
    const { report } = task;
    const made = containerId !== '' && progress(report.state) < progress('ready');
    this.#report = { ...report, containerId, state: made ? 'ready' : report.state };
    if (containerId !== '' && !isOver(report.state)) this.#adopt(containerId);
    this.#kick();
  }

  get containerId(): string {
    return this.#report.containerId;
  }

  /** It is wanted differently. */
  update(task: ClusterTask): void {
    this.#task = task;
    this.#kick();
  }

  /** It is wanted no more and nothing of it is to stay. */
  dismiss(): void {
    this.#gone = true;
    this.#kick();
  }

  /** Nobody sends anything new to it. */
  drained(): void {
    this.#drained.resolve();
  }

  /** Its container has ended by itself. */
  ended(exitCode: number): void {
    if (isOver(this.#report.state) || this.#leaving) return;
    const error = exitCode === 0 ? '' : `task: non-zero exit (${exitCode})`;
    const state = exitCode === 0 ? 'complete' : 'failed';
    this.#say(state, 'finished', { exitCode, error, pid: 0 });
  }

  health(status: 'healthy' | 'unhealthy'): void {
    if (isOver(this.#report.state) || this.#leaving) return;
    if (status === 'healthy') {
      if (this.#report.state === 'starting' && !this.#starting) this.#runs();
      return;
    }
    this.#say('failed', 'unhealthy', { error: 'task: unhealthy container', serving: false });
    this.#kick();
  }

  get #leaving(): boolean {
    return this.#gone || isOver(this.#task.desired);
  }

  /** A container that outlived the daemon, or ended while nobody looked. */
  #adopt(containerId: string): void {
    const container = this.#host.find(containerId);
    const { state } = this.#report;
    if (!isUp(container)) {
      if (progress(state) < progress('starting') || !container) return;
      if (container.state.status === 'exited') this.ended(container.state.exitCode);
      return;
    }
    if (state !== 'running' && container && isServing(container)) this.#runs();
  }

  #say(state: ClusterTaskState, message: string, more: Partial<TaskReport> = {}): void {
    const over = isOver(state) && { serving: false };
    this.#report = { ...this.#report, state, message, at: this.#host.now(), ...more, ...over };
    this.#host.report(this.#task.id, this.#report);
  }

  #runs(): void {
    const container = this.#host.find(this.#report.containerId);
    const hostPorts = (container?.bindings ?? []).map(({ port, transport, hostPort }) => ({
      ...{ name: '', transport, targetPort: port, publishedPort: hostPort, mode: 'host' as const },
    }));
    this.#say('running', 'started', { pid: container?.state.pid ?? 0, hostPorts, serving: true });
  }

  #kick(): void {
    if (this.#running) return;
    this.#running = true;
    void (async () => {
      try {
        while (await this.#step());
      } catch (error) {
        const { logger } = this.#host;
        logger.error('a step of a task failed', { task: this.#task.id, reason: errorText(error) });
      } finally {
        this.#running = false;
      }
    })();
  }

  /** Whether there may be more to do. */
  async #step(): Promise<boolean> {
    const { state, containerId } = this.#report;
    if (this.#gone) return this.#remove();
    if (isOver(state)) {
      if (isUp(this.#host.find(containerId))) await this.#stop();
      return false;
    }
    if (isOver(this.#task.desired)) {
      await this.#leave();
      return true;
    }
    switch (state) {
      case 'accepted':
        this.#say('preparing', 'preparing');
        return true;
      case 'preparing':
        return this.#prepare();
      case 'ready':
        if (this.#task.desired === 'ready') return false;
        this.#say('starting', 'starting');
        return true;
      case 'starting':
        return this.#start();
      case 'running':
        return false;
      default:
        this.#say('accepted', 'accepted');
        return true;
    }
  }

  async #prepare(): Promise<boolean> {
    try {
      const containerId = await this.#host.prepare(this.#task);
      this.#say('ready', 'prepared', { containerId });
    } catch (error) {
      this.#say('rejected', 'preparing', { error: errorText(error) });
    }
    return true;
  }

  async #start(): Promise<boolean> {
    const { containerId } = this.#report;
    const container = this.#host.find(containerId);
    if (!container) {
      this.#say('failed', 'starting', { error: 'task: its container is gone' });
      return true;
    }
    if (isUp(container)) return false;
    this.#starting = true;
    try {
      await this.#host.start(containerId);
    } catch (error) {
      this.#say('failed', 'starting', { error: errorText(error) });
      return true;
    } finally {
      this.#starting = false;
    }
    const started = this.#host.find(containerId);
    // It may have ended already, and been judged by that.
    const judged = this.#report.state !== 'starting' || this.#leaving;
    if (started && isServing(started) && !judged) this.#runs();
    return this.#leaving;
  }

  /** A task that is to end: first nobody sends anything new to it, then it is stopped. */
  async #leave(): Promise<void> {
    if (this.#report.serving) {
      this.#say(this.#report.state, 'draining', { serving: false });
      const timer = setTimeout(() => this.#drained.resolve(), DRAIN_MS);
      await this.#drained.promise;
      clearTimeout(timer);
      this.#report = { ...this.#report, drained: true };
    }
    await this.#stop();
    this.#say('shutdown', 'shutdown', { pid: 0 });
  }

  async #stop(): Promise<void> {
    const { containerId } = this.#report;
    if (!isUp(this.#host.find(containerId))) return;
    try {
      await this.#host.stop(containerId, this.#task.template.stopGraceMs);
    } catch (error) {
      if (!(error instanceof SluiceError) || error.code !== 'E_OBJECT_UNCHANGED') throw error;
    }
  }

  async #remove(): Promise<boolean> {
    const { containerId, state } = this.#report;
    if (!isOver(state) && containerId !== '') await this.#leave();
    await this.#host.remove(this.#task.id, containerId);
    return false;
  }
}

function isServing({ spec, state }: Container): boolean {
  return spec.health === undefined || state.health?.status === 'healthy';
}
