import { Http2Core, type ReceivedBlock } from './http2-core.ts';
import { H2_ERROR, PREFACE, SETTING } from './http2-frames.ts';
import { type ResponseMessage, readResponse } from './http2-message.ts';
import type { Http2Stream, StreamEvents } from './http2-stream.ts';
import type { Http2Events, Http2Options } from './http2-streams.ts';

/** How a request is opened. */
export type OpenOptions = {
  /** Nothing follows the head. */
  readonly end: boolean;
  /** The answer has no body, whatever length it states: the request is a HEAD. */
  readonly bodiless?: boolean;
};

const MAX_STREAM_ID = 0x7fffffff;
const MAX_INTERIM = 16;

/** The client's side of a connection. */
export class Http2ClientCore extends Http2Core {
  #nextId = 1;
  #leaving = false;

  constructor(options: Http2Options, events: Http2Events) {
    super(false, options, events);
    this.sender.raw(PREFACE);
    this.begin([[SETTING.enablePush, 0], ...this.commonSettings]);
  }

  /** How many more streams may be opened now; 0 for good after a GOAWAY. */
  get room(): number {
    if (this.failed || this.#leaving || this.#nextId > MAX_STREAM_ID) return 0;
    return Math.max(0, this.peer.maxConcurrentStreams - this.streams.size);
  }

  /** Whether the peer has said GOAWAY, or ids have run out: only what is open is finished. */
  get leaving(): boolean {
    return this.#leaving || this.#nextId > MAX_STREAM_ID;
  }

  /**
   * Opens a stream with a request's fields, pseudo fields first, names in lower case; only while
   * there is `room`. Its body flows at once.
   */
  open(fields: readonly string[], events: StreamEvents, options: OpenOptions): Http2Stream {
    const stream = this.newStream(this.#nextId);
    this.#nextId += 2;
    stream.events = events;
    stream.dispatched = true;
    stream.bodiless = options.bodiless === true;
    stream.resume();
    stream.sendHead(fields, options.end);
    return stream;
  }

  protected isIdle(streamId: number): boolean {
    return (streamId & 1) === 0 || streamId >= this.#nextId;
  }

  protected peerLeaves(last: number, code: number): void {
    this.#leaving = true;
    for (const stream of [...this.streams.values()]) {
      if (stream.id > last) this.dropUnprocessed(stream, code);
    }
  }

  protected headBlock(block: ReceivedBlock, stream: Http2Stream | undefined): void {
    const { streamId, endStream, fields } = block;
    if (this.isIdle(streamId)) this.fail(H2_ERROR.protocol, 'headers-on-idle-stream');
    else if (!stream) this.headersOnClosed(streamId);
    else if (!fields) this.streamError(streamId, H2_ERROR.protocol, 'header-too-large');
    else {
      const result = readResponse(fields);
      const fault = result.kind === 'value' ? this.#fault(stream, result.value, endStream) : '';
      if (result.kind !== 'value') this.streamError(streamId, H2_ERROR.protocol, result.reason);
      else if (fault) this.streamError(streamId, H2_ERROR.protocol, fault);
      else this.#respond(stream, result.value, endStream);
    }
  }

  #fault(stream: Http2Stream, { status }: ResponseMessage, ended: boolean): string | undefined {
    if (status >= 200) return undefined;
    stream.interims++;
    if (ended) return 'interim-ends-stream';
    return stream.interims > MAX_INTERIM ? 'too-many-interims' : undefined;
  }

  #respond(stream: Http2Stream, message: ResponseMessage, ended: boolean): void {
    if (message.status >= 200) {
      stream.headReceived = true;
      const bodiless = stream.bodiless || message.status === 204 || message.status === 304;
      if (bodiless) stream.expectedBytes = 0;
      else if (message.contentLength !== undefined) stream.expectedBytes = message.contentLength;
    }
    stream.events?.response?.(message, ended);
    if (ended && !stream.aborted && !this.failed) this.remoteEnd(stream, []);
  }

  protected afterReceive(): void {}
}
