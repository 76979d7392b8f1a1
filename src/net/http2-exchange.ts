import type { Duplex } from 'node:stream';
import { findField } from '../wire/fields.ts';
import { isGrpcContentType } from '../wire/grpc.ts';
import { H2_ERROR } from '../wire/http2-frames.ts';
import { appendFields } from '../wire/http2-message.ts';
import type { Http2Stream, StreamEndCause, StreamEvents } from '../wire/http2-stream.ts';
import type {
  BodySink,
  RawHeaders,
  RequestHead,
  ResponseHead,
  ServerExchange,
} from './http-exchange.ts';
import type { Http2Connection } from './http2-server.ts';
import type { StreamConnection } from './stream-connection.ts';
import { StreamTunnel } from './stream-tunnel.ts';
import type { Waiter } from './turnstile.ts';
import type { Work } from './work.ts';

const RATE_WINDOW_MS = 10_000;

/** One request and its answer on an HTTP/2 connection. */
export class Http2Exchange implements ServerExchange, StreamEvents, Waiter {
  readonly head: RequestHead;
  waitsSince = 0;
  onDrain: () => void = () => {};
  onClose: () => void = () => {};
  work: Work | undefined;
  readonly #owner: Http2Connection;
  readonly #stream: Http2Stream;
  #sink: BodySink | undefined;
  #requestEnded: boolean;
  #paused = false;
  #responded = false;
  #answered = false;
  #bodiless = false;
  #left = Number.POSITIVE_INFINITY;
  #rateSince = Number.POSITIVE_INFINITY;
  #rateBytes = 0;
  #stalledSince = 0;
  #stalledAt = -1;

  constructor(owner: Http2Connection, head: RequestHead, stream: Http2Stream) {
    this.#owner = owner;
    this.head = head;
    this.#stream = stream;
    this.#requestEnded = head.length === 0;
  }

  get connection(): StreamConnection {
    return this.#owner.connection;
  }

  pass(): void {
    if (!this.#answered) this.#owner.begin(this);
  }

  readBody(sink: BodySink): void {
    this.#sink = sink;
    if (this.#requestEnded) {
      sink.end([]);
      return;
    }
    if (this.head.expectContinue) this.inform(100, []);
    // Messages of a gRPC call come when there is something to say: `idle` bounds the silence.
    if (!isGrpc(this.head)) this.#rateSince = performance.now();
    this.#stream.resume();
  }

  resumeBody(): void {
    this.#paused = false;
    this.#stream.resume();
  }

  inform(status: number, headers: RawHeaders): void {
    if (this.#responded) return;
    const fields = [':status', String(status)];
    appendFields(fields, headers);
    this.#stream.sendHead(fields, false, true);
  }

  respond({ status, headers, length }: ResponseHead): void {
    this.#responded = true;
    this.#bodiless = this.head.method === 'HEAD' || status === 204 || status === 304;
    const fields = [':status', String(status)];
    appendFields(fields, headers);
    if (length !== 'chunked') {
      if (status !== 204 && !(length === 0 && this.#bodiless)) {
        fields.push('content-length', String(length));
      }
      this.#left = this.#bodiless ? 0 : length;
    }
    this.#stream.sendHead(fields, this.#bodiless || length === 0);
  }

  /** Frames wait for their stream's and connection's windows: nobody asks how long. */
  get hasGoneOut(): boolean {
    return false;
  }

  write(chunk: Buffer): boolean {
    if (this.#bodiless || this.#answered || chunk.length === 0) return true;
    if (chunk.length > this.#left) {
      this.abort();
      return true;
    }
    this.#left -= chunk.length;
    return this.#stream.write(chunk);
  }

  end(trailers: RawHeaders = []): void {
    if (this.#answered) return;
    if (this.#left > 0 && this.#left !== Number.POSITIVE_INFINITY) {
      this.abort();
      return;
    }
    this.#answered = true;
    const fields: string[] = [];
    appendFields(fields, trailers);
    this.#stream.end(fields);
  }

  abort(): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#stream.reset(H2_ERROR.internal);
  }

  acceptUpgrade(headers: RawHeaders): Duplex {
    this.#answered = true;
    const fields = [':status', '200'];
    appendFields(fields, headers);
    this.#stream.sendHead(fields, false);
    return new StreamTunnel(this.#stream);
  }

  // What the stream says.

  data(chunk: Buffer): boolean {
    this.#rateBytes += chunk.length;
    this.#paused = this.#sink?.data(chunk) === false;
    return !this.#paused;
  }

  ended(trailers: string[]): void {
    this.#requestEnded = true;
    this.#sink?.end(trailers);
  }

  reset(_code: number, cause: StreamEndCause): void {
    if (!this.#requestEnded) this.#sink?.fail(cause === 'malformed' ? 'protocol' : 'cancelled');
    this.#requestEnded = true;
    if (this.#answered) return;
    this.#answered = true;
    this.onClose();
  }

  drain(): void {
    this.onDrain();
  }

  /** Looks at what takes too long; called about once a second. */
  tick(now: number): void {
    const { options } = this.#owner;
    const stream = this.#stream;
    if (stream.outbox.bytes === 0 || stream.sentBytes !== this.#stalledAt) {
      this.#stalledAt = stream.sentBytes;
      this.#stalledSince = now;
    } else if (now - this.#stalledSince >= options.writeMs) {
      this.#owner.giveUp(stream, 'write-timeout');
      return;
    }
    if (this.#requestEnded || this.#responded || now - this.#rateSince < RATE_WINDOW_MS) return;
    const wanted = (options.minBodyRate * RATE_WINDOW_MS) / 1000;
    const slow = this.#rateBytes < wanted && !this.#paused;
    this.#rateSince = now;
    this.#rateBytes = 0;
    if (!slow) return;
    this.#answered = true;
    this.#requestEnded = true;
    this.#sink?.fail('timeout');
    this.#owner.refuse(stream, 408, 'slow-body');
  }
}

function isGrpc({ headers }: RequestHead): boolean {
  const at = findField(headers, 'content-type');
  return at >= 0 && isGrpcContentType(headers[at + 1] ?? '');
}
