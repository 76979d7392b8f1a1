import { STAT_TYPE, type StatColumn, type StatRow } from '../../model/stat-row.ts';

/** What the page is made of. */
export type StatsPage = {
  readonly rows: readonly StatRow[];
  readonly info: Readonly<Record<string, string | number>>;
  /** Where it is, without what stands behind a `;`. */
  readonly path: string;
  readonly admin: boolean;
  readonly hideVersion: boolean;
  /** What an order came to; undefined: there was none. */
  readonly outcome: string | undefined;
};

type Group = readonly [string, readonly (readonly [string, StatColumn])[]];

/** Columns of the page and their groups, as HAProxy's page has them. */
const GROUPS: readonly Group[] = [
  [
    'Queue',
    [
      ['Cur', 'qcur'],
      ['Max', 'qmax'],
      ['Limit', 'qlimit'],
    ],
  ],
  [
    'Session rate',
    [
      ['Cur', 'rate'],
      ['Max', 'rate_max'],
      ['Limit', 'rate_lim'],
    ],
  ],
  [
    'Sessions',
    [
      ['Cur', 'scur'],
      ['Max', 'smax'],
      ['Limit', 'slim'],
      ['Total', 'stot'],
      ['LbTot', 'lbtot'],
      ['Last', 'lastsess'],
    ],
  ],
  [
    'Bytes',
    [
      ['In', 'bin'],
      ['Out', 'bout'],
    ],
  ],
  [
    'Denied',
    [
      ['Req', 'dreq'],
      ['Resp', 'dresp'],
    ],
  ],
  [
    'Errors',
    [
      ['Req', 'ereq'],
      ['Conn', 'econ'],
      ['Resp', 'eresp'],
    ],
  ],
  [
    'Warnings',
    [
      ['Retr', 'wretr'],
      ['Redis', 'wredis'],
    ],
  ],
  [
    'Server',
    [
      ['Status', 'status'],
      ['LastChk', 'check_status'],
      ['Wght', 'weight'],
      ['Act', 'act'],
      ['Bck', 'bck'],
      ['Chk', 'chkfail'],
      ['Dwn', 'chkdown'],
      ['Dwntme', 'downtime'],
    ],
  ],
];
const COLUMNS = GROUPS.flatMap(([, columns]) => columns);
const ACTIONS = ['ready', 'drain', 'maint'] as const;

const STYLE = `body{font:12px sans-serif;margin:1em}
table{border-collapse:collapse;margin:.3em 0 1.2em}
th,td{border:1px solid #aaa;padding:1px 5px;text-align:right;white-space:nowrap}
th{background:#def}
td.name,th.name{text-align:left}
h2{font-size:14px;margin:1em 0 .2em}
.up{background:#c0ffc0}
.down{background:#ff9090}
.maint{background:#c07820}
.drain{background:#20a0ff}
.nocheck{background:#e0e0e0}
.front{background:#e8e8d0}
.back{background:#e8d8f0}
p.said{background:#ffd;border:1px solid #aaa;padding:.4em}`;

function escaped(value: string | number | undefined): string {
  return String(value ?? '').replaceAll(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

/** `1h2m`, `3d4h`: the two largest units of a span in seconds. */
function span(seconds: number): string {
  if (seconds < 0) return '?';
  const units = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ] as const;
  const first = Math.max(
    0,
    units.findIndex(([count]) => count > 0),
  );
  const from = seconds === 0 ? 3 : first;
  return units
    .slice(from, from + 2)
    .map(([count, unit]) => `${count}${unit}`)
    .join('');
}

function shown(row: StatRow, column: StatColumn): string {
  const value = row[column];
  if (value === undefined) return '';
  if (column === 'lastsess' || column === 'downtime') return span(Number(value));
  if (column === 'status' && row.lastchg !== undefined)
    return `${span(Number(row.lastchg))} ${value}`;
  if (column !== 'check_status') return String(value);
  const code = row.check_code === undefined ? '' : `/${row.check_code}`;
  return `${value}${code} in ${row.check_duration}ms`;
}

function classOf({ type, status }: StatRow): string {
  if (type === STAT_TYPE.frontend) return 'front';
  if (type === STAT_TYPE.backend) return 'back';
  const word = String(status).split(' ')[0]?.toLowerCase() ?? '';
  return word === 'no' ? 'nocheck' : word;
}

function line(row: StatRow, box: boolean): string {
  const check =
    row.type === STAT_TYPE.server
      ? `<td><input type="checkbox" name="s" value="${escaped(row.svname)}"></td>`
      : '<td></td>';
  const cells = COLUMNS.map(([, column]) => {
    const hint =
      column === 'check_status' ? ` title="${escaped(row.last_chk || row.check_desc)}"` : '';
    return `<td${hint}>${escaped(shown(row, column))}</td>`;
  });
  const name = `<td class="name"${row.addr === undefined ? '' : ` title="${escaped(row.addr)}"`}>${escaped(row.svname)}</td>`;
  return `<tr class="${escaped(classOf(row))}">${box ? check : ''}${name}${cells.join('')}</tr>`;
}

function proxy(name: string, rows: readonly StatRow[], { path, admin }: StatsPage): string {
  const box = admin && rows.some(({ type }) => type === STAT_TYPE.server);
  const groups = GROUPS.map(([title, columns]) => `<th colspan="${columns.length}">${title}</th>`);
  const names = COLUMNS.map(([title]) => `<th>${title}</th>`).join('');
  const first = box ? '<th rowspan="2"></th>' : '';
  const table = `<table><thead><tr>${first}<th class="name" rowspan="2"></th>${groups.join('')}</tr>
<tr>${names}</tr></thead><tbody>
${rows.map((row) => line(row, box)).join('\n')}
</tbody></table>`;
  const title = `<h2 id="${escaped(name)}">${escaped(name)}</h2>`;
  if (!box) return `${title}\n${table}`;
  const options = ACTIONS.map(
    (action) => `<option value="${action}">Set state to ${action.toUpperCase()}</option>`,
  );
  return `${title}
<form method="post" action="${escaped(path)}"><input type="hidden" name="b" value="#${rows[0]?.iid}">
${table}
<p>Action for the checked servers: <select name="action"><option value=""></option>${options.join('')}</select>
<input type="submit" value="Apply"></p></form>`;
}

const SAID: Readonly<Record<string, string>> = {
  DONE: 'The order was carried out.',
  NONE: 'Nothing has changed.',
  PART: 'The order was carried out in part: not all of the servers are there.',
  ERRP: 'The order was not understood.',
  EXCD: 'The order was too long.',
  DENY: 'The order was refused.',
};

/** The page for people; everything that it tells of is escaped. */
export function statsHtml(page: StatsPage): string {
  const { rows, info, path, outcome, hideVersion } = page;
  const proxies = Map.groupBy(rows, ({ pxname }) => pxname);
  const said = outcome === undefined ? '' : `<p class="said">${SAID[outcome] ?? SAID['ERRP']}</p>`;
  const version = hideVersion ? '' : ` ${escaped(info['Version'])}`;
  return `<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>Statistics Report</title><style>${STYLE}</style></head><body>
<h1>Sluice${version}</h1>
<p>up ${escaped(info['Uptime'])}, ${escaped(info['Nbthread'])} workers, ${escaped(info['CurrConns'])} connections now of ${escaped(info['Maxconn'])},
${escaped(info['ConnRate'])} new a second &middot; <a href="${escaped(path)}">refresh now</a> &middot;
<a href="${escaped(path)};up">only what is up</a> &middot; <a href="${escaped(path)};csv">CSV</a></p>
${said}
${[...proxies].map(([name, own]) => proxy(name, own, page)).join('\n')}
</body></html>
`;
}
