import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { findField } from '../wire/fields.ts';
import { BodyDecoder, chunkHeader, lastChunk } from '../wire/http1-body.ts';
import { parseResponseHead, type ResponseHead1 } from '../wire/http1-head.ts';
import { endToEnd, requestHead } from '../wire/http1-write.ts';
import { websocketAccept } from '../wire/websocket-handshake.ts';
import { hasGoneOut, writeDirectly } from './direct-write.ts';
import type {
  BodyLength,
  ClientExchange,
  ExchangeFailure,
  OutgoingRequest,
  ResponseSink,
} from './http-exchange.ts';

const EMPTY = Buffer.alloc(0);
const MAX_INTERIM = 16;
/** Most bytes of an answer that nobody wants any more, so that those behind it still come. */
const MAX_UNWANTED = 65_536;

/** What a call needs of the connection that carries it. */
export interface CallConnection {
  readonly socket: Socket;
  /** Sends a request's head. */
  sendHead(text: string): void;
  /**
   * The call is over. `rest` is what came after its answer; only a clean end leaves a connection
   * that can serve again.
   */
  release(clean: boolean, rest: Buffer): void;
  /** The call's answer is not wanted any more; true: it has to be read all the same. */
  abandon(call: Http1Call): boolean;
  /** Something that came is still needed. */
  keeps(): void;
  /** Gives the socket away, with nothing listening to it. */
  detach(): Socket;
}

/** Takes an answer that nobody wants. */
const NOBODY: ResponseSink = {
  inform() {},
  head() {},
  data: () => true,
  passedOn: () => true,
  end() {},
  upgraded() {},
  fail() {},
  drain() {},
};

/** Whether TE is sent, which `Connection` has to name. Source: RFC 9110 section 10.1.4. */
function hasTe(headers: readonly string[]): boolean {
  for (let at = 0; at < headers.length; at += 2) if (headers[at] === 'te') return true;
  return false;
}

/** One request on a connection and the answer to it. */
export class Http1Call implements ClientExchange {
  readonly #request: OutgoingRequest;
  #sink: ResponseSink;
  #connection: CallConnection | undefined;
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

  /** Sends the request; `reused` tells that the connection has served before. */
  start(connection: CallConnection, reused: boolean): void {
    if (this.#over) {
      connection.release(false, EMPTY);
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
    connection.sendHead(requestHead(method, target, authority, headers, framing));
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

  get hasGoneOut(): boolean {
    return this.#connection !== undefined && hasGoneOut(this.#connection.socket);
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
    this.#dialing?.cancel();
    if (this.#connection?.abandon(this)) {
      this.#sink = NOBODY;
      this.resumeBody();
    } else this.#over = true;
  }

  drained(): void {
    this.#sink.drain();
  }

  /** Whether something that came is to be read on. */
  get unread(): boolean {
    return this.#buffer.length > 0;
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
    this.#connection?.release(false, EMPTY);
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
    if (this.#buffer.length > 0) {
      this.#connection?.keeps();
      socket.unshift(this.#buffer);
    }
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
    if (this.#sink === NOBODY && this.#received > MAX_UNWANTED) {
      this.connectionEnded('reset');
      return;
    }
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
      else this.#pass(step.data);
    }
  }

  #pass(data: Buffer): void {
    const room = this.#sink.data(data);
    if (!this.#sink.passedOn?.()) this.#connection?.keeps();
    if (room || this.#over) return;
    this.#paused = true;
    this.#connection?.socket.pause();
  }

  #finish(trailers: string[]): void {
    if (this.#over) return;
    this.#over = true;
    // A request still on its way spoils the connection for the next.
    const clean = this.#sent && this.#head?.keepAlive === true;
    this.#connection?.release(clean, this.#buffer);
    this.#sink.end(trailers);
  }
}
