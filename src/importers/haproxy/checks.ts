import { isStatusOf } from '../../model/fields.ts';
import type { GatewayConfigInput } from '../../model/gateway-config.ts';
import type { Options } from './options.ts';
import { rangesOf } from './patterns.ts';
import type { ProxySection, Work } from './proxy.ts';
import type { Statement } from './sections.ts';
import { compact, duration, parseCount, parseTime } from './values.ts';

export type ServiceInput = NonNullable<GatewayConfigInput['services']>[string];
export type HealthInput = NonNullable<ServiceInput['health']>;

const CODES = Array.from({ length: 500 }, (_, at) => 100 + at);
const DEFAULT_INTERVAL_MS = 2000;

/** Where the check of a backend's servers goes, and how it is made. */
type Probe = Record<string, unknown> & { readonly type: string };

/**
 * The check of a backend by what its servers say of it; false: none of them is checked.
 * Source: HAProxy 2.6 manual, `check`, `option httpchk` and the rules of checks.
 */
export function healthOf(
  backend: ProxySection,
  servers: readonly Options[],
  work: Work,
): HealthInput {
  const checked = servers.find((options) => options.has('check') && !options.has('no-check'));
  if (!checked) return false;
  const encrypted =
    checked.has('check-ssl') || (checked.has('ssl') && !checked.has('no-check-ssl'));
  const probe = probeOf(backend, encrypted, work);
  // exempt(as): the parts of a check, each of the shape that its type has.
  return { ...probe, ...tlsOf(probe, checked), ...timing(backend, checked) } as HealthInput;
}

function timing({ statements }: ProxySection, options: Options): object {
  const time = (name: string) => parseTime(options.get(name));
  const text = (ms: number | undefined) => (ms === undefined ? undefined : duration(ms));
  const interval = time('inter') ?? DEFAULT_INTERVAL_MS;
  const state = options.get('init-state');
  return compact({
    interval: duration(interval),
    fastInterval: text(time('fastinter')),
    downInterval: duration(time('downinter') ?? interval),
    timeout: duration(statements.timeout('check') ?? interval),
    rise: parseCount(options.get('rise')) ?? 2,
    fall: parseCount(options.get('fall')) ?? 3,
    port: parseCount(options.get('port')),
    initialState: state === 'down' || state === 'fully-down' ? ('hold' as const) : undefined,
  });
}

function tlsOf(probe: Probe, options: Options): object {
  if (probe.type !== 'https' && probe.type !== 'tls') return {};
  const name = options.get('check-sni') ?? /^str\((.*)\)$/.exec(options.get('sni') ?? '')?.[1];
  return compact({
    serverName: name,
    verify: options.get('verify') === 'none' ? false : undefined,
  });
}

function probeOf(backend: ProxySection, encrypted: boolean, work: Work): Probe {
  const { statements } = backend;
  if (statements.has('option httpchk')) return httpProbe(backend, encrypted, work);
  if (statements.has('option tcp-check')) return tcpProbe(backend, encrypted, work);
  if (statements.has('option ssl-hello-chk')) return { type: 'tls', verify: false };
  const conversation = CONVERSATIONS.find(({ keyword }) => statements.has(keyword));
  if (conversation) return { type: 'send-expect', ...conversation.probe };
  return { type: encrypted ? 'tls' : 'tcp' };
}

/** What is said first, and what must come back. */
const CONVERSATIONS = [
  { keyword: 'option redis-check', probe: { send: 'PING\\r\\n', expect: '+PONG' } },
  { keyword: 'option smtpchk', probe: { expect: { regex: '^220' } } },
  // The greeting of a server: protocol version 10, or 9.
  { keyword: 'option mysql-check', probe: { expect: { regex: '(?s)^.{4}[\\x09\\x0a]' } } },
  // SSLRequest; a server says S or N. Source: PostgreSQL, Message Formats.
  {
    keyword: 'option pgsql-check',
    probe: { send: '\\x00\\x00\\x00\\x08\\x04\\xd2\\x16\\x2f', expect: { regex: '^[SN]' } },
  },
];

/** `option httpchk [METHOD] [URI [VERSION]]` and what `http-check` adds to it. */
function httpProbe({ statements }: ProxySection, encrypted: boolean, work: Work): Probe {
  const words = statements.words('option httpchk');
  const [method, path] = words.length > 1 ? words : [undefined, words[0]];
  let probe: Probe = {
    type: encrypted ? 'https' : 'http',
    method: method ?? 'OPTIONS',
    path: path ?? '/',
    ...versionHost(words.slice(2).join(' ')),
  };
  for (const { words: sent } of statements.all('http-check send')) {
    probe = { ...probe, ...sentParts(sent.slice(2)) };
  }
  for (const statement of statements.all('http-check connect')) {
    const port = statement.words.indexOf('port');
    if (port > 0) probe = { ...probe, port: Number(statement.words[port + 1]) };
    if (statement.words.includes('ssl')) probe = { ...probe, type: 'https' };
  }
  for (const statement of statements.all('http-check expect')) {
    const expect = expected(statement, work);
    const before = probe['expect'];
    if (expect)
      probe = { ...probe, expect: { ...(typeof before === 'object' && before), ...expect } };
  }
  return probe;
}

/** `HTTP/1.1\r\nHost: x`, the way in which older files name the host. */
function versionHost(text: string): object {
  const host = /[\r\n]+host: *([^\r\n]+)/i.exec(text.replaceAll('\\r\\n', '\r\n'))?.[1];
  return host === undefined ? {} : { host };
}

function sentParts(words: readonly string[]): object {
  const parts: Record<string, unknown> = {};
  const headers: Record<string, string> = {};
  for (let at = 0; at < words.length; at++) {
    const [word, value = ''] = [words[at] ?? '', words[at + 1]];
    if (word === 'meth') parts['method'] = value;
    if (word === 'uri') parts['path'] = value;
    if (word === 'hdr') {
      if (value.toLowerCase() === 'host') parts['host'] = words[at + 2];
      else headers[value.toLowerCase()] = words[at + 2] ?? '';
      at++;
    }
    at++;
  }
  return Object.keys(headers).length > 0 ? { ...parts, headers } : parts;
}

/** `http-check expect status 200-299`, `rstatus`, `string`, `rstring`. */
function expected({ words, text, line }: Statement, work: Work): object | undefined {
  const at = words.findIndex((word) => /^r?(status|string)$/.test(word));
  const [kind, value = ''] = [words[at], words.slice(at + 1).join(' ')];
  const ranges = kind === 'rstatus' ? statusesOf(value) : value.replaceAll(/\s/g, '');
  const fits = /^\d{3}(-\d{3})?(,\d{3}(-\d{3})?)*$/.test(ranges ?? '');
  const negated = words.includes('!');
  if (negated && kind?.endsWith('status') && fits) {
    const others = CODES.filter((code) => !isStatusOf(ranges ?? '', code));
    return { status: rangesOf(others) };
  }
  if (negated || at < 0 || (kind?.endsWith('status') && !fits)) {
    work.reporter.unsupported(text, line, 'a status or a text is expected, not anything but one');
    return undefined;
  }
  if (kind?.endsWith('status')) return { status: ranges };
  return { body: kind === 'rstring' ? { regex: value } : value };
}

/** The codes that an expression takes, as ranges. */
function statusesOf(source: string): string | undefined {
  let regex: RegExp;
  try {
    regex = new RegExp(source);
  } catch {
    return undefined;
  }
  return rangesOf(CODES.filter((code) => regex.test(String(code))));
}

type Turn = { readonly send?: string; readonly expect: string | { readonly regex: string } };

/** What is sent and expected in turns; several texts that are sent in a row are one. */
function tcpProbe({ statements }: ProxySection, encrypted: boolean, work: Work): Probe {
  const [connect, ...others] = statements.all('tcp-check connect');
  for (const { text, line } of others) {
    work.reporter.approximated(text, line, 'a check connects once');
  }
  const port = connect?.words.indexOf('port') ?? -1;
  const own = port > 0 ? { port: Number(connect?.words[port + 1]) } : {};
  const turns: Turn[] = [];
  let sent = '';
  for (const statement of statements.all(...TALK)) {
    if (statement.words[1]?.startsWith('send')) {
      sent += sentText(statement);
      continue;
    }
    const expect = expectedText(statement);
    if (expect === undefined) {
      const why = 'a text is expected: no connection check says so';
      work.reporter.unsupported(statement.text, statement.line, why);
      return { type: 'tcp', ...own };
    }
    turns.push(sent === '' ? { expect } : { send: sent, expect });
    sent = '';
  }
  const [first, ...more] = turns;
  if (!first) return { type: encrypted ? 'tls' : 'tcp', ...own };
  return { type: 'send-expect', ...own, ...first, ...(more.length > 0 && { more }) };
}

const TALK = [
  ...['tcp-check send', 'tcp-check send-lf', 'tcp-check send-binary', 'tcp-check expect'],
];

function sentText({ words }: Statement): string {
  const [, kind, first = ''] = words;
  if (kind === 'send-binary') return escapedBytes(first);
  const end = words.indexOf('comment');
  const text = words.slice(2, end < 0 ? undefined : end).join(' ');
  return text.replaceAll('\\', '\\x5c').replaceAll('\r', '\\r').replaceAll('\n', '\\n');
}

function escapedBytes(hex: string): string {
  return hex.replaceAll(/[0-9a-f]{2}/gi, '\\x$&');
}

function expectedText({ words }: Statement): Turn['expect'] | undefined {
  const at = words.findIndex((word) => /^(r?string|binary)$/.test(word));
  const end = words.indexOf('comment', at);
  const value = words.slice(at + 1, end < 0 ? undefined : end).join(' ');
  if (at < 0 || words.includes('!')) return undefined;
  if (words[at] === 'binary') return escapedBytes(value);
  return words[at] === 'rstring' ? { regex: value } : value;
}
