import type { Candidate, Figure, Goal, Scenario } from './cases.ts';

/** What one candidate needed in one case, as medians. */
export type Row = Partial<Record<Figure, number>> & {
  case: string;
  candidate: string;
  /** `GB`, or what else is counted. */
  unit: string;
  errors: number;
};

/** How a case stands to one of its goals: bounds as in the goal, `today` in the same measure. */
export type Standing = {
  readonly case: string;
  /** `0.95 × nginx` */
  readonly today: string;
  /** `≥ 0.9`; empty where there is none. */
  readonly must: string;
  readonly aim: string;
  readonly reached: 'aim' | 'must' | 'no' | '';
};

const NAMES: Readonly<Record<Figure, string>> = {
  cpuMicros: 'CPU',
  perSecond: 'rate',
  p99Micros: 'p99',
  kib: 'KiB',
};
const BEST: readonly string[] = ['haproxy', 'nginx'] satisfies Candidate[];

/** Figures of which more is better. */
const isRate = (figure: Figure) => figure === 'perSecond';

/** The best peer that a goal is about. */
function peerOf({ of }: Goal, figure: Figure, rows: readonly Row[]): Row | undefined {
  const peers = rows.filter(({ candidate }) =>
    of === 'best' ? BEST.includes(candidate) : candidate === of,
  );
  const sign = isRate(figure) ? -1 : 1;
  return peers.sort((a, b) => sign * ((a[figure] ?? 0) - (b[figure] ?? 0)))[0];
}

function standing(scenario: Scenario, goal: Goal, rows: readonly Row[]): Standing | undefined {
  const figure = goal.figure ?? scenario.figure ?? 'cpuMicros';
  const candidate = goal.own ?? 'sluice';
  const own = rows.find((row) => row.candidate === candidate)?.[figure];
  const peer = peerOf(goal, figure, rows);
  const other = peer?.[figure];
  if (own === undefined || (goal.of !== 'none' && other === undefined)) return undefined;
  // Of CPU and rate, how many times better ours is; of all else, how much there is.
  const atLeast = figure === 'cpuMicros' || isRate(figure);
  const ratio = other === undefined ? own : figure === 'cpuMicros' ? other / own : own / other;
  const meets = (bound: number | undefined) =>
    bound !== undefined && (atLeast ? ratio >= bound : ratio <= bound);
  const bound = (value: number | undefined) =>
    value === undefined ? '' : `${atLeast ? '≥' : '≤'} ${value}`;
  const who = candidate === 'sluice' ? '' : `${candidate}: `;
  const measure = peer ? `× ${peer.candidate}, ${NAMES[figure]}` : NAMES[figure];
  const failed = goal.must === undefined ? '' : 'no';
  return {
    case: scenario.name,
    today: `${who}${ratio.toFixed(2)} ${measure}`,
    must: bound(goal.must),
    aim: bound(goal.aim),
    reached: meets(goal.aim) ? 'aim' : meets(goal.must) ? 'must' : failed,
  };
}

/** How a case stands to its goals; what was not measured is left out. */
export function standings(scenario: Scenario, rows: readonly Row[]): Standing[] {
  return scenario.goals.flatMap((goal) => standing(scenario, goal, rows) ?? []);
}

/** A figure for people: µs a request, seconds a GB. */
function figureText(figure: Figure, value: number, unit: string): string {
  const gb = unit === 'GB';
  switch (figure) {
    case 'cpuMicros':
      return gb ? `${(value / 1e6).toFixed(2)} s` : `${value.toFixed(1)} µs`;
    case 'perSecond':
      return gb ? `${value.toFixed(2)} GB/s` : `${value.toFixed(0)}/s`;
    case 'p99Micros':
      return `${(value / 1000).toFixed(2)} ms`;
    case 'kib':
      return `${value.toFixed(2)} KiB`;
  }
}

/** All figures of a row, such as `48210/s  16.2 µs CPU  1.93 ms p99`. */
export function rowText(row: Row): string {
  const texts = (['perSecond', 'cpuMicros', 'p99Micros', 'kib'] as const).flatMap((figure) => {
    const value = row[figure];
    if (value === undefined) return [];
    const name = isRate(figure) || figure === 'kib' ? '' : ` ${NAMES[figure]}`;
    return [`${figureText(figure, value, row.unit)}${name}`.padStart(13)];
  });
  return texts.join(' ');
}
