import type { Framing } from './http1-head.ts';
import { isToken } from './http1-head.ts';

const MAX_SIZE_DIGITS = 13;
const MAX_EXTENSION_BYTES = 16_384;
const MAX_TRAILER_BYTES = 16_384;
const CR = 13;
const LF = 10;
const SEMICOLON = 59;

/** Fields that a trailer section may not carry. Source: RFC 9110 section 6.5.1. */
const NEVER_TRAILERS = new Set([
  'content-length',
  'transfer-encoding',
  'host',
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'upgrade',
  'content-encoding',
  'content-type',
  'content-range',
  'authorization',
  'cookie',
  'set-cookie',
  'cache-control',
  'expect',
  'max-forwards',
]);

/** One step of decoding: a piece of the body, its end, more bytes wanted, or what is wrong. */
export type BodyStep =
  | { readonly kind: 'data'; readonly data: Buffer; readonly consumed: number }
  | { readonly kind: 'end'; readonly trailers: string[]; readonly consumed: number }
  | { readonly kind: 'need-more'; readonly consumed: number }
  | { readonly kind: 'error'; readonly reason: string };

type State =
  | 'size'
  | 'extension'
  | 'size-lf'
  | 'data'
  | 'data-cr'
  | 'data-lf'
  | 'trailers'
  | 'done';

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/**
 * Takes a body out of its framing, piece by piece, without copying: `decode` is called until it
 * wants more or is done. Chunk extensions are dropped. Source: RFC 9112 sections 6 and 7.
 */
export class BodyDecoder {
  #state: State;
  readonly #chunked: boolean;
  #left: number;
  #digits = 0;
  #extensionBytes = 0;
  #trailer = '';

  constructor(framing: Framing) {
    this.#chunked = framing.kind === 'chunked';
    this.#left =
      framing.kind === 'length' ? framing.length : framing.kind === 'until-close' ? Infinity : 0;
    if (this.#chunked) this.#state = 'size';
    else this.#state = framing.kind === 'none' ? 'done' : 'data';
  }

  /** Whether a connection that ends now ends the body cleanly. */
  get endsWithConnection(): boolean {
    return this.#left === Infinity;
  }

  /** Reads on at `from`; `consumed` counts from there. */
  decode(buffer: Buffer, from: number): BodyStep {
    if (this.#state === 'done') return { kind: 'end', trailers: [], consumed: 0 };
    let at = from;
    while (at < buffer.length) {
      if (this.#state === 'data') return this.#take(buffer, at, from);
      if (this.#state === 'trailers') return this.#readTrailers(buffer, at, from);
      const wrong = this.#frame(buffer[at] as number);
      if (wrong) return { kind: 'error', reason: wrong };
      at++;
    }
    return { kind: 'need-more', consumed: at - from };
  }

  #take(buffer: Buffer, at: number, from: number): BodyStep {
    const size = Math.min(this.#left, buffer.length - at);
    this.#left -= size;
    if (this.#left === 0) this.#state = this.#chunked ? 'data-cr' : 'done';
    return { kind: 'data', data: buffer.subarray(at, at + size), consumed: at + size - from };
  }

  /** One byte between chunks' data; what is wrong with it, or undefined. */
  #frame(code: number): string | undefined {
    switch (this.#state) {
      case 'size':
        return this.#sizeByte(code);
      case 'extension':
        this.#extensionBytes++;
        if (this.#extensionBytes > MAX_EXTENSION_BYTES) return 'chunk-extensions-too-large';
        if (code === CR) this.#state = 'size-lf';
        else if (code === LF || code === 0) return 'bad-chunk-extension';
        return undefined;
      case 'size-lf':
        if (code !== LF) return 'bad-chunk-size';
        this.#state = this.#left === 0 ? 'trailers' : 'data';
        this.#digits = 0;
        return undefined;
      case 'data-cr':
        this.#state = 'data-lf';
        return code === CR ? undefined : 'bad-chunk-end';
      default:
        this.#state = 'size';
        return code === LF ? undefined : 'bad-chunk-end';
    }
  }

  #sizeByte(code: number): string | undefined {
    const digit = hexDigit(code);
    if (digit >= 0) {
      this.#digits++;
      if (this.#digits > MAX_SIZE_DIGITS) return 'chunk-size-too-large';
      this.#left = this.#left * 16 + digit;
      return undefined;
    }
    if (this.#digits === 0) return 'bad-chunk-size';
    if (code === CR) this.#state = 'size-lf';
    else if (code === SEMICOLON) this.#state = 'extension';
    else return 'bad-chunk-size';
    return undefined;
  }

  #readTrailers(buffer: Buffer, at: number, from: number): BodyStep {
    const known = this.#trailer.length;
    this.#trailer += buffer.toString(
      'latin1',
      at,
      Math.min(buffer.length, at + MAX_TRAILER_BYTES + 4),
    );
    const empty = this.#trailer.startsWith('\r\n');
    const end = empty ? 0 : this.#trailer.indexOf('\r\n\r\n', Math.max(0, known - 3));
    if (end < 0) {
      if (this.#trailer.length > MAX_TRAILER_BYTES)
        return { kind: 'error', reason: 'trailers-too-large' };
      return { kind: 'need-more', consumed: buffer.length - from };
    }
    const size = empty ? 2 : end + 4;
    const trailers = empty ? [] : parseTrailers(this.#trailer.slice(0, end));
    if (!trailers) return { kind: 'error', reason: 'bad-trailer' };
    this.#state = 'done';
    return { kind: 'end', trailers, consumed: at - from + size - known };
  }
}

function parseTrailers(text: string): string[] | undefined {
  const trailers: string[] = [];
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon));
    const value = line.slice(colon + 1).trim();
    if (!isToken(name) || /[\0-\x08\x0a-\x1f\x7f]/.test(value)) return undefined;
    if (!NEVER_TRAILERS.has(name.toLowerCase())) trailers.push(name, value);
  }
  return trailers;
}

/** The line before a chunk of `length` bytes. */
export function chunkHeader(length: number): string {
  return `${length.toString(16)}\r\n`;
}

/** The end of a chunked body, with its trailers. */
export function lastChunk(trailers: readonly string[]): string {
  let text = '0\r\n';
  for (let at = 0; at + 1 < trailers.length; at += 2)
    text += `${trailers[at]}: ${trailers[at + 1]}\r\n`;
  return `${text}\r\n`;
}
