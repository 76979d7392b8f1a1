import type { AccessRecord } from '../access-record.ts';

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

/** Control characters and quotes made visible, so that a line stays a line. */
function clean(text: string | undefined): string {
  return (text ?? '-').replaceAll(
    /[\x00-\x1f\x7f"\\]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

function clockOf(at: number): { day: string; time: string; ms: string } {
  const date = new Date(at);
  const day = `${two(date.getUTCDate())}/${MONTHS[date.getUTCMonth()]}/${date.getUTCFullYear()}`;
  const time = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;
  return { day, time, ms: String(date.getUTCMilliseconds()).padStart(3, '0') };
}

function requestLine({ http }: AccessRecord): string {
  return http ? `${clean(http.method)} ${clean(http.target)} HTTP/${http.version}` : '-';
}

function common(record: AccessRecord): string {
  const { day, time } = clockOf(record.startedAt);
  const status = record.http?.status ?? '-';
  return `${record.client} - - [${day}:${time} +0000] "${requestLine(record)}" ${status} ${record.bytesOut}`;
}

function combined(record: AccessRecord): string {
  return `${common(record)} "${clean(record.http?.referer)}" "${clean(record.http?.userAgent)}"`;
}

/** The fields of HAProxy's log that are known here; timers that are not measured apart are -1. */
function haproxy(record: AccessRecord): string {
  const { day, time, ms } = clockOf(record.startedAt);
  const head = `${record.client}:${record.clientPort} [${day}:${time}.${ms}] ${record.listener}`;
  const server = `${record.service ?? '-'}/${record.endpoint ?? '<NOSRV>'}`;
  const total = Math.round(record.durationMs);
  if (!record.http) return `${head} ${server} -1/-1/${total} ${record.bytesOut} --`;
  const { status } = record.http;
  return `${head} ${server} -1/-1/-1/-1/${total} ${status} ${record.bytesOut} - - ---- "${requestLine(record)}"`;
}

function template(text: string): (record: AccessRecord) => string {
  return (record) => {
    const { http, ...rest } = record;
    const values: Record<string, unknown> = {
      ...rest,
      ...http,
      time: new Date(record.startedAt).toISOString(),
    };
    return text.replaceAll(/\{(\w+)\}/g, (_, name: string) => clean(values[name]?.toString()));
  };
}

/** The function that turns a record into a line. */
export function lineFormat(
  format: 'json' | 'common' | 'combined' | 'httplog' | 'tcplog' | { template: string },
): (record: AccessRecord) => string {
  if (typeof format === 'object') return template(format.template);
  switch (format) {
    case 'json':
      return (record) =>
        JSON.stringify({ time: new Date(record.startedAt).toISOString(), ...record });
    case 'common':
      return common;
    case 'combined':
      return combined;
    default:
      return haproxy;
  }
}
