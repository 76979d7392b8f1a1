import type { TaskStreams } from '../link/agent-port.ts';

export type { LogEntry, TaskStats, TaskStreams } from '../link/agent-port.ts';

/** Input that is kept for a task that does not run yet. */
const MAX_PENDING_INPUT = 1024 * 1024;

/**
 * Streams that are asked for before their task exists: input waits, and what is connected later
 * is passed on. Ends also when the task never comes.
 */
export class DeferredStreams implements TaskStreams {
  onDrain: () => void = () => {};
  #onOutput: TaskStreams['onOutput'] | undefined;
  #onEnd: (() => void) | undefined;
  #target: TaskStreams | undefined;
  /** What came before anybody listened. */
  #early: Parameters<TaskStreams['onOutput']>[] = [];
  #pending: Buffer[] = [];
  #pendingSize = 0;
  #inputEnded = false;
  #ended = false;
  #closed = false;

  get closed(): boolean {
    return this.#closed || this.#ended;
  }

  set onOutput(listener: TaskStreams['onOutput']) {
    this.#onOutput = listener;
    for (const [stream, data] of this.#early.splice(0)) listener(stream, data);
  }

  set onEnd(listener: () => void) {
    this.#onEnd = listener;
    if (this.#ended) listener();
  }

  /** From now on `target` is what is written to and heard; its end is told by `ended`. */
  connect(target: TaskStreams, ended: () => void = () => this.end()): void {
    if (this.#closed) {
      target.close();
      return;
    }
    this.#target = target;
    target.onOutput = (stream, data) => this.output(stream, data);
    target.onDrain = () => this.onDrain();
    target.onEnd = ended;
    for (const data of this.#pending.splice(0)) target.write(data);
    if (this.#inputEnded) target.endInput();
    if (this.#pendingSize > 0) this.onDrain();
  }

  /** Passes output on, now or to the first who listens. */
  output(...piece: Parameters<TaskStreams['onOutput']>): void {
    if (this.#onOutput) this.#onOutput(...piece);
    else this.#early.push(piece);
  }

  write(data: Buffer): boolean {
    if (this.#target) return this.#target.write(data);
    this.#pending.push(data);
    this.#pendingSize += data.length;
    return this.#pendingSize < MAX_PENDING_INPUT;
  }

  endInput(): void {
    this.#inputEnded = true;
    this.#target?.endInput();
  }

  pauseOutput(paused: boolean): void {
    this.#target?.pauseOutput(paused);
  }

  close(): void {
    if (this.closed) return;
    this.#closed = true;
    this.#target?.close();
  }

  /** Nothing more comes. Idempotent. */
  end(): void {
    if (this.closed) return;
    this.#ended = true;
    this.#onEnd?.();
  }
}
