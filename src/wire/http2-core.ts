import { HpackDecoder } from './hpack.ts';
import { applySetting, FLAG, FRAME, FrameReader, H2_ERROR, MAX_WINDOW } from './http2-frames.ts';
import { trailerFault } from './http2-message.ts';
import type { Http2Stream } from './http2-stream.ts';
import { costOf, type Http2Events, type Http2Options, Http2Streams } from './http2-streams.ts';

const MAX_BLOCK_BYTES = 65_536;
const MAX_CONTINUATIONS = 8;
const DECODER_TABLE_BYTES = 4096;

/** A field block on its way, over HEADERS and CONTINUATION. */
type Block = {
  streamId: number;
  endStream: boolean;
  parts: Buffer[];
  bytes: number;
  frames: number;
};

/** What a received field block is, beside its fields. */
export type ReceivedBlock = {
  readonly streamId: number;
  readonly endStream: boolean;
  /** Undefined: larger than allowed; the compression state is in step all the same. */
  readonly fields: string[] | undefined;
};

/**
 * One HTTP/2 connection without its socket, for either role: bytes and time go in by `receive`,
 * frames come out by `takeOutput`, everything else is told to the owner and to the streams'
 * owners. Body is cut into frames only in `takeOutput`, so that one turn is one write.
 * Source: RFC 9113.
 */
export abstract class Http2Core extends Http2Streams {
  readonly #decoder: HpackDecoder;
  readonly #reader = new FrameReader();
  #block: Block | undefined;
  #settled = false;
  #acknowledged = false;

  constructor(isServer: boolean, options: Http2Options, events: Http2Events) {
    super(isServer, options, events);
    this.#decoder = new HpackDecoder({
      maxTableBytes: DECODER_TABLE_BYTES,
      maxListBytes: options.maxHeaderListBytes,
    });
  }

  /** Whether a field block is under way: its peer has a deadline for the rest. */
  get insideBlock(): boolean {
    return this.#block !== undefined;
  }

  /** Whether the peer has begun to speak HTTP/2. */
  get settled(): boolean {
    return this.#settled;
  }

  /** Whether the peer has taken up this side's settings. */
  get acknowledged(): boolean {
    return this.#acknowledged;
  }

  /** Takes bytes of the peer; they must not change afterwards. `now` is in monotonic ms. */
  receive(data: Buffer, now: number): void {
    this.now = now;
    if (this.failed) return;
    this.#reader.feed(data);
    while (!this.failed) {
      const step = this.#reader.next();
      if (step === 'need-more') break;
      if (step === 'too-large') this.fail(H2_ERROR.frameSize, 'frame-too-large');
      else this.#frame();
    }
    this.afterReceive();
  }

  /** A complete field block for a stream that is not open, or that has no head yet. */
  protected abstract headBlock(block: ReceivedBlock, stream: Http2Stream | undefined): void;

  /** Everything that came in one piece has been looked at. */
  protected abstract afterReceive(): void;

  /** Whether the stream was never opened by its side. */
  protected abstract isIdle(streamId: number): boolean;

  /** The peer's GOAWAY; for a client, streams above `last` were never looked at. */
  protected abstract peerLeaves(last: number, code: number): void;

  /** The peer's message on this stream is complete. */
  protected remoteEnd(stream: Http2Stream, trailers: string[]): void {
    if (stream.expectedBytes >= 0 && stream.receivedBytes !== stream.expectedBytes) {
      this.streamError(stream.id, H2_ERROR.protocol, 'length-differs');
      return;
    }
    stream.receivedEnd(trailers);
    if (stream.localEnded) this.closeStream(stream, H2_ERROR.none, undefined);
  }

  /** Verdict on a field block for a stream that is not in the table and cannot be opened. */
  protected headersOnClosed(streamId: number): void {
    if (this.closed.how(streamId)) this.#onClosed(streamId, undefined);
    else this.fail(H2_ERROR.protocol, 'stream-id-not-ascending');
  }

  #frame(): void {
    const { type } = this.#reader;
    if (!this.#settled) {
      const first = type === FRAME.settings && (this.#reader.flags & FLAG.ack) === 0;
      if (!first) {
        this.fail(H2_ERROR.protocol, 'no-settings');
        return;
      }
      this.#settled = true;
    }
    if (this.#block && type !== FRAME.continuation) {
      this.fail(H2_ERROR.protocol, 'header-block-interrupted');
      return;
    }
    if (type === FRAME.data) this.#data();
    else if (type === FRAME.headers) this.#headers();
    else if (type === FRAME.continuation) this.#continuation();
    else if (type === FRAME.windowUpdate) this.#windowUpdate();
    else this.#control(type);
  }

  #control(type: number): void {
    if (type === FRAME.settings) this.#settings();
    else if (type === FRAME.ping) this.#ping();
    else if (type === FRAME.rstStream) this.#rstStream();
    else if (type === FRAME.priority) this.#priority();
    else if (type === FRAME.goaway) this.#goaway();
    else if (type === FRAME.pushPromise) this.fail(H2_ERROR.protocol, 'push');
    else this.charge(1, 'unknown-frames');
  }

  /** Takes padding off the frame at hand; false when there is more of it than there is frame. */
  #unpad(): boolean {
    const reader = this.#reader;
    if ((reader.flags & FLAG.padded) === 0) return true;
    const padding = reader.end > reader.start ? (reader.buffer[reader.start] as number) : 256;
    reader.start++;
    if (padding > reader.end - reader.start) {
      this.fail(H2_ERROR.protocol, 'bad-padding');
      return false;
    }
    reader.end -= padding;
    return true;
  }

  #data(): void {
    const reader = this.#reader;
    const { streamId } = reader;
    const size = reader.end - reader.start;
    if (streamId === 0 || this.isIdle(streamId)) {
      this.fail(H2_ERROR.protocol, 'data-on-idle-stream');
      return;
    }
    this.receiveWindow -= size;
    if (this.receiveWindow < 0) {
      this.fail(H2_ERROR.flowControl, 'window-overrun');
      return;
    }
    if (!this.#unpad()) return;
    const stream = this.streams.get(streamId);
    if (!stream || stream.remoteEnded) {
      this.giveBack(size);
      // Body that was under way when its stream was reset here is nobody's fault.
      if (size === 0 || this.closed.how(streamId) !== 'reset-here') {
        this.#onClosed(streamId, stream);
      }
      return;
    }
    stream.receiveWindow -= size;
    const body = reader.end - reader.start;
    stream.receivedBytes += body;
    const ended = (reader.flags & FLAG.endStream) !== 0;
    const fault = this.#dataFault(stream);
    if (fault !== undefined) {
      this.giveBack(size);
      const code = fault === 'window-overrun' ? H2_ERROR.flowControl : H2_ERROR.protocol;
      this.streamError(streamId, code, fault);
      return;
    }
    if (body > 0) this.calm.earn(1);
    else if (!ended) this.charge(1, 'empty-data');
    if (size > body) this.consumed(stream, size - body);
    if (body > 0) stream.received(reader.buffer.subarray(reader.start, reader.end));
    if (ended && !stream.aborted && !this.failed) this.remoteEnd(stream, []);
  }

  #dataFault(stream: Http2Stream): string | undefined {
    if (stream.receiveWindow < 0) return 'window-overrun';
    if (!stream.headReceived) return 'data-before-head';
    const { expectedBytes } = stream;
    return expectedBytes >= 0 && stream.receivedBytes > expectedBytes
      ? 'length-differs'
      : undefined;
  }

  /** A frame for a stream that is over or half over: how bad that is depends on how it ended. */
  #onClosed(streamId: number, stream: Http2Stream | undefined): void {
    const how = this.closed.how(streamId);
    if (stream || how === 'reset-there') {
      this.streamError(streamId, H2_ERROR.streamClosed, 'stream-closed');
    } else if (how === 'reset-here') this.charge(1, 'stream-closed');
    else this.fail(H2_ERROR.streamClosed, 'stream-closed');
  }

  #headers(): void {
    const reader = this.#reader;
    const { streamId, flags } = reader;
    if (streamId === 0) {
      this.fail(H2_ERROR.protocol, 'headers-on-connection');
      return;
    }
    if (!this.#unpad()) return;
    let selfDependent = false;
    if ((flags & FLAG.priority) !== 0) {
      if (reader.end - reader.start < 5) {
        this.fail(H2_ERROR.frameSize, 'bad-frame-size');
        return;
      }
      selfDependent = (reader.buffer.readUInt32BE(reader.start) & MAX_WINDOW) === streamId;
      reader.start += 5;
    }
    if (selfDependent) {
      this.fail(H2_ERROR.protocol, 'self-dependency');
      return;
    }
    const part = reader.buffer.subarray(reader.start, reader.end);
    const endStream = (flags & FLAG.endStream) !== 0;
    if ((flags & FLAG.endHeaders) !== 0) this.#blockComplete(streamId, endStream, part);
    else this.#block = { streamId, endStream, parts: [part], bytes: part.length, frames: 0 };
  }

  #continuation(): void {
    const reader = this.#reader;
    const block = this.#block;
    if (!block || block.streamId !== reader.streamId) {
      this.fail(H2_ERROR.protocol, 'unexpected-continuation');
      return;
    }
    block.bytes += reader.end - reader.start;
    block.frames++;
    if (block.bytes > MAX_BLOCK_BYTES || block.frames > MAX_CONTINUATIONS) {
      this.fail(H2_ERROR.enhanceYourCalm, 'continuation-flood');
      return;
    }
    block.parts.push(reader.buffer.subarray(reader.start, reader.end));
    if ((reader.flags & FLAG.endHeaders) === 0) return;
    this.#block = undefined;
    this.#blockComplete(block.streamId, block.endStream, Buffer.concat(block.parts));
  }

  #blockComplete(streamId: number, endStream: boolean, encoded: Buffer): void {
    const decoded = this.#decoder.decode(encoded);
    if (decoded.kind === 'error' && decoded.reason === 'compression') {
      this.fail(H2_ERROR.compression, 'bad-compression');
      return;
    }
    const fields = decoded.kind === 'fields' ? decoded.fields : undefined;
    const stream = this.streams.get(streamId);
    if (!stream?.headReceived) this.headBlock({ streamId, endStream, fields }, stream);
    else this.#trailers(stream, endStream, fields);
  }

  #trailers(stream: Http2Stream, endStream: boolean, fields: string[] | undefined): void {
    let fault: string | undefined;
    if (stream.remoteEnded) {
      this.streamError(stream.id, H2_ERROR.streamClosed, 'stream-closed');
      return;
    }
    if (!endStream) fault = 'headers-twice';
    else if (!fields) fault = 'header-too-large';
    else fault = trailerFault(fields);
    if (fault) this.streamError(stream.id, H2_ERROR.protocol, fault);
    else this.remoteEnd(stream, fields ?? []);
  }

  #windowUpdate(): void {
    const reader = this.#reader;
    const { streamId } = reader;
    if (reader.end - reader.start !== 4) {
      this.fail(H2_ERROR.frameSize, 'bad-frame-size');
      return;
    }
    const increment = reader.buffer.readUInt32BE(reader.start) & MAX_WINDOW;
    // By zero it is an error of an open stream, which is counted as such.
    if (increment > 0 || !this.streams.has(streamId)) this.charge(1, 'window-updates');
    if (this.failed) return;
    if (streamId === 0) this.#openConnection(increment);
    else if (this.isIdle(streamId)) this.fail(H2_ERROR.protocol, 'window-of-idle-stream');
    else {
      const stream = this.streams.get(streamId);
      if (stream) this.#openStream(stream, increment);
    }
  }

  #openConnection(increment: number): void {
    if (increment === 0) this.fail(H2_ERROR.protocol, 'window-by-zero');
    else if (!this.sender.widen(increment)) {
      this.fail(H2_ERROR.flowControl, 'window-overflow');
    }
  }

  #openStream(stream: Http2Stream, increment: number): void {
    if (increment === 0) this.streamError(stream.id, H2_ERROR.protocol, 'window-by-zero');
    else if (stream.sendWindow + increment > MAX_WINDOW) {
      this.streamError(stream.id, H2_ERROR.flowControl, 'window-overflow');
    } else {
      stream.sendWindow += increment;
      this.sender.activate(stream);
      this.sender.touch();
    }
  }

  #settings(): void {
    const { streamId, flags, start, end, buffer } = this.#reader;
    const size = end - start;
    const ack = (flags & FLAG.ack) !== 0;
    if (streamId !== 0) this.fail(H2_ERROR.protocol, 'settings-on-stream');
    else if (size % 6 !== 0 || (ack && size > 0)) this.fail(H2_ERROR.frameSize, 'bad-frame-size');
    else if (ack) {
      this.#acknowledged = true;
      this.charge(1, 'settings-flood');
    } else {
      this.charge(1 + Math.trunc(size / 60), 'settings-flood');
      const before = this.peer.initialWindowSize;
      for (let at = start; at < end; at += 6) {
        const id = buffer.readUInt16BE(at);
        const code = applySetting(this.peer, id, buffer.readUInt32BE(at + 2), !this.isServer);
        if (code !== undefined) this.fail(code, 'bad-setting');
      }
      if (!this.failed) this.#applySettings(before);
    }
  }

  #applySettings(windowBefore: number): void {
    this.sender.limitTable(this.peer.headerTableSize);
    const delta = this.peer.initialWindowSize - windowBefore;
    if (delta !== 0) {
      for (const stream of this.streams.values()) {
        stream.sendWindow += delta;
        if (stream.sendWindow > MAX_WINDOW) {
          this.fail(H2_ERROR.flowControl, 'window-overflow');
          return;
        }
        this.sender.activate(stream);
      }
    }
    this.sender.settingsAck();
    this.events.settled();
  }

  #ping(): void {
    const { streamId, flags, start, end, buffer } = this.#reader;
    if (streamId !== 0) this.fail(H2_ERROR.protocol, 'ping-on-stream');
    else if (end - start !== 8) this.fail(H2_ERROR.frameSize, 'bad-frame-size');
    else if ((flags & FLAG.ack) !== 0) this.events.pong(buffer.subarray(start, end));
    else {
      this.charge(1, 'ping-flood');
      if (this.failed) return;
      this.sender.ping(buffer.subarray(start, end), true);
    }
  }

  #rstStream(): void {
    const { streamId, start, end, buffer } = this.#reader;
    if (streamId === 0) this.fail(H2_ERROR.protocol, 'reset-of-connection');
    else if (end - start !== 4) this.fail(H2_ERROR.frameSize, 'bad-frame-size');
    else if (this.isIdle(streamId)) this.fail(H2_ERROR.protocol, 'reset-of-idle-stream');
    else {
      const stream = this.streams.get(streamId);
      this.charge(costOf(stream), 'rapid-reset');
      if (!stream || this.failed) return;
      this.closed.resetThere(streamId);
      this.closeStream(stream, buffer.readUInt32BE(start), 'peer');
    }
  }

  #priority(): void {
    const { streamId, start, end, buffer } = this.#reader;
    let code: number = H2_ERROR.none;
    if (streamId === 0) code = H2_ERROR.protocol;
    else if (end - start !== 5) code = H2_ERROR.frameSize;
    else if ((buffer.readUInt32BE(start) & MAX_WINDOW) === streamId) code = H2_ERROR.protocol;
    // The scheme is obsolete: a good frame has no effect. Source: RFC 9113 section 5.3.
    if (code === H2_ERROR.none) this.charge(1, 'priority-flood');
    else if (streamId !== 0 && this.streams.has(streamId)) {
      this.streamError(streamId, code, 'bad-priority');
    } else this.fail(code, 'bad-priority');
  }

  #goaway(): void {
    const { streamId, start, end, buffer } = this.#reader;
    if (streamId !== 0) this.fail(H2_ERROR.protocol, 'goaway-on-stream');
    else if (end - start < 8) this.fail(H2_ERROR.frameSize, 'bad-frame-size');
    else {
      const last = buffer.readUInt32BE(start) & MAX_WINDOW;
      const code = buffer.readUInt32BE(start + 4);
      this.charge(1, 'goaway-flood');
      if (this.failed) return;
      this.peerLeaves(last, code);
      this.events.goaway(last, code);
    }
  }
}
