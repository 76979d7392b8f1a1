import type {
  BodySink,
  ClientExchange,
  ExchangeFailure,
  RawHeaders,
  ServerExchange,
} from '../../net/http-exchange.ts';

/** What the owner of a body hears. */
export type BodyEvents = {
  /** Bytes went on to the endpoint, or may flow again. */
  bodyMoved(): void;
  /** The whole body has been handed to the endpoint. */
  bodySent(): void;
  bodyFailed(failure: ExchangeFailure): void;
};

/** A request's body on its way to an endpoint; its beginning is kept, so that it can be sent again. */
export class RequestBody implements BodySink {
  bytes = 0;
  readonly #exchange: ServerExchange;
  readonly #maxKept: number;
  readonly #maxBytes: number | undefined;
  readonly #events: BodyEvents;
  #kept: Buffer[] | undefined = [];
  #keptBytes = 0;
  #trailers: RawHeaders | undefined;
  #started = false;
  #paused = false;
  #over = false;
  #call: ClientExchange | undefined;

  constructor(
    exchange: ServerExchange,
    maxKept: number,
    maxBytes: number | undefined,
    events: BodyEvents,
  ) {
    this.#exchange = exchange;
    this.#maxKept = maxKept;
    this.#maxBytes = maxBytes;
    this.#events = events;
  }

  /** Whether everything that has been read is still here. */
  get replayable(): boolean {
    return this.#kept !== undefined;
  }

  /** Whether the endpoint, not the client, is what the body waits for. */
  get paused(): boolean {
    return this.#paused;
  }

  /** There is no endpoint for now: the client has to wait. */
  detach(): void {
    this.#call = undefined;
  }

  /** Sends the body to an endpoint, from its beginning. */
  sendTo(call: ClientExchange): void {
    this.#call = call;
    if (this.#exchange.head.length === 0) {
      this.#events.bodySent();
      return;
    }
    this.#events.bodyMoved();
    for (const chunk of this.#kept ?? []) call.write(chunk);
    if (this.#trailers) {
      call.end(this.#trailers);
      this.#events.bodySent();
    } else if (!this.#started) {
      this.#started = true;
      this.#exchange.readBody(this);
    } else this.resume();
  }

  /** The endpoint has room again. */
  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#events.bodyMoved();
    this.#exchange.resumeBody();
  }

  data(chunk: Buffer): boolean {
    if (this.#over) return true;
    this.bytes += chunk.length;
    if (this.#maxBytes !== undefined && this.bytes > this.#maxBytes) {
      this.fail('too-large');
      return true;
    }
    this.#keep(chunk);
    const room = this.#call?.write(chunk) ?? false;
    this.#paused = !room;
    this.#events.bodyMoved();
    return room;
  }

  passedOn(): boolean {
    return this.#call?.hasGoneOut === true;
  }

  end(trailers: RawHeaders): void {
    if (this.#over) return;
    this.#trailers = trailers;
    if (!this.#call) return;
    this.#call.end(trailers);
    this.#events.bodySent();
  }

  fail(failure: ExchangeFailure): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.bodyFailed(failure);
  }

  #keep(chunk: Buffer): void {
    if (!this.#kept) return;
    this.#keptBytes += chunk.length;
    // Without an endpoint the client is paused: this piece is the last, and must not be lost.
    if (this.#call && this.#keptBytes > this.#maxKept) this.#kept = undefined;
    else this.#kept.push(Buffer.from(chunk));
  }
}
