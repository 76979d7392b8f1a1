import type { AccessRecord, LoadNow } from '../access-record.ts';
import { HTTPLOG, haproxyLine, TCPLOG } from './haproxy-format.ts';
import { clean, clockOf, requestLine } from './words.ts';

type Line = (record: AccessRecord) => string;

function common(record: AccessRecord): string {
  const { day, time } = clockOf(record.startedAt);
  const status = record.http?.status ?? '-';
  return `${record.client} - - [${day}:${time} +0000] "${requestLine(record)}" ${status} ${record.bytesOut}`;
}

function combined(record: AccessRecord): string {
  return `${common(record)} "${clean(record.http?.referer)}" "${clean(record.http?.userAgent)}"`;
}

function template(text: string): Line {
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

function inHaproxy(text: string, load: (record: AccessRecord) => LoadNow): Line {
  const line = haproxyLine(text);
  return (record) => line(record, load(record));
}

/** What is no HTTP has the other format, as with HAProxy. */
function httplog(load: (record: AccessRecord) => LoadNow): Line {
  const [http, tcp] = [haproxyLine(HTTPLOG), haproxyLine(TCPLOG)];
  return (record) => (record.http ? http : tcp)(record, load(record));
}

/** The function that turns a record into a line; `load` is asked where a format tells of it. */
export function lineFormat(
  format:
    | 'json'
    | 'common'
    | 'combined'
    | 'httplog'
    | 'tcplog'
    | { template: string }
    | { logFormat: string },
  load: (record: AccessRecord) => LoadNow,
): Line {
  if (typeof format === 'object') {
    return 'template' in format ? template(format.template) : inHaproxy(format.logFormat, load);
  }
  switch (format) {
    case 'json':
      return (record) =>
        JSON.stringify({ time: new Date(record.startedAt).toISOString(), ...record });
    case 'common':
      return common;
    case 'combined':
      return combined;
    case 'httplog':
      return httplog(load);
    case 'tcplog':
      return inHaproxy(TCPLOG, load);
  }
}
