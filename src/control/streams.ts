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
  onOutput: (stream: 'stdout' | 'stderr', data: Buffer) => void = () => {};
  onEnd: () => void = () => {};
  #target: TaskStreams | undefined;
  #pending: Buffer[] = [];
  #pendingSize = 0;
  #inputEnded = false;
  #closed = false;

  get closed(): boolean {
    return this.#closed;
  }

  /** From now on `target` is what is written to and heard. */
  connect(target: TaskStreams): void {
    if (this.#closed) {
      target.close();
      return;
    }
    this.#target = target;
    target.onOutput = (stream, data) => this.onOutput(stream, data);
    target.onDrain = () => this.onDrain();
    target.onEnd = () => this.end();
    for (const data of this.#pending.splice(0)) target.write(data);
    if (this.#inputEnded) target.endInput();
    if (this.#pendingSize > 0) this.onDrain();
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

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#target?.close();
  }

  pauseOutput(paused: boolean): void {
    this.#target?.pauseOutput(paused);
  }

  /** Nothing more comes. Idempotent. */
  end(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.onEnd();
  }
}
