import type { ChildProcessByStdio } from 'node:child_process';
import { finished, PassThrough, type Readable, type Writable } from 'node:stream';
import type { TaskStreams } from '../../link/agent-port.ts';

const MAX_ANSWER_BYTES = 64 * 1024;

/** A command that is fed or read. */
export type PipedChild = ChildProcessByStdio<Writable, Readable, Readable>;

/** What a command says of a failure, from what it printed. */
export type Reason = (stderr: string) => string;

type End = { readonly code: number | null; readonly reason: string };

/**
 * The input of a command, and its output as one piece when it has ended, or in pieces. Nothing is
 * lost before there is a listener; that of the end comes last.
 */
abstract class ChildStreams implements TaskStreams {
  protected readonly child: PipedChild;
  onDrain: () => void = () => {};
  abstract onOutput: TaskStreams['onOutput'];
  #onEnd: (() => void) | undefined;
  #end: End | undefined;

  constructor(child: PipedChild, reason: Reason) {
    this.child = child;
    let said = '';
    child.stderr.on('data', (data: Buffer) => {
      if (said.length < MAX_ANSWER_BYTES) said += data.toString();
    });
    // One that has failed already does not read; its reason follows.
    child.stdin.on('error', () => this.onDrain());
    child.stdin.on('drain', () => this.onDrain());
    child.on('error', (error) => this.#ended({ code: -1, reason: error.message }));
    child.on('close', (code) => this.#ended({ code, reason: reason(said) }));
  }

  /** Tells what is left to be told, then that this was all. */
  protected abstract conclude(end: End, done: () => void): void;

  set onEnd(listener: () => void) {
    this.#onEnd = listener;
    this.#tellEnd();
  }

  #ended(end: End): void {
    if (this.#end) return;
    this.#end = end;
    this.#tellEnd();
  }

  #tellEnd(): void {
    if (!this.#end || !this.#onEnd) return;
    this.conclude(this.#end, this.#onEnd);
  }

  protected refuse({ code, reason }: End): void {
    this.onOutput('stderr', Buffer.from(reason || `the command failed with ${code}`));
  }

  write(data: Buffer): boolean {
    return this.child.stdin.destroyed || this.child.stdin.write(data);
  }

  endInput(): void {
    this.child.stdin.end();
  }

  /** The client is gone: half of it is nothing. */
  close(): void {
    if (this.child.exitCode === null) this.child.kill('SIGTERM');
  }

  pauseOutput(_paused: boolean): void {}
}

/** Takes something in: one piece answers, on `stdout` what was printed, on `stderr` why it failed. */
export class UploadStreams extends ChildStreams {
  onOutput: TaskStreams['onOutput'] = () => {};
  #answer = '';

  constructor(child: PipedChild, reason: Reason) {
    super(child, reason);
    child.stdout.on('data', (data: Buffer) => {
      if (this.#answer.length < MAX_ANSWER_BYTES) this.#answer += data.toString();
    });
  }

  protected conclude(end: End, done: () => void): void {
    if (end.code === 0) this.onOutput('stdout', Buffer.from(this.#answer.trim()));
    else this.refuse(end);
    done();
  }
}

/** Gives something out on `stdout`; one piece on `stderr` says why it is not whole. */
export class DownloadStreams extends ChildStreams {
  readonly #complete: readonly number[];
  /** Of a command that has ended the runtime drops what nobody has read yet. */
  readonly #kept: PassThrough;
  #onOutput: TaskStreams['onOutput'] = () => {};

  /** `complete`: exit codes by which everything was told. */
  constructor(child: PipedChild, reason: Reason, complete: readonly number[] = [0]) {
    super(child, reason);
    this.#complete = complete;
    child.stdin.end();
    this.#kept = child.stdout.pipe(new PassThrough());
  }

  get onOutput(): TaskStreams['onOutput'] {
    return this.#onOutput;
  }

  set onOutput(listener: TaskStreams['onOutput']) {
    this.#onOutput = listener;
    this.#kept.on('data', (data: Buffer) => listener('stdout', data));
  }

  override pauseOutput(paused: boolean): void {
    if (paused) this.#kept.pause();
    else this.#kept.resume();
  }

  protected conclude(end: End, done: () => void): void {
    finished(this.#kept, () => {
      if (!this.#complete.includes(end.code ?? -1)) this.refuse(end);
      done();
    });
  }
}
