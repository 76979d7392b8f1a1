import type { Socket } from 'node:net';
import type {
  ClientExchange,
  HttpClientPool,
  OutgoingRequest,
  RequestOptions,
  ResponseSink,
} from './http-exchange.ts';
import type { Dial } from './http1-client.ts';
import { Http2Call } from './http2-call.ts';
import { Http2ClientConnection, MAX_STREAMS } from './http2-client-connection.ts';

const MAX_CONNECTIONS = 64;
const MAX_WAITING = 1024;
/** A connection younger than this is as good as a new one. */
const FRESH_MS = 1000;

type Waiting = { readonly call: Http2Call; readonly fresh: boolean };

/**
 * HTTP/2 connections to one endpoint: few, each shared by as many requests as the endpoint allows.
 * At most 64 connections are open and 1 024 requests wait for room; what comes on top is refused.
 */
export class Http2Pool implements HttpClientPool {
  readonly #dial: Dial;
  readonly #idleMs: number;
  readonly #connections = new Set<Http2ClientConnection>();
  readonly #waiting = new Set<Waiting>();
  #dialing = 0;
  #connectMs = 0;
  #closed = false;
  /** Requests that a connection took at a time, as last heard. */
  #capacity = MAX_STREAMS;

  constructor(dial: Dial, options: { readonly idleMs: number }) {
    this.#dial = dial;
    this.#idleMs = options.idleMs;
  }

  get idle(): number {
    let idle = 0;
    for (const { busy } of this.#connections) if (!busy) idle++;
    return idle;
  }

  request(
    request: OutgoingRequest,
    sink: ResponseSink,
    { connectMs, fresh = false }: RequestOptions,
  ): ClientExchange {
    const call = new Http2Call(request, sink);
    const wish = { call, fresh };
    const connection = this.#withRoom(wish);
    if (connection) call.start(connection, connection.reused);
    else if (this.#waiting.size >= MAX_WAITING) queueMicrotask(() => call.fail('refused'));
    else {
      this.#waiting.add(wish);
      call.whileWaiting(() => this.#waiting.delete(wish));
      this.#connectMs = connectMs;
      this.#dialMore();
    }
    return call;
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#connections) connection.retire();
  }

  #withRoom({ call, fresh }: Waiting): Http2ClientConnection | undefined {
    const youngest = fresh ? performance.now() - FRESH_MS : 0;
    for (const connection of this.#connections) {
      if (connection.room <= 0 || connection.openedAt < youngest) continue;
      // Whether it takes tunnels is in its settings.
      if (!call.request.upgrade || connection.ready) return connection;
    }
    return undefined;
  }

  /** Opens as many connections as those who wait will need. */
  #dialMore(): void {
    const coming = [...this.#connections].filter(({ ready }) => !ready).length;
    let wanted = Math.ceil(this.#waiting.size / this.#capacity) - this.#dialing - coming;
    for (; wanted > 0 && this.#connections.size + this.#dialing < MAX_CONNECTIONS; wanted--) {
      this.#dialing++;
      this.#dial(this.#connectMs, (result) => {
        this.#dialing--;
        if (typeof result !== 'string') this.#adopt(result);
        else for (const { call } of this.#takeWaiting()) call.fail(result);
      });
    }
  }

  #takeWaiting(): Waiting[] {
    const taken = [...this.#waiting];
    this.#waiting.clear();
    return taken;
  }

  #adopt(socket: Socket): void {
    const connection: Http2ClientConnection = new Http2ClientConnection(
      socket,
      this.#capacity,
      this.#idleMs,
      {
        room: () => {
          if (connection.ready) this.#capacity = Math.max(1, connection.capacity);
          this.#serve();
        },
        leaving: () => {
          this.#connections.delete(connection);
          if (connection.ready) this.#serve();
          // One that ended before it was of use would be followed by others like it.
          else for (const { call } of this.#takeWaiting()) call.fail('reset');
        },
      },
    );
    this.#connections.add(connection);
    this.#serve();
    if (this.#closed) connection.retire();
  }

  #serve(): void {
    if (this.#waiting.size === 0) return;
    for (const wish of this.#waiting) {
      const connection = this.#withRoom(wish);
      if (!connection) continue;
      this.#waiting.delete(wish);
      wish.call.start(connection, connection.reused);
    }
    this.#dialMore();
  }
}
