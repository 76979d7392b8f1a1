import type { AccessRecord, LoadNow } from '../access-record.ts';
import { clean, clockOf, requestLine } from './words.ts';

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
  'queue-timeout': 'sQ',
  'queue-full': 'PQ',
};

/** A reason of the gateway's own. */
const OWN = 'PR';

function head(record: AccessRecord): string {
  const { day, time, ms } = clockOf(record.startedAt);
  const { service = '-', endpoint } = record;
  const server = `${service}/${endpoint || '<NOSRV>'}`;
  return `${record.client}:${record.clientPort} [${day}:${time}.${ms}] ${record.listener} ${server}`;
}

function counts({ worker, listener, service, endpoint, queue }: LoadNow, retries: number): string {
  return `${worker}/${listener}/${service}/${endpoint}/${retries} 0/${queue}`;
}

function round(ms: number | undefined): number {
  return ms === undefined ? -1 : Math.round(ms);
}

/**
 * `option httplog`. Connecting is part of the response time (so the third timer is 0), counts of
 * connections are of the worker. Source: HAProxy configuration manual, "HTTP log format".
 */
export function httplog(record: AccessRecord, load: LoadNow): string {
  if (!record.http) return tcplog(record, load);
  const { waitMs, responseMs, durationMs, outcome } = record;
  const connect = responseMs === undefined ? -1 : 0;
  const timers = [0, round(waitMs), connect, round(responseMs), round(durationMs)].join('/');
  const state = `${ENDS[outcome] ?? OWN}--`;
  const all = `${timers} ${record.http.status} ${record.bytesOut} - - ${state}`;
  return `${head(record)} ${all} ${counts(load, record.retries)} "${requestLine(record)}"`;
}

/** `option tcplog`. Source: HAProxy configuration manual, "TCP log format". */
export function tcplog(record: AccessRecord, load: LoadNow): string {
  const { waitMs, responseMs, durationMs, outcome } = record;
  const timers = [waitMs, responseMs, durationMs].map(round).join('/');
  const state = clean(ENDS[outcome] ?? OWN);
  return `${head(record)} ${timers} ${record.bytesOut} ${state} ${counts(load, record.retries)}`;
}
