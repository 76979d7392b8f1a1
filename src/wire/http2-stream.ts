import { ByteQueue } from './byte-queue.ts';
import { H2_ERROR } from './http2-frames.ts';
import type { ResponseMessage } from './http2-message.ts';

/** Who ended a stream before its time. */
export type StreamEndCause =
  /** The peer, by RST_STREAM. */
  | 'peer'
  /** This side's verdict on what the peer sent: it has been told by RST_STREAM. */
  | 'malformed'
  /** The peer has said by GOAWAY that it never looked at this stream: it may be tried elsewhere. */
  | 'unprocessed'
  /** The connection ended or failed. */
  | 'connection';

/**
 * What the owner of a stream hears: for a client `response` first, interim ones before the final.
 * Nothing follows `reset`; only `reset`, `drain` and `sent` follow `ended`.
 */
export interface StreamEvents {
  /** A head of the answer; `ended` when nothing follows it (`ended` is called all the same). */
  response?(message: ResponseMessage, ended: boolean): void;
  /** A piece of the body; false pauses until `resume`. */
  data(chunk: Buffer): boolean;
  /** The peer's message is complete; trailers are flat. */
  ended(trailers: string[]): void;
  /** The stream is over before its time, with the code of its RST_STREAM or GOAWAY. */
  reset(code: number, cause: StreamEndCause): void;
  /** Room again after `write` returned false. */
  drain(): void;
  /** Everything of this side, with its end, has gone out. */
  sent?(): void;
}

/** What a stream asks of its connection. */
export interface StreamHost {
  /** Whether what is queued goes out with the next flush; if not, `drain` will follow. */
  hasRoom(stream: Http2Stream): boolean;
  queued(stream: Http2Stream, bytes: number): void;
  sendHead(stream: Http2Stream, fields: readonly string[], end: boolean): void;
  resetStream(stream: Http2Stream, code: number): void;
  consumed(stream: Http2Stream, bytes: number): void;
}

/** One stream: a message each way, with flow control. Source: RFC 9113 section 5. */
export class Http2Stream {
  readonly id: number;
  /** Set by who opens or takes the stream, before anything is delivered. */
  events: StreamEvents | undefined;
  /** This side has sent, or queued, the end of its message. */
  endQueued = false;
  /** The END_STREAM of this side has gone out. */
  localEnded = false;
  remoteEnded = false;
  /** Reset by a side, or gone with its connection. */
  aborted = false;
  /** Whether this side's head has gone out (interim ones do not count). */
  headSent = false;
  headReceived = false;
  /** Whether the peer's message was handed to an owner, who works on it. */
  dispatched = false;
  sendWindow: number;
  receiveWindow: number;
  /** What the receive window is brought back to. */
  windowBytes: number;
  /** The owner has asked for a pause, once at least. */
  heldBack = false;
  /** Received and taken by the owner, not yet given back as window. */
  unacknowledged = 0;
  /** Body that waits for window or for the next flush. */
  readonly outbox = new ByteQueue();
  trailers: readonly string[] | undefined;
  wantsDrain = false;
  /** The answer has no body, whatever length it states. */
  bodiless = false;
  /** Interim heads received. */
  interims = 0;
  /** Half closes pass: the peer may go on sending after this side has ended. */
  isTunnel = false;
  /** On its connection's list of streams that have something to send. */
  active = false;
  /** Content-Length of the peer's message; -1 when it said none. */
  expectedBytes = -1;
  receivedBytes = 0;
  sentBytes = 0;
  readonly #host: StreamHost;
  readonly #inbox = new ByteQueue();
  #flowing = false;
  #delivering = false;
  #withheld = 0;
  #ended: string[] | undefined;

  constructor(id: number, host: StreamHost, sendWindow: number, receiveWindow: number) {
    this.id = id;
    this.#host = host;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
    this.windowBytes = receiveWindow;
  }

  /** Whether nothing can be sent any more. */
  get closedForSending(): boolean {
    return this.aborted || this.endQueued;
  }

  /** Trailers of the peer when its message is complete and has not been delivered. */
  get pendingTrailers(): string[] | undefined {
    return this.#ended;
  }

  /** Sends a head, or an interim one; `end` when nothing follows it. */
  sendHead(fields: readonly string[], end: boolean, interim = false): void {
    if (this.closedForSending) return;
    if (!interim) this.headSent = true;
    if (end) this.endQueued = true;
    this.#host.sendHead(this, fields, end);
  }

  /**
   * Queues a piece of body; it goes out with the next flush as far as windows allow. False: hold
   * back until `drain`. The piece must not change afterwards.
   */
  write(chunk: Buffer): boolean {
    if (this.closedForSending) return true;
    this.outbox.push(chunk);
    this.#host.queued(this, chunk.length);
    return this.#host.hasRoom(this);
  }

  /** Ends this side's message after what has been written. */
  end(trailers?: readonly string[]): void {
    if (this.closedForSending) return;
    this.endQueued = true;
    if (trailers && trailers.length > 0) this.trailers = trailers;
    this.#host.queued(this, 0);
  }

  /** Ends both directions now by RST_STREAM; the owner hears nothing more. */
  reset(code: number = H2_ERROR.cancel): void {
    this.#host.resetStream(this, code);
  }

  /** Lets the body flow: first what has been kept, then what comes. */
  resume(): void {
    this.#flowing = true;
    this.#acknowledge(this.#withheld);
    this.#withheld = 0;
    this.#deliver();
  }

  /** Drops what has come and what will come of the peer's body. */
  discard(): void {
    this.#acknowledge(this.#withheld + this.#inbox.clear());
    this.#withheld = 0;
    this.#ended = undefined;
    this.events = undefined;
    this.#flowing = true;
  }

  /** Takes a piece of the peer's body; for the connection. */
  received(chunk: Buffer): void {
    this.#inbox.push(chunk);
    this.#deliver();
  }

  /** Takes the end of the peer's message; for the connection. */
  receivedEnd(trailers: string[]): void {
    this.remoteEnded = true;
    this.#ended = trailers;
    this.#deliver();
  }

  /** The stream is over; for the connection. The owner hears it when its message was cut off. */
  abort(code: number, cause: StreamEndCause | undefined): void {
    this.aborted = true;
    this.outbox.clear();
    const { events } = this;
    this.discard();
    if (cause) events?.reset(code, cause);
  }

  #deliver(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    while (this.#flowing && this.#inbox.bytes > 0) {
      const chunk = this.#inbox.shift() as Buffer;
      if (this.events?.data(chunk) === false && this.events) {
        this.#flowing = false;
        this.heldBack = true;
        this.#withheld += chunk.length;
      } else this.#acknowledge(chunk.length);
    }
    this.#delivering = false;
    if (!this.#flowing || this.#inbox.bytes > 0 || !this.#ended) return;
    const trailers = this.#ended;
    this.#ended = undefined;
    this.events?.ended(trailers);
  }

  #acknowledge(bytes: number): void {
    if (bytes > 0) this.#host.consumed(this, bytes);
  }
}
