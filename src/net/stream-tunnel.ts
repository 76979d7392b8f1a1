import { Duplex } from 'node:stream';
import { H2_ERROR } from '../wire/http2-frames.ts';
import type { Http2Stream, StreamEndCause, StreamEvents } from '../wire/http2-stream.ts';

/** An HTTP/2 stream as a byte stream both ways, with half closes. Source: RFC 8441 section 5. */
export class StreamTunnel extends Duplex implements StreamEvents {
  readonly #stream: Http2Stream;
  #written: (() => void) | undefined;
  #finished: (() => void) | undefined;

  constructor(stream: Http2Stream) {
    super({ allowHalfOpen: true });
    this.#stream = stream;
    stream.isTunnel = true;
    stream.events = this;
  }

  data(chunk: Buffer): boolean {
    return this.push(chunk);
  }

  ended(): void {
    this.push(null);
  }

  reset(code: number, cause: StreamEndCause): void {
    this.destroy(new Error(`stream reset with ${code} by ${cause}`));
  }

  drain(): void {
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }

  sent(): void {
    this.#finished?.();
  }

  override _read(): void {
    this.#stream.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.#stream.write(chunk)) done();
    else this.#written = done;
  }

  override _final(done: () => void): void {
    this.#finished = done;
    this.#stream.end();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#stream.reset(error ? H2_ERROR.connect : H2_ERROR.cancel);
    done(error);
  }
}
