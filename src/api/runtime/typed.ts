import { STAT_COLUMNS, STAT_TYPE, type StatColumn, type StatRow } from '../../model/stat-row.ts';

/** A value of HAProxy's statistics with where it stands, what it is and how it is written. */
type Field = {
  readonly pos: number;
  readonly name: string;
  readonly tags: string;
  readonly type: string;
  readonly value: string | number;
};

/** Which row a field belongs to; nothing of `show info`. */
type Owner = Pick<StatRow, 'type' | 'iid' | 'sid'>;

/** The three letters of a tag. Source: HAProxy management guide, section 9.2. */
const ORIGINS = { M: 'Metric', S: 'Status', K: 'Key', C: 'Config', P: 'Product' } as const;
const NATURES = {
  ...{ A: 'Age', a: 'Avg', C: 'Counter', D: 'Duration', G: 'Gauge', L: 'Limit' },
  ...{ M: 'Max', m: 'Min', N: 'Name', O: 'Output', R: 'Rate', T: 'Time' },
} as const;
const SCOPES = { C: 'Cluster', S: 'Service', P: 'Process', T: 'Thread' } as const;
const OBJECTS = {
  [STAT_TYPE.frontend]: 'Frontend',
  [STAT_TYPE.backend]: 'Backend',
  [STAT_TYPE.server]: 'Server',
};

/** Columns that are not a process's 64 bit counter, by tag and type. */
const COLUMNS: Readonly<Record<string, readonly StatColumn[]>> = {
  'KNS:str': ['pxname', 'svname'],
  'MGP:u32': ['qcur', 'scur', 'srv_icur', 'used_conn_cur'],
  'MMP:u32': [
    ...(['qmax', 'smax', 'rate_max', 'req_rate_max', 'conn_rate_max'] as const),
    ...(['qtime_max', 'ctime_max', 'rtime_max', 'ttime_max'] as const),
  ],
  'CLP:u32': ['slim', 'rate_lim', 'src_ilim'],
  'SGP:str': ['status'],
  'KGP:u32': ['pid'],
  'KGS:u32': ['iid', 'sid'],
  'CGS:u32': ['type', 'check_rise', 'check_fall', 'check_health'],
  'CGS:str': ['addr', 'algo', 'mode'],
  'MRP:u32': ['rate', 'req_rate', 'conn_rate'],
  'MaP:u32': ['weight', 'uweight', 'qtime', 'ctime', 'rtime', 'ttime'],
  'SGP:u32': ['act', 'bck'],
  'MAP:u32': ['lastchg'],
  'MAP:s32': ['lastsess'],
  'MCP:u32': ['downtime'],
  'AGP:u32': ['throttle'],
  'MOP:str': ['check_status', 'check_desc', 'last_chk'],
  'MOP:u32': ['check_code'],
  'MDP:u64': ['check_duration'],
};
const TAG_OF = new Map(
  Object.entries(COLUMNS).flatMap(([tag, columns]) => columns.map((column) => [column, tag])),
);
/** Of a backend these are gauges. */
const SUMMED: ReadonlySet<string> = new Set(['act', 'bck', 'rate', 'rate_max']);

/** Fields of `show info` in HAProxy's order, by tag and type. */
const INFO: Readonly<Record<string, readonly string[]>> = {
  'POS:str': ['Name', 'Version', 'Build info'],
  'CGS:u32': ['Nbthread', 'Nbproc'],
  'KGP:u32': ['Process_num'],
  'SGP:u32': ['Pid'],
  'MDP:str': ['Uptime'],
  'MDP:u32': ['Uptime_sec', 'Start_time_sec'],
  'CLP:u32': [
    ...['Memmax_MB', 'Ulimit-n', 'Maxsock', 'Maxconn', 'Hard_maxconn', 'Maxpipes', 'ConnRateLimit'],
    ...['SessRateLimit', 'SslRateLimit', 'CompressBpsRateLim', 'Memmax_bytes'],
  ],
  'MCP:u32': [
    'CumConns',
    'CumReq',
    'CumSslConns',
    'SslCacheLookups',
    'SslCacheMisses',
    'CumRecvLogs',
  ],
  'MMP:u32': ['MaxSslConns', 'MaxConnRate', 'MaxSslRate'],
  'MRP:u32': ['ConnRate', 'SessRate', 'MaxSessRate', 'SslRate', 'CompressBpsIn', 'CompressBpsOut'],
  'MaP:u32': ['Idle_pct'],
  'COS:str': ['node'],
  'MGP:u64': ['TotalBytesOut', 'TotalSplicdedBytesOut', 'PoolAlloc_bytes', 'PoolUsed_bytes'],
  'MRP:u64': ['BytesOutRate'],
};
/** Where each stands, among those of HAProxy that are not told here. */
const INFO_AT: Readonly<Record<string, number>> = {
  ...{ Name: 0, Version: 1, Nbthread: 3, Nbproc: 4, Process_num: 5, Pid: 6, Uptime: 7 },
  ...{ Uptime_sec: 8, Memmax_MB: 9, PoolAlloc_MB: 10, PoolUsed_MB: 11, 'Ulimit-n': 13 },
  ...{ Maxsock: 14, Maxconn: 15, Hard_maxconn: 16, CurrConns: 17, CumConns: 18, CumReq: 19 },
  ...{ MaxSslConns: 20, CurrSslConns: 21, CumSslConns: 22, Maxpipes: 23, PipesUsed: 24 },
  ...{ PipesFree: 25, ConnRate: 26, ConnRateLimit: 27, MaxConnRate: 28, SessRate: 29 },
  ...{ SessRateLimit: 30, MaxSessRate: 31, SslRate: 32, SslRateLimit: 33, MaxSslRate: 34 },
  ...{ SslFrontendSessionReuse_pct: 37, SslCacheLookups: 40, SslCacheMisses: 41 },
  ...{ CompressBpsIn: 42, CompressBpsOut: 43, CompressBpsRateLim: 44, Idle_pct: 49, node: 50 },
  ...{ Stopping: 52, Jobs: 53, 'Unstoppable Jobs': 54, Listeners: 55, ActivePeers: 56 },
  ...{ ConnectedPeers: 57, DroppedLogs: 58, BusyPolling: 59, TotalBytesOut: 61 },
  ...{ TotalSplicdedBytesOut: 62, BytesOutRate: 63, CumRecvLogs: 65, 'Build info': 66 },
  ...{ Memmax_bytes: 67, PoolAlloc_bytes: 68, PoolUsed_bytes: 69, Start_time_sec: 70 },
};
const INFO_TAG = new Map(
  Object.entries(INFO).flatMap(([tag, names]) => names.map((name) => [name, tag])),
);

function field(pos: number, name: string, tag: string, value: string | number): Field {
  const [tags = '', type = ''] = tag.split(':');
  return { pos, name, tags, type, value };
}

function fieldsOf(row: StatRow): Field[] {
  return STAT_COLUMNS.flatMap((column, pos) => {
    const value = row[column];
    if (value === undefined) return [];
    const summed = row.type === STAT_TYPE.backend && SUMMED.has(column);
    return field(pos, column, summed ? 'MGP:u32' : (TAG_OF.get(column) ?? 'MCP:u64'), value);
  });
}

function infoFields(info: Readonly<Record<string, string | number>>): Field[] {
  return Object.entries(info).map(([name, value]) =>
    field(INFO_AT[name] ?? 0, name, INFO_TAG.get(name) ?? 'MGP:u32', value),
  );
}

function typedLine({ pos, name, tags, type, value }: Field, owner = ''): string {
  return `${owner}${pos}.${name}.1:${tags}:${type}:${value}\n`;
}

function word(names: Readonly<Record<string, string>>, letter = ''): string {
  return names[letter] ?? '';
}

function jsonOf({ pos, name, tags, type, value }: Field, row?: Owner) {
  const [origin, nature, scope] = tags;
  return {
    ...(row && { objType: OBJECTS[row.type], proxyId: row.iid, id: row.sid }),
    field: { pos, name },
    processNum: 1,
    tags: {
      origin: word(ORIGINS, origin),
      nature: word(NATURES, nature),
      scope: word(SCOPES, scope),
    },
    value: { type, value },
  };
}

/** `show stat typed`: a line for each value. */
export function typedStat(rows: readonly StatRow[]): string {
  return rows
    .flatMap((row) => {
      const owner = `${word(OBJECTS, String(row.type))[0]}.${row.iid}.${row.sid}.`;
      return fieldsOf(row).map((one) => typedLine(one, owner));
    })
    .join('');
}

/** `show stat json`: an array of rows, each an array of its values. */
export function jsonStat(rows: readonly StatRow[]): string {
  return `${JSON.stringify(rows.map((row) => fieldsOf(row).map((one) => jsonOf(one, row))))}\n`;
}

/** `show info typed`. */
export function typedInfo(info: Readonly<Record<string, string | number>>): string {
  return infoFields(info)
    .map((one) => typedLine(one))
    .join('');
}

/** `show info json`. */
export function jsonInfo(info: Readonly<Record<string, string | number>>): string {
  return `${JSON.stringify(infoFields(info).map((one) => jsonOf(one)))}\n`;
}
