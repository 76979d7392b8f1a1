import { CalmBudget, ClosedStreams } from './http2-bounds.ts';
import {
  DEFAULT_WINDOW,
  H2_ERROR,
  type Http2Settings,
  initialSettings,
  SETTING,
} from './http2-frames.ts';
import { Http2Sender, type SenderOwner } from './http2-sender.ts';
import { Http2Stream, type StreamEndCause, type StreamHost } from './http2-stream.ts';

const MAX_WINDOW_SHARE = 4;
const MIN_REMEMBERED = 1024;

/** What bounds a connection, for both roles. */
export type Http2Options = {
  /** Streams that the peer may have open; more are refused. */
  readonly maxConcurrentStreams: number;
  /**
   * Most bytes of a peer's body that wait for a stream's owner; at least 65 535. An owner that takes
   * everything at once gets more with time, up to a quarter of the connection's window.
   */
  readonly streamWindowBytes: number;
  /** The same for all streams together; at least 65 535. */
  readonly connectionWindowBytes: number;
  /** Decoded size of a field list, by RFC 9113 section 6.5.2. */
  readonly maxHeaderListBytes: number;
};

/** What the owner of a connection hears. */
export interface Http2Events {
  /** There is something for `takeOutput`; once until it has been called. */
  output(): void;
  /** Something of the peer was refused: a word for counting. The stream's owner hears of it too. */
  refused(reason: string): void;
  /** The peer will open (client) or serve (server) nothing new. */
  goaway(lastStreamId: number, code: number): void;
  /** The connection is over: what is left of the output has to go out, then it closes. */
  failed(code: number, reason: string): void;
  /** The peer has changed its settings. */
  settled(): void;
  /** An answer to `ping`. */
  pong(payload: Buffer): void;
}

/** The streams of a connection, its windows, and what ends them: the half that both halves need. */
export abstract class Http2Streams implements StreamHost, SenderOwner {
  /** Streams open or half-closed, by id. */
  readonly streams = new Map<number, Http2Stream>();
  /** What the peer has set. */
  readonly peer: Http2Settings = initialSettings();
  protected readonly options: Http2Options;
  protected readonly sender: Http2Sender;
  /** Highest id of a stream that the peer has opened. */
  protected lastPeerId = 0;
  protected readonly events: Http2Events;
  protected readonly closed: ClosedStreams;
  protected readonly calm = new CalmBudget();
  protected readonly isServer: boolean;
  protected now = 0;
  protected receiveWindow: number;
  #unacknowledged = 0;
  #drainWanted = false;
  #failed = false;

  constructor(isServer: boolean, options: Http2Options, events: Http2Events) {
    this.isServer = isServer;
    this.options = options;
    this.events = events;
    this.closed = new ClosedStreams(Math.max(MIN_REMEMBERED, options.maxConcurrentStreams * 2));
    this.sender = new Http2Sender(this);
    this.receiveWindow = options.connectionWindowBytes;
  }

  /** Whether the connection has failed: nothing more is read. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Bytes of body that wait for window or flush, over all streams. */
  get queuedBytes(): number {
    return this.sender.queuedBytes;
  }

  /** Bytes of body sent since the beginning: they stand still while the peer takes nothing. */
  get sentBytes(): number {
    return this.sender.sentBytes;
  }

  /** The frames to send now, in order. To be called once a turn, after `output` was heard. */
  takeOutput(): Buffer[] {
    return this.sender.take(this.failed);
  }

  /**
   * Whether the peer lets heads and control frames pile up: its socket is not to be read until it
   * takes something.
   */
  get backlogged(): boolean {
    return this.sender.backlogged;
  }

  /** Says whether the socket is full after the last output, or has room again. */
  flushed(congested: boolean): void {
    this.sender.congested = congested;
    if (congested) return;
    if (this.sender.waiting) this.sender.touch();
    if (!this.#drainWanted) return;
    this.#drainWanted = false;
    for (const stream of this.streams.values()) {
      if (stream.wantsDrain && this.hasRoom(stream)) stream.events?.drain();
    }
  }

  /** Asks the peer for a sign of life; `pong` brings the 8 bytes back. */
  ping(payload: Buffer): void {
    this.sender.ping(payload, false);
  }

  /** Tells the peer which of its streams are the last that are looked at. */
  goaway(lastStreamId: number, code: number, debug = ''): void {
    this.sender.goaway(lastStreamId, code, debug);
  }

  /** Ends the connection because of what the peer did: GOAWAY, and every stream is over. */
  fail(code: number, reason: string): void {
    if (this.#failed) return;
    this.#failed = true;
    this.goaway(this.lastPeerId, code, reason);
    this.events.refused(reason);
    this.#dropStreams(code);
    this.events.failed(code, reason);
  }

  /** The socket is gone. */
  connectionEnded(): void {
    this.#failed = true;
    this.#dropStreams(H2_ERROR.cancel);
  }

  /** Resets a stream that the peer has spoilt, and counts that against it. */
  streamError(streamId: number, code: number, reason: string): void {
    this.events.refused(reason);
    const stream = this.streams.get(streamId);
    const cost = costOf(stream);
    this.#writeReset(streamId, code);
    if (stream) this.closeStream(stream, code, 'malformed');
    this.charge(cost, 'stream-errors');
  }

  hasRoom(stream: Http2Stream): boolean {
    stream.wantsDrain = !this.sender.roomFor(stream);
    if (stream.wantsDrain) this.#drainWanted = true;
    return !stream.wantsDrain;
  }

  queued(stream: Http2Stream, bytes: number): void {
    this.sender.queued(stream, bytes);
  }

  sendHead(stream: Http2Stream, fields: readonly string[], end: boolean): void {
    this.sender.fields(stream.id, fields, end);
    if (end) this.localEnd(stream);
  }

  resetStream(stream: Http2Stream, code: number): void {
    if (this.streams.get(stream.id) === stream) {
      this.#writeReset(stream.id, code);
      this.closeStream(stream, code, undefined);
    } else stream.abort(code, undefined);
  }

  consumed(stream: Http2Stream, bytes: number): void {
    this.giveBack(bytes);
    if (stream.remoteEnded || stream.aborted) return;
    stream.unacknowledged += bytes;
    if (stream.unacknowledged < stream.windowBytes / 2) return;
    const increment = stream.unacknowledged + this.#growth(stream);
    stream.receiveWindow += increment;
    this.sender.windowUpdate(stream.id, increment);
    stream.unacknowledged = 0;
  }

  /** How much wider the window becomes of a stream whose owner keeps up: far peers need that. */
  #growth(stream: Http2Stream): number {
    if (stream.heldBack) return 0;
    const most = this.options.connectionWindowBytes / MAX_WINDOW_SHARE;
    const growth = Math.max(0, Math.min(stream.windowBytes, most - stream.windowBytes));
    stream.windowBytes += growth;
    return growth;
  }

  output(): void {
    this.events.output();
  }

  sentData(): void {
    // An honest peer answers body with windows and with pings that measure.
    this.calm.earn(3);
  }

  localEnd(stream: Http2Stream): void {
    stream.localEnded = true;
    stream.events?.sent?.();
    const answered = this.isServer && !stream.isTunnel;
    // Whatever still comes is for nothing. Source: RFC 9113 section 8.1.
    if (answered && !stream.remoteEnded) this.#writeReset(stream.id, H2_ERROR.none);
    if (answered || stream.remoteEnded) this.closeStream(stream, H2_ERROR.none, undefined);
    if (answered) stream.discard();
  }

  /** The settings that both roles announce. */
  protected get commonSettings(): (readonly [number, number])[] {
    return [
      [SETTING.initialWindowSize, this.options.streamWindowBytes],
      [SETTING.maxHeaderListSize, this.options.maxHeaderListBytes],
    ];
  }

  /** Sends this side's SETTINGS and opens the connection's window. */
  protected begin(settings: readonly (readonly [number, number])[]): void {
    this.sender.settings(settings);
    const more = this.options.connectionWindowBytes - DEFAULT_WINDOW;
    if (more > 0) this.sender.windowUpdate(0, more);
  }

  protected newStream(id: number): Http2Stream {
    const { streamWindowBytes } = this.options;
    const stream = new Http2Stream(id, this, this.peer.initialWindowSize, streamWindowBytes);
    this.streams.set(id, stream);
    return stream;
  }

  /** Counts what costs this side more than the peer; too much of it ends the connection. */
  protected charge(cost: number, reason: string): void {
    if (!this.calm.take(cost, this.now)) this.fail(H2_ERROR.enhanceYourCalm, reason);
  }

  /** Ends a stream that the peer has not looked at. */
  protected dropUnprocessed(stream: Http2Stream, code: number): void {
    this.closeStream(stream, code, 'unprocessed');
  }

  /** Refuses a stream before it is opened. */
  protected refuseStream(streamId: number, reason: string): void {
    this.streamError(streamId, H2_ERROR.refusedStream, reason);
  }

  /** Returns window of the connection. */
  protected giveBack(bytes: number): void {
    this.#unacknowledged += bytes;
    if (this.#unacknowledged < this.options.connectionWindowBytes / 2) return;
    this.receiveWindow += this.#unacknowledged;
    this.sender.windowUpdate(0, this.#unacknowledged);
    this.#unacknowledged = 0;
  }

  #writeReset(streamId: number, code: number): void {
    this.sender.reset(streamId, code);
    this.closed.resetHere(streamId);
  }

  protected closeStream(
    stream: Http2Stream,
    code: number,
    cause: StreamEndCause | undefined,
  ): void {
    if (!this.streams.delete(stream.id)) return;
    this.sender.queuedBytes -= stream.outbox.bytes;
    const complete = stream.localEnded && stream.remoteEnded && !cause;
    // A complete message may still wait for its owner to take it.
    if (complete) this.closed.finished(stream.id);
    else stream.abort(code, cause);
  }

  #dropStreams(code: number): void {
    for (const stream of [...this.streams.values()]) this.closeStream(stream, code, 'connection');
  }
}

/** Units of a stream's reset: work begun for nothing costs more than one nobody has looked at. */
export function costOf(stream: Http2Stream | undefined): number {
  return stream?.dispatched && !stream.headSent ? 10 : 1;
}
