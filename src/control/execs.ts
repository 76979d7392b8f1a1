import { errorText } from '../base/errors.ts';
import { conflict, notFound } from '../base/faults.ts';
import type { TaskStreams } from '../link/agent-port.ts';
import type { Container } from '../model/container.ts';
import type { ExecSpec, TaskExit } from '../model/task-spec.ts';
import { newId } from './ids.ts';
import { startFailureCode } from './launcher.ts';
import { type ControlParts, tell } from './parts.ts';
import { DeferredStreams } from './streams.ts';

/** A further command in a container, from its making until it is forgotten. */
export type Exec = {
  readonly spec: ExecSpec;
  readonly running: boolean;
  /** Undefined: it has not ended. */
  readonly exitCode: number | undefined;
  readonly started: boolean;
};

/** A further command as it is asked for. */
export type ExecOrder = Omit<ExecSpec, 'id' | 'task'>;

/** Commands that have ended and are still remembered, the latest ones. */
const KEPT = 1000;
/** How long the exit code may come after the end of the output. */
const EXIT_GRACE_MS = 2000;

/** Further commands in running containers. They live in memory, and pass from daemon to daemon. */
export class Execs {
  readonly #parts: ControlParts;
  readonly #execs = new Map<string, Exec>();
  readonly #exits = new Map<string, (exit: TaskExit) => void>();

  constructor(parts: ControlParts) {
    this.#parts = parts;
  }

  create(key: string, order: ExecOrder): Exec {
    const container = this.#running(key);
    if (order.argv.length === 0) throw conflict('No exec command specified');
    const spec = { ...order, id: newId(), task: container.id };
    const exec = { spec, running: false, exitCode: undefined, started: false };
    this.#execs.set(spec.id, exec);
    this.#trim();
    tell(this.#parts, `exec_create: ${order.argv.join(' ')}`, container, { execID: spec.id });
    return exec;
  }

  get all(): Exec[] {
    return [...this.#execs.values()];
  }

  /** Knows what another daemon has made. */
  adopt(execs: readonly Exec[]): void {
    for (const exec of execs) this.#execs.set(exec.spec.id, exec);
  }

  get(id: string): Exec {
    const exec = this.#execs.get(id);
    if (!exec) throw notFound(`No such exec instance: ${id}`);
    return exec;
  }

  of(containerId: string): string[] {
    return [...this.#execs.values()]
      .filter(({ spec, running }) => spec.task === containerId && running)
      .map(({ spec }) => spec.id);
  }

  /**
   * Starts it once. The streams end when the output has ended and the exit code is known. A
   * command that cannot be run says so on its output and ends with 126 or 127, as a shell does.
   */
  async start(id: string, tty: boolean): Promise<TaskStreams> {
    const exec = this.get(id);
    if (exec.started) throw conflict(`exec ${id} has been started already`);
    const container = this.#running(exec.spec.task);
    const spec = { ...exec.spec, tty };
    this.#execs.set(id, { ...exec, spec, started: true, running: true });
    tell(this.#parts, `exec_start: ${spec.argv.join(' ')}`, container, { execID: id });
    const exited = this.#exit(id);
    const streams = new DeferredStreams();
    try {
      const target = await this.#parts.agent.startExec(spec);
      streams.connect(target, () => void this.#endAfterExit(streams, exited));
    } catch (error) {
      this.#exits.delete(id);
      this.#refused(id, streams, errorText(error));
    }
    return streams;
  }

  /** The agent tells that a command has ended. */
  ended(id: string, exit: TaskExit): void {
    const exec = this.#execs.get(id);
    if (exec) {
      this.#execs.set(id, { ...exec, running: false, exitCode: exit.code });
      const container = this.#parts.registry.findContainer(exec.spec.task);
      if (container) {
        tell(this.#parts, 'exec_die', container, { execID: id, exitCode: String(exit.code) });
      }
    }
    this.#exits.get(id)?.(exit);
    this.#exits.delete(id);
  }

  /** Runs a command to its end; without exit code it took too long and was killed. */
  async collect(
    container: Container,
    argv: readonly string[],
    timeoutMs: number,
    maxOutput: number,
  ): Promise<{ exitCode: number | undefined; output: string }> {
    const { agent, clock } = this.#parts;
    const { cwd, user } = container.spec;
    const id = newId();
    const exited = this.#exit(id);
    const parts: Buffer[] = [];
    let size = 0;
    const done = Promise.withResolvers<'late' | 'ended'>();
    const timer = clock.after(timeoutMs, () => done.resolve('late'));
    try {
      const spec = { id, task: container.id, argv, env: [], cwd, user, tty: false, stdin: false };
      const streams = await agent.startExec(spec);
      streams.onOutput = (_, data) => {
        const room = data.subarray(0, maxOutput - size);
        if (room.length > 0) parts.push(room);
        size += room.length;
      };
      streams.onEnd = () => void exited.then(() => done.resolve('ended'));
      const how = await done.promise;
      if (how === 'late') {
        streams.close();
        await agent.signalTask(id, 'SIGKILL').catch(() => {});
      }
      const exitCode = how === 'late' ? undefined : (await exited).code;
      return { exitCode, output: Buffer.concat(parts).toString() };
    } finally {
      timer.cancel();
      this.#exits.delete(id);
    }
  }

  forget(containerId: string): void {
    for (const [id, { spec }] of this.#execs) if (spec.task === containerId) this.#execs.delete(id);
  }

  #exit(id: string): Promise<TaskExit> {
    const { promise, resolve } = Promise.withResolvers<TaskExit>();
    this.#exits.set(id, resolve);
    return promise;
  }

  async #endAfterExit(streams: DeferredStreams, exited: Promise<TaskExit>): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = this.#parts.clock.after(EXIT_GRACE_MS, () => late.resolve());
    await Promise.race([exited, late.promise]);
    timer.cancel();
    streams.end();
  }

  #refused(id: string, streams: DeferredStreams, message: string): void {
    const exec = this.#execs.get(id);
    const exitCode = startFailureCode(message);
    if (exec) this.#execs.set(id, { ...exec, running: false, started: true, exitCode });
    streams.output('stdout', Buffer.from(`exec failed: ${message}\r\n`));
    streams.end();
  }

  #running(key: string): Container {
    const container = this.#parts.registry.container(key);
    const { status } = container.state;
    if (status === 'paused') {
      throw conflict(`container ${container.name} is paused, unpause the container before exec`);
    }
    if (status !== 'running') throw conflict(`container ${container.id} is not running`);
    return container;
  }

  #trim(): void {
    for (const [id, { running, started }] of this.#execs) {
      if (this.#execs.size <= KEPT) return;
      if (started && !running) this.#execs.delete(id);
    }
  }
}
