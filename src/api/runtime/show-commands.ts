import type { EndpointInfo } from '../../client/admin-types.ts';
import { STAT_TYPE, type StatRow, statCsv } from '../../model/stat-row.ts';
import { LEVELS, type RuntimeCall, type RuntimeCommand } from './command.ts';
import { jsonInfo, jsonStat, typedInfo, typedStat } from './typed.ts';

const STATE_FIELDS = [
  ...['be_id', 'be_name', 'srv_id', 'srv_name', 'srv_addr', 'srv_op_state', 'srv_admin_state'],
  ...['srv_uweight', 'srv_iweight', 'srv_time_since_last_change', 'srv_check_status'],
  ...['srv_check_result', 'srv_check_health', 'srv_check_state', 'srv_agent_state'],
  ...['bk_f_forced_id', 'srv_f_forced_id', 'srv_fqdn', 'srv_port', 'srvrecord', 'srv_use_ssl'],
  ...['srv_check_port', 'srv_check_addr', 'srv_agent_addr', 'srv_agent_port'],
];

/** HAProxy's numbers of results of checks, of those that there are here. */
const CHECK_NUMBERS: Readonly<Record<string, number>> = {
  ...{ L4OK: 6, L4TOUT: 7, L4CON: 8, L6OK: 9, L6TOUT: 10, L6RSP: 11, L7TOUT: 12, L7RSP: 13 },
  ...{ L7OK: 15, L7STS: 17, PROCERR: 18, PROCTOUT: 19, PROCOK: 20 },
};
/** Source: HAProxy management guide, `show servers state`. */
const OP_STATE = { stopped: 0, running: 2 } as const;
const ADMIN_STATE = { ready: 0, maint: 1, drain: 8 } as const;
const CHECK_STATE = { none: 0, configured: 6, paused: 14 } as const;

const KIND_BITS = { [STAT_TYPE.frontend]: 1, [STAT_TYPE.backend]: 2, [STAT_TYPE.server]: 4 };

const FORMS = { json: jsonStat, typed: typedStat } as const;
const INFO_FORMS = { json: jsonInfo, typed: typedInfo } as const;

function isForm(word: string): word is keyof typeof FORMS {
  return Object.hasOwn(FORMS, word);
}

/** Filters of `show stat`: a proxy by name or number, kinds as bits and a server by number, all three. */
async function showStat({ backend, words }: RuntimeCall): Promise<string> {
  if (words.includes('desc')) return "'show stat desc' is not known here.\n";
  const flags: string[] = words.filter(
    (word) => word === 'up' || word === 'no-maint' || isForm(word),
  );
  const [proxy = '-1', kindsWord = '-1', sidWord] = words.filter((word) => !flags.includes(word));
  // The last one holds.
  const form = words.findLast(isForm);
  const write = form ? FORMS[form] : statCsv;
  const { rows } = await backend.statistics();
  const shown = rows.filter((row) => passes(row, flags));
  if (sidWord === undefined) return write(shown);
  const [iid, kinds, sid] = [proxy, kindsWord, sidWord].map(Number);
  const isProxy = ({ pxname, iid: own }: StatRow) =>
    Number.isNaN(iid) ? pxname === proxy : iid === -1 || own === iid;
  return write(
    shown.filter(
      (row) =>
        isProxy(row) &&
        (kinds === -1 || ((kinds ?? 0) & KIND_BITS[row.type]) !== 0) &&
        (sid === -1 || row.sid === sid),
    ),
  );
}

function passes({ status, type }: StatRow, flags: readonly string[]): boolean {
  const word = String(status);
  if (flags.includes('no-maint') && word.startsWith('MAINT')) return false;
  const up = type !== STAT_TYPE.server || word.startsWith('UP') || word === 'no check';
  return !flags.includes('up') || up;
}

async function showInfo({ backend, words }: RuntimeCall): Promise<string> {
  const unknown = words.find((word) => !isForm(word));
  if (unknown !== undefined) return `'show info ${unknown}' is not known here.\n`;
  const { info } = await backend.statistics();
  const form = words.findLast(isForm);
  if (form) return INFO_FORMS[form](info);
  return `${Object.entries(info)
    .map(([name, value]) => `${name}: ${value}`)
    .join('\n')}\n`;
}

function stateLine(row: StatRow, endpoint: EndpointInfo): string {
  const { address, admin, weight, initialWeight = weight } = endpoint;
  const [host, port] = 'path' in address ? [address.path, 0] : [address.host, address.port];
  const runs = /^(UP|no check|DRAIN)/.test(String(row.status));
  const checked = row.check_rise !== undefined;
  const last = String(row.check_status ?? '').replace('* ', '');
  const passed = last.endsWith('OK') ? 3 : 2;
  const paused = admin === 'maint';
  const how = paused ? 'paused' : 'configured';
  const values = [
    ...[row.iid, row.pxname, row.sid, row.svname, host],
    ...[runs ? OP_STATE.running : OP_STATE.stopped, ADMIN_STATE[admin], weight, initialWeight],
    ...[row.lastchg ?? 0, CHECK_NUMBERS[last] ?? 1, last === '' ? 0 : passed],
    ...[paused ? 0 : (row.check_health ?? 2), checked ? CHECK_STATE[how] : CHECK_STATE.none],
    ...[0, 0, 0, '-', port, '-', 0, 0, '-', '-', 0],
  ];
  return values.join(' ');
}

async function showServersState({ backend, words }: RuntimeCall): Promise<string> {
  const services = await backend.services();
  const [wanted] = words;
  const named = services.filter(({ name }) => wanted === undefined || name === wanted);
  if (named.length === 0 && wanted !== undefined) return "Can't find backend.\n";
  const { rows } = await backend.statistics();
  const lines = named.flatMap(({ name, endpoints }) =>
    endpoints.flatMap((endpoint) => {
      const svname = endpoint.name ?? endpoint.id;
      const row = rows.find(
        (one) => one.type === STAT_TYPE.server && one.pxname === name && one.svname === svname,
      );
      return row ? [stateLine(row, endpoint)] : [];
    }),
  );
  return `1\n# ${STATE_FIELDS.join(' ')}\n${lines.map((line) => `${line}\n`).join('')}`;
}

async function showBackend({ backend }: RuntimeCall): Promise<string> {
  const services = await backend.services();
  return `# name\n${services.map(({ name }) => `${name}\n`).join('')}`;
}

/** Commands that tell. Source: HAProxy management guide, section 9.3. */
export const SHOW_COMMANDS: readonly RuntimeCommand[] = [
  {
    name: 'clear counters',
    usage: 'clear counters',
    help: 'clear max statistics counters',
    level: 'operator',
    run: ({ backend, words }) => {
      if (words[0] === 'all') return 'Only highest values can be cleared here.\n';
      backend.clearStatistics();
      return '';
    },
  },
  {
    name: 'show backend',
    usage: 'show backend',
    help: 'list backends in the current running config',
    level: 'user',
    run: showBackend,
  },
  {
    name: 'show cli level',
    usage: 'show cli level',
    help: 'display the level of the current CLI session',
    level: 'user',
    run: ({ session }) => `${session.level}\n`,
  },
  {
    name: 'show info',
    usage: 'show info [json|typed]*',
    help: 'report information about the running process',
    level: 'user',
    run: showInfo,
  },
  {
    name: 'show servers state',
    usage: 'show servers state [<backend>]',
    help: 'dump volatile server information (all or for a single backend)',
    level: 'user',
    run: showServersState,
  },
  {
    name: 'show stat',
    usage: 'show stat [json|typed|no-maint|up]*',
    help: 'report counters for each proxy and server',
    level: 'user',
    run: showStat,
  },
  {
    name: 'show version',
    usage: 'show version',
    help: 'show version of the current process',
    level: 'user',
    run: async ({ backend }) => `${backend.status().version}\n`,
  },
  ...LEVELS.slice(0, 2).map(
    (level): RuntimeCommand => ({
      name: level,
      usage: level,
      help: `lower the level of the current CLI session to ${level}`,
      level: 'user',
      run: ({ session }) => {
        if (LEVELS.indexOf(level) < LEVELS.indexOf(session.level)) session.level = level;
        return '';
      },
    }),
  ),
];
