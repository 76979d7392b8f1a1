import type { Duplex } from 'node:stream';
import { normalizeTarget } from '../wire/http-path.ts';
import { BodyDecoder, chunkHeader, lastChunk } from '../wire/http1-body.ts';
import { type HeadLimits, parseRequestHead, type RequestHead1 } from '../wire/http1-head.ts';
import { endToEnd, fieldLines, responseHead } from '../wire/http1-write.ts';
import { PREFACE } from '../wire/http2-frames.ts';
import { deadlines, type Timed } from './deadlines.ts';
import { readDirectly } from './direct-read.ts';
import { httpDate } from './http-date.ts';
import type {
  BodySink,
  Page,
  RawHeaders,
  RequestHead,
  ResponseHead,
  ServerExchange,
} from './http-exchange.ts';
import type { StreamConnection } from './stream-connection.ts';

const EMPTY = Buffer.alloc(0);
const LINGER_MS = 1000;
const EARLY_ANSWER_DRAIN_BYTES = 65_536;
const RATE_WINDOW_MS = 10_000;
const MAX_BUFFERED = 65_536;
const SMALL_BODY = 4096;

/** What a listener demands of its HTTP/1 connections. */
export type Http1Options = {
  readonly head: HeadLimits;
  readonly encodedSlashes: 'reject' | 'keep';
  /** Whether a client may speak HTTP/2 at once; otherwise that is an error. */
  readonly h2c: boolean;
  readonly headerMs: number;
  readonly idleMs: number;
  readonly writeMs: number;
  readonly maxRequests: number;
  /** Bytes per second that a request's body has to come at, over 10 s; 0 for any rate. */
  readonly minBodyRate: number;
};

/** What a connection tells its owner. */
export type Http1Events = {
  request(exchange: ServerExchange): void;
  /** The client speaks HTTP/2: the socket is given back as it came. */
  http2(): void;
  /** A refusal by this engine: it has been answered and the connection closes. */
  refused(reason: string, status: number): void;
  /** The body of such an answer. */
  page(status: number): Page;
};

/** An HTTP/1.1 connection of a client: one exchange at a time, answers in order. */
export class Http1Connection implements Timed {
  readonly connection: StreamConnection;
  readonly options: Http1Options;
  place = -1;
  deadline: number;
  readonly #events: Http1Events;
  #buffer: Buffer = EMPTY;
  #searched = 0;
  #exchange: Http1Exchange | undefined;
  #served = 0;
  #closing = false;
  #idleWaits = false;
  #ended = false;
  /** The client sends nothing more, but what has come is still served. */
  #halfClosed = false;
  #tunnel = false;
  #serving = false;
  readonly #stopReading: () => void;

  constructor(connection: StreamConnection, options: Http1Options, events: Http1Events) {
    this.connection = connection;
    this.options = options;
    this.#events = events;
    this.deadline = performance.now() + options.headerMs;
    const { socket } = connection;
    this.#stopReading = readDirectly(socket, this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('drain', this.#onDrain);
    socket.on('error', this.#onClose);
    socket.on('close', this.#onClose);
    socket.resume();
    deadlines.add(this);
  }

  get busy(): boolean {
    return this.#exchange !== undefined;
  }

  get idle(): boolean {
    return !this.#exchange && !this.#tunnel && this.#buffer.length === 0;
  }

  /**
   * Finishes the exchange under way, then closes. An idle connection closes at once, or waits for a
   * request that may be on its way already, answers it and closes then.
   */
  shutdown(idle: 'close' | 'wait'): void {
    this.#closing = true;
    this.#idleWaits = idle === 'wait';
    if (!this.#idleWaits && this.idle) this.connection.socket.end();
  }

  get closing(): boolean {
    return this.#closing;
  }

  destroy(): void {
    this.connection.socket.destroy();
  }

  expire(now: number): void {
    if (this.#exchange?.expire(now)) return;
    if (!this.#exchange && this.#buffer.length > 0 && !this.#ended)
      this.refuse(408, 'header-timeout');
    else this.destroy();
  }

  /** Answers a refusal and closes, in a way that lets the client read it. */
  refuse(status: number, reason: string): void {
    this.#events.refused(reason, status);
    this.#exchange = undefined;
    const page = this.#events.page(status);
    const body = Buffer.from(page.body);
    const headers = ['Content-Type', page.contentType, 'Date', httpDate()];
    const framing = `Content-Length: ${body.length}\r\nConnection: close\r\n`;
    const head = Buffer.from(responseHead(status, headers, framing), 'latin1');
    this.connection.socket.end(Buffer.concat([head, body]));
    this.#linger();
  }

  /** The exchange is over: the next request may begin, or the connection ends. */
  done(keep: boolean): void {
    this.#exchange = undefined;
    // An answer that has promised to keep the connection is followed by one more request.
    if (!keep || this.#ended || (this.#closing && !this.#idleWaits)) {
      this.connection.socket.end();
      this.#linger();
      return;
    }
    this.#searched = 0;
    this.deadline = performance.now() + this.options.idleMs;
    this.connection.socket.resume();
    if (this.#buffer.length > 0) this.#serve();
    else if (this.#halfClosed) this.connection.socket.end();
  }

  /** Gives the socket away as a raw tunnel, with what has been read of it. */
  detach(): Duplex {
    const { socket } = this.connection;
    this.#tunnel = true;
    this.#stopReading();
    socket.off('end', this.#onEnd);
    socket.off('drain', this.#onDrain);
    socket.off('error', this.#onClose);
    socket.off('close', this.#onClose);
    deadlines.delete(this);
    socket.pause();
    if (this.#buffer.length > 0) socket.unshift(this.#buffer);
    this.#buffer = EMPTY;
    return socket;
  }

  /** Takes `used` bytes off what is buffered. */
  consume(used: number): void {
    this.#buffer = used >= this.#buffer.length ? EMPTY : this.#buffer.subarray(used);
  }

  get buffered(): Buffer {
    return this.#buffer;
  }

  get halfClosed(): boolean {
    return this.#halfClosed;
  }

  #linger(): void {
    this.#closing = true;
    this.#ended = true;
    this.#buffer = EMPTY;
    // Whatever still comes is dropped, so that no reset overtakes the answer.
    this.connection.socket.resume();
    this.deadline = performance.now() + LINGER_MS;
  }

  readonly #onData = (data: Buffer) => {
    if (this.#ended) return;
    this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data]);
    if (this.#exchange) this.#exchange.received();
    else this.#serve();
    if (this.#buffer.length > MAX_BUFFERED) this.connection.socket.pause();
  };

  readonly #onEnd = () => {
    this.#halfClosed = true;
    if (this.#exchange) this.#exchange.clientEnded();
    else this.connection.socket.end();
  };

  readonly #onDrain = () => this.#exchange?.drained();

  readonly #onClose = () => {
    deadlines.delete(this);
    this.#ended = true;
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.connectionClosed();
    this.connection.socket.destroy();
  };

  /** Serves what is buffered, request by request; an answer given at once does not nest. */
  #serve(): void {
    if (this.#serving) return;
    this.#serving = true;
    let before: number;
    do {
      before = this.#buffer.length;
      this.#next();
    } while (
      !this.#exchange &&
      !this.#ended &&
      this.#buffer.length > 0 &&
      this.#buffer.length < before
    );
    this.#serving = false;
    if (this.#halfClosed && !this.#exchange) this.connection.socket.end();
  }

  #next(): void {
    // An empty line before a request is tolerated. Source: RFC 9112 section 2.2.
    if (this.#buffer[0] === 13 && this.#buffer[1] === 10) this.consume(2);
    if (this.#buffer.length === 0) return;
    if (this.#searched === 0) this.deadline = performance.now() + this.options.headerMs;
    if (this.#served === 0 && this.options.h2c && isPreface(this.#buffer)) {
      if (this.#buffer.length < PREFACE.length) return;
      this.detach();
      this.#events.http2();
      return;
    }
    const result = parseRequestHead(this.#buffer, 0, this.options.head, this.#searched);
    if (result.kind === 'need-more') {
      this.#searched = this.#buffer.length;
      return;
    }
    if (result.kind === 'error') {
      this.refuse(result.status, result.reason);
      return;
    }
    this.consume(result.consumed);
    this.#begin(result.value);
  }

  #begin(head: RequestHead1): void {
    const target = normalizeTarget(head.target, this.options.encodedSlashes);
    if ('error' in target) {
      this.refuse(400, target.error);
      return;
    }
    this.#served++;
    const keep = head.keepAlive && this.#served < this.options.maxRequests;
    const { framing } = head;
    const request: RequestHead = {
      version: head.version,
      method: head.method,
      scheme: this.connection.tls ? 'https' : 'http',
      authority: head.host,
      path: target.path,
      query: target.query,
      headers: endToEnd(head.headers, true),
      length:
        framing.kind === 'length' ? framing.length : framing.kind === 'chunked' ? 'chunked' : 0,
      upgrade: head.upgrade,
      expectContinue: head.expectContinue,
    };
    this.deadline = Number.POSITIVE_INFINITY;
    this.#exchange = new Http1Exchange(this, request, new BodyDecoder(framing), keep);
    this.#events.request(this.#exchange);
  }
}

/** Whether bytes begin as an HTTP/2 connection does, as far as there are any. */
function isPreface(bytes: Buffer): boolean {
  const size = Math.min(bytes.length, PREFACE.length);
  return bytes[0] === PREFACE[0] && bytes.compare(PREFACE, 0, size, 0, size) === 0;
}

/** One request and its answer on an HTTP/1.1 connection. */
class Http1Exchange implements ServerExchange {
  readonly head: RequestHead;
  onDrain: () => void = () => {};
  onClose: () => void = () => {};
  readonly #owner: Http1Connection;
  readonly #decoder: BodyDecoder;
  #sink: BodySink | undefined;
  #paused = false;
  #requestEnded: boolean;
  #dropped = 0;
  #received = 0;
  #rateWatched = false;
  #responded = false;
  #answered = false;
  #chunked = false;
  #bodiless = false;
  #left = Number.POSITIVE_INFINITY;
  #pendingHead = '';
  #keepAfter: boolean;

  constructor(owner: Http1Connection, head: RequestHead, decoder: BodyDecoder, keep: boolean) {
    this.#owner = owner;
    this.head = head;
    this.#decoder = decoder;
    this.#keepAfter = keep;
    this.#requestEnded = head.length === 0;
  }

  get connection(): StreamConnection {
    return this.#owner.connection;
  }

  readBody(sink: BodySink): void {
    this.#sink = sink;
    if (this.#requestEnded) {
      sink.end([]);
      return;
    }
    if (this.head.expectContinue && !this.#responded) {
      this.connection.socket.write('HTTP/1.1 100 Continue\r\n\r\n', 'latin1');
    }
    if (this.#owner.options.minBodyRate > 0) this.#watchRate(performance.now());
    this.received();
  }

  resumeBody(): void {
    this.#paused = false;
    this.received();
  }

  inform(status: number, headers: RawHeaders): void {
    if (this.#responded || this.head.version === '1.0') return;
    this.connection.socket.write(responseHead(status, headers, ''), 'latin1');
  }

  respond({ status, headers, length }: ResponseHead): void {
    this.#responded = true;
    this.#owner.deadline = Number.POSITIVE_INFINITY;
    this.#bodiless = this.head.method === 'HEAD' || status === 204 || status === 304;
    let framing = '';
    if (length !== 'chunked') {
      if (status !== 204 && !(length === 0 && this.#bodiless))
        framing = `content-length: ${length}\r\n`;
      this.#left = this.#bodiless ? 0 : length;
    } else if (this.#bodiless) framing = '';
    else if (this.head.version === '1.1') {
      this.#chunked = true;
      framing = 'transfer-encoding: chunked\r\n';
    } else this.#keepAfter = false;
    // Whoever is refused is unlikely to send the rest of the body for nothing.
    if (this.#owner.closing || (!this.#requestEnded && status >= 400)) this.#keepAfter = false;
    if (!this.#keepAfter) framing += 'connection: close\r\n';
    else if (this.head.version === '1.0') framing += 'connection: keep-alive\r\n';
    this.#pendingHead = responseHead(status, headers, framing);
  }

  write(chunk: Buffer): boolean {
    if (this.#bodiless || chunk.length === 0) return true;
    if (chunk.length > this.#left) {
      this.abort();
      return true;
    }
    this.#left -= chunk.length;
    const { socket } = this.connection;
    const before = this.#pendingHead + (this.#chunked ? chunkHeader(chunk.length) : '');
    this.#pendingHead = '';
    if (before && chunk.length <= SMALL_BODY) {
      // One string is one system call without a vector.
      const text = before + chunk.toString('latin1') + (this.#chunked ? '\r\n' : '');
      return this.#flowing(socket.write(text, 'latin1'));
    }
    socket.cork();
    if (before) socket.write(before, 'latin1');
    const flowing = socket.write(chunk);
    const room = this.#chunked ? socket.write('\r\n', 'latin1') : flowing;
    socket.uncork();
    return this.#flowing(room);
  }

  /** Notes when the client has to take something before more can be written. */
  #flowing(room: boolean): boolean {
    if (!room) this.#owner.deadline = performance.now() + this.#owner.options.writeMs;
    return room;
  }

  end(trailers: RawHeaders = []): void {
    if (this.#answered) return;
    if (this.#left > 0 && this.#left !== Number.POSITIVE_INFINITY) {
      this.abort();
      return;
    }
    const rest = this.#pendingHead + (this.#chunked ? lastChunk(trailers) : '');
    this.#pendingHead = '';
    this.#answered = true;
    if (rest) this.connection.socket.write(rest, 'latin1');
    this.#settle();
  }

  abort(): void {
    if (this.#answered) return;
    this.#answered = true;
    const { socket, tls } = this.connection;
    // A reset cannot be mistaken for the end of a body that ends with its connection; TLS has an
    // end of its own, which is then missing.
    if (tls) socket.destroy();
    else socket.resetAndDestroy();
  }

  acceptUpgrade(headers: RawHeaders): Duplex {
    this.#answered = true;
    this.connection.socket.write(
      `HTTP/1.1 101 Switching Protocols\r\n${fieldLines(headers)}connection: upgrade\r\nupgrade: ${this.head.upgrade}\r\n\r\n`,
      'latin1',
    );
    return this.#owner.detach();
  }

  /** More bytes of the request are buffered, or may be read again. */
  received(): void {
    while (!this.#requestEnded && (this.#sink || this.#answered) && !this.#paused) {
      const step = this.#decoder.decode(this.#owner.buffered, 0);
      if (step.kind === 'error') {
        this.#bodyFailed(step.reason);
        return;
      }
      this.#owner.consume(step.consumed);
      if (step.kind === 'need-more') {
        // What is missing will not come any more.
        if (this.#owner.halfClosed) this.connection.socket.destroy();
        break;
      }
      if (step.kind === 'end') this.#bodyEnded(step.trailers);
      else this.#bodyData(step.data);
    }
    if (!this.#paused) this.connection.socket.resume();
  }

  clientEnded(): void {
    // Half-closed after a complete request: the answer is still wanted. Its end may be buffered.
    if (!this.#requestEnded) this.received();
  }

  drained(): void {
    this.#owner.deadline = Number.POSITIVE_INFINITY;
    this.onDrain();
  }

  connectionClosed(): void {
    if (!this.#requestEnded) this.#sink?.fail('cancelled');
    if (!this.#answered) this.onClose();
  }

  /** A deadline of the connection has passed during the exchange; true when it was dealt with. */
  expire(now: number): boolean {
    if (this.#answered) return false;
    if (!this.#rateWatched || this.#requestEnded || this.#responded) {
      this.abort();
      // Nobody else tells who answers that the client is given up.
      this.onClose();
      return true;
    }
    const wanted = (this.#owner.options.minBodyRate * RATE_WINDOW_MS) / 1000;
    if (this.#received < wanted && !this.#paused) {
      this.#answered = true;
      this.#sink?.fail('timeout');
      this.#owner.refuse(408, 'slow-body');
    } else this.#watchRate(now);
    return true;
  }

  #watchRate(now: number): void {
    this.#received = 0;
    this.#rateWatched = true;
    this.#owner.deadline = now + RATE_WINDOW_MS;
  }

  #bodyData(data: Buffer): void {
    this.#received += data.length;
    if (this.#answered) {
      this.#dropped += data.length;
      if (this.#dropped > EARLY_ANSWER_DRAIN_BYTES) this.#owner.done(false);
      return;
    }
    if (this.#sink?.data(data) === false) {
      this.#paused = true;
      this.connection.socket.pause();
    }
  }

  #bodyEnded(trailers: RawHeaders): void {
    this.#requestEnded = true;
    if (this.#rateWatched && !this.#responded) this.#owner.deadline = Number.POSITIVE_INFINITY;
    if (this.#answered) this.#settle();
    else this.#sink?.end(trailers);
  }

  #bodyFailed(reason: string): void {
    this.#requestEnded = true;
    this.#sink?.fail('protocol');
    if (this.#responded) this.abort();
    else {
      this.#answered = true;
      this.#owner.refuse(400, reason);
    }
  }

  /** The answer is out: go on when the request has been read too, else read it to its end. */
  #settle(): void {
    if (this.#requestEnded) {
      this.#owner.done(this.#keepAfter);
      return;
    }
    this.#paused = false;
    this.#owner.deadline = performance.now() + LINGER_MS;
    if (!this.#keepAfter || this.head.expectContinue) this.#owner.done(false);
    else this.received();
  }
}
