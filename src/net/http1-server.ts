import { performance } from 'node:perf_hooks';
import type { Duplex } from 'node:stream';
import { normalizeTarget } from '../wire/http-path.ts';
import { BodyDecoder } from '../wire/http1-body.ts';
import { type HeadLimits, parseRequestHead, type RequestHead1 } from '../wire/http1-head.ts';
import { endToEnd, responseHead } from '../wire/http1-write.ts';
import { PREFACE } from '../wire/http2-frames.ts';
import { deadlines, type Timed } from './deadlines.ts';
import { readDirectly } from './direct-read.ts';
import { hasGoneOut } from './direct-write.ts';
import { httpDate } from './http-date.ts';
import type { Page, RequestHead, ServerExchange } from './http-exchange.ts';
import { Http1Exchange } from './http1-exchange.ts';
import type { StreamConnection } from './stream-connection.ts';
import { turnstile, type Waiter } from './turnstile.ts';
import type { Work } from './work.ts';

const EMPTY = Buffer.alloc(0);
const LINGER_MS = 1000;
const MAX_BUFFERED = 65_536;
/**
 * How long a client that was not wanted is to wait, in seconds. What it sends before is not looked at
 * while others are refused: whoever asks again at once would otherwise keep this process busy with
 * refusals.
 */
export const RETRY_AFTER_S = 3;
/** How often it is asked whether that is over. */
const HUSHED_MS = 250;

/** What a listener demands of its HTTP/1 connections. */
export type Http1Options = {
  readonly head: HeadLimits;
  readonly encodedSlashes: 'reject' | 'keep';
  readonly slashes: 'keep' | 'merge';
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
  /** Whether a request that begins to come is wanted; asked before it is looked at. */
  admits(): boolean;
  /** Whether who was refused is still to keep quiet. */
  hushes(): boolean;
  request(exchange: ServerExchange): void;
  /** One that was not admitted: it has to be answered at once. */
  unwanted(exchange: ServerExchange): void;
  /** The client speaks HTTP/2: the socket is given back as it came. */
  http2(): void;
  /** A refusal by this engine of what has come: it has been answered and the connection closes. */
  refused(reason: string, status: number, bytes: Buffer): void;
  /** The body of such an answer. */
  page(status: number): Page;
};

/** An HTTP/1.1 connection of a client: one exchange at a time, answers in order. */
export class Http1Connection implements Timed, Waiter {
  readonly connection: StreamConnection;
  readonly options: Http1Options;
  place = -1;
  deadline: number;
  waitsSince = 0;
  readonly #events: Http1Events;
  #buffer: Buffer = EMPTY;
  #searched = 0;
  #exchange: Http1Exchange | undefined;
  #served = 0;
  #closing = false;
  /** The client has asked for nothing after this request, which has no body: nothing can be on its way. */
  #last = false;
  #idleWaits = false;
  #ended = false;
  /** The client sends nothing more, but what has come is still served. */
  #halfClosed = false;
  #tunnel = false;
  #serving = false;
  #waiting = false;
  #admitted = true;
  #quietUntil = 0;
  /** Whether the memory of what came last is needed on. */
  #kept = false;
  readonly #stopReading: () => void;

  constructor(connection: StreamConnection, options: Http1Options, events: Http1Events) {
    this.connection = connection;
    this.options = options;
    this.#events = events;
    this.deadline = performance.now() + options.headerMs;
    const { socket } = connection;
    this.#stopReading = readDirectly(
      socket,
      this.#onData,
      () => !this.#kept && this.#buffer.length === 0,
    );
    socket.on('end', this.#onEnd);
    socket.on('drain', this.#onDrain);
    socket.on('error', this.#onClose);
    socket.on('close', this.#onClose);
    socket.resume();
    deadlines.add(this);
  }

  get idle(): boolean {
    return !this.#exchange && !this.#tunnel && this.#buffer.length === 0;
  }

  /** The request under way. */
  get works(): Work[] {
    const work = this.#exchange?.work;
    return work ? [work] : [];
  }

  /**
   * Finishes the exchange under way, then closes. An idle connection closes at once, or waits for a
   * request that may be on its way already, answers it and closes then.
   */
  shutdown(idle: 'close' | 'wait'): void {
    this.#closing = true;
    this.#idleWaits = idle === 'wait';
    if (!this.#idleWaits && this.idle) this.#end();
  }

  get closing(): boolean {
    return this.#closing;
  }

  destroy(): void {
    this.connection.socket.destroy();
  }

  expire(now: number): void {
    if (this.#waiting) {
      this.#waiting = false;
      this.#arrived();
      return;
    }
    if (this.#exchange?.expire(now)) return;
    if (!this.#exchange && this.#buffer.length > 0 && !this.#ended)
      this.refuse(408, 'header-timeout');
    else this.destroy();
  }

  /** Answers a refusal and closes, in a way that lets the client read it. */
  refuse(status: number, reason: string, bytes = this.#buffer): void {
    this.#events.refused(reason, status, bytes);
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
      if (this.#last && this.#buffer.length === 0 && hasGoneOut(this.connection.socket)) {
        this.#ended = true;
        this.destroy();
      } else {
        this.#end();
        this.#linger();
      }
      return;
    }
    this.#searched = 0;
    this.deadline = performance.now() + this.options.idleMs;
    this.connection.socket.resume();
    if (this.#buffer.length > 0) this.#arrived();
    else if (this.#halfClosed) this.#end();
  }

  /** The request that came has waited for its turn. */
  pass(): void {
    this.#waiting = false;
    if (!this.#ended) this.#serve();
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
    if (this.#buffer.length > 0) {
      this.#kept = true;
      socket.unshift(this.#buffer);
    }
    this.#buffer = EMPTY;
    return socket;
  }

  /** Takes `used` bytes off what is buffered. */
  consume(used: number): void {
    this.#buffer = used >= this.#buffer.length ? EMPTY : this.#buffer.subarray(used);
  }

  /** Something that came is still needed. */
  keeps(): void {
    this.#kept = true;
  }

  get buffered(): Buffer {
    return this.#buffer;
  }

  get halfClosed(): boolean {
    return this.#halfClosed;
  }

  #end(): void {
    const { socket } = this.connection;
    // To end one twice makes an error with a stack, which nobody hears of.
    if (!socket.writableEnded) socket.end();
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
    this.#kept = false;
    this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data]);
    if (this.#exchange) this.#exchange.received();
    else if (this.#searched > 0) this.#serve();
    else if (!this.#waiting) this.#arrived();
    if (this.#buffer.length > MAX_BUFFERED) this.connection.socket.pause();
  };

  readonly #onEnd = () => {
    this.#halfClosed = true;
    if (this.#exchange) this.#exchange.clientEnded();
    else if (!this.#waiting) this.#end();
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

  /** A request begins to come: it is turned away, served, or waits for its turn. */
  #arrived(): void {
    const now = performance.now();
    const quiet = now < this.#quietUntil && this.#events.hushes();
    this.#admitted = quiet || this.#events.admits();
    this.#waiting = quiet || (this.#admitted && !turnstile.enter(this, now));
    if (this.#waiting) this.deadline = quiet ? now + HUSHED_MS : Number.POSITIVE_INFINITY;
    else this.#serve(now);
    if (!this.#admitted) this.#quietUntil = now + RETRY_AFTER_S * 1000;
  }

  /** Serves what is buffered, request by request; an answer given at once does not nest. */
  #serve(now = performance.now()): void {
    if (this.#serving) return;
    this.#serving = true;
    let before: number;
    do {
      before = this.#buffer.length;
      this.#next(now);
    } while (
      !this.#exchange &&
      !this.#ended &&
      !this.#waiting &&
      this.#buffer.length > 0 &&
      this.#buffer.length < before
    );
    this.#serving = false;
    if (this.#halfClosed && !this.#exchange && !this.#waiting) this.#end();
  }

  #next(now: number): void {
    // An empty line before a request is tolerated. Source: RFC 9112 section 2.2.
    if (this.#buffer[0] === 13 && this.#buffer[1] === 10) this.consume(2);
    if (this.#buffer.length === 0) return;
    if (this.#searched === 0) this.deadline = now + this.options.headerMs;
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
    const bytes = this.#buffer;
    this.consume(result.consumed);
    this.#begin(result.value, bytes);
  }

  #begin(head: RequestHead1, bytes: Buffer): void {
    const target = normalizeTarget(head.target, this.options.encodedSlashes, this.options.slashes);
    if ('error' in target) {
      this.refuse(400, target.error, bytes);
      return;
    }
    this.#served++;
    this.#last = !head.keepAlive && head.framing.kind === 'none';
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
    if (this.#admitted) this.#events.request(this.#exchange);
    else this.#events.unwanted(this.#exchange);
  }
}

/** Whether bytes begin as an HTTP/2 connection does, as far as there are any. */
function isPreface(bytes: Buffer): boolean {
  const size = Math.min(bytes.length, PREFACE.length);
  return bytes[0] === PREFACE[0] && bytes.compare(PREFACE, 0, size, 0, size) === 0;
}
