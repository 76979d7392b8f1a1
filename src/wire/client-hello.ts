/** Most bytes, record headers included, within which a ClientHello has to end. */
export const MAX_CLIENT_HELLO_BYTES = 16_384;

/** Fatal alert `unrecognized_name` (112) as a record. Source: RFC 6066 section 3. */
export const UNRECOGNIZED_NAME_ALERT: Buffer = Buffer.from([21, 3, 1, 0, 2, 2, 112]);

/** Why bytes are not a ClientHello that can be routed. */
export type ClientHelloError = 'not-tls' | 'too-large' | 'malformed' | 'bad-server-name';

/** What the bytes so far say. `sni`: a DNS name in lower case without a trailing dot. */
export type ClientHelloResult =
  | { readonly kind: 'need-more' }
  | { readonly kind: 'value'; readonly sni: string | undefined; readonly alpn: string[] }
  | { readonly kind: 'error'; readonly reason: ClientHelloError };

const NEED_MORE: ClientHelloResult = { kind: 'need-more' };
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const ALPN = 16;
const MAX_NAME = 253;
// The last label has a letter in it: all digits would be an IPv4 literal.
const DNS_NAME = /^(?:[a-z0-9_-]{1,63}\.)*(?!\d+$)[a-z0-9_-]{1,63}$/;

/**
 * Reads the ClientHello at the start of a stream, in however many records it is. Source: RFC 8446
 * sections 4.1.2 and 5.1, RFC 6066 section 3, RFC 7301 section 3.1.
 */
export function readClientHello(buffer: Buffer): ClientHelloResult {
  const message = joinRecords(buffer);
  if (!Buffer.isBuffer(message)) return failed(message);
  if (message.length > 0 && message[0] !== CLIENT_HELLO) return failed('not-tls');
  const size = message.length < 4 ? 0 : 4 + message.readUIntBE(1, 3);
  if (size > MAX_CLIENT_HELLO_BYTES) return failed('too-large');
  if (size === 0 || message.length < size) {
    return buffer.length >= MAX_CLIENT_HELLO_BYTES ? failed('too-large') : NEED_MORE;
  }
  return readBody(new Fields(message.subarray(4, size)));
}

function failed(reason: ClientHelloError): ClientHelloResult {
  return { kind: 'error', reason };
}

/** The handshake bytes of all records that are there, a partial last one included. */
function joinRecords(buffer: Buffer): Buffer | ClientHelloError {
  const parts: Buffer[] = [];
  const end = Math.min(buffer.length, MAX_CLIENT_HELLO_BYTES);
  let at = 0;
  while (at < end) {
    if (buffer[at] !== HANDSHAKE) return at === 0 ? 'not-tls' : 'malformed';
    if (at + 1 < end && buffer[at + 1] !== 3) return at === 0 ? 'not-tls' : 'malformed';
    if (at + 5 > end) break;
    const length = buffer.readUInt16BE(at + 3);
    if (length === 0) return 'malformed';
    if (length > MAX_CLIENT_HELLO_BYTES) return 'too-large';
    parts.push(buffer.subarray(at + 5, Math.min(at + 5 + length, end)));
    at += 5 + length;
    if (isComplete(parts)) break;
  }
  return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts);
}

/** What follows the first message is not ours to judge: early data, for one. */
function isComplete(parts: readonly Buffer[]): boolean {
  const [first] = parts;
  if (!first || first.length < 4) return false;
  const have = parts.reduce((sum, { length }) => sum + length, 0);
  return have >= 4 + first.readUIntBE(1, 3);
}

function readBody(hello: Fields): ClientHelloResult {
  hello.take(2 + 32);
  hello.vector(1);
  hello.vector(2);
  hello.vector(1);
  const extensions = hello.left > 0 ? hello.vector(2) : undefined;
  if (hello.short || hello.left > 0) return failed('malformed');
  let sni: string | undefined;
  let alpn: string[] = [];
  const seen = new Set<number>();
  while (extensions && extensions.left > 0) {
    const type = extensions.number(2);
    const content = extensions.vector(2);
    if (extensions.short) return failed('malformed');
    if (seen.has(type)) return failed(type === SERVER_NAME ? 'bad-server-name' : 'malformed');
    seen.add(type);
    if (type === SERVER_NAME) {
      sni = readServerName(content);
      if (sni === undefined) return failed('bad-server-name');
    } else if (type === ALPN) {
      const names = readAlpn(content);
      if (!names) return failed('malformed');
      alpn = names;
    }
  }
  return { kind: 'value', sni, alpn };
}

/** The one DNS name of a server_name extension; undefined unless it is exactly that. */
function readServerName(content: Fields): string | undefined {
  const list = content.vector(2);
  const type = list.number(1);
  const bytes = list.vector(2);
  if (content.short || list.short || content.left > 0 || list.left > 0 || type !== 0) return;
  const name = bytes.text().toLowerCase().replace(/\.$/, '');
  return name.length <= MAX_NAME && DNS_NAME.test(name) ? name : undefined;
}

function readAlpn(content: Fields): string[] | undefined {
  const list = content.vector(2);
  const names: string[] = [];
  while (list.left > 0 && !list.short) names.push(list.vector(1).text());
  return content.short || list.short || content.left > 0 ? undefined : names;
}

/** Walks over fields; `short` says that one was longer than what is there. */
class Fields {
  short = false;
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(size: number): Buffer {
    if (size > this.left) this.short = true;
    const taken = this.#bytes.subarray(this.#at, this.#at + size);
    this.#at += taken.length;
    return taken;
  }

  number(size: number): number {
    const bytes = this.take(size);
    return bytes.length < size ? 0 : bytes.readUIntBE(0, size);
  }

  /** A field that starts with its length, in `lengthSize` bytes. */
  vector(lengthSize: number): Fields {
    return new Fields(this.take(this.number(lengthSize)));
  }

  text(): string {
    return this.#bytes.toString('latin1');
  }
}
