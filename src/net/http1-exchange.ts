import { performance } from 'node:perf_hooks';
import type { Duplex } from 'node:stream';
import { type BodyDecoder, chunkHeader, lastChunk } from '../wire/http1-body.ts';
import { fieldLines, responseHead } from '../wire/http1-write.ts';
import { hasGoneOut, writeDirectly } from './direct-write.ts';
import type {
  BodySink,
  RawHeaders,
  RequestHead,
  ResponseHead,
  ServerExchange,
} from './http-exchange.ts';
import type { Http1Connection } from './http1-server.ts';
import type { StreamConnection } from './stream-connection.ts';
import type { Work } from './work.ts';

const LINGER_MS = 1000;
const EARLY_ANSWER_DRAIN_BYTES = 65_536;
const RATE_WINDOW_MS = 10_000;
const SMALL_BODY = 4096;

/** One request and its answer on an HTTP/1.1 connection. */
export class Http1Exchange implements ServerExchange {
  readonly head: RequestHead;
  onDrain: () => void = () => {};
  onClose: () => void = () => {};
  work: Work | undefined;
  readonly #owner: Http1Connection;
  readonly #decoder: BodyDecoder;
  #sink: BodySink | undefined;
  #paused = false;
  #requestEnded: boolean;
  #dropped = 0;
  #received = 0;
  #rateWatched = false;
  #responded = false;
  #answered = false;
  #chunked = false;
  #bodiless = false;
  #left = Number.POSITIVE_INFINITY;
  #pendingHead = '';
  #keepAfter: boolean;

  constructor(owner: Http1Connection, head: RequestHead, decoder: BodyDecoder, keep: boolean) {
    this.#owner = owner;
    this.head = head;
    this.#decoder = decoder;
    this.#keepAfter = keep;
    this.#requestEnded = head.length === 0;
  }

  get connection(): StreamConnection {
    return this.#owner.connection;
  }

  readBody(sink: BodySink): void {
    this.#sink = sink;
    if (this.#requestEnded) {
      sink.end([]);
      return;
    }
    if (this.head.expectContinue && !this.#responded) {
      this.connection.socket.write('HTTP/1.1 100 Continue\r\n\r\n', 'latin1');
    }
    if (this.#owner.options.minBodyRate > 0) this.#watchRate(performance.now());
    this.received();
  }

  resumeBody(): void {
    this.#paused = false;
    this.received();
  }

  inform(status: number, headers: RawHeaders): void {
    if (this.#responded || this.head.version === '1.0') return;
    this.connection.socket.write(responseHead(status, headers, ''), 'latin1');
  }

  respond({ status, headers, length }: ResponseHead): void {
    this.#responded = true;
    this.#owner.deadline = Number.POSITIVE_INFINITY;
    this.#bodiless = this.head.method === 'HEAD' || status === 204 || status === 304;
    let framing = '';
    if (length !== 'chunked') {
      if (status !== 204 && !(length === 0 && this.#bodiless))
        framing = `content-length: ${length}\r\n`;
      this.#left = this.#bodiless ? 0 : length;
    } else if (this.#bodiless) framing = '';
    else if (this.head.version === '1.1') {
      this.#chunked = true;
      framing = 'transfer-encoding: chunked\r\n';
    } else this.#keepAfter = false;
    // Whoever is refused is unlikely to send the rest of the body for nothing.
    if (this.#owner.closing || (!this.#requestEnded && status >= 400)) this.#keepAfter = false;
    if (!this.#keepAfter) framing += 'connection: close\r\n';
    else if (this.head.version === '1.0') framing += 'connection: keep-alive\r\n';
    this.#pendingHead = responseHead(status, headers, framing);
  }

  write(chunk: Buffer): boolean {
    if (this.#bodiless || chunk.length === 0) return true;
    if (chunk.length > this.#left) {
      this.abort();
      return true;
    }
    this.#left -= chunk.length;
    const { socket } = this.connection;
    const before = this.#pendingHead + (this.#chunked ? chunkHeader(chunk.length) : '');
    this.#pendingHead = '';
    if (before && chunk.length <= SMALL_BODY) {
      // One string is one system call without a vector.
      const text = before + chunk.toString('latin1') + (this.#chunked ? '\r\n' : '');
      return this.#flowing(writeDirectly(socket, text));
    }
    if (!before && !this.#chunked) return this.#flowing(writeDirectly(socket, chunk));
    socket.cork();
    if (before) socket.write(before, 'latin1');
    const flowing = socket.write(chunk);
    const room = this.#chunked ? socket.write('\r\n', 'latin1') : flowing;
    socket.uncork();
    return this.#flowing(room);
  }

  get hasGoneOut(): boolean {
    return hasGoneOut(this.connection.socket);
  }

  /** Notes when the client has to take something before more can be written. */
  #flowing(room: boolean): boolean {
    if (!room) this.#owner.deadline = performance.now() + this.#owner.options.writeMs;
    return room;
  }

  end(trailers: RawHeaders = []): void {
    if (this.#answered) return;
    if (this.#left > 0 && this.#left !== Number.POSITIVE_INFINITY) {
      this.abort();
      return;
    }
    const rest = this.#pendingHead + (this.#chunked ? lastChunk(trailers) : '');
    this.#pendingHead = '';
    this.#answered = true;
    if (rest) writeDirectly(this.connection.socket, rest);
    this.#settle();
  }

  abort(): void {
    if (this.#answered) return;
    this.#answered = true;
    const { socket, tls } = this.connection;
    // A reset cannot be mistaken for the end of a body that ends with its connection; TLS has an
    // end of its own, which is then missing.
    if (tls) socket.destroy();
    else socket.resetAndDestroy();
  }

  acceptUpgrade(headers: RawHeaders): Duplex {
    this.#answered = true;
    this.connection.socket.write(
      `HTTP/1.1 101 Switching Protocols\r\n${fieldLines(headers)}connection: upgrade\r\nupgrade: ${this.head.upgrade}\r\n\r\n`,
      'latin1',
    );
    return this.#owner.detach();
  }

  /** More bytes of the request are buffered, or may be read again. */
  received(): void {
    while (!this.#requestEnded && (this.#sink || this.#answered) && !this.#paused) {
      const step = this.#decoder.decode(this.#owner.buffered, 0);
      if (step.kind === 'error') {
        this.#bodyFailed(step.reason);
        return;
      }
      this.#owner.consume(step.consumed);
      if (step.kind === 'need-more') {
        // What is missing will not come any more.
        if (this.#owner.halfClosed) this.connection.socket.destroy();
        break;
      }
      if (step.kind === 'end') this.#bodyEnded(step.trailers);
      else this.#bodyData(step.data);
    }
    if (!this.#paused) this.connection.socket.resume();
  }

  clientEnded(): void {
    // Half-closed after a complete request: the answer is still wanted. Its end may be buffered.
    if (!this.#requestEnded) this.received();
  }

  drained(): void {
    this.#owner.deadline = Number.POSITIVE_INFINITY;
    this.onDrain();
  }

  connectionClosed(): void {
    if (!this.#requestEnded) this.#sink?.fail('cancelled');
    if (!this.#answered) this.onClose();
  }

  /** A deadline of the connection has passed during the exchange; true when it was dealt with. */
  expire(now: number): boolean {
    if (this.#answered) return false;
    if (!this.#rateWatched || this.#requestEnded || this.#responded) {
      this.abort();
      // Nobody else tells who answers that the client is given up.
      this.onClose();
      return true;
    }
    const wanted = (this.#owner.options.minBodyRate * RATE_WINDOW_MS) / 1000;
    if (this.#received < wanted && !this.#paused) {
      this.#answered = true;
      this.#sink?.fail('timeout');
      this.#owner.refuse(408, 'slow-body');
    } else this.#watchRate(now);
    return true;
  }

  #watchRate(now: number): void {
    this.#received = 0;
    this.#rateWatched = true;
    this.#owner.deadline = now + RATE_WINDOW_MS;
  }

  #bodyData(data: Buffer): void {
    this.#received += data.length;
    if (this.#answered) {
      this.#dropped += data.length;
      if (this.#dropped > EARLY_ANSWER_DRAIN_BYTES) this.#owner.done(false);
      return;
    }
    const room = this.#sink?.data(data);
    if (!this.#sink?.passedOn?.()) this.#owner.keeps();
    if (room === false) {
      this.#paused = true;
      this.connection.socket.pause();
    }
  }

  #bodyEnded(trailers: RawHeaders): void {
    this.#requestEnded = true;
    if (this.#rateWatched && !this.#responded) this.#owner.deadline = Number.POSITIVE_INFINITY;
    if (this.#answered) this.#settle();
    else this.#sink?.end(trailers);
  }

  #bodyFailed(reason: string): void {
    this.#requestEnded = true;
    this.#sink?.fail('protocol');
    if (this.#responded) this.abort();
    else {
      this.#answered = true;
      this.#owner.refuse(400, reason);
    }
  }

  /** The answer is out: go on when the request has been read too, else read it to its end. */
  #settle(): void {
    if (this.#requestEnded) {
      this.#owner.done(this.#keepAfter);
      return;
    }
    this.#paused = false;
    this.#owner.deadline = performance.now() + LINGER_MS;
    if (!this.#keepAfter || this.head.expectContinue) this.#owner.done(false);
    else this.received();
  }
}
