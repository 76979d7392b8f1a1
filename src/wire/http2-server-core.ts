import type { HeadLimits } from './http1-head.ts';
import { Http2Core, type ReceivedBlock } from './http2-core.ts';
import { H2_ERROR, PREFACE, SETTING } from './http2-frames.ts';
import { type RequestMessage, readRequest } from './http2-message.ts';
import type { Http2Stream } from './http2-stream.ts';
import type { Http2Events, Http2Options } from './http2-streams.ts';

/** A request that is over a limit: the owner answers it. */
export type RefusedRequest = { readonly status: number; readonly reason: string };

/** What the owner of a server's connection hears. */
export interface Http2ServerEvents extends Http2Events {
  /**
   * A request has come, after everything that came with it: whatever was reset at once is never
   * heard of. The stream's `events` are to be set here; its body flows after `resume`.
   */
  request(stream: Http2Stream, message: RequestMessage | RefusedRequest): void;
}

type Arrival = { stream: Http2Stream; message: RequestMessage | RefusedRequest };

/** The server's side of a connection. */
export class Http2ServerCore extends Http2Core {
  readonly #events: Http2ServerEvents;
  readonly #limits: HeadLimits;
  #preface = 0;
  #arrived: Arrival[] = [];
  #lastTaken = Number.POSITIVE_INFINITY;

  constructor(options: Http2Options, limits: HeadLimits, events: Http2ServerEvents) {
    super(true, options, events);
    this.#events = events;
    this.#limits = limits;
    this.begin([
      [SETTING.maxConcurrentStreams, options.maxConcurrentStreams],
      ...this.commonSettings,
      [SETTING.enableConnectProtocol, 1],
    ]);
  }

  /** Streams that the client has opened, ever. */
  get opened(): number {
    return (this.lastPeerId + 1) >>> 1;
  }

  /** The last stream that the client has opened. */
  get lastOpened(): number {
    return this.lastPeerId;
  }

  override receive(data: Buffer, now: number): void {
    const left = PREFACE.length - this.#preface;
    if (left === 0) super.receive(data, now);
    else if (this.failed) return;
    else {
      const size = Math.min(left, data.length);
      if (data.compare(PREFACE, this.#preface, this.#preface + size, 0, size) !== 0) {
        this.fail(H2_ERROR.protocol, 'bad-preface');
        return;
      }
      this.#preface += size;
      if (data.length > size) super.receive(data.subarray(size), now);
    }
  }

  /** First step of a graceful end: the client learns that it is to open nothing new. */
  announceDrain(): void {
    this.goaway(0x7fffffff, H2_ERROR.none);
  }

  /** Second step, a round trip later: what has come until now is served, nothing after it. */
  finishDrain(): void {
    if (this.#lastTaken !== Number.POSITIVE_INFINITY) return;
    this.#lastTaken = this.lastPeerId;
    this.goaway(this.lastPeerId, H2_ERROR.none);
  }

  protected isIdle(streamId: number): boolean {
    return (streamId & 1) === 0 || streamId > this.lastPeerId;
  }

  protected peerLeaves(): void {}

  protected headBlock({ streamId, endStream, fields }: ReceivedBlock): void {
    if ((streamId & 1) === 0) {
      this.fail(H2_ERROR.protocol, 'even-stream-id');
      return;
    }
    if (streamId <= this.lastPeerId) {
      this.headersOnClosed(streamId);
      return;
    }
    this.lastPeerId = streamId;
    if (streamId > this.#lastTaken || this.streams.size >= this.options.maxConcurrentStreams) {
      this.refuseStream(streamId, streamId > this.#lastTaken ? 'draining' : 'stream-limit');
      return;
    }
    this.#open(streamId, endStream, fields);
  }

  #open(streamId: number, endStream: boolean, fields: string[] | undefined): void {
    const stream = this.newStream(streamId);
    stream.headReceived = true;
    const result = fields
      ? readRequest(fields, this.#limits)
      : { kind: 'refused' as const, status: 431, reason: 'header-too-large' };
    if (result.kind === 'malformed') {
      this.streamError(streamId, H2_ERROR.protocol, result.reason);
      return;
    }
    // A refusal costs as much as the request that it looks like.
    if (result.kind === 'refused') this.charge(10, result.reason);
    else if (result.value.contentLength !== undefined) {
      stream.expectedBytes = result.value.contentLength;
    }
    if (this.failed) return;
    this.#arrived.push({ stream, message: result.kind === 'value' ? result.value : result });
    if (endStream) this.remoteEnd(stream, []);
  }

  protected afterReceive(): void {
    if (this.#arrived.length === 0) return;
    const arrived = this.#arrived;
    this.#arrived = [];
    for (const { stream, message } of arrived) {
      if (stream.aborted) continue;
      stream.dispatched = true;
      this.#events.request(stream, message);
    }
  }
}
