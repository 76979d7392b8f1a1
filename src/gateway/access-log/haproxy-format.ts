import { type LogFormatField, type LogFormatPart, parseLogFormat } from '../../model/log-format.ts';
import type { AccessRecord, LoadNow } from '../access-record.ts';
import { clockOf } from './words.ts';

/** `option httplog`. Source: HAProxy configuration manual, "HTTP log format". */
export const HTTPLOG =
  '%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r';
/** `option tcplog`. Source: HAProxy configuration manual, "TCP log format". */
export const TCPLOG = '%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq';

/**
 * How a session ended, in two letters: who ended it, and when.
 * Source: HAProxy configuration manual, "Session state at disconnection".
 */
const ENDS: Readonly<Record<string, string>> = {
  ok: '--',
  closed: '--',
  'client-gone': 'CH',
  'client-reset': 'CD',
  'client-vanished': 'cD',
  'client-body': 'CD',
  'body-timeout': 'cD',
  idle: 'cD',
  'half-close': 'cD',
  'write-timeout': 'cD',
  'endpoint-reset': 'SD',
  'endpoint-vanished': 'sD',
  'endpoint-closed': 'SD',
  'endpoint-refused': 'SC',
  'endpoint-connect-timeout': 'sC',
  'endpoint-timeout': 'sH',
  'no-endpoint': 'SC',
  'no-route': 'SC',
  'queue-timeout': 'sQ',
  'queue-full': 'PQ',
};

/** A reason of the gateway's own. */
const OWN = 'PR';
/** A request that the gateway has answered as it is told to. */
const LOCAL = 'LR';

/** What a field is made of. */
type Line = { readonly record: AccessRecord; readonly load: LoadNow };

/** Quotes, hashes and what is no visible ASCII as `#` and two digits, as HAProxy writes them. */
function encoded(text: string | undefined, more = ''): string {
  return [...(text ?? '')]
    .map((char) => {
      const visible = char > ' ' && char <= '~' && !`"#${more}`.includes(char);
      if (visible || char === ' ') return char;
      const bytes = [...Buffer.from(char)];
      return bytes.map((byte) => `#${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');
    })
    .join('');
}

function endOf({ outcome, http, endpoint }: AccessRecord): string {
  if (outcome === 'ok' && http && endpoint === undefined) return LOCAL;
  return ENDS[outcome] ?? OWN;
}

function round(ms: number | undefined): number {
  return ms === undefined ? -1 : Math.round(ms);
}

/** Of HTTP, connecting is part of the response time. */
function connectMs({ http, responseMs }: AccessRecord): number {
  return http && responseMs !== undefined ? 0 : round(responseMs);
}

function stamp(at: number, zone: 'utc' | 'local', end: 'ms' | 'offset'): string {
  const { day, time, ms, offset } = clockOf(at, zone);
  return end === 'ms' ? `${day}:${time}.${ms}` : `${day}:${time} ${offset}`;
}

const pathOf = (target: string | undefined) => target?.split('?')[0];

function queryOf(target: string | undefined): string {
  const at = target?.indexOf('?') ?? -1;
  return at < 0 ? '' : (target?.slice(at) ?? '');
}

function versionOf(version: string): string {
  return `HTTP/${version === '2' ? '2.0' : version}`;
}

function requestLine({ http }: AccessRecord): string {
  if (!http) return '<BADREQ>';
  const version = versionOf(http.version);
  return `${encoded(http.method)} ${encoded(http.target)} ${version}`;
}

/** The frontend, with a mark behind it when its client spoke TLS. */
function frontend({ listener, tls }: AccessRecord): string {
  return tls ? `${listener}~` : listener;
}

/** The first seconds of a line: when the client came. */
const startOf = ({ record }: Line) => record.startedAt;

const none = () => '-';
const FIELDS: Readonly<Record<LogFormatField, (line: Line) => string | number>> = {
  B: ({ record }) => record.bytesOut,
  CC: none,
  CS: none,
  H: ({ load }) => load.host,
  HM: ({ record }) => encoded(record.http?.method ?? '<BADREQ>'),
  HP: ({ record }) => encoded(pathOf(record.http?.target) ?? '<BADREQ>'),
  HPO: ({ record }) => encoded(pathOf(record.http?.target) ?? '<BADREQ>'),
  HQ: ({ record }) => encoded(queryOf(record.http?.target)),
  HU: ({ record }) => encoded(record.http?.target ?? '<BADREQ>'),
  HV: ({ record }) => (record.http ? versionOf(record.http.version) : '<BADREQ>'),
  ID: none,
  ST: ({ record }) => record.http?.status ?? -1,
  T: (line) => stamp(startOf(line), 'utc', 'offset'),
  TR: () => 0,
  Ta: ({ record }) => round(record.durationMs),
  Tc: ({ record }) => connectMs(record),
  Td: ({ record }) => dataMs(record),
  Th: () => 0,
  Ti: () => 0,
  Tl: (line) => stamp(startOf(line), 'local', 'offset'),
  Tq: () => 0,
  Tr: ({ record }) => (record.http ? round(record.responseMs) : -1),
  Ts: (line) => Math.floor(startOf(line) / 1000),
  Tt: ({ record }) => round(record.durationMs),
  Tu: ({ record }) => round(record.durationMs),
  Tw: ({ record }) => round(record.waitMs),
  U: ({ record }) => record.bytesIn,
  ac: ({ load }) => load.worker,
  b: ({ record }) => record.service ?? record.listener,
  bc: ({ load }) => load.service,
  bq: ({ load }) => load.queue,
  ci: ({ record }) => record.client,
  cp: ({ record }) => record.clientPort,
  f: ({ record }) => record.listener,
  fc: ({ load }) => load.listener,
  fi: ({ record }) => record.local?.address ?? '-',
  fp: ({ record }) => record.local?.port ?? '-',
  ft: ({ record }) => frontend(record),
  hr: () => '',
  hrl: () => '',
  hs: () => '',
  hsl: () => '',
  ms: (line) => clockOf(startOf(line), 'utc').ms,
  pid: () => process.pid,
  r: ({ record }) => requestLine(record),
  rc: ({ record }) => record.retries,
  s: ({ record }) => record.endpointName ?? (record.endpoint || '<NOSRV>'),
  sc: ({ load }) => load.endpoint,
  si: ({ record }) => splitAddress(record.endpoint).host,
  sp: ({ record }) => splitAddress(record.endpoint).port,
  sq: () => 0,
  sslc: ({ record }) => record.tls?.cipher ?? '-',
  sslv: ({ record }) => record.tls?.version ?? '-',
  t: (line) => stamp(startOf(line), 'local', 'ms'),
  tr: (line) => stamp(startOf(line), 'local', 'ms'),
  trg: (line) => stamp(startOf(line), 'utc', 'offset'),
  trl: (line) => stamp(startOf(line), 'local', 'offset'),
  ts: ({ record }) => endOf(record),
  tsc: ({ record }) => `${endOf(record)}--`,
};

/** From the head of the answer to its end. */
function dataMs({ durationMs, waitMs, responseMs }: AccessRecord): number {
  return responseMs === undefined ? -1 : round(durationMs - (waitMs ?? 0) - responseMs);
}

function splitAddress(endpoint: string | undefined): { host: string; port: string } {
  const [, host = '-', port = '-'] = /^\[?(.*?)\]?:(\d+)$/.exec(endpoint ?? '') ?? [];
  return { host, port };
}

/** The function that writes a line in a format that has been checked. */
export function haproxyLine(text: string): (record: AccessRecord, load: LoadNow) => string {
  const parsed = parseLogFormat(text);
  const parts: readonly LogFormatPart[] = typeof parsed === 'string' ? [] : parsed;
  return (record, load) => {
    let line = '';
    for (const part of parts) {
      if (typeof part === 'string') {
        // A field without a value takes the space behind it along.
        line += line.endsWith(' ') && part.startsWith(' ') ? part.slice(1) : part;
        continue;
      }
      const value = FIELDS[part.field]({ record, load });
      // Numbers are never quoted.
      line += part.quoted && typeof value === 'string' ? `"${value}"` : value;
    }
    return line;
  };
}
