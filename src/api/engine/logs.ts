import { invalid } from '../../base/faults.ts';
import type { LogEntry } from '../../control/streams.ts';
import type { Call } from './http.ts';
import { frame } from './streams.ts';

const NS_PER_SECOND = 1_000_000_000n;
const NS_PER_MS = 1_000_000n;
const MAX_UNREAD = 16 * 1024 * 1024;

/** RFC 3339 with all nanoseconds. */
function formatNs(ns: bigint): string {
  const second = new Date(Number(ns / NS_PER_MS)).toISOString().slice(0, 19);
  return `${second}.${String(ns % NS_PER_SECOND).padStart(9, '0')}Z`;
}

function tailOf(text: string): number | undefined {
  if (text === '' || text === 'all') return undefined;
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Which lines a call for logs wants, and how. Throws when it wants none. */
export function logRequest({ query }: Call) {
  const wanted = { stdout: query.flag('stdout'), stderr: query.flag('stderr') };
  if (!wanted.stdout && !wanted.stderr) {
    throw invalid('Bad parameters: you must choose at least one stream');
  }
  return {
    wanted,
    timestamps: query.flag('timestamps'),
    details: query.flag('details'),
    query: {
      follow: query.flag('follow'),
      tail: tailOf(query.text('tail')),
      sinceNs: query.time('since'),
      untilNs: query.time('until'),
    },
  };
}

/**
 * Begins the answer to a call for logs. A client that does not read is let go. `details` of a line
 * stand before it, after its time.
 */
export function beginLogs(
  { response, lasts }: Call,
  { wanted, timestamps, query }: ReturnType<typeof logRequest>,
  tty: boolean,
) {
  response.writeHead(200, {
    'content-type': `application/vnd.docker.${tty ? 'raw' : 'multiplexed'}-stream`,
  });
  response.flushHeaders();
  if (query.follow) lasts(() => response.end());
  return {
    write({ stream, timeNs, line }: LogEntry, details = '') {
      if (!wanted[stream]) return;
      const head = `${timestamps ? `${formatNs(timeNs)} ` : ''}${details}`;
      const data = head === '' ? line : Buffer.concat([Buffer.from(head), line]);
      response.write(tty ? data : frame(stream, data));
      if (response.writableLength > MAX_UNREAD) response.destroy();
    },
    end: () => void response.end(),
    onClose: (stop: () => void) => void response.on('close', stop),
  };
}
