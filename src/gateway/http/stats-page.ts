import type { AdminState } from '../../model/endpoint-state.ts';
import type { Route } from '../../model/route.ts';
import { STAT_TYPE, type StatRow, statCsv } from '../../model/stat-row.ts';
import type { RequestHead, ServerExchange } from '../../net/http-exchange.ts';
import type { StatisticsReport, SupervisorLink } from '../ipc.ts';
import { statsHtml } from '../stats/stats-html.ts';
import { headerValue } from './matcher.ts';
import type { OwnAnswer } from './own-answer.ts';

type Settings = NonNullable<Route['stats']>;

const MAX_FORM = 16_384;
const STATES: readonly AdminState[] = ['ready', 'drain', 'maint'];
const COMMON = [
  ...['cache-control', 'no-store', 'x-content-type-options', 'nosniff', 'x-frame-options', 'DENY'],
  'content-security-policy',
  "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'",
];

/** The path of the page, and what stands behind it: `/stats;csv;up`. */
function parts({ path, query }: RequestHead): { path: string; words: string[] } {
  const [base = '', ...words] = (query === undefined ? path : `${path}?${query}`).split(';');
  // Two slashes would begin the name of another host.
  return { path: base.replace(/^\/+/, '/'), words };
}

/** A page of another site must not send orders in the name of who looks at it. */
function isForeign({ headers, authority }: RequestHead): boolean {
  const origin = headerValue(headers, 'origin');
  return origin !== undefined && origin.replace(/^https?:\/\//, '') !== authority;
}

function readForm(exchange: ServerExchange): Promise<string | undefined> {
  return new Promise((resolve) => {
    let text = '';
    exchange.readBody({
      data: (chunk) => {
        text += chunk;
        if (text.length > MAX_FORM) resolve(undefined);
        return text.length <= MAX_FORM;
      },
      end: () => resolve(text),
      fail: () => resolve(undefined),
    });
  });
}

/** Carries out the order of a form; what came of it, in HAProxy's words. */
async function obey(
  exchange: ServerExchange,
  settings: Settings,
  link: SupervisorLink,
): Promise<string> {
  if (!settings.admin || isForeign(exchange.head)) return 'DENY';
  const text = await readForm(exchange);
  if (text === undefined) return 'EXCD';
  const form = new URLSearchParams(text);
  const state = STATES.find((known) => known === form.get('action'));
  const { rows } = await link.statistics();
  const iid = Number((form.get('b') ?? '').replace('#', ''));
  const isServer = (row: StatRow) => row.type === STAT_TYPE.server && row.iid === iid;
  const service = rows.find(isServer)?.pxname;
  const names = form.getAll('s');
  if (!state || service === undefined) return 'ERRP';
  const known = names.filter((name) => rows.some((row) => isServer(row) && row.svname === name));
  for (const name of known) link.order(service, name, state);
  if (known.length === 0) return 'NONE';
  return known.length < names.length ? 'PART' : 'DONE';
}

/** What is asked for: `up` leaves out what does not serve. */
function wanted({ rows }: StatisticsReport, words: readonly string[]): readonly StatRow[] {
  if (!words.includes('up')) return rows;
  return rows.filter(({ status }) => /^(OPEN|UP|no check)/.test(String(status)));
}

/** The statistics as a page, as CSV (`;csv`), or the answer to an order of the page's form. */
export async function statsAnswer(
  exchange: ServerExchange,
  settings: Settings,
  link: SupervisorLink,
): Promise<OwnAnswer> {
  const { head } = exchange;
  const { path, words } = parts(head);
  if (head.method === 'POST') {
    const outcome = await obey(exchange, settings, link);
    const headers = ['location', `${path};st=${outcome}`, ...COMMON];
    return { status: 303, headers, text: '' };
  }
  if (head.method !== 'GET' && head.method !== 'HEAD') {
    return { status: 405, headers: ['allow', 'GET, HEAD, POST', ...COMMON], text: '' };
  }
  const report = await link.statistics();
  const rows = wanted(report, words);
  const csv = words.includes('csv');
  const refresh = settings.refresh && !words.includes('norefresh');
  const headers = [
    ...['content-type', csv ? 'text/plain; charset=utf-8' : 'text/html; charset=utf-8'],
    ...(refresh ? ['refresh', String(Math.ceil((settings.refresh ?? 0) / 1000))] : []),
    ...COMMON,
  ];
  if (csv) return { status: 200, headers, text: statCsv(rows) };
  const outcome = words.find((word) => word.startsWith('st='))?.slice(3);
  const { admin, hideVersion } = settings;
  const page = { rows, info: report.info, path, admin, hideVersion, outcome };
  return { status: 200, headers, text: statsHtml(page) };
}
