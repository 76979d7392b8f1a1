import type {
  BodySink,
  ClientExchange,
  ExchangeFailure,
  RawHeaders,
  ServerExchange,
} from '../../net/http-exchange.ts';

/** A request's body on its way to an endpoint; its beginning is kept, so that it can be sent again. */
export class RequestBody implements BodySink {
  bytes = 0;
  readonly #exchange: ServerExchange;
  readonly #maxKept: number;
  readonly #maxBytes: number | undefined;
  readonly #failed: (failure: ExchangeFailure) => void;
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
    failed: (failure: ExchangeFailure) => void,
  ) {
    this.#exchange = exchange;
    this.#maxKept = maxKept;
    this.#maxBytes = maxBytes;
    this.#failed = failed;
  }

  /** Whether everything that has been read is still here. */
  get replayable(): boolean {
    return this.#kept !== undefined;
  }

  /** Sends the body to an endpoint, from its beginning. */
  sendTo(call: ClientExchange): void {
    this.#call = call;
    if (this.#exchange.head.length === 0) return;
    for (const chunk of this.#kept ?? []) call.write(chunk);
    if (this.#trailers) call.end(this.#trailers);
    else if (!this.#started) {
      this.#started = true;
      this.#exchange.readBody(this);
    } else this.resume();
  }

  /** The endpoint has room again. */
  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
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
    return room;
  }

  end(trailers: RawHeaders): void {
    if (this.#over) return;
    this.#trailers = trailers;
    this.#call?.end(trailers);
  }

  fail(failure: ExchangeFailure): void {
    if (this.#over) return;
    this.#over = true;
    this.#failed(failure);
  }

  #keep(chunk: Buffer): void {
    if (!this.#kept) return;
    this.#keptBytes += chunk.length;
    if (this.#keptBytes > this.#maxKept) this.#kept = undefined;
    else this.#kept.push(Buffer.from(chunk));
  }
}
