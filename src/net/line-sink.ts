import { closeSync, openSync, write } from 'node:fs';
import { errorText, systemCode } from '../base/errors.ts';

const MAX_WAITING_BYTES = 4 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
const FLUSH_MS = 100;
const FULL_PIPE_MS = 20;
const MODE = 0o640;

/** What a sink tells of. */
export type LineSinkEvents = {
  dropped(lines: number): void;
  /** Once for every run of failures. */
  failed?(why: string): void;
};

/**
 * Lines to a file or descriptor, written in the background. A sink that is slow, full or gone costs
 * lines, beyond 4 MiB that wait, and never time: nothing here waits for it.
 */
export class LineSink {
  readonly #target: string | number;
  readonly #events: LineSinkEvents;
  #fd: number;
  #lines: string[] = [];
  /** Characters of `#lines`. */
  #waiting = 0;
  /** Bytes of the write under way. */
  #underWay = 0;
  #busy = false;
  #failing = false;
  #timer: NodeJS.Timeout | undefined;
  #onIdle: (() => void)[] = [];

  /** Throws the system's error when a file cannot be opened. */
  constructor(target: string | number, events: LineSinkEvents) {
    this.#target = target;
    this.#events = events;
    this.#fd = typeof target === 'number' ? target : openSync(target, 'a', MODE);
  }

  /** Takes a line with its end. */
  write(line: string): void {
    if (this.#underWay + this.#waiting + line.length > MAX_WAITING_BYTES) {
      this.#events.dropped(1);
      return;
    }
    this.#lines.push(line);
    this.#waiting += line.length;
    if (this.#waiting >= CHUNK_BYTES) this.#pump();
    else this.#timer ??= setTimeout(() => this.#pump(), FLUSH_MS);
  }

  /** Opens the file anew; lines of one write stay together. A descriptor stays as it is. */
  reopen(): void {
    if (typeof this.#target === 'number') return;
    try {
      const before = this.#fd;
      this.#fd = openSync(this.#target, 'a', MODE);
      this.#whenIdle(() => closeSync(before));
    } catch (error) {
      this.#events.failed?.(errorText(error));
    }
  }

  /** Writes what waits, for at most so long. */
  async settle(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    this.#pump();
    while (this.#busy && performance.now() < deadline) {
      await new Promise<void>((resolve) => {
        setTimeout(resolve, timeoutMs);
        this.#onIdle.push(resolve);
      });
    }
  }

  /** Settles and lets go of the file. */
  async close(timeoutMs: number): Promise<void> {
    await this.settle(timeoutMs);
    if (typeof this.#target === 'string' && !this.#busy) closeSync(this.#fd);
  }

  #whenIdle(done: () => void): void {
    if (this.#busy) this.#onIdle.push(done);
    else done();
  }

  #pump(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#busy || this.#lines.length === 0) return;
    const count = this.#lines.length;
    const chunk = Buffer.from(this.#lines.join(''));
    this.#lines = [];
    this.#waiting = 0;
    this.#underWay = chunk.length;
    this.#busy = true;
    this.#write(this.#fd, chunk, count);
  }

  #write(fd: number, chunk: Buffer, lines: number): void {
    write(fd, chunk, 0, chunk.length, null, (error, written) => {
      if (systemCode(error) === 'EAGAIN') {
        setTimeout(() => this.#write(fd, chunk, lines), FULL_PIPE_MS);
      } else if (!error && written < chunk.length) {
        this.#write(fd, chunk.subarray(written), lines);
      } else {
        this.#done(error ? { lines, why: errorText(error) } : undefined);
      }
    });
  }

  #done(failure: { lines: number; why: string } | undefined): void {
    this.#busy = false;
    this.#underWay = 0;
    if (failure) this.#events.dropped(failure.lines);
    if (failure && !this.#failing) this.#events.failed?.(failure.why);
    this.#failing = failure !== undefined;
    for (const done of this.#onIdle.splice(0)) done();
    this.#pump();
  }
}
