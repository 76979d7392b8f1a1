import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { ReadStream } from 'node:tty';
import { systemCode } from '../../base/errors.ts';
import type { TaskStreams } from '../../link/agent-port.ts';

type StreamName = 'stdout' | 'stderr';
type OnData = (stream: StreamName, data: Buffer) => void;

/** Reads at the end of a task are of what the pipe still holds: at most this. */
const MAX_DRAIN_BYTES = 4 * 1024 * 1024;
const DRAIN_CHUNK_BYTES = 64 * 1024;
/** Input that waits for a task that does not read; more is refused until it drains. */
const MAX_INPUT_BYTES = 1024 * 1024;

/** What can be read at once from a descriptor that does not block. */
function drainFd(fd: number, take: (data: Buffer) => void): void {
  const chunk = Buffer.alloc(DRAIN_CHUNK_BYTES);
  for (let total = 0; total < MAX_DRAIN_BYTES; ) {
    let size = 0;
    try {
      size = readSync(fd, chunk);
    } catch {
      // EAGAIN: empty. EIO: the terminal's other end is closed.
      return;
    }
    if (size === 0) return;
    total += size;
    take(Buffer.from(chunk.subarray(0, size)));
  }
}

/** The agent's ends of a command's streams. */
export interface Stdio {
  /** Reads what is left and lets go of everything. */
  finish(): void;
  pause(paused: boolean): void;
  write(data: Buffer): boolean;
  endInput(): void;
  resize(columns: number, rows: number): void;
}

function output(fd: number, name: StreamName, take: OnData): Socket {
  const socket = new Socket({ fd, readable: true, writable: false });
  socket.on('data', (data: Buffer) => take(name, data));
  socket.on('error', () => {});
  return socket;
}

/** Over named pipes: they outlive the agent, so that a task never writes into nothing. */
export class PipeStdio implements Stdio {
  readonly #readers: { fd: number; name: StreamName; socket: Socket }[];
  readonly #input: Socket | undefined;
  readonly #take: OnData;
  readonly #inputEnded: () => void;

  /** `stdin` is left out where the command has no input, or where it has ended. */
  constructor(
    paths: { stdout: string; stderr: string; stdin: string | undefined },
    take: OnData,
    onDrain: () => void,
    inputEnded: () => void,
  ) {
    this.#take = take;
    this.#inputEnded = inputEnded;
    // With a writer of its own (O_RDWR) a pipe has no end, whoever comes and goes.
    const flags = constants.O_RDWR | constants.O_NONBLOCK;
    this.#readers = (['stdout', 'stderr'] as const).map((name) => {
      const fd = openSync(paths[name], flags);
      return { fd, name, socket: output(fd, name, take) };
    });
    if (paths.stdin !== undefined) {
      this.#input = new Socket({ fd: openSync(paths.stdin, flags), readable: false });
      this.#input.on('error', () => {});
      this.#input.on('drain', onDrain);
    }
  }

  finish(): void {
    for (const { fd, name, socket } of this.#readers) {
      socket.pause();
      for (let data = socket.read(); data !== null; data = socket.read()) this.#take(name, data);
      drainFd(fd, (data) => this.#take(name, data));
      socket.destroy();
    }
    this.#input?.destroy();
  }

  pause(paused: boolean): void {
    for (const { socket } of this.#readers) {
      if (paused) socket.pause();
      else socket.resume();
    }
  }

  write(data: Buffer): boolean {
    if (!this.#input || this.#input.destroyed) return true;
    this.#input.write(data);
    return this.#input.writableLength < MAX_INPUT_BYTES;
  }

  endInput(): void {
    if (!this.#input || this.#input.destroyed) return;
    this.#input.end(() => {
      this.#input?.destroy();
      this.#inputEnded();
    });
  }

  resize(): void {}
}

/** Over a pseudo-terminal. */
export class TerminalStdio implements Stdio {
  readonly #fd: number;
  readonly #stream: ReadStream;
  readonly #take: OnData;
  readonly #onDrain: () => void;
  readonly #setSize: (fd: number, columns: number, rows: number) => void;
  #queue: Buffer[] = [];
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** Owns `master`. */
  constructor(
    master: number,
    take: OnData,
    onDrain: () => void,
    setSize: (fd: number, columns: number, rows: number) => void,
  ) {
    this.#fd = master;
    this.#take = take;
    this.#onDrain = onDrain;
    this.#setSize = setSize;
    this.#stream = new ReadStream(master);
    this.#stream.on('data', (data: Buffer) => take('stdout', data));
    // EIO: the last process on the terminal has ended.
    this.#stream.on('error', () => {});
    this.#stream.resume();
  }

  finish(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#stream.pause();
    if (!this.#stream.destroyed) drainFd(this.#fd, (data) => this.#take('stdout', data));
    this.#stream.destroy();
  }

  pause(paused: boolean): void {
    if (paused) this.#stream.pause();
    else this.#stream.resume();
  }

  write(data: Buffer): boolean {
    this.#queue.push(data);
    this.#flush();
    return this.#queue.length === 0;
  }

  #flush(): void {
    while (this.#queue[0] && !this.#closed && !this.#stream.destroyed) {
      try {
        const size = writeSync(this.#fd, this.#queue[0]);
        if (size === this.#queue[0].length) this.#queue.shift();
        else this.#queue[0] = this.#queue[0].subarray(size);
      } catch (error) {
        if (systemCode(error) !== 'EAGAIN') this.#queue = [];
        else {
          this.#timer ??= setTimeout(() => {
            this.#timer = undefined;
            this.#flush();
            if (this.#queue.length === 0) this.#onDrain();
          }, 5);
          return;
        }
      }
    }
  }

  /** A terminal has no end of input but the character for it. */
  endInput(): void {
    this.write(Buffer.from([4]));
  }

  resize(columns: number, rows: number): void {
    if (!this.#closed && !this.#stream.destroyed) this.#setSize(this.#fd, columns, rows);
  }
}

/** Opens what a command gets as its own streams; the caller closes them once it has started. */
export function openChildPipes(paths: {
  stdout: string;
  stderr: string;
  stdin: string | undefined;
}): { fds: number[]; close: () => void } {
  // A pipe without a writer would hold the opening of its reading end, and with it this process.
  const writer = paths.stdin === undefined ? [] : [openSync(paths.stdin, 'r+')];
  const input = openSync(paths.stdin ?? '/dev/null', constants.O_RDONLY);
  const fds = [input, openSync(paths.stdout, 'r+'), openSync(paths.stderr, 'r+')];
  const close = () => {
    for (const fd of [...fds, ...writer]) closeSync(fd);
  };
  return { fds, close };
}

/** Several readers of one command's streams; what comes before the first one waits. */
export class Fanout {
  readonly #attached = new Set<Attachment>();
  readonly #stdio: () => Stdio | undefined;
  #ended = false;

  constructor(stdio: () => Stdio | undefined) {
    this.#stdio = stdio;
  }

  attach(): TaskStreams {
    const attachment = new Attachment(this.#stdio, () => {
      this.#attached.delete(attachment);
      this.#applyPause();
    });
    attachment.onPause = () => this.#applyPause();
    if (this.#ended) attachment.end();
    else this.#attached.add(attachment);
    return attachment;
  }

  /** A reader that is held back holds back all: there is one pipe. */
  #applyPause(): void {
    this.#stdio()?.pause([...this.#attached].some(({ paused }) => paused));
  }

  output(stream: StreamName, data: Buffer): void {
    for (const attachment of this.#attached) attachment.take(stream, data);
  }

  drained(): void {
    for (const attachment of this.#attached) attachment.onDrain();
  }

  end(): void {
    this.#ended = true;
    for (const attachment of this.#attached) attachment.end();
    this.#attached.clear();
  }
}

class Attachment implements TaskStreams {
  readonly #stdio: () => Stdio | undefined;
  readonly #close: () => void;
  paused = false;
  onPause: () => void = () => {};
  onDrain: () => void = () => {};
  /** What came before anybody listened. */
  #early: [StreamName, Buffer][] = [];
  #onOutput: TaskStreams['onOutput'] | undefined;
  #onEnd: () => void = () => {};
  #ended = false;

  constructor(stdio: () => Stdio | undefined, close: () => void) {
    this.#stdio = stdio;
    this.#close = close;
  }

  set onEnd(listener: () => void) {
    this.#onEnd = listener;
    if (this.#ended) listener();
  }

  set onOutput(listener: TaskStreams['onOutput']) {
    this.#onOutput = listener;
    for (const [stream, data] of this.#early.splice(0)) listener(stream, data);
  }

  take(stream: StreamName, data: Buffer): void {
    if (this.#onOutput) this.#onOutput(stream, data);
    else this.#early.push([stream, data]);
  }

  end(): void {
    this.#ended = true;
    this.#onEnd();
  }

  write(data: Buffer): boolean {
    return this.#stdio()?.write(data) ?? true;
  }

  endInput(): void {
    this.#stdio()?.endInput();
  }

  close(): void {
    this.#close();
  }

  pauseOutput(paused: boolean): void {
    this.paused = paused;
    this.onPause();
  }
}
