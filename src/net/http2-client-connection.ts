import type { Socket } from 'node:net';
import { Http2ClientCore, type OpenOptions } from '../wire/http2-client-core.ts';
import { H2_ERROR } from '../wire/http2-frames.ts';
import type { Http2Stream, StreamEvents } from '../wire/http2-stream.ts';
import type { Http2Events } from '../wire/http2-streams.ts';
import { deadlines, type Timed } from './deadlines.ts';

/** Streams that are opened on one connection at a time, when the endpoint allows more. */
export const MAX_STREAMS = 100;
const STREAM_WINDOW_BYTES = 262_144;
const MAX_HEADER_LIST_BYTES = 131_072;
const SETTINGS_WAIT_MS = 5000;
/** A connection that has been silent for so long is asked for a sign of life before it is used. */
const TRUSTED_MS = 10_000;
/** The same while streams are open and nothing happens: below it gRPC servers complain. */
const SILENT_MS = 310_000;
const PONG_WAIT_MS = 3000;
const BLOCKED_MS = 60_000;
const LINGER_MS = 1000;
const PING = Buffer.from('sluice\0\0', 'latin1');

/** What a connection tells its pool. */
export type ClientConnectionEvents = {
  /** There may be room for more requests. */
  room(): void;
  /** No stream can be opened any more: it ends by itself once those that are open have. */
  leaving(): void;
};

/** Connections with something to send: one write each at the end of the turn. */
const waiting: Http2ClientConnection[] = [];

function flushWaiting(): void {
  for (const connection of waiting.splice(0)) connection.flush();
}

/** One HTTP/2 connection to an endpoint, with many requests at a time. */
export class Http2ClientConnection implements Timed, Http2Events {
  place = -1;
  deadline: number;
  readonly openedAt = performance.now();
  readonly #socket: Socket;
  readonly #core: Http2ClientCore;
  readonly #events: ClientConnectionEvents;
  readonly #expected: number;
  readonly #idleMs: number;
  #served = 0;
  #ready = false;
  #gone = false;
  #retired = false;
  #ending = false;
  #paused = false;
  #lastByteAt = performance.now();
  #blockedSince = 0;
  #pingedAt = 0;
  #idleSince = performance.now();

  /** `expected` is how many streams are opened before the endpoint has said how many it takes. */
  constructor(socket: Socket, expected: number, idleMs: number, events: ClientConnectionEvents) {
    this.#expected = expected;
    this.#socket = socket;
    this.#events = events;
    this.#idleMs = idleMs;
    const options = {
      maxConcurrentStreams: 0,
      streamWindowBytes: STREAM_WINDOW_BYTES,
      // Enough for every stream: one that nobody reads must not hold up the others.
      connectionWindowBytes: STREAM_WINDOW_BYTES * MAX_STREAMS,
      maxHeaderListBytes: MAX_HEADER_LIST_BYTES,
    };
    this.#core = new Http2ClientCore(options, this);
    this.deadline = performance.now() + SETTINGS_WAIT_MS;
    socket.on('data', this.#onData);
    socket.on('end', this.#onClose);
    socket.on('drain', this.#onDrain);
    socket.on('error', this.#onClose);
    socket.on('close', this.#onClose);
    deadlines.add(this);
  }

  /** How many more requests it takes now. */
  get room(): number {
    if (this.#retired || this.#ending) return 0;
    const most = this.#ready ? MAX_STREAMS : this.#expected;
    return Math.min(this.#core.room, most - this.#core.streams.size);
  }

  /** How many requests it takes at a time. */
  get capacity(): number {
    return Math.min(this.#core.peer.maxConcurrentStreams, MAX_STREAMS);
  }

  get busy(): boolean {
    return this.#core.streams.size > 0;
  }

  /** Whether it has carried a request before. */
  get reused(): boolean {
    return this.#served > 0;
  }

  /** Whether the endpoint has named its settings. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Whether what answered was not HTTP/2. */
  get foreign(): boolean {
    return !this.#ready && this.#core.failed && !this.#gone;
  }

  /** Whether the endpoint takes extended CONNECT. Source: RFC 8441 section 3. */
  get takesTunnels(): boolean {
    return this.#core.peer.enableConnectProtocol;
  }

  open(fields: readonly string[], events: StreamEvents, options: OpenOptions): Http2Stream {
    this.#served++;
    const stream = this.#core.open(fields, events, options);
    this.suspect();
    this.#schedule();
    return stream;
  }

  /** Asks for a sign of life when there was none for long. */
  suspect(): void {
    if (performance.now() - this.#lastByteAt > TRUSTED_MS) this.#ping();
  }

  /** Opens nothing new, and ends once nothing is open. */
  retire(): void {
    this.#retired = true;
    this.#schedule();
  }

  // What the engine says.

  output(): void {
    if (waiting.push(this) === 1) setImmediate(flushWaiting);
  }

  refused(): void {}

  goaway(): void {
    this.retire();
    this.#events.leaving();
  }

  settled(): void {
    this.#ready = true;
    this.#events.room();
  }

  failed(): void {
    this.#ending = true;
    this.#events.leaving();
  }

  pong(): void {
    this.#pingedAt = 0;
  }

  // Socket and time.

  /** Sends what the engine has to send, in one write. */
  flush(): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    const chunks = this.#core.takeOutput();
    let room = !socket.writableNeedDrain;
    socket.cork();
    for (const chunk of chunks) room = socket.write(chunk);
    socket.uncork();
    this.#core.flushed(!room);
    if (!room && this.#blockedSince === 0) this.#blockedSince = performance.now();
    if (!room && this.#core.backlogged && !this.#paused) {
      this.#paused = true;
      socket.pause();
    }
    if (this.#ending) this.#linger();
    else this.#schedule();
  }

  expire(now: number): void {
    const dead =
      this.#ending ||
      (!this.#ready && now - this.openedAt >= SETTINGS_WAIT_MS) ||
      (this.#pingedAt > 0 && now - this.#pingedAt >= PONG_WAIT_MS) ||
      (this.#blockedSince > 0 && now - this.#blockedSince >= BLOCKED_MS);
    if (dead) this.#socket.destroy();
    else if (this.busy) {
      if (now - this.#lastByteAt >= SILENT_MS) this.#ping();
      this.#schedule();
    } else this.retire();
  }

  readonly #onData = (data: Buffer) => {
    if (this.#ending) return;
    this.#lastByteAt = performance.now();
    this.#core.receive(data, this.#lastByteAt);
    if (this.#ending) return;
    this.#schedule();
    this.#events.room();
  };

  readonly #onDrain = () => {
    this.#blockedSince = 0;
    this.#core.flushed(false);
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket.resume();
  };

  readonly #onClose = () => {
    deadlines.delete(this);
    this.#gone = true;
    this.#ending = true;
    this.#events.leaving();
    this.#core.connectionEnded();
    this.#socket.destroy();
  };

  #ping(): void {
    if (this.#pingedAt > 0) return;
    this.#pingedAt = performance.now();
    this.#core.ping(PING);
  }

  /** Sets the next moment at which something has to be looked at. */
  #schedule(): void {
    if (this.#ending) return;
    const { busy } = this;
    if (busy) this.#idleSince = performance.now();
    else if (this.#retired) {
      this.#ending = true;
      this.#core.goaway(0, H2_ERROR.none);
      this.output();
      return;
    }
    this.deadline = Math.min(
      busy ? this.#lastByteAt + SILENT_MS : this.#idleSince + this.#idleMs,
      this.#ready ? Number.POSITIVE_INFINITY : this.openedAt + SETTINGS_WAIT_MS,
      this.#pingedAt > 0 ? this.#pingedAt + PONG_WAIT_MS : Number.POSITIVE_INFINITY,
      this.#blockedSince > 0 ? this.#blockedSince + BLOCKED_MS : Number.POSITIVE_INFINITY,
    );
  }

  #linger(): void {
    if (this.#socket.writableEnded) return;
    this.#socket.end();
    this.#socket.resume();
    this.deadline = performance.now() + LINGER_MS;
  }
}
