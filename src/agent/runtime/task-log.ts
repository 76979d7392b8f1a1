import {
  closeSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
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
  readonly #open = new Map<Stream, Buffer>();
  readonly #followers = new Set<(entry: LogEntry) => void>();
  #fd: number | undefined;
  #size = 0;
  #last = 0n;

  constructor(path: string, wall: () => number) {
    this.#path = path;
    this.#wall = wall;
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
    const bytes = encode(entry);
    if (this.#fd === undefined) this.#reopen();
    if (this.#size > 0 && this.#size + bytes.length > MAX_LOG_BYTES) {
      this.close();
      renameSync(this.#path, `${this.#path}.1`);
      this.#reopen();
    }
    this.#size += bytes.length;
    if (this.#fd !== undefined) writeSync(this.#fd, bytes);
    for (const follower of this.#followers) follower(entry);
  }

  #reopen(): void {
    this.#fd = openSync(this.#path, 'a', 0o600);
    this.#size = statSync(this.#path).size;
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
