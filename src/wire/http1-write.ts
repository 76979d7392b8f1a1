import { FieldNames } from './fields.ts';
import { isToken } from './http1-head.ts';

const REASONS: Readonly<Record<number, string>> = {
  100: 'Continue',
  101: 'Switching Protocols',
  103: 'Early Hints',
  200: 'OK',
  201: 'Created',
  202: 'Accepted',
  204: 'No Content',
  206: 'Partial Content',
  301: 'Moved Permanently',
  302: 'Found',
  303: 'See Other',
  304: 'Not Modified',
  307: 'Temporary Redirect',
  308: 'Permanent Redirect',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  413: 'Content Too Large',
  414: 'URI Too Long',
  417: 'Expectation Failed',
  421: 'Misdirected Request',
  425: 'Too Early',
  426: 'Upgrade Required',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
};

/** The reason phrase of a status; empty when there is none. */
export function reasonOf(status: number): string {
  return REASONS[status] ?? '';
}

/** Whether a value holds nothing that could end its line. Source: RFC 9110 section 5.5. */
function isSafe(value: string): boolean {
  for (let at = 0; at < value.length; at++) {
    const code = value.charCodeAt(at);
    if (code === 13 || code === 10 || code === 0 || code > 255) return false;
  }
  return true;
}

function fieldLine(name: string, value: string): string {
  return isToken(name) && isSafe(value) ? `${name}: ${value}\r\n` : '';
}

/** Header lines of a flat list; a field that could split the message is left out. */
export function fieldLines(headers: readonly string[]): string {
  let text = '';
  for (let at = 0; at + 1 < headers.length; at += 2) {
    text += fieldLine(headers[at] as string, headers[at + 1] as string);
  }
  return text;
}

/** A status line with its header fields and the empty line. */
export function responseHead(status: number, headers: readonly string[], framing: string): string {
  return `HTTP/1.1 ${status} ${reasonOf(status)}\r\n${fieldLines(headers)}${framing}\r\n`;
}

/** A path or query with nothing in it that could end a line or a word. */
export function encodeControls(target: string): string {
  if (!/[^\x21-\x7e]/.test(target)) return target;
  return target.replaceAll(/[^\x21-\x7e]/g, (char) => encodeURIComponent(char));
}

/** A request line with its header fields and the empty line. */
export function requestHead(
  method: string,
  target: string,
  host: string,
  headers: readonly string[],
  framing: string,
): string {
  // A rewrite must not be able to add a line to the message.
  const line = encodeControls(target);
  return `${method} ${line} HTTP/1.1\r\n${fieldLine('host', host)}${fieldLines(headers)}${framing}\r\n`;
}

/** Header fields that belong to one hop. Source: RFC 9110 section 7.6.1. */
const HOP_BY_HOP = new FieldNames([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
  'content-length',
  'expect',
  'http2-settings',
  'proxy-authorization',
]);

const HOST = new FieldNames(['host']);

/**
 * The fields that travel on: without framing, hop-by-hop fields, Host when asked, and everything
 * that `Connection` names.
 */
export function endToEnd(headers: readonly string[], withoutHost: boolean): string[] {
  let named: string[] | undefined;
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string;
    if (name.length !== 10 || name.toLowerCase() !== 'connection') continue;
    named ??= [];
    for (const option of (headers[at + 1] as string).split(','))
      named.push(option.trim().toLowerCase());
  }
  const kept: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string;
    if (HOP_BY_HOP.has(name) || (withoutHost && HOST.has(name))) continue;
    if (named?.includes(name.toLowerCase())) continue;
    kept.push(name, headers[at + 1] as string);
  }
  return kept;
}
