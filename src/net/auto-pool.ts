import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type {
  ClientExchange,
  HttpClientPool,
  OutgoingRequest,
  RawHeaders,
  RequestOptions,
  ResponseSink,
} from './http-exchange.ts';
import { type Dial, Http1Pool, type PoolOptions } from './http1-client.ts';
import { Http2Pool } from './http2-client.ts';

/** Whether a connection has agreed to HTTP/2 by ALPN. */
export function speaksHttp2(socket: Socket): boolean {
  return socket instanceof TLSSocket && socket.alpnProtocol === 'h2';
}

/** Speaks HTTP/2 or HTTP/1.1, whichever the endpoint picks by ALPN on the first connection. */
export class AutoPool implements HttpClientPool {
  readonly #dial: Dial;
  readonly #options: PoolOptions;
  readonly #waiting = new Set<PendingCall>();
  #pool: HttpClientPool | undefined;
  #first: Socket | undefined;
  #dialing = false;
  #closed = false;

  /** `dial` offers both protocols. */
  constructor(dial: Dial, options: PoolOptions) {
    this.#dial = dial;
    this.#options = options;
  }

  get idle(): number {
    return this.#pool?.idle ?? 0;
  }

  request(request: OutgoingRequest, sink: ResponseSink, options: RequestOptions): ClientExchange {
    if (this.#pool) return this.#pool.request(request, sink, options);
    const call = new PendingCall(request, sink, options, () => this.#waiting.delete(call));
    this.#waiting.add(call);
    if (!this.#dialing) this.#learn(options.connectMs);
    return call;
  }

  close(): void {
    this.#closed = true;
    this.#pool?.close();
  }

  #learn(connectMs: number): void {
    this.#dialing = true;
    this.#dial(connectMs, (result) => {
      this.#dialing = false;
      const calls = [...this.#waiting];
      this.#waiting.clear();
      if (typeof result === 'string') {
        for (const { sink } of calls) sink.fail(result, { reused: false, bytesReceived: 0 });
        return;
      }
      const pool = this.#makePool(speaksHttp2(result));
      this.#pool = pool;
      // A socket that nobody owns must not be kept: its errors would be nobody's.
      if (calls.length === 0) result.destroy();
      else this.#first = result;
      for (const call of calls) call.moveTo(pool);
      if (this.#closed) pool.close();
    });
  }

  /** The endpoint may change its mind: a connection of the other kind makes a pool of its own. */
  #makePool(http2: boolean): HttpClientPool {
    const dial: Dial = (connectMs, done) => {
      const first = this.#first;
      this.#first = undefined;
      if (first && !first.destroyed) {
        done(first);
        return { cancel: () => {} };
      }
      return this.#dial(connectMs, (result) => {
        if (typeof result === 'string' || speaksHttp2(result) === http2) {
          done(result);
          return;
        }
        this.#pool?.close();
        this.#pool = undefined;
        result.destroy();
        done('reset');
      });
    };
    return http2 ? new Http2Pool(dial, this.#options) : new Http1Pool(dial, this.#options);
  }
}

/** A request that waits for its pool. */
class PendingCall implements ClientExchange {
  readonly sink: ResponseSink;
  readonly #request: OutgoingRequest;
  readonly #options: RequestOptions;
  readonly #forget: () => void;
  #call: ClientExchange | undefined;
  #early: Buffer[] = [];
  #end: RawHeaders | undefined;
  #cancelled = false;

  constructor(
    request: OutgoingRequest,
    sink: ResponseSink,
    options: RequestOptions,
    forget: () => void,
  ) {
    this.#request = request;
    this.sink = sink;
    this.#options = options;
    this.#forget = forget;
  }

  moveTo(pool: HttpClientPool): void {
    if (this.#cancelled) return;
    const call = pool.request(this.#request, this.sink, this.#options);
    this.#call = call;
    const early = this.#early;
    this.#early = [];
    let room = true;
    for (const chunk of early) room = call.write(chunk);
    if (this.#end) call.end(this.#end);
    else if (early.length > 0 && room) this.sink.drain();
  }

  write(chunk: Buffer): boolean {
    if (this.#call) return this.#call.write(chunk);
    this.#early.push(chunk);
    return false;
  }

  end(trailers: RawHeaders = []): void {
    if (this.#call) this.#call.end(trailers);
    else this.#end = trailers;
  }

  resumeBody(): void {
    this.#call?.resumeBody();
  }

  cancel(): void {
    this.#cancelled = true;
    this.#forget();
    this.#call?.cancel();
  }
}
