import type { GatewayConfigInput } from '../../model/gateway-config.ts';
import type { Options } from './options.ts';
import type { ProxySection, Work } from './proxy.ts';
import type { Statement } from './sections.ts';
import { compact, duration, parseCount, parseTime } from './values.ts';

export type ServiceInput = NonNullable<GatewayConfigInput['services']>[string];
export type HealthInput = NonNullable<ServiceInput['health']>;

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
  if (words.includes('!') || at < 0 || (kind?.endsWith('status') && !fits)) {
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
  const ranges: { from: number; to: number }[] = [];
  for (let code = 100; code < 600; code++) {
    const last = ranges.at(-1);
    if (!regex.test(String(code))) continue;
    if (last?.to === code - 1) last.to = code;
    else ranges.push({ from: code, to: code });
  }
  return ranges.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`)).join(',');
}

/** The first thing that is sent and the first that is expected; a check has one of each. */
function tcpProbe({ statements }: ProxySection, encrypted: boolean, work: Work): Probe {
  const [send, ...sends] = statements.all('tcp-check send');
  const [expect, ...expects] = statements.all('tcp-check expect');
  const port = statements.last('tcp-check connect')?.words ?? [];
  const own = port.includes('port') ? { port: Number(port[port.indexOf('port') + 1]) } : {};
  for (const { text, line } of [...sends, ...expects]) {
    work.reporter.approximated(text, line, 'a check sends once and expects once');
  }
  if (!expect) return { type: encrypted ? 'tls' : 'tcp', ...own };
  const words = expect.words.slice(2);
  const at = words.findIndex((word) => /^r?string$/.test(word));
  const value = words.slice(at + 1).join(' ');
  if (at < 0 || words.includes('!')) {
    work.reporter.unsupported(expect.text, expect.line, 'a text is expected');
    return { type: 'tcp', ...own };
  }
  const text = send?.words.slice(2).join(' ');
  return {
    type: 'send-expect',
    ...own,
    ...(text !== undefined && { send: text.replaceAll('\r', '\\r').replaceAll('\n', '\\n') }),
    expect: words[at] === 'rstring' ? { regex: value } : value,
  };
}
