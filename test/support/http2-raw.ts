import net from 'node:net';
import { HpackDecoder } from '../../src/wire/hpack.ts';

/** Types of frames by name, for tests that read like the RFC. */
export const TYPE = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;
export const PADDED = 8;
export const PRIORITY = 32;

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** A frame as it came. */
export type Frame = { type: number; flags: number; id: number; payload: Buffer };

/** The bytes of a frame; `length` may lie. */
export function frame(
  type: number,
  flags: number,
  id: number,
  payload: Buffer | string | number[] = '',
  length?: number,
): Buffer {
  const body = Buffer.from(payload as Buffer);
  const head = Buffer.alloc(9);
  head.writeUIntBE(length ?? body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id >>> 0, 5);
  return Buffer.concat([head, body]);
}

export function u32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, index * 4);
  return bytes;
}

/** A SETTINGS frame. */
export function settings(...pairs: [number, number][]): Buffer {
  const parts = pairs.map(([id, value]) => Buffer.concat([Buffer.from([0, id]), u32(value)]));
  return frame(TYPE.SETTINGS, 0, 0, Buffer.concat(parts));
}

function hpackString(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length: number[] = [127];
  let left = bytes.length - 127;
  for (; left >= 128; left >>= 7) length.push((left & 127) | 128);
  return Buffer.concat([Buffer.from([...length, left]), bytes]);
}

/** A field block of literals that touch no table: written by hand, whatever the names are. */
export function block(...fields: string[]): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    parts.push(Buffer.from([0]), hpackString(fields[at] ?? ''), hpackString(fields[at + 1] ?? ''));
  }
  return Buffer.concat(parts);
}

/** Pseudo fields of a request. */
export function request(method = 'GET', path = '/'): string[] {
  return [':method', method, ':scheme', 'http', ':path', path, ':authority', 'a.test'];
}

/** A whole GET in one frame. */
export function get(id: number, path = '/'): Buffer {
  return frame(TYPE.HEADERS, END_HEADERS | END_STREAM, id, block(...request('GET', path)));
}

/** A connection that speaks frames, and keeps what the other side says. */
export class RawHttp2 {
  readonly socket: net.Socket;
  readonly frames: Frame[] = [];
  closed = false;
  /** Whether SETTINGS are acknowledged. */
  polite = true;
  readonly #decoder = new HpackDecoder({ maxTableBytes: 4096, maxListBytes: 1_000_000 });
  readonly #statuses = new Map<number, string>();
  #buffer = Buffer.alloc(0);
  #wake: () => void = () => {};

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (data: Buffer) => this.#onData(data));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  /** Connects; `first` follows the preface (an empty SETTINGS unless given). */
  static async open(
    port: number,
    first: Buffer = settings(),
    preface = PREFACE,
  ): Promise<RawHttp2> {
    const socket = net.connect(port, '127.0.0.1');
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    socket.setNoDelay(true);
    const raw = new RawHttp2(socket);
    raw.send(preface, first);
    return raw;
  }

  send(...bytes: Buffer[]): void {
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(bytes));
  }

  /** Status of a stream's answer, as soon as its head has come. */
  status(id: number): string | undefined {
    return this.#statuses.get(id);
  }

  count(type: number, id?: number): number {
    return this.frames.filter((one) => one.type === type && (id === undefined || one.id === id))
      .length;
  }

  find(type: number, id?: number, flags = 0): Frame | undefined {
    return this.frames.find(
      (one) =>
        one.type === type && (id === undefined || one.id === id) && (one.flags & flags) === flags,
    );
  }

  /** Bytes of body received on a stream. */
  body(id: number): Buffer {
    return Buffer.concat(
      this.frames.filter((one) => one.type === TYPE.DATA && one.id === id).map((o) => o.payload),
    );
  }

  /** Code of the RST_STREAM of a stream. */
  resetCode(id: number): number | undefined {
    return this.find(TYPE.RST_STREAM, id)?.payload.readUInt32BE(0);
  }

  /** Code of the first GOAWAY that tells of an error. */
  goawayCode(): number | undefined {
    const codes = this.frames
      .filter(({ type }) => type === TYPE.GOAWAY)
      .map(({ payload }) => payload.readUInt32BE(4));
    return codes.find((code) => code !== 0) ?? codes[0];
  }

  /** Waits until `condition` holds. */
  async until(what: string, condition: () => boolean, timeoutMs = 30_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!condition()) {
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`not within ${timeoutMs} ms: ${what}; got ${this.#summary()}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, 50));
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Whether the other side still answers a PING. */
  async isAlive(): Promise<boolean> {
    const token = Buffer.from(`alive${String(this.frames.length).padStart(3, '0').slice(-3)}`);
    this.send(frame(TYPE.PING, 0, 0, token));
    const answered = () =>
      this.frames.some(
        ({ type, flags, payload }) => type === TYPE.PING && flags === ACK && payload.equals(token),
      );
    await this.until('an answer to a ping', () => answered() || this.closed);
    return answered();
  }

  close(): void {
    this.socket.destroy();
  }

  #summary(): string {
    const frames = this.frames.map(({ type, flags, id, payload }) => {
      const code = type === TYPE.GOAWAY ? `:${payload.toString('latin1', 4)}` : '';
      return `${type}/${flags}@${id}(${payload.length}${code})`;
    });
    return `${frames.slice(-12).join(' ')}${this.closed ? ' closed' : ''}`;
  }

  #onData(data: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, data]);
    let at = 0;
    while (this.#buffer.length - at >= 9) {
      const length = this.#buffer.readUIntBE(at, 3);
      if (this.#buffer.length - at < 9 + length) break;
      this.#take({
        type: this.#buffer[at + 3] ?? 0,
        flags: this.#buffer[at + 4] ?? 0,
        id: this.#buffer.readUInt32BE(at + 5),
        payload: this.#buffer.subarray(at + 9, at + 9 + length),
      });
      at += 9 + length;
    }
    this.#buffer = this.#buffer.subarray(at);
    this.#wake();
  }

  #take(one: Frame): void {
    this.frames.push(one);
    if (this.polite && one.type === TYPE.SETTINGS && one.flags === 0)
      this.send(frame(TYPE.SETTINGS, ACK, 0));
    if (one.type !== TYPE.HEADERS) return;
    const decoded = this.#decoder.decode(one.payload);
    if (decoded.kind !== 'fields') throw new Error('the answer cannot be decoded');
    if (decoded.fields[0] === ':status') this.#statuses.set(one.id, decoded.fields[1] ?? '');
  }
}
