import { findField } from '../wire/fields.ts';
import { encodeControls } from '../wire/http1-write.ts';
import { H2_ERROR } from '../wire/http2-frames.ts';
import { appendFields, type ResponseMessage } from '../wire/http2-message.ts';
import type { Http2Stream, StreamEndCause, StreamEvents } from '../wire/http2-stream.ts';
import { websocketAccept } from '../wire/websocket-handshake.ts';
import type {
  BodyLength,
  ClientExchange,
  ExchangeFailure,
  OutgoingRequest,
  ResponseSink,
} from './http-exchange.ts';
import type { Http2ClientConnection } from './http2-client-connection.ts';
import { StreamTunnel } from './stream-tunnel.ts';

/** Fields of an opening handshake that extended CONNECT does without. Source: RFC 8441, 5. */
const HANDSHAKE_ONLY = new Set(['sec-websocket-key', 'sec-websocket-accept']);

/** One request to an endpoint over HTTP/2: first it waits for a connection, then it is a stream. */
export class Http2Call implements ClientExchange, StreamEvents {
  readonly request: OutgoingRequest;
  readonly #sink: ResponseSink;
  #stream: Http2Stream | undefined;
  #connection: Http2ClientConnection | undefined;
  #early: Buffer[] = [];
  #earlyEnd: string[] | undefined;
  #forget: () => void = () => {};
  #reused = false;
  #over = false;
  #received = 0;
  #headReceived = false;

  constructor(request: OutgoingRequest, sink: ResponseSink) {
    this.request = request;
    this.#sink = sink;
  }

  get over(): boolean {
    return this.#over;
  }

  /** While it waits: what `cancel` has to take it from. */
  whileWaiting(forget: () => void): void {
    this.#forget = forget;
  }

  /** Sends the request's head, and what has been written so far, on a connection with room. */
  start(connection: Http2ClientConnection, reused: boolean): void {
    this.#forget = () => {};
    const { method, length, upgrade } = this.request;
    if (upgrade && !connection.takesTunnels) {
      this.fail('protocol');
      return;
    }
    this.#connection = connection;
    this.#reused = reused;
    const end = !upgrade && length === 0;
    const stream = connection.open(this.#fields(), this, { end, bodiless: method === 'HEAD' });
    this.#stream = stream;
    const early = this.#early;
    this.#early = [];
    for (const chunk of early) stream.write(chunk);
    if (this.#earlyEnd) stream.end(this.#earlyEnd);
    else if (early.length > 0 && !this.#over) this.#sink.drain();
  }

  fail(failure: ExchangeFailure, unprocessed = false): void {
    if (this.#over) return;
    this.#over = true;
    const detail = { reused: this.#reused, bytesReceived: this.#received, unprocessed };
    this.#sink.fail(failure, detail);
  }

  // What the session asks.

  write(chunk: Buffer): boolean {
    if (this.#over || chunk.length === 0) return true;
    if (this.#stream) return this.#stream.write(chunk);
    this.#early.push(chunk);
    return false;
  }

  end(trailers: string[] = []): void {
    if (this.#over || this.request.upgrade) return;
    const fields: string[] = [];
    appendFields(fields, trailers);
    if (this.#stream) this.#stream.end(fields);
    else this.#earlyEnd = fields;
  }

  resumeBody(): void {
    this.#stream?.resume();
  }

  cancel(): void {
    if (this.#over) return;
    this.#over = true;
    this.#forget();
    this.#stream?.reset(H2_ERROR.cancel);
    if (this.#received === 0) this.#connection?.suspect();
  }

  // What the stream says.

  response(message: ResponseMessage, ended: boolean): void {
    if (this.#over) return;
    this.#received++;
    const { status, headers } = message;
    if (status < 200) {
      if (status !== 100) this.#sink.inform(status, headers);
      return;
    }
    this.#headReceived = true;
    if (this.request.upgrade && status === 200 && this.#stream) this.#upgrade(headers);
    else this.#sink.head({ status, headers, length: this.#lengthOf(message, ended) });
  }

  data(chunk: Buffer): boolean {
    if (this.#over) return true;
    this.#received += chunk.length;
    return this.#sink.data(chunk);
  }

  ended(trailers: string[]): void {
    if (this.#over) return;
    this.#over = true;
    // The answer is complete: whatever of the request has not gone out is for nothing.
    if (this.#stream?.localEnded === false) this.#stream.reset(H2_ERROR.none);
    this.#sink.end(trailers);
  }

  reset(code: number, cause: StreamEndCause): void {
    const refused = cause === 'peer' && code === H2_ERROR.refusedStream && !this.#headReceived;
    if (cause === 'malformed' || (cause === 'peer' && code === H2_ERROR.http11Required)) {
      this.fail('protocol');
      return;
    }
    if (this.#connection?.foreign) {
      this.fail('protocol');
      return;
    }
    // A reset of this stream alone is no race with a connection that closes.
    if (cause === 'peer') this.#reused = false;
    this.fail('reset', refused || cause === 'unprocessed');
  }

  drain(): void {
    if (!this.#over) this.#sink.drain();
  }

  #fields(): string[] {
    const { method, scheme, authority, target, headers, length, upgrade } = this.request;
    const fields = [':method', upgrade ? 'CONNECT' : method, ':scheme', scheme];
    fields.push(':authority', authority, ':path', encodeControls(target));
    if (upgrade) fields.push(':protocol', upgrade);
    appendFields(fields, upgrade ? withoutHandshake(headers) : headers);
    const states = method === 'POST' || method === 'PUT' || method === 'PATCH';
    if (!upgrade && length !== 'chunked' && (length > 0 || states)) {
      fields.push('content-length', String(length));
    }
    return fields;
  }

  #lengthOf({ status, contentLength }: ResponseMessage, ended: boolean): BodyLength {
    if (this.request.method === 'HEAD') return contentLength ?? 0;
    if (ended || status === 204 || status === 304) return 0;
    return contentLength ?? 'chunked';
  }

  #upgrade(headers: string[]): void {
    this.#over = true;
    const answer = withoutHandshake(headers);
    const at = findField(this.request.headers, 'sec-websocket-key');
    const key = at < 0 ? undefined : this.request.headers[at + 1];
    if (key !== undefined) answer.push('sec-websocket-accept', websocketAccept(key));
    this.#sink.upgraded(answer, new StreamTunnel(this.#stream as Http2Stream));
  }
}

function withoutHandshake(headers: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] as string;
    if (!HANDSHAKE_ONLY.has(name.toLowerCase())) kept.push(name, headers[at + 1] as string);
  }
  return kept;
}
