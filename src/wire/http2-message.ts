import type { HeadLimits } from './http1-head.ts';
import { isAuthority, isToken } from './http1-head.ts';

/** A request's fields after every strict check. Source: RFC 9113 section 8. */
export type RequestMessage = {
  readonly method: string;
  readonly scheme: string;
  /** From `:authority`, else from Host; lower case. */
  readonly authority: string;
  /** `:path` as sent; `*` or with a `/` first. */
  readonly target: string;
  /** `:protocol` of an extended CONNECT in lower case. Source: RFC 8441 section 4. */
  readonly protocol: string | undefined;
  /** Flat; without pseudo fields, Host, framing and fields of one hop; `te: trailers` is kept. */
  readonly headers: string[];
  readonly contentLength: number | undefined;
  readonly expectContinue: boolean;
};

/** A response's fields after every strict check; a status below 200 is an interim one. */
export type ResponseMessage = {
  readonly status: number;
  /** Flat; without pseudo fields, framing and fields of one hop. */
  readonly headers: string[];
  readonly contentLength: number | undefined;
};

/**
 * A message, or why it is none: `malformed` ends the stream with PROTOCOL_ERROR, `refused` is a
 * well-formed request over a limit, to be answered with a status.
 */
export type MessageResult<T> =
  | { readonly kind: 'value'; readonly value: T }
  | { readonly kind: 'malformed'; readonly reason: string }
  | { readonly kind: 'refused'; readonly status: number; readonly reason: string };

type Bad = { readonly kind: 'malformed'; readonly reason: string };

const MAX_METHOD = 32;

/** Characters of a field name: a token without upper case. Source: RFC 9113 section 8.2.1. */
const NAME = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
  NAME[char.charCodeAt(0)] = 1;

/** Fields of one connection, which HTTP/2 does not have. Source: RFC 9113 section 8.2.2. */
const FORBIDDEN = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
]);

/** Fields that do not travel on: they are for this hop, or said in another way. */
const DROPPED = new Set([
  'host',
  'content-length',
  'expect',
  'te',
  'trailer',
  'http2-settings',
  'proxy-authorization',
]);

function malformed(reason: string): Bad {
  return { kind: 'malformed', reason };
}

/** What is wrong with a regular field, or undefined. */
function fieldFault(name: string, value: string): string | undefined {
  if (name.length === 0) return 'empty-header-name';
  for (let at = 0; at < name.length; at++) if (!NAME[name.charCodeAt(at)]) return 'bad-header-name';
  const fault = valueFault(value);
  if (fault) return fault;
  if (FORBIDDEN.has(name)) return 'connection-header';
  if (name === 'te' && value.toLowerCase() !== 'trailers') return 'connection-header';
  return undefined;
}

function valueFault(value: string): string | undefined {
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at);
    if ((code < 32 && code !== 9) || code === 127 || code > 255) return 'control-character';
  }
  const first = value.charCodeAt(0);
  const last = value.charCodeAt(value.length - 1);
  if (first === 32 || first === 9 || last === 32 || last === 9) return 'blank-around-value';
  return undefined;
}

/** The value of Content-Length: digits only, within exact integers; -1 when it is not. */
function lengthOf(text: string): number {
  return /^\d{1,15}$/.test(text) ? Number(text) : -1;
}

type Pseudo = {
  method?: string;
  scheme?: string;
  authority?: string;
  path?: string;
  protocol?: string;
};

const REQUEST_PSEUDO: Readonly<Record<string, keyof Pseudo>> = {
  ':method': 'method',
  ':scheme': 'scheme',
  ':authority': 'authority',
  ':path': 'path',
  ':protocol': 'protocol',
};

/** Reads the pseudo fields in front; the index of the first other field, or what is wrong. */
function readPseudo(fields: readonly string[], pseudo: Pseudo): number | string {
  let at = 0;
  for (; at < fields.length; at += 2) {
    const name = fields[at] as string;
    if (name.charCodeAt(0) !== 58) break;
    const key = Object.hasOwn(REQUEST_PSEUDO, name) ? REQUEST_PSEUDO[name] : undefined;
    if (!key) return 'unknown-pseudo-header';
    if (pseudo[key] !== undefined) return 'repeated-pseudo-header';
    const value = fields[at + 1] as string;
    if (valueFault(value)) return 'bad-pseudo-header';
    pseudo[key] = value;
  }
  return at;
}

/** Fields of a request that are more than passed on. */
type Noted = {
  headers: string[];
  host: string | undefined;
  length: string | undefined;
  expect: string | undefined;
  cookieAt: number;
};

/** Takes one regular field up; what is wrong with it, or undefined. */
function noteField(noted: Noted, name: string, value: string): string | undefined {
  if (name === 'cookie') {
    // Crumbs are one field again for HTTP/1 and for who reads them. Source: RFC 9113 section 8.2.3.
    if (noted.cookieAt < 0) noted.cookieAt = noted.headers.push(name, value) - 1;
    else noted.headers[noted.cookieAt] += `; ${value}`;
  } else if (!DROPPED.has(name)) noted.headers.push(name, value);
  else if (name === 'te') noted.headers.push(name, 'trailers');
  else if (name === 'host') {
    if (noted.host !== undefined) return 'repeated-host';
    noted.host = value;
  } else if (name === 'content-length') {
    if (noted.length !== undefined) return 'repeated-content-length';
    noted.length = value;
  } else if (name === 'expect') noted.expect = value.toLowerCase();
  return undefined;
}

/** Reads a request's field list. Each fault has one verdict; nothing doubtful travels on. */
export function readRequest(
  fields: readonly string[],
  limits: HeadLimits,
): MessageResult<RequestMessage> {
  const pseudo: Pseudo = {};
  const from = readPseudo(fields, pseudo);
  if (typeof from === 'string') return malformed(from);
  const noted: Noted = {
    headers: [],
    host: undefined,
    length: undefined,
    expect: undefined,
    cookieAt: -1,
  };
  let rejected = false;
  for (let at = from; at < fields.length; at += 2) {
    const name = fields[at] as string;
    const value = fields[at + 1] as string;
    if (name.charCodeAt(0) === 58) return malformed('late-pseudo-header');
    const fault = fieldFault(name, value);
    if (fault) return malformed(fault);
    if (limits.underscoreHeaders !== 'allow' && name.includes('_')) {
      rejected ||= limits.underscoreHeaders === 'reject';
      continue;
    }
    const wrong = noteField(noted, name, value);
    if (wrong) return malformed(wrong);
  }
  const result = assembleRequest(pseudo, noted);
  if (result.kind !== 'value') return result;
  return (
    overLimit(result.value, (fields.length - from) / 2, rejected, noted.expect, limits) ?? result
  );
}

function assembleRequest(pseudo: Pseudo, noted: Noted): MessageResult<RequestMessage> {
  const { method, protocol } = pseudo;
  if (method === undefined) return malformed('no-method');
  if (method.length > MAX_METHOD || !isToken(method)) return malformed('bad-method');
  if (protocol !== undefined && method !== 'CONNECT') return malformed('protocol-without-connect');
  const plainConnect = method === 'CONNECT' && protocol === undefined;
  const { scheme = '', path = '' } = pseudo;
  if (plainConnect) {
    if (pseudo.scheme !== undefined || pseudo.path !== undefined) return malformed('bad-connect');
  } else if (scheme !== 'http' && scheme !== 'https') return malformed('bad-scheme');
  else if (!path.startsWith('/') && !(path === '*' && method === 'OPTIONS')) {
    return malformed('bad-target');
  }
  const authority = (pseudo.authority ?? noted.host ?? '').toLowerCase();
  if (!isAuthority(authority)) return malformed('bad-host');
  if (noted.host !== undefined && noted.host.toLowerCase() !== authority) {
    return malformed('host-differs');
  }
  const contentLength = noted.length === undefined ? undefined : lengthOf(noted.length);
  if (contentLength === -1) return malformed('bad-content-length');
  const value = {
    method,
    scheme,
    authority,
    target: path,
    protocol: protocol?.toLowerCase(),
    headers: noted.headers,
    contentLength,
    expectContinue: noted.expect === '100-continue',
  };
  return { kind: 'value', value };
}

function overLimit(
  request: RequestMessage,
  count: number,
  rejected: boolean,
  expect: string | undefined,
  limits: HeadLimits,
): MessageResult<RequestMessage> | undefined {
  const refuse = (status: number, reason: string) => ({ kind: 'refused' as const, status, reason });
  if (request.method !== request.method.toUpperCase()) return refuse(400, 'lower-case-method');
  if (rejected) return refuse(400, 'underscore-in-name');
  if (count > limits.maxHeaders) return refuse(431, 'too-many-headers');
  if (request.target.length > limits.maxUriBytes) return refuse(414, 'target-too-long');
  if (expect !== undefined && !request.expectContinue) return refuse(417, 'unknown-expectation');
  if (request.method !== 'CONNECT') return undefined;
  if (request.protocol === undefined) return refuse(405, 'connect');
  return request.protocol === 'websocket' ? undefined : refuse(501, 'unknown-protocol');
}

/** Reads a response's field list. Source: RFC 9113 section 8.3.2. */
export function readResponse(fields: readonly string[]): MessageResult<ResponseMessage> {
  const status = fields[1] ?? '';
  if (fields[0] !== ':status' || !/^[1-5]\d\d$/.test(status)) return malformed('bad-status');
  // There is no 101 in HTTP/2. Source: RFC 9113 section 8.6.
  if (status === '101') return malformed('bad-status');
  const headers: string[] = [];
  let length: string | undefined;
  for (let at = 2; at < fields.length; at += 2) {
    const name = fields[at] as string;
    const value = fields[at + 1] as string;
    const fault = fieldFault(name, value);
    if (fault) return malformed(fault);
    if (name === 'content-length') {
      if (length !== undefined) return malformed('repeated-content-length');
      length = value;
    } else if (name !== 'te' && name !== 'trailer') headers.push(name, value);
  }
  const contentLength = length === undefined ? undefined : lengthOf(length);
  if (contentLength === -1) return malformed('bad-content-length');
  return { kind: 'value', value: { status: Number(status), headers, contentLength } };
}

/** What is wrong with a trailer section, or undefined. Source: RFC 9113 section 8.1. */
export function trailerFault(fields: readonly string[]): string | undefined {
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] as string;
    if (name.charCodeAt(0) === 58) return 'pseudo-header-in-trailers';
    const fault = fieldFault(name, fields[at + 1] as string);
    if (fault) return fault;
  }
  return undefined;
}

/**
 * Appends fields as HTTP/2 wants them: names in lower case, without fields of one connection; a
 * field that could not be sent is left out.
 */
export function appendFields(target: string[], headers: readonly string[]): void {
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = (headers[at] as string).toLowerCase();
    const value = headers[at + 1] as string;
    if (fieldFault(name, value) === undefined) target.push(name, value);
  }
}
