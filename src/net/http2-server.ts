import { normalizeTarget } from '../wire/http-path.ts';
import type { HeadLimits } from '../wire/http1-head.ts';
import { H2_ERROR } from '../wire/http2-frames.ts';
import type { RequestMessage } from '../wire/http2-message.ts';
import {
  Http2ServerCore,
  type Http2ServerEvents,
  type RefusedRequest,
} from '../wire/http2-server-core.ts';
import type { Http2Stream } from '../wire/http2-stream.ts';
import { deadlines, type Timed } from './deadlines.ts';
import { httpDate } from './http-date.ts';
import type { BodyLength, Page, RequestHead, ServerExchange } from './http-exchange.ts';
import { Http2Exchange } from './http2-exchange.ts';
import type { StreamConnection, TlsInfo } from './stream-connection.ts';
import { coversName } from './tls-server.ts';
import { turnstile } from './turnstile.ts';
import type { Work } from './work.ts';

const LINGER_MS = 1000;
const DRAIN_WAIT_MS = 1000;
const SETTINGS_WAIT_MS = 10_000;
const TICK_MS = 1000;
const STREAM_WINDOW_BYTES = 65_536;
const CONNECTION_WINDOW_BYTES = 1_048_576;
const MAX_STALLED_BYTES = 1_048_576;
const DRAIN_PING = Buffer.from('draining', 'latin1');

/** What a listener demands of its HTTP/2 connections. */
export type Http2ServerOptions = {
  readonly head: HeadLimits;
  readonly encodedSlashes: 'reject' | 'keep';
  readonly slashes: 'keep' | 'merge';
  readonly headerMs: number;
  readonly idleMs: number;
  readonly writeMs: number;
  readonly maxRequests: number;
  /** Bytes per second that a request's body has to come at, over 10 s; 0 for any rate. */
  readonly minBodyRate: number;
  readonly maxConcurrentStreams: number;
};

/** What a connection tells its owner. */
export type Http2ConnectionEvents = {
  /** Whether a request that has come is wanted. */
  admits(): boolean;
  request(exchange: ServerExchange): void;
  /** One that was not admitted: it has to be answered at once. */
  unwanted(exchange: ServerExchange): void;
  /** Something was refused by this engine; status 0 when a stream or the connection was ended. */
  refused(reason: string, status: number): void;
  /** The body of a refusal that is answered. */
  page(status: number): Page;
  /** The connection ends because of what the client did. */
  failed(reason: string): void;
};

/** Connections with something to send: one write each at the end of the turn. */
const waiting: Http2Connection[] = [];

function flushWaiting(): void {
  for (const connection of waiting.splice(0)) connection.flush();
}

/** An HTTP/2 connection of a client: many exchanges at a time. */
export class Http2Connection implements Timed, Http2ServerEvents {
  place = -1;
  readonly connection: StreamConnection;
  readonly options: Http2ServerOptions;
  deadline: number;
  readonly #core: Http2ServerCore;
  readonly #events: Http2ConnectionEvents;
  readonly #settingsBy: number;
  #idleSince = performance.now();
  #blockedSince = 0;
  #blockSince = 0;
  #draining: 'no' | 'announced' | 'final' = 'no';
  #drainAt = Number.POSITIVE_INFINITY;
  #tickAt = Number.POSITIVE_INFINITY;
  #ending = false;
  #paused = false;
  #sentBytes = 0;

  constructor(
    connection: StreamConnection,
    options: Http2ServerOptions,
    events: Http2ConnectionEvents,
  ) {
    this.connection = connection;
    this.options = options;
    this.#events = events;
    this.deadline = performance.now() + options.headerMs;
    this.#settingsBy = performance.now() + SETTINGS_WAIT_MS;
    const core = {
      maxConcurrentStreams: options.maxConcurrentStreams,
      streamWindowBytes: STREAM_WINDOW_BYTES,
      connectionWindowBytes: CONNECTION_WINDOW_BYTES,
      maxHeaderListBytes: options.head.maxHeaderBytes + options.head.maxUriBytes,
    };
    this.#core = new Http2ServerCore(core, options.head, this);
    const { socket } = connection;
    socket.on('data', this.#onData);
    // A client that closes its side is gone: windows and pings need both.
    socket.on('end', this.#onClose);
    socket.on('drain', this.#onDrain);
    socket.on('error', this.#onClose);
    socket.on('close', this.#onClose);
    socket.resume();
    deadlines.add(this);
    const { tls } = connection;
    if (tls && isForbiddenCipher(tls)) {
      this.#core.fail(H2_ERROR.inadequateSecurity, 'inadequate-security');
    }
  }

  /** Tells the client to open nothing new, serves what it has sent, then closes. */
  shutdown(): void {
    if (this.#draining !== 'no' || this.#ending) return;
    this.#draining = 'announced';
    this.#core.announceDrain();
    // What the client sent before it heard of the drain comes before the answer to this.
    this.#core.ping(DRAIN_PING);
    this.#drainAt = performance.now() + DRAIN_WAIT_MS;
    this.#schedule();
  }

  /** The requests under way. */
  get works(): Work[] {
    return [...this.#core.streams.values()].flatMap(({ events }) =>
      events instanceof Http2Exchange && events.work ? [events.work] : [],
    );
  }

  destroy(): void {
    this.connection.socket.destroy();
  }

  // What the engine says.

  output(): void {
    if (waiting.push(this) === 1) setImmediate(flushWaiting);
  }

  refused(reason: string): void {
    this.#events.refused(reason, 0);
  }

  goaway(): void {
    this.#schedule();
  }

  settled(): void {}

  pong(payload: Buffer): void {
    if (this.#draining === 'announced' && payload.equals(DRAIN_PING)) this.#finishDrain();
  }

  failed(_code: number, reason: string): void {
    this.#ending = true;
    this.#events.failed(reason);
  }

  request(stream: Http2Stream, message: RequestMessage | RefusedRequest): void {
    if (this.#core.opened >= this.options.maxRequests) this.shutdown();
    if ('status' in message) {
      // What has not been read may have been a HEAD.
      this.refuse(stream, message.status, message.reason, true);
      return;
    }
    const target = normalizeTarget(
      message.target,
      this.options.encodedSlashes,
      this.options.slashes,
    );
    const bodiless = message.method === 'HEAD';
    if ('error' in target) this.refuse(stream, 400, target.error, bodiless);
    else if (this.#isMisdirected(message.authority))
      this.refuse(stream, 421, 'misdirected', bodiless);
    else {
      const head: RequestHead = {
        version: '2',
        method: message.protocol === undefined ? message.method : 'GET',
        scheme: this.connection.tls ? 'https' : 'http',
        authority: message.authority,
        path: target.path,
        query: target.query,
        headers: message.headers,
        length: bodyLength(stream, message),
        upgrade: message.protocol,
        expectContinue: message.expectContinue,
      };
      const exchange = new Http2Exchange(this, head, stream);
      stream.events = exchange;
      if (!this.#events.admits()) this.#events.unwanted(exchange);
      else if (turnstile.enter(exchange)) this.begin(exchange);
    }
  }

  // What exchanges say.

  /** The turn of a request has come. */
  begin(exchange: Http2Exchange): void {
    this.#events.request(exchange);
  }

  /** Answers a refusal of this engine; the head of the answer must not have gone out. */
  refuse(stream: Http2Stream, status: number, reason: string, bodiless = false): void {
    this.#events.refused(reason, status);
    const page = this.#events.page(status);
    const body = Buffer.from(bodiless ? '' : page.body);
    const fields = [':status', String(status), 'date', httpDate()];
    if (!bodiless) fields.push('content-type', page.contentType);
    fields.push('content-length', String(body.length));
    stream.sendHead(fields, body.length === 0);
    if (body.length === 0) return;
    stream.write(body);
    stream.end();
  }

  /** Ends a stream that its client does not take forward. */
  giveUp(stream: Http2Stream, reason: string): void {
    this.#events.refused(reason, 0);
    const { events } = stream;
    stream.reset(H2_ERROR.cancel);
    events?.reset(H2_ERROR.cancel, 'connection');
  }

  // Socket and time.

  /** Sends what the engine has to send, in one write. */
  flush(): void {
    const { socket } = this.connection;
    if (socket.destroyed) return;
    const chunks = this.#core.takeOutput();
    let room = !socket.writableNeedDrain;
    if (chunks.length === 1) room = socket.write(chunks[0] as Buffer);
    else if (chunks.length > 1) {
      socket.cork();
      for (const chunk of chunks) room = socket.write(chunk);
      socket.uncork();
    }
    this.#core.flushed(!room);
    if (!room) {
      if (this.#blockedSince === 0) this.#blockedSince = performance.now();
      if (this.#core.backlogged && !this.#paused) {
        this.#paused = true;
        socket.pause();
      }
    }
    if (this.#ending) this.#linger();
    else this.#schedule();
  }

  expire(now: number): void {
    if (this.#ending) this.destroy();
    else if (now >= this.#drainAt) this.#finishDrain();
    else if (this.#isOverdue(now)) this.#end();
    else if (this.#core.settled && !this.#core.acknowledged && now >= this.#settingsBy) {
      this.#core.fail(H2_ERROR.settingsTimeout, 'settings-timeout');
    } else {
      if (now >= this.#tickAt) this.#tick(now);
      this.#schedule();
    }
  }

  readonly #onData = (data: Buffer) => {
    if (this.#ending) return;
    this.#core.receive(data, performance.now());
    if (!this.#ending) this.#schedule();
  };

  readonly #onDrain = () => {
    this.#blockedSince = 0;
    this.#core.flushed(false);
    if (!this.#paused) return;
    this.#paused = false;
    this.connection.socket.resume();
  };

  readonly #onClose = () => {
    deadlines.delete(this);
    this.#ending = true;
    this.#core.connectionEnded();
    this.connection.socket.destroy();
  };

  #finishDrain(): void {
    this.#draining = 'final';
    this.#drainAt = Number.POSITIVE_INFINITY;
    this.#core.finishDrain();
    this.#schedule();
  }

  /** Whether the whole connection has waited too long: for a head, a request or its reader. */
  #isOverdue(now: number): boolean {
    const { headerMs, idleMs, writeMs } = this.options;
    const headless = this.#blockSince > 0 && now - this.#blockSince >= headerMs;
    if (headless || !this.#core.settled) {
      this.#events.refused('header-timeout', 0);
      return true;
    }
    if (this.#blockedSince > 0 && now - this.#blockedSince >= writeMs) {
      this.#events.refused('write-timeout', 0);
      this.destroy();
      return true;
    }
    return this.#core.streams.size === 0 && now - this.#idleSince >= idleMs;
  }

  /** Looks at every stream for what takes too long. */
  #tick(now: number): void {
    const core = this.#core;
    this.#tickAt = Number.POSITIVE_INFINITY;
    const stalled = core.queuedBytes > MAX_STALLED_BYTES && core.sentBytes === this.#sentBytes;
    this.#sentBytes = core.sentBytes;
    const streams = [...core.streams.values()];
    for (const stream of streams) {
      if (stream.events instanceof Http2Exchange) stream.events.tick(now);
    }
    if (!stalled) return;
    // A client with closed windows does not get to keep more than this here, the newest go first.
    for (const stream of streams.reverse()) {
      if (core.queuedBytes <= MAX_STALLED_BYTES) return;
      if (stream.outbox.bytes > 0) this.giveUp(stream, 'stalled-buffer');
    }
  }

  /** Sets the next moment at which something has to be looked at. */
  #schedule(): void {
    if (this.#ending) return;
    const core = this.#core;
    const now = performance.now();
    const busy = core.streams.size > 0;
    // Whatever moves on the connection, its streams are looked at when it is time.
    if (busy && this.#tickAt === Number.POSITIVE_INFINITY) this.#tickAt = now + TICK_MS;
    if (busy) this.#idleSince = now;
    else if (this.#draining === 'final') {
      this.#end();
      return;
    }
    if (!core.insideBlock) this.#blockSince = 0;
    else if (this.#blockSince === 0) this.#blockSince = now;
    if (!core.settled) return;
    const { headerMs, idleMs, writeMs } = this.options;
    this.deadline = Math.min(
      this.#drainAt,
      busy ? this.#tickAt : this.#idleSince + idleMs,
      core.acknowledged ? Number.POSITIVE_INFINITY : this.#settingsBy,
      this.#blockSince > 0 ? this.#blockSince + headerMs : Number.POSITIVE_INFINITY,
      this.#blockedSince > 0 ? this.#blockedSince + writeMs : Number.POSITIVE_INFINITY,
    );
  }

  /** Ends the connection in good order. */
  #end(): void {
    if (this.#ending) return;
    this.#ending = true;
    if (this.#draining !== 'final') this.#core.goaway(this.#core.lastOpened, H2_ERROR.none);
    this.output();
  }

  #linger(): void {
    const { socket } = this.connection;
    if (socket.writableEnded) return;
    socket.end();
    // Whatever still comes is dropped, so that no reset overtakes what has been said.
    socket.resume();
    this.deadline = performance.now() + LINGER_MS;
  }

  /** Whether a name is asked for that the certificate of this connection does not stand for. */
  #isMisdirected(authority: string): boolean {
    const { tls } = this.connection;
    if (tls?.serverName === undefined) return false;
    const host = authority.replace(/:\d*$/, '');
    return host !== tls.serverName && !coversName(tls.certificateNames, host);
  }
}

/**
 * Whether a cipher is one that HTTP/2 does not allow: of TLS 1.2 all but ephemeral key exchanges
 * with authenticated encryption. Source: RFC 9113 section 9.2.2 and appendix A.
 */
function isForbiddenCipher({ version, cipher }: TlsInfo): boolean {
  return version !== 'TLSv1.3' && !/^(?:EC)?DHE-.*(?:GCM|CCM|CHACHA20)/.test(cipher);
}

/** The length of a request's body; exact when all of it is here already. */
function bodyLength(stream: Http2Stream, message: RequestMessage): BodyLength {
  if (message.protocol !== undefined) return 0;
  const trailers = stream.pendingTrailers;
  if (trailers) return trailers.length > 0 ? 'chunked' : stream.receivedBytes;
  return message.contentLength ?? 'chunked';
}
