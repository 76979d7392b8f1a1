import { slowStartFactor } from '../../health/slow-start.ts';
import { formatEndpointAddress } from '../../model/address.ts';
import type { EndpointState } from '../../model/endpoint-state.ts';
import type { Service } from '../../model/service.ts';
import { STAT_TYPE, type StatRow } from '../../model/stat-row.ts';
import type { ProbeVerdict } from '../../net/probes/probe.ts';
import type { CheckReport } from '../health/check-log.ts';
import { reasonWord } from '../metrics/endpoint-series.ts';
import {
  countIn,
  type EndpointCount,
  type EndpointPeak,
  peakIn,
} from '../upstream/endpoint-tally.ts';
import type { Figures } from './figures.ts';
import type { StatHistory } from './stat-history.ts';

/** HAProxy's states of a server. */
export const SERVER_STATES = ['DOWN', 'UP', 'MAINT', 'DRAIN', 'NOLB'] as const;
export type ServerState = (typeof SERVER_STATES)[number];

/** Source: HAProxy, `check_status` of its exporter, in its order. */
export const CHECK_STATES = [
  ...['HANA', 'SOCKERR', 'L4OK', 'L4TOUT', 'L4CON', 'L6OK', 'L6TOUT', 'L6RSP', 'L7TOUT'],
  ...['L7RSP', 'L7OK', 'L7OKC', 'L7STS', 'PROCERR', 'PROCTOUT', 'PROCOK'],
];

const DESCRIPTIONS: Readonly<Record<ProbeVerdict, string>> = {
  L4OK: 'Layer4 check passed',
  L4TOUT: 'Layer4 timeout',
  L4CON: 'Layer4 connection problem',
  L6OK: 'Layer6 check passed',
  L6TOUT: 'Layer6 timeout',
  L6RSP: 'Layer6 invalid response',
  L7OK: 'Layer7 check passed',
  L7TOUT: 'Layer7 timeout',
  L7RSP: 'Layer7 invalid response',
  L7STS: 'Layer7 wrong status',
  PROCOK: 'External check passed',
  PROCERR: 'External check error',
  PROCTOUT: 'External check timeout',
};

/** What the rows of one service's endpoints are made of. */
export type ServerSource = {
  readonly service: string;
  readonly iid: number;
  readonly mode: 'http' | 'tcp';
  readonly figures: Figures;
  readonly history: StatHistory;
  readonly checks: (service: string, endpoint: string) => CheckReport | undefined;
  readonly now: number;
  /** Unix ms. */
  readonly wall: number;
  readonly workers: number;
  readonly config: Service | undefined;
};

/** What an endpoint is called where HAProxy's names stand. */
export function serverName({ id, name }: Pick<EndpointState, 'id' | 'name'>): string {
  return name ?? id;
}

export function serverState(endpoint: EndpointState): ServerState {
  const reason = reasonWord(endpoint);
  if (reason === 'ok') return 'UP';
  const { agent } = endpoint;
  if (reason === 'maint' || (reason === 'agent' && agent === 'maint')) return 'MAINT';
  if (reason === 'drain' || (reason === 'agent' && agent === 'drain')) return 'DRAIN';
  return 'DOWN';
}

/** The state with how near it is to its end: `UP 2/3` has failed once of three times. */
function statusOf(endpoint: EndpointState, checks: CheckReport | undefined): string {
  const state = serverState(endpoint);
  const agent = state === 'DOWN' && reasonWord(endpoint) === 'agent' ? ' (agent)' : '';
  if (!checks?.rise || !checks.fall) return state === 'UP' ? 'no check' : `${state}${agent}`;
  const { against, rise, fall } = checks;
  if (against === 0 || agent) return `${state}${agent}`;
  if (state === 'UP') return `UP ${fall - against}/${fall}`;
  return state === 'DOWN' ? `DOWN ${against}/${rise}` : state;
}

/** HAProxy's counter of health: below `rise` it is down. */
function healthOf({ check }: EndpointState, { rise = 0, fall = 0, against }: CheckReport): number {
  return check === 'down' ? against : rise + fall - 1 - against;
}

function checkColumns(endpoint: EndpointState, checks: CheckReport | undefined) {
  if (!checks?.rise) return {};
  const { last, running, rise, fall } = checks;
  const known = last && {
    check_status: `${running ? '* ' : ''}${last.verdict}`,
    check_code: last.code,
    check_duration: Math.round(last.durationMs),
    check_desc: DESCRIPTIONS[last.verdict],
    last_chk: last.reason,
  };
  return {
    ...known,
    chkfail: checks.failed,
    chkdown: checks.downs,
    downtime: Math.floor(checks.downMs / 1000),
    check_rise: rise,
    check_fall: fall,
    check_health: healthOf(endpoint, checks),
  };
}

/** Share of its weight that a starting endpoint has, in percent; undefined when it has it all. */
function throttleOf(endpoint: EndpointState, { config, wall }: ServerSource): number | undefined {
  if (!config?.slowStart || serverState(endpoint) !== 'UP') return undefined;
  const factor = slowStartFactor(wall - endpoint.upSince, config.slowStart);
  return factor < 1 ? Math.round(factor * 100) : undefined;
}

/** Its connections, where requests that share one do not hide how many there are. */
function connectionColumns(idle: number, active: number, { config, mode, workers }: ServerSource) {
  if (mode === 'tcp') return { used_conn_cur: active };
  if (config?.protocol !== 'http1') return { srv_icur: idle };
  const used = config.http.pipelining === 1 ? active : undefined;
  return { srv_icur: idle, src_ilim: config.keepAlive.maxIdle * workers, used_conn_cur: used };
}

/** The row of one endpoint, as HAProxy tells of a server. */
export function serverRow(endpoint: EndpointState, sid: number, source: ServerSource): StatRow {
  const { service, iid, mode, figures, history, now } = source;
  const { id, weight, maxConnections } = endpoint;
  const checks = source.checks(service, id);
  const sum = (what: string, ...labels: string[]) =>
    figures.sum(`endpoint_${what}`, service, id, ...labels);
  const [tally] = figures.of('endpoint_tally', service, id);
  const count = (name: EndpointCount) => countIn(tally?.counts, name);
  const mean = (spent: EndpointCount, of: EndpointCount) =>
    count(of) === 0 ? 0 : Math.round(count(spent) / count(of));
  const highest = history.peaks('endpoint_tally', service, id);
  const peak = (name: EndpointPeak) => Math.round(peakIn(highest, name));
  const rate = history.rate('endpoint_requests_total', service, id);
  const sent = sum('requests_total');
  const http = mode === 'http';
  return {
    pxname: service,
    svname: serverName(endpoint),
    type: STAT_TYPE.server,
    ...{ iid, sid, pid: 1, mode, qcur: 0, qmax: 0, dresp: 0, wrew: 0, eint: 0 },
    scur: sum('active'),
    smax: history.peak('endpoint_active', service, id),
    slim: maxConnections,
    stot: sent,
    bin: count('sent'),
    bout: count('received'),
    econ: sum('failures_total', 'refused'),
    eresp: sum('failures_total', 'reset') + sum('failures_total', 'timeout'),
    wretr: count('retries'),
    wredis: count('redispatches'),
    status: statusOf(endpoint, checks),
    ...{ weight, uweight: weight },
    act: endpoint.backup ? 0 : 1,
    bck: endpoint.backup ? 1 : 0,
    lastchg: checks && Math.floor(checks.sinceChangeMs / 1000),
    ...checkColumns(endpoint, checks),
    throttle: throttleOf(endpoint, source),
    lbtot: sent,
    rate: rate.now,
    rate_max: rate.most,
    cli_abrt: count('clientAborts'),
    srv_abrt: count('endpointAborts'),
    lastsess: history.idleSeconds(now, 'endpoint_requests_total', service, id),
    qtime: mean('waitMs', 'finished'),
    ctime: mean('connectMs', 'connects'),
    rtime: mean('responseMs', 'answered'),
    ttime: mean('totalMs', 'finished'),
    qtime_max: peak('waitMs'),
    ctime_max: peak('connectMs'),
    rtime_max: peak('responseMs'),
    ttime_max: peak('totalMs'),
    ...connectionColumns(sum('idle_connections'), sum('active'), source),
    addr: formatEndpointAddress(endpoint.address),
    connect: count('connects'),
    reuse: http ? Math.max(0, sent - count('connects')) : 0,
    ...(http ? { req_tot: sent, hrsp_other: 0 } : {}),
    ...(http ? classes(count) : {}),
  };
}

function classes(count: (name: EndpointCount) => number) {
  return {
    hrsp_1xx: count('1xx'),
    hrsp_2xx: count('2xx'),
    hrsp_3xx: count('3xx'),
    hrsp_4xx: count('4xx'),
    hrsp_5xx: count('5xx'),
  };
}
