import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { systemCode } from '../base/errors.ts';
import { findField } from '../wire/fields.ts';
import { BodyDecoder, chunkHeader, lastChunk } from '../wire/http1-body.ts';
import { parseResponseHead, type ResponseHead1 } from '../wire/http1-head.ts';
import { endToEnd, requestHead } from '../wire/http1-write.ts';
import { websocketAccept } from '../wire/websocket-handshake.ts';
import { deadlines, type Timed } from './deadlines.ts';
import { readDirectly } from './direct-read.ts';
import { writeDirectly } from './direct-write.ts';
import type {
  BodyLength,
  ClientExchange,
  ExchangeFailure,
  HttpClientPool,
  OutgoingRequest,
  RequestOptions,
  ResponseSink,
} from './http-exchange.ts';

const EMPTY = Buffer.alloc(0);
const MAX_INTERIM = 16;
/**
 * How long connections beyond those that are kept wait for the next burst of requests, each a little
 * longer than the one before. To close them at once would mean to open as many again in a moment.
 */
const SURPLUS_MS = 1000;

/** Opens one connection to the endpoint; plain or TLS is the caller's choice. */
export type Dial = (
  connectMs: number,
  done: (result: Socket | ExchangeFailure) => void,
) => { cancel(): void };

/** What bounds a pool. */
export type PoolOptions = { readonly maxIdle: number; readonly idleMs: number };

/** Kept connections to one endpoint: the one used last is used first. */
export class Http1Pool implements HttpClientPool {
  readonly #dial: Dial;
  readonly #options: PoolOptions;
  readonly #idle: ClientConnection[] = [];
  #closed = false;

  constructor(dial: Dial, options: PoolOptions) {
    this.#dial = dial;
    this.#options = options;
  }

  get idle(): number {
    return this.#idle.length;
  }

  request(request: OutgoingRequest, sink: ResponseSink, options: RequestOptions): ClientExchange {
    const exchange = new Http1Call(request, sink);
    const kept = options.fresh ? undefined : this.#idle.pop();
    if (kept) kept.run(exchange, true);
    else {
      const dialing = this.#dial(options.connectMs, (result) => {
        if (typeof result === 'string') exchange.failed(result, false, 0);
        else new ClientConnection(result, this).run(exchange, false);
      });
      exchange.whileDialing(dialing);
    }
    return exchange;
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#idle.splice(0)) connection.destroy();
  }

  /** Takes a connection back after a clean exchange. */
  keep(connection: ClientConnection): void {
    if (this.#closed) {
      connection.destroy();
      return;
    }
    const { maxIdle, idleMs } = this.#options;
    const surplus = this.#idle.length - maxIdle;
    const keepMs = surplus < 0 ? idleMs : Math.min(idleMs, SURPLUS_MS + surplus / 4);
    connection.deadline = performance.now() + keepMs;
    this.#idle.push(connection);
  }

  /** Forgets a connection that ended while it was idle. */
  forget(connection: ClientConnection): void {
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }
}

class ClientConnection implements Timed {
  readonly socket: Socket;
  place = -1;
  deadline = Number.POSITIVE_INFINITY;
  readonly #pool: Http1Pool;
  #call: Http1Call | undefined;
  readonly #stopReading: () => void;

  constructor(socket: Socket, pool: Http1Pool) {
    this.socket = socket;
    this.#pool = pool;
    this.#stopReading = readDirectly(socket, this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
    socket.on('drain', this.#onDrain);
    deadlines.add(this);
  }

  run(call: Http1Call, reused: boolean): void {
    this.#call = call;
    this.deadline = Number.POSITIVE_INFINITY;
    call.start(this, reused);
  }

  /** The exchange is over; only a clean one leaves a connection that can serve again. */
  release(clean: boolean): void {
    this.#call = undefined;
    if (clean) this.#pool.keep(this);
    else this.destroy();
  }

  detach(): Socket {
    const { socket } = this;
    this.#stopReading();
    socket.off('end', this.#onEnd);
    socket.off('error', this.#onError);
    socket.off('close', this.#onClose);
    socket.off('drain', this.#onDrain);
    deadlines.delete(this);
    this.#call = undefined;
    socket.pause();
    return socket;
  }

  destroy(): void {
    this.#call = undefined;
    this.socket.destroy();
  }

  expire(): void {
    this.#pool.forget(this);
    this.destroy();
  }

  readonly #onData = (data: Buffer) => {
    if (this.#call) this.#call.received(data);
    else this.expire();
  };

  readonly #onEnd = () => {
    const call = this.#call;
    if (call) call.finished();
    else this.expire();
  };

  readonly #onError = (error: Error) => {
    const code = systemCode(error);
    this.#call?.connectionEnded(code === 'ECONNREFUSED' ? 'refused' : 'reset');
  };

  readonly #onClose = () => {
    deadlines.delete(this);
    this.#pool.forget(this);
    this.#call?.connectionEnded('reset');
  };

  readonly #onDrain = () => this.#call?.drained();
}

/** Whether TE is sent, which `Connection` has to name. Source: RFC 9110 section 10.1.4. */
function hasTe(headers: readonly string[]): boolean {
  for (let at = 0; at < headers.length; at += 2) if (headers[at] === 'te') return true;
  return false;
}

/** One request on a connection and the answer to it. */
class Http1Call implements ClientExchange {
  readonly #request: OutgoingRequest;
  readonly #sink: ResponseSink;
  #connection: ClientConnection | undefined;
  #dialing: { cancel(): void } | undefined;
  #early: (Buffer | undefined)[] = [];
  #earlyTrailers: string[] = [];
  #reused = false;
  #sent = false;
  #over = false;
  #received = 0;
  #buffer: Buffer = EMPTY;
  #searched = 0;
  #interims = 0;
  #head: ResponseHead1 | undefined;
  #decoder: BodyDecoder | undefined;
  #paused = false;
  #websocketKey: string | undefined;

  constructor(request: OutgoingRequest, sink: ResponseSink) {
    this.#request = request;
    this.#sink = sink;
    this.#sent = request.length === 0;
  }

  whileDialing(dialing: { cancel(): void }): void {
    if (!this.#connection && !this.#over) this.#dialing = dialing;
  }

  start(connection: ClientConnection, reused: boolean): void {
    if (this.#over) {
      connection.destroy();
      return;
    }
    this.#dialing = undefined;
    this.#connection = connection;
    this.#reused = reused;
    const { method, target, authority, headers, length, upgrade } = this.#request;
    let framing = '';
    if (length === 'chunked') framing = 'transfer-encoding: chunked\r\n';
    else if (length > 0 || method === 'POST' || method === 'PUT' || method === 'PATCH') {
      framing = `content-length: ${length}\r\n`;
    }
    if (upgrade) framing += this.#upgradeLines(upgrade, headers);
    else if (hasTe(headers)) framing += 'connection: te\r\n';
    writeDirectly(connection.socket, requestHead(method, target, authority, headers, framing));
    const early = this.#early;
    this.#early = [];
    for (const chunk of early) {
      if (chunk) this.write(chunk);
      else this.end(this.#earlyTrailers);
    }
    if (early.length > 0) this.#sink.drain();
  }

  write(chunk: Buffer): boolean {
    if (this.#over) return true;
    const socket = this.#connection?.socket;
    if (!socket) {
      this.#early.push(chunk);
      return false;
    }
    if (this.#request.length !== 'chunked') return writeDirectly(socket, chunk);
    if (chunk.length === 0) return true;
    socket.cork();
    socket.write(chunkHeader(chunk.length), 'latin1');
    socket.write(chunk);
    const room = socket.write('\r\n', 'latin1');
    socket.uncork();
    return room;
  }

  end(trailers: string[] = []): void {
    if (this.#over || this.#request.length === 0) return;
    if (!this.#connection) {
      this.#earlyTrailers = trailers;
      this.#early.push(undefined);
      return;
    }
    this.#sent = true;
    if (this.#request.length === 'chunked') {
      this.#connection.socket.write(lastChunk(trailers), 'latin1');
    }
  }

  resumeBody(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#connection?.socket.resume();
    this.#readBody();
  }

  cancel(): void {
    if (this.#over) return;
    this.#over = true;
    this.#dialing?.cancel();
    this.#connection?.release(false);
  }

  drained(): void {
    this.#sink.drain();
  }

  received(data: Buffer): void {
    this.#received += data.length;
    this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data]);
    if (this.#head) this.#readBody();
    else this.#readHead();
  }

  /** The endpoint has sent all it will: a clean end for a body that has no other. */
  finished(): void {
    if (this.#decoder?.endsWithConnection) this.#finish([]);
    else this.connectionEnded('reset');
  }

  connectionEnded(failure: ExchangeFailure): void {
    if (this.#over) return;
    this.failed(failure, this.#reused, this.#received);
  }

  failed(failure: ExchangeFailure, reused: boolean, bytesReceived: number): void {
    if (this.#over) return;
    this.#over = true;
    this.#connection?.release(false);
    this.#sink.fail(failure, { reused, bytesReceived });
  }

  #readHead(): void {
    while (!this.#head && !this.#over) {
      const result = parseResponseHead(this.#buffer, 0, this.#request.method, this.#searched);
      if (result.kind === 'need-more') {
        this.#searched = this.#buffer.length;
        return;
      }
      if (result.kind === 'error') {
        this.failed('protocol', this.#reused, this.#received);
        return;
      }
      this.#buffer = this.#buffer.subarray(result.consumed);
      this.#searched = 0;
      if (result.value.status < 200) this.#interim(result.value);
      else this.#begin(result.value);
    }
  }

  #interim({ status, headers }: ResponseHead1): void {
    this.#interims++;
    if (status === 101 && this.#request.upgrade) this.#upgrade(headers);
    else if (status === 101 || this.#interims > MAX_INTERIM) {
      this.failed('protocol', this.#reused, this.#received);
    } else if (status !== 100) this.#sink.inform(status, endToEnd(headers, false));
  }

  /** A WebSocket that did not come over HTTP/1 brings no key: it gets one here. */
  #upgradeLines(upgrade: string, headers: readonly string[]): string {
    const lines = `connection: upgrade\r\nupgrade: ${upgrade}\r\n`;
    if (upgrade !== 'websocket' || findField(headers, 'sec-websocket-key') >= 0) return lines;
    this.#websocketKey = randomBytes(16).toString('base64');
    return `${lines}sec-websocket-key: ${this.#websocketKey}\r\n`;
  }

  #upgrade(headers: string[]): void {
    if (this.#websocketKey !== undefined) {
      const at = findField(headers, 'sec-websocket-accept');
      if (at < 0 || headers[at + 1] !== websocketAccept(this.#websocketKey)) {
        this.failed('protocol', this.#reused, this.#received);
        return;
      }
      headers.splice(at, 2);
    }
    this.#over = true;
    const socket = this.#connection?.detach();
    if (!socket) return;
    if (this.#buffer.length > 0) socket.unshift(this.#buffer);
    this.#sink.upgraded(endToEnd(headers, false), socket);
  }

  #begin(head: ResponseHead1): void {
    this.#head = head;
    this.#decoder = new BodyDecoder(head.framing);
    const { framing } = head;
    let length: BodyLength = 'chunked';
    if (framing.kind === 'length') length = framing.length;
    else if (framing.kind === 'none') length = this.#announced(head);
    this.#sink.head({ status: head.status, headers: endToEnd(head.headers, false), length });
    this.#readBody();
  }

  /** The length that an answer without a body states, as to HEAD; else 0. */
  #announced({ headers }: ResponseHead1): number {
    if (this.#request.method !== 'HEAD') return 0;
    for (let at = 0; at < headers.length; at += 2) {
      if ((headers[at] as string).toLowerCase() === 'content-length')
        return Number(headers[at + 1]);
    }
    return 0;
  }

  #readBody(): void {
    while (!this.#over && !this.#paused && this.#decoder) {
      const step = this.#decoder.decode(this.#buffer, 0);
      if (step.kind === 'error') {
        this.failed('protocol', this.#reused, this.#received);
        return;
      }
      this.#buffer =
        step.consumed === this.#buffer.length ? EMPTY : this.#buffer.subarray(step.consumed);
      if (step.kind === 'need-more') return;
      if (step.kind === 'end') this.#finish(step.trailers);
      else if (!this.#sink.data(step.data) && !this.#over) {
        this.#paused = true;
        this.#connection?.socket.pause();
      }
    }
  }

  #finish(trailers: string[]): void {
    if (this.#over) return;
    this.#over = true;
    // Bytes beyond the answer, or a request still on its way, spoil the connection for the next.
    const clean = this.#sent && this.#head?.keepAlive === true && this.#buffer.length === 0;
    this.#connection?.release(clean);
    this.#sink.end(trailers);
  }
}
