import {
  closeSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { errorText } from '../../base/errors.ts';
import type { LogEntry, LogQuery } from '../../link/agent-port.ts';

/** A log of more bytes becomes the old log, and the old log goes. */
export const MAX_LOG_BYTES = 16 * 1024 * 1024;
/** A longer line is kept in pieces. */
export const MAX_LINE_BYTES = 16 * 1024;

const NEWLINE = 0x0a;
const NS_PER_MS = 1_000_000n;

type Stream = LogEntry['stream'];

/** One line of the file: time, stream, `F` for a full line and `P` for a part, the text. */
function encode(entry: LogEntry): Buffer {
  const full = entry.line.at(-1) === NEWLINE;
  const text = full ? entry.line.subarray(0, -1) : entry.line;
  const head = Buffer.from(`${entry.timeNs} ${entry.stream} ${full ? 'F' : 'P'} `);
  return Buffer.concat([head, text, Buffer.from('\n')]);
}

function decode(line: Buffer): LogEntry | undefined {
  const [head, time, stream, kind] =
    /^(\d+) (stdout|stderr) ([FP]) /.exec(line.subarray(0, 40).toString('latin1')) ?? [];
  if (head === undefined || time === undefined) return undefined;
  const text = line.subarray(head.length);
  return {
    timeNs: BigInt(time),
    stream: stream === 'stderr' ? 'stderr' : 'stdout',
    line: kind === 'F' ? Buffer.concat([text, Buffer.from('\n')]) : text,
  };
}

function readEntries(path: string): LogEntry[] {
  let data: Buffer;
  try {
    data = readFileSync(path);
  } catch {
    return [];
  }
  const entries: LogEntry[] = [];
  let from = 0;
  for (let at = data.indexOf(NEWLINE); at >= 0; at = data.indexOf(NEWLINE, from)) {
    const entry = decode(data.subarray(from, at));
    if (entry) entries.push(entry);
    from = at + 1;
  }
  return entries;
}

/** The output of a task, kept in a file with the time of each line. */
export class TaskLog {
  readonly #path: string;
  readonly #wall: () => number;
  readonly #lost: (reason: string) => void;
  readonly #open = new Map<Stream, Buffer>();
  readonly #followers = new Set<(entry: LogEntry) => void>();
  #fd: number | undefined;
  #size = 0;
  #last = 0n;
  /** Whether the last line was kept, and whether the file ends with the end of one. */
  #kept = true;
  #cut = false;

  /** `lost` is told once when lines begin to be lost, as on a full disk. */
  constructor(path: string, wall: () => number, lost: (reason: string) => void) {
    this.#path = path;
    this.#wall = wall;
    this.#lost = lost;
  }

  /** Takes output as it comes and cuts it into lines. */
  append(stream: Stream, data: Buffer): void {
    const pending = this.#open.get(stream);
    let rest = pending && pending.length > 0 ? Buffer.concat([pending, data]) : data;
    for (;;) {
      const newline = rest.indexOf(NEWLINE);
      const end = newline < 0 ? rest.length : newline + 1;
      if (newline < 0 && end < MAX_LINE_BYTES) break;
      const cut = Math.min(end, MAX_LINE_BYTES);
      this.#write(stream, rest.subarray(0, cut));
      rest = rest.subarray(cut);
    }
    // A copy: the rest would hold the whole chunk that it came in.
    this.#open.set(stream, Buffer.from(rest));
  }

  /** Writes what is left without an end of line; the task has ended. */
  flush(): void {
    for (const [stream, rest] of this.#open) if (rest.length > 0) this.#write(stream, rest);
    this.#open.clear();
  }

  #write(stream: Stream, line: Buffer): void {
    const now = BigInt(Math.round(this.#wall())) * NS_PER_MS;
    // Lines of one millisecond keep their order, also for readers that sort.
    this.#last = now > this.#last ? now : this.#last + 1n;
    const entry = { stream, timeNs: this.#last, line };
    try {
      this.#keep(encode(entry));
      this.#kept = true;
    } catch (error) {
      if (this.#kept) this.#lost(errorText(error));
      this.#kept = false;
    }
    for (const follower of this.#followers) follower(entry);
  }

  /** Throws what the disk says. */
  #keep(line: Buffer): void {
    let fd = this.#fd ?? this.#reopen();
    if (this.#size > 0 && this.#size + line.length > MAX_LOG_BYTES) {
      this.close();
      renameSync(this.#path, `${this.#path}.1`);
      fd = this.#reopen();
    }
    // Behind a piece of a line that nothing more fitted behind.
    const bytes = this.#cut ? Buffer.concat([Buffer.from('\n'), line]) : line;
    const written = writeSync(fd, bytes);
    this.#size += written;
    this.#cut = written < bytes.length;
    if (this.#cut) throw new Error(`${written} of ${bytes.length} bytes were written`);
  }

  #reopen(): number {
    const fd = openSync(this.#path, 'a', 0o600);
    this.#fd = fd;
    this.#size = statSync(this.#path).size;
    return fd;
  }

  /** Lines that are there, in order. */
  read(query: LogQuery): LogEntry[] {
    const all = [...readEntries(`${this.#path}.1`), ...readEntries(this.#path)];
    const { sinceNs, untilNs, tail } = query;
    const wanted = all.filter(
      ({ timeNs }) =>
        (sinceNs === undefined || timeNs >= sinceNs) &&
        (untilNs === undefined || timeNs <= untilNs),
    );
    if (tail === undefined) return wanted;
    return tail === 0 ? [] : wanted.slice(-tail);
  }

  /** Tells of every further line until the returned function is called. */
  follow(line: (entry: LogEntry) => void): () => void {
    this.#followers.add(line);
    return () => this.#followers.delete(line);
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** Removes it from the disk. */
  drop(): void {
    this.close();
    rmSync(this.#path, { force: true });
    rmSync(`${this.#path}.1`, { force: true });
  }
}
