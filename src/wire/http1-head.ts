/** What bounds a head. */
export type HeadLimits = {
  readonly maxHeaderBytes: number;
  readonly maxHeaders: number;
  readonly maxUriBytes: number;
  readonly underscoreHeaders: 'drop' | 'reject' | 'allow';
};

/** How the end of a body is found. Source: RFC 9112 section 6.3. */
export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly length: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'until-close' };

/** A request's head after every strict check. */
export type RequestHead1 = {
  readonly method: string;
  /** Origin form, or `*`; an absolute form has been taken apart. */
  readonly target: string;
  readonly version: '1.0' | '1.1';
  /** Flat: name, value, name, value; names as received. */
  readonly headers: string[];
  readonly framing: Framing;
  readonly keepAlive: boolean;
  /** Token of the wanted upgrade in lower case. */
  readonly upgrade: string | undefined;
  readonly expectContinue: boolean;
  /** The one authority: from the absolute form, else from Host; lower case; '' on HTTP/1.0. */
  readonly host: string;
};

/** A response's head after every strict check. */
export type ResponseHead1 = {
  readonly version: '1.0' | '1.1';
  readonly status: number;
  readonly headers: string[];
  readonly framing: Framing;
  readonly keepAlive: boolean;
  readonly upgrade: string | undefined;
};

/** A head, more bytes wanted, or the one verdict: the status to answer and a word for metrics. */
export type HeadResult<T> =
  | { readonly kind: 'need-more' }
  | { readonly kind: 'value'; readonly value: T; readonly consumed: number }
  | { readonly kind: 'error'; readonly status: number; readonly reason: string };

const END = Buffer.from('\r\n\r\n');
const CR = 13;
const LF = 10;
const SPACE = 32;
const ZERO = 48;
const COLON = 58;
const BRACKET = 91;
const MAX_METHOD = 32;

const ALPHANUMERIC = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** Token characters. Source: RFC 9110 section 5.6.2. */
const TOKEN = tableOf(`!#$%&'*+-.^_\`|~${ALPHANUMERIC}`);

/** What the name or address in an authority consists of. Source: RFC 3986 section 3.2.2. */
const HOST = tableOf(`._~!$&'()*+,;=%-${ALPHANUMERIC}`);

function tableOf(characters: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const char of characters) table[char.charCodeAt(0)] = 1;
  return table;
}

/** Without spaces and tabs around it, and nothing else: other white space is not a separator here. */
function trimBlanks(text: string): string {
  return text.replace(/^[ \t]+|[ \t]+$/g, '');
}

class Refused {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string) {
    this.status = status;
    this.reason = reason;
  }
}

/** Whether `text` is a token. Source: RFC 9110 section 5.6.2. */
export function isToken(text: string): boolean {
  for (let at = 0; at < text.length; at++) if (!TOKEN[text.charCodeAt(at)]) return false;
  return text.length > 0;
}

type Fields = {
  headers: string[];
  length: string | undefined;
  transferEncoding: string | undefined;
  connection: string;
  upgrade: string | undefined;
  host: string | undefined;
  expect: string | undefined;
};

/** Notes a field that decides framing, authority or the connection's fate; a repeat is refused. */
function noteField(fields: Fields, name: string, value: string): Refused | undefined {
  switch (name.length) {
    case 4:
      if (name.toLowerCase() !== 'host') return undefined;
      if (fields.host !== undefined) return new Refused(400, 'repeated-host');
      fields.host = value;
      return undefined;
    case 6:
      if (name.toLowerCase() !== 'expect') return undefined;
      fields.expect =
        fields.expect === undefined ? value.toLowerCase() : `${fields.expect},${value}`;
      return undefined;
    case 7:
      if (name.toLowerCase() === 'upgrade') {
        fields.upgrade = fields.upgrade === undefined ? value : `${fields.upgrade}, ${value}`;
      }
      return undefined;
    case 10:
      if (name.toLowerCase() === 'connection') fields.connection += `,${value.toLowerCase()}`;
      return undefined;
    case 14:
      if (name.toLowerCase() !== 'content-length') return undefined;
      if (fields.length !== undefined) return new Refused(400, 'repeated-content-length');
      fields.length = value;
      return undefined;
    case 17:
      if (name.toLowerCase() !== 'transfer-encoding') return undefined;
      fields.transferEncoding =
        fields.transferEncoding === undefined ? value : `${fields.transferEncoding},${value}`;
      return undefined;
    default:
      return undefined;
  }
}

/** Reads field lines from `at` to the end of `text`, which ends in CRLF. Source: RFC 9112, 5. */
function parseFields(text: string, from: number, limits: HeadLimits): Fields | Refused {
  const fields: Fields = {
    headers: [],
    length: undefined,
    transferEncoding: undefined,
    connection: '',
    upgrade: undefined,
    host: undefined,
    expect: undefined,
  };
  let at = from;
  let count = 0;
  while (at < text.length) {
    const end = text.indexOf('\r\n', at);
    if (++count > limits.maxHeaders) return new Refused(431, 'too-many-headers');
    const refused = parseField(text, at, end, fields, limits);
    if (refused) return refused;
    at = end + 2;
  }
  return fields;
}

/** Adds the field between two places; what is wrong with it is returned. */
function parseField(
  text: string,
  from: number,
  end: number,
  fields: Fields,
  { underscoreHeaders }: HeadLimits,
): Refused | undefined {
  const first = text.charCodeAt(from);
  if (first === 32 || first === 9) return new Refused(400, 'obsolete-folding');
  let at = from;
  while (at < end && TOKEN[text.charCodeAt(at)]) at++;
  if (at === from) return new Refused(400, 'empty-header-name');
  if (text.charCodeAt(at) !== COLON) return new Refused(400, 'bad-header-name');
  const name = text.slice(from, at);
  let start = at + 1;
  let stop = end;
  for (; start < stop; start++) {
    const code = text.charCodeAt(start);
    if (code !== 32 && code !== 9) break;
  }
  for (; stop > start; stop--) {
    const code = text.charCodeAt(stop - 1);
    if (code !== 32 && code !== 9) break;
  }
  for (at = start; at < stop; at++) {
    const code = text.charCodeAt(at);
    if ((code < 32 && code !== 9) || code === 127) return new Refused(400, controlReason(code));
  }
  if (underscoreHeaders !== 'allow' && name.includes('_')) {
    return underscoreHeaders === 'reject' ? new Refused(400, 'underscore-in-name') : undefined;
  }
  const value = text.slice(start, stop);
  fields.headers.push(name, value);
  return noteField(fields, name, value);
}

function controlReason(code: number): string {
  return code === CR || code === LF ? 'bare-line-end' : 'control-character';
}

/** The value of a Content-Length field, digits only, within exact integers. */
function parseLength(text: string): number | undefined {
  if (text.length === 0 || text.length > 15) return undefined;
  for (let at = 0; at < text.length; at++) if (!isDigit(text.charCodeAt(at))) return undefined;
  return Number(text);
}

/** Where the head ends: after its empty line; -1 when that has not come yet. */
function headEnd(buffer: Buffer, from: number, resumeAt: number): number {
  const end = buffer.indexOf(END, Math.max(from, resumeAt - 3));
  return end < 0 ? -1 : end + 4;
}

function requestFraming(fields: Fields, version: '1.0' | '1.1'): Framing | Refused {
  const { length, transferEncoding } = fields;
  if (transferEncoding !== undefined) {
    if (version === '1.0') return new Refused(400, 'transfer-encoding-on-1.0');
    if (length !== undefined) return new Refused(400, 'length-and-transfer-encoding');
    const codings = transferEncoding.toLowerCase().split(',').map(trimBlanks);
    if (codings.length === 1 && codings[0] === 'chunked') return { kind: 'chunked' };
    const chunkedOnceLast = codings.indexOf('chunked') === codings.length - 1;
    if (codings.includes('chunked') && !chunkedOnceLast)
      return new Refused(400, 'chunked-not-last');
    return new Refused(501, 'unknown-transfer-coding');
  }
  if (length === undefined) return { kind: 'none' };
  const bytes = parseLength(length);
  if (bytes === undefined) return new Refused(400, 'bad-content-length');
  return bytes === 0 ? { kind: 'none' } : { kind: 'length', length: bytes };
}

function isKeepAlive(version: '1.0' | '1.1', connection: string): boolean {
  if (connection === '') return version === '1.1';
  const options = connection.split(',').map(trimBlanks);
  if (options.includes('close')) return false;
  return version === '1.1' || options.includes('keep-alive');
}

function wantedUpgrade(fields: Fields): string | undefined {
  if (fields.upgrade === undefined) return undefined;
  if (!fields.connection.split(',').map(trimBlanks).includes('upgrade')) return undefined;
  const token = fields.upgrade.split(',')[0]?.trim().toLowerCase() ?? '';
  // h2c by upgrade is obsolete (RFC 9113 section 3.1): the request is served as it is.
  return token === '' || token === 'h2c' ? undefined : token;
}

/** A host with optional port, as Host and authority have it. Source: RFC 9110 section 7.2. */
export function isAuthority(text: string): boolean {
  if (text.charCodeAt(0) === BRACKET) return /^\[[0-9A-Fa-f:.]+\](?::\d{0,5})?$/.test(text);
  let at = 0;
  while (at < text.length && HOST[text.charCodeAt(at)]) at++;
  return at > 0 && (at === text.length || isPortSuffix(text, at));
}

/** Whether `text` ends, from `from`, in a colon and at most five digits. */
function isPortSuffix(text: string, from: number): boolean {
  if (text.charCodeAt(from) !== COLON || text.length - from > 6) return false;
  for (let at = from + 1; at < text.length; at++) if (!isDigit(text.charCodeAt(at))) return false;
  return true;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

function hasLowerCase(method: string): boolean {
  for (let at = 0; at < method.length; at++) {
    const code = method.charCodeAt(at);
    if (code >= 97 && code <= 122) return true;
  }
  return false;
}

type RequestLine = { method: string; target: string; version: '1.0' | '1.1'; authority?: string };

function parseRequestLine(line: string, limits: HeadLimits): RequestLine | Refused {
  const first = line.indexOf(' ');
  const last = line.lastIndexOf(' ');
  if (first <= 0 || last === first) return new Refused(400, 'bad-request-line');
  const method = line.slice(0, first);
  if (method.length > MAX_METHOD || !isToken(method)) return new Refused(400, 'bad-method');
  if (hasLowerCase(method)) return new Refused(400, 'lower-case-method');
  const version = line.slice(last + 1);
  if (version !== 'HTTP/1.1' && version !== 'HTTP/1.0') {
    const known = /^HTTP\/\d\.\d$/.test(version);
    return new Refused(known ? 505 : 400, known ? 'unsupported-version' : 'bad-version');
  }
  const target = line.slice(first + 1, last);
  if (target.length > limits.maxUriBytes) return new Refused(414, 'target-too-long');
  if (target.includes(' ')) return new Refused(400, 'bad-request-line');
  const number = version === 'HTTP/1.1' ? '1.1' : '1.0';
  if (method === 'CONNECT') return new Refused(405, 'connect');
  if (target.startsWith('/')) return { method, target, version: number };
  if (target === '*' && method === 'OPTIONS') return { method, target, version: number };
  const absolute = /^https?:\/\/([^/?#]+)([/?][^#]*)?$/i.exec(target);
  if (!absolute?.[1]) return new Refused(400, 'bad-target');
  const rest = absolute[2] ?? '/';
  const origin = rest.startsWith('?') ? `/${rest}` : rest;
  return { method, target: origin, version: number, authority: absolute[1] };
}

function assembleRequest(line: RequestLine, fields: Fields): RequestHead1 | Refused {
  const { version, method, target } = line;
  if (fields.host === undefined && version === '1.1') return new Refused(400, 'no-host');
  if (fields.host !== undefined && fields.host !== '' && !isAuthority(fields.host)) {
    return new Refused(400, 'bad-host');
  }
  const host = line.authority ?? fields.host ?? '';
  if (line.authority !== undefined && !isAuthority(line.authority)) {
    return new Refused(400, 'bad-target');
  }
  const framing = requestFraming(fields, version);
  if (framing instanceof Refused) return framing;
  if (fields.expect !== undefined && fields.expect !== '100-continue') {
    return new Refused(417, 'unknown-expectation');
  }
  return {
    method,
    target,
    version,
    headers: fields.headers,
    framing,
    keepAlive: isKeepAlive(version, fields.connection),
    upgrade: version === '1.1' ? wantedUpgrade(fields) : undefined,
    expectContinue: fields.expect !== undefined && version === '1.1',
    host: host.toLowerCase(),
  };
}

function refuse(refused: Refused): { kind: 'error'; status: number; reason: string } {
  return { kind: 'error', status: refused.status, reason: refused.reason };
}

/** What is wrong with a head whose end has not come: too long, or plainly not HTTP/1. */
function unfinished(buffer: Buffer, from: number, limits: HeadLimits): HeadResult<never> {
  const size = buffer.length - from;
  if (size > 0 && !TOKEN[buffer[from] as number]) return refuse(new Refused(400, 'bad-method'));
  const lineEnd = buffer.indexOf(LF, from);
  if (lineEnd >= 0 && (lineEnd === from || buffer[lineEnd - 1] !== CR)) {
    return refuse(new Refused(400, 'bare-line-end'));
  }
  if (lineEnd < 0 && size > limits.maxUriBytes + MAX_METHOD + 12) {
    return refuse(new Refused(414, 'target-too-long'));
  }
  if (size > limits.maxHeaderBytes) return refuse(new Refused(431, 'header-too-large'));
  return { kind: 'need-more' };
}

/**
 * Reads a request's head at `from`. One verdict for each ambiguity; whatever two parsers could read
 * differently is refused. `resumeAt` is how far an earlier call has searched. Source: RFC 9112.
 */
export function parseRequestHead(
  buffer: Buffer,
  from: number,
  limits: HeadLimits,
  resumeAt = from,
): HeadResult<RequestHead1> {
  const end = headEnd(buffer, from, resumeAt);
  if (end < 0) return unfinished(buffer, from, limits);
  const text = buffer.toString('latin1', from, end - 2);
  const lineEnd = text.indexOf('\r\n');
  const line = parseRequestLine(text.slice(0, lineEnd), limits);
  if (line instanceof Refused) return refuse(line);
  if (end - from > limits.maxHeaderBytes + lineEnd)
    return refuse(new Refused(431, 'header-too-large'));
  const fields = parseFields(text, lineEnd + 2, limits);
  if (fields instanceof Refused) return refuse(fields);
  const value = assembleRequest(line, fields);
  if (value instanceof Refused) return refuse(value);
  return { kind: 'value', value, consumed: end - from };
}

function responseFraming(
  fields: Fields,
  status: number,
  version: '1.0' | '1.1',
  method: string,
): Framing | Refused {
  const { length, transferEncoding } = fields;
  if (transferEncoding !== undefined) {
    if (version === '1.0') return new Refused(502, 'transfer-encoding-on-1.0');
    if (length !== undefined) return new Refused(502, 'length-and-transfer-encoding');
    if (trimBlanks(transferEncoding).toLowerCase() !== 'chunked') {
      return new Refused(502, 'unknown-transfer-coding');
    }
  }
  const bytes = length === undefined ? undefined : parseLength(length);
  if (length !== undefined && bytes === undefined) return new Refused(502, 'bad-content-length');
  const bodiless = method === 'HEAD' || status < 200 || status === 204 || status === 304;
  if (bodiless) return { kind: 'none' };
  if (transferEncoding !== undefined) return { kind: 'chunked' };
  if (bytes === undefined) return { kind: 'until-close' };
  return bytes === 0 ? { kind: 'none' } : { kind: 'length', length: bytes };
}

const RESPONSE_LIMITS: HeadLimits = {
  maxHeaderBytes: 65_536,
  maxHeaders: 500,
  maxUriBytes: 65_536,
  underscoreHeaders: 'allow',
};

/** The status of a status line; undefined when the line is none. Source: RFC 9112 section 4. */
function statusOf(text: string, lineEnd: number): number | undefined {
  if (!text.startsWith('HTTP/1.1 ') && !text.startsWith('HTTP/1.0 ')) return undefined;
  const status = parseLength(text.slice(9, 12));
  if (status === undefined || status < 100 || status > 599 || lineEnd < 12) return undefined;
  if (lineEnd > 12 && text.charCodeAt(12) !== SPACE) return undefined;
  for (let at = 13; at < lineEnd; at++) {
    const code = text.charCodeAt(at);
    if (code === 0 || code === CR || code === LF) return undefined;
  }
  return status;
}

/** Reads a response's head at `from`; errors carry 502. Heads are bounded at 64 KiB, 500 fields. */
export function parseResponseHead(
  buffer: Buffer,
  from: number,
  requestMethod: string,
  resumeAt = from,
): HeadResult<ResponseHead1> {
  const end = headEnd(buffer, from, resumeAt);
  if (end < 0) {
    const size = buffer.length - from;
    if (size > RESPONSE_LIMITS.maxHeaderBytes) return refuse(new Refused(502, 'header-too-large'));
    const start = buffer.toString('latin1', from, from + 7);
    if (!'HTTP/1.'.startsWith(start)) return refuse(new Refused(502, 'not-http'));
    return { kind: 'need-more' };
  }
  if (end - from > RESPONSE_LIMITS.maxHeaderBytes)
    return refuse(new Refused(502, 'header-too-large'));
  const text = buffer.toString('latin1', from, end - 2);
  const lineEnd = text.indexOf('\r\n');
  const status = statusOf(text, lineEnd);
  if (status === undefined) return refuse(new Refused(502, 'bad-status-line'));
  const version = text.charCodeAt(7) === ZERO ? '1.0' : '1.1';
  const fields = parseFields(text, lineEnd + 2, RESPONSE_LIMITS);
  if (fields instanceof Refused) return refuse(new Refused(502, fields.reason));
  const framing = responseFraming(fields, status, version, requestMethod);
  if (framing instanceof Refused) return refuse(framing);
  const value: ResponseHead1 = {
    version,
    status,
    headers: fields.headers,
    framing,
    keepAlive: framing.kind !== 'until-close' && isKeepAlive(version, fields.connection),
    upgrade: fields.upgrade?.trim().toLowerCase(),
  };
  return { kind: 'value', value, consumed: end - from };
}
