import { HpackEncoder } from './hpack.ts';
import {
  DEFAULT_WINDOW,
  FLAG,
  FRAME,
  FrameWriter,
  MAX_FRAME_BYTES,
  MAX_WINDOW,
} from './http2-frames.ts';
import type { Http2Stream } from './http2-stream.ts';

const MAX_TURN_BYTES = 262_144;
const MAX_CONTROL_BACKLOG = 65_536;
const ENCODER_TABLE_BYTES = 4096;

/** What the sending half tells its connection. */
export interface SenderOwner {
  /** There is something to send; once until it has been taken. */
  output(): void;
  /** A DATA frame has gone out. */
  sentData(): void;
  /** The END_STREAM of a stream has gone out. */
  localEnd(stream: Http2Stream): void;
}

/**
 * The sending half of a connection. Heads and control frames are written at once; body waits in its
 * streams and is cut into frames by `take`, in turns among the streams, as windows allow.
 */
export class Http2Sender {
  /** Bytes of body that wait for window or for `take`, over all streams. */
  queuedBytes = 0;
  /** Bytes of body sent since the beginning. */
  sentBytes = 0;
  /** Whether the socket is full: no body is handed out. */
  congested = false;
  readonly #owner: SenderOwner;
  readonly #writer = new FrameWriter();
  readonly #encoder = new HpackEncoder({ maxTableBytes: ENCODER_TABLE_BYTES });
  #window = DEFAULT_WINDOW;
  #active: Http2Stream[] = [];
  #dirty = false;
  #backlog = 0;

  constructor(owner: SenderOwner) {
    this.#owner = owner;
  }

  /** Whether more control frames wait for a peer that reads nothing than can be kept. */
  get backlogged(): boolean {
    return this.#backlog > MAX_CONTROL_BACKLOG;
  }

  /** Whether streams wait for their turn. */
  get waiting(): boolean {
    return this.#active.length > 0;
  }

  /** Everything to send now; no body when `controlOnly`. */
  take(controlOnly: boolean): Buffer[] {
    this.#dirty = false;
    if (!this.congested && !controlOnly) this.#pump();
    this.#backlog = this.congested ? this.#backlog + this.#writer.bytes : 0;
    return this.#writer.take();
  }

  /** The owner is to call `take`. */
  touch(): void {
    if (this.#dirty) return;
    this.#dirty = true;
    this.#owner.output();
  }

  /** Whether what a stream has queued would go out with the next `take`. */
  roomFor(stream: Http2Stream): boolean {
    if (this.congested || this.queuedBytes >= MAX_TURN_BYTES) return false;
    return stream.outbox.bytes <= stream.sendWindow && this.queuedBytes <= this.#window;
  }

  queued(stream: Http2Stream, bytes: number): void {
    this.queuedBytes += bytes;
    this.activate(stream);
    this.touch();
  }

  /** Puts a stream on the list of those that have something to send. */
  activate(stream: Http2Stream): void {
    if (stream.active || stream.aborted || !hasWork(stream)) return;
    stream.active = true;
    this.#active.push(stream);
  }

  /** The peer's table for this side's field blocks holds at most `bytes`. */
  limitTable(bytes: number): void {
    this.#encoder.setMaxTableBytes(Math.min(bytes, ENCODER_TABLE_BYTES));
  }

  /** Widens the connection's window; false when that is more than a window can be. */
  widen(increment: number): boolean {
    if (this.#window + increment > MAX_WINDOW) return false;
    this.#window += increment;
    this.touch();
    return true;
  }

  fields(streamId: number, fields: readonly string[], end: boolean): void {
    const block = this.#encoder.encode(fields);
    const ending = end ? FLAG.endStream : 0;
    this.touch();
    if (block.length <= MAX_FRAME_BYTES) {
      this.#writer.frame(FRAME.headers, FLAG.endHeaders | ending, streamId, block.length);
      this.#writer.payload(block);
      return;
    }
    for (let at = 0; at < block.length; at += MAX_FRAME_BYTES) {
      const part = block.subarray(at, at + MAX_FRAME_BYTES);
      const last = at + MAX_FRAME_BYTES >= block.length ? FLAG.endHeaders : 0;
      const type = at === 0 ? FRAME.headers : FRAME.continuation;
      this.#writer.frame(type, at === 0 ? last | ending : last, streamId, part.length);
      this.#writer.payload(part);
    }
  }

  settings(pairs: readonly (readonly [number, number])[]): void {
    this.#writer.frame(FRAME.settings, 0, 0, pairs.length * 6);
    for (const [id, value] of pairs) {
      this.#writer.u16(id);
      this.#writer.u32(value);
    }
    this.touch();
  }

  settingsAck(): void {
    this.#writer.frame(FRAME.settings, FLAG.ack, 0, 0);
    this.touch();
  }

  ping(payload: Buffer, ack: boolean): void {
    this.#writer.frame(FRAME.ping, ack ? FLAG.ack : 0, 0, 8);
    this.#writer.payload(payload);
    this.touch();
  }

  reset(streamId: number, code: number): void {
    this.#writer.frame(FRAME.rstStream, 0, streamId, 4);
    this.#writer.u32(code);
    this.touch();
  }

  windowUpdate(streamId: number, increment: number): void {
    this.#writer.frame(FRAME.windowUpdate, 0, streamId, 4);
    this.#writer.u32(increment);
    this.touch();
  }

  goaway(lastStreamId: number, code: number, debug: string): void {
    const text = Buffer.from(debug, 'latin1');
    this.#writer.frame(FRAME.goaway, 0, 0, 8 + text.length);
    this.#writer.u32(lastStreamId);
    this.#writer.u32(code);
    this.#writer.payload(text);
    this.touch();
  }

  /** Bytes that are not frames: a client's preface. */
  raw(bytes: Buffer): void {
    this.#writer.payload(bytes);
  }

  #pump(): void {
    let progress = true;
    while (progress && this.#active.length > 0 && this.#writer.bytes < MAX_TURN_BYTES) {
      progress = false;
      const round = this.#active;
      // Whoever has not had a turn comes first in the next one.
      const unserved: Http2Stream[] = [];
      const again: Http2Stream[] = [];
      this.#active = [];
      for (const stream of round) {
        const full = this.#writer.bytes >= MAX_TURN_BYTES;
        if (!full && this.#part(stream)) progress = true;
        if (hasWork(stream)) (full ? unserved : again).push(stream);
        else stream.active = false;
      }
      this.#active = [...unserved, ...again, ...this.#active];
    }
  }

  /** Sends one frame of a stream's body, and the end when nothing follows; whether it could. */
  #part(stream: Http2Stream): boolean {
    if (!hasWork(stream)) return false;
    const waiting = stream.outbox.bytes;
    const window = Math.min(stream.sendWindow, this.#window, MAX_FRAME_BYTES);
    const size = Math.min(waiting, Math.max(0, window));
    const last = size === waiting && stream.endQueued;
    const end = last && !stream.trailers;
    if (size > 0 || end) {
      this.#writer.frame(FRAME.data, end ? FLAG.endStream : 0, stream.id, size);
      stream.outbox.moveTo(this.#writer, size);
      stream.sendWindow -= size;
      stream.sentBytes += size;
      this.#window -= size;
      this.queuedBytes -= size;
      this.sentBytes += size;
      this.#owner.sentData();
    }
    if (last && stream.trailers) this.fields(stream.id, stream.trailers, true);
    if (last) this.#owner.localEnd(stream);
    return size > 0 || last;
  }
}

/** Whether a stream waits for nothing but its turn or the connection's window. */
function hasWork(stream: Http2Stream): boolean {
  if (stream.aborted || stream.localEnded) return false;
  return stream.outbox.bytes > 0 ? stream.sendWindow > 0 : stream.endQueued;
}
