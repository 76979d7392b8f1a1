import type { RefusedRequest, SessionInfo } from '../../model/session-info.ts';
import { STAT_TYPE } from '../../model/stat-row.ts';
import type { RuntimeCall, RuntimeCommand } from './command.ts';
import { withServer } from './server-commands.ts';

const NO_SESSION = "No such session (use 'show sess').\n";
const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
/** Characters of a line of bytes, behind their place. */
const DUMP_COLUMNS = 70;
const ESCAPES: Readonly<Record<number, string>> = { 9: '\\t', 10: '\\n', 13: '\\r', 92: '\\\\' };

/** `1s`, `1m5s`, `2h3m`, `4d5h`. */
function ageOf(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const units = [
    [86_400, 'd', 3600, 'h'],
    [3600, 'h', 60, 'm'],
    [60, 'm', 1, 's'],
  ] as const;
  const unit = units.find(([size]) => seconds >= size);
  if (!unit) return `${seconds}s`;
  const [size, name, smaller, smallerName] = unit;
  return `${Math.floor(seconds / size)}${name}${Math.floor((seconds % size) / smaller)}${smallerName}`;
}

/** `01/Dec/2026:12:56:10.678`, of the host's own time. */
function stampOf(wallMs: number): string {
  const date = new Date(wallMs);
  const two = (value: number) => String(value).padStart(2, '0');
  const day = [two(date.getDate()), MONTHS[date.getMonth()], date.getFullYear()].join('/');
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  return `${day}:${time}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

function protocolOf({ client }: SessionInfo): string {
  if (client.address === 'unix') return 'unix_stream';
  return client.address.includes(':') ? 'tcpv6' : 'tcpv4';
}

function sessionLine(session: SessionInfo): string {
  const { id, listener, service, endpoint, client, ageMs } = session;
  const source = `src=${client.address}:${client.port}`;
  const where = `fe=${listener} be=${service ?? '<NONE>'} srv=${endpoint ?? '<none>'}`;
  return `0x${id}: proto=${protocolOf(session)} ${source} ${where} age=${ageOf(ageMs)}\n`;
}

function sessionText(session: SessionInfo): string {
  const { id, listener, service, endpoint, client, local, ageMs } = session;
  const began = stampOf(Date.now() - ageMs);
  return [
    `0x${id}: [${began}] proto=${protocolOf(session)} source=${client.address}:${client.port}\n`,
    `  frontend=${listener}, addr=${local.address}:${local.port}\n`,
    `  backend=${service ?? '<NONE>'}\n`,
    `  server=${endpoint ?? '<none>'}\n`,
    `  age=${ageOf(ageMs)}\n`,
  ].join('');
}

/** `0x…` as lists show it; anything else is nobody's. */
function findSession(sessions: readonly SessionInfo[], word: string): SessionInfo | undefined {
  return sessions.find(({ id }) => `0x${id}` === word.toLowerCase());
}

async function showSessions({ backend, words: [word] }: RuntimeCall): Promise<string> {
  const sessions = await backend.sessions();
  if (word === undefined) return sessions.map(sessionLine).join('');
  if (word === 'all') return sessions.map(sessionText).join('');
  const session = findSession(sessions, word);
  return session ? sessionText(session) : 'Session not found.\n';
}

async function shutdownSession({ backend, words: [word] }: RuntimeCall): Promise<string> {
  if (word === undefined) return "Session pointer expected (use 'show sess').\n";
  const session = findSession(await backend.sessions(), word);
  if (!session) return NO_SESSION;
  backend.endSessions([session.id]);
  return '';
}

const shutdownSessionsOf = withServer(async ({ service, endpoint: { id, name } }, { backend }) => {
  const sessions = await backend.sessions();
  const own = sessions.filter((one) => one.service === service && one.endpoint === (name ?? id));
  backend.endSessions(own.map((one) => one.id));
  return '';
});

function escaped(byte: number): string {
  const known = ESCAPES[byte];
  if (known) return known;
  if (byte >= 32 && byte < 127) return String.fromCharCode(byte);
  return `\\x${byte.toString(16).padStart(2, '0').toUpperCase()}`;
}

/** Bytes line by line, each with its place; `+` where a line is continued. */
function dump(bytes: Uint8Array): string {
  const lines: string[] = [];
  let [text, from, sign] = ['', 0, ' '];
  const flush = (next: number, ended: boolean) => {
    lines.push(`  ${String(from).padStart(5, '0')}${sign} ${text}\n`);
    [text, from, sign] = ['', next, ended ? ' ' : '+'];
  };
  for (const [at, byte] of bytes.entries()) {
    const shown = escaped(byte);
    if (text.length + shown.length > DUMP_COLUMNS) flush(at, false);
    text += shown;
    if (byte === 10) flush(at + 1, true);
  }
  if (text !== '') flush(bytes.length, true);
  return lines.join('');
}

function refusedText(request: RefusedRequest, number: number): string {
  const { at, listener, client, reason, bytes } = request;
  return [
    ' \n',
    `[${stampOf(at)}] frontend ${listener} (#${number}): invalid request\n`,
    `  backend <NONE> (#-1), server <NONE> (#-1), src ${client.address}:${client.port}\n`,
    `  len ${bytes.length}, ${reason} :\n`,
    '  \n',
    dump(bytes),
  ].join('');
}

async function showErrors({ backend, words }: RuntimeCall): Promise<string> {
  const [proxy, kind] = words;
  const { rows } = await backend.statistics();
  const isAsked = ({ pxname, iid }: { pxname: string; iid: number }) =>
    proxy === undefined || proxy === '-1' || pxname === proxy || String(iid) === proxy;
  if (!rows.some(isAsked)) return 'No such proxy.\n';
  const requests = kind === 'response' ? [] : await backend.refusedRequests();
  const shown = requests.flatMap((request) => {
    const isListener = (row: { type: number; pxname: string }) =>
      row.type === STAT_TYPE.frontend && row.pxname === request.listener;
    const row = rows.find(isListener);
    return row && isAsked(row) ? [refusedText(request, row.iid)] : [];
  });
  const head = `Total events captured on [${stampOf(Date.now())}] : ${requests.length}\n`;
  return `${head}${shown.join('')}`;
}

/** Commands about what is under way, and what could not be. Source: HAProxy management guide, 9.3. */
export const SESSION_COMMANDS: readonly RuntimeCommand[] = [
  {
    name: 'show errors',
    usage: 'show errors [<px>] [request|response]',
    help: 'report last request errors for each proxy',
    level: 'operator',
    run: showErrors,
  },
  {
    name: 'show sess',
    usage: 'show sess [id|all]',
    help: 'report the list of current sessions or dump this exact session',
    level: 'operator',
    run: showSessions,
  },
  {
    name: 'shutdown session',
    usage: 'shutdown session [id]',
    help: 'kill a specific session',
    level: 'admin',
    run: shutdownSession,
  },
  {
    name: 'shutdown sessions server',
    usage: 'shutdown sessions server <bk>/<srv>',
    help: 'kill sessions on a server',
    level: 'admin',
    run: shutdownSessionsOf,
  },
];
