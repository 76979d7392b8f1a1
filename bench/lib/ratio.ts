import type { Goal, Scenario } from './cases.ts';

/** What one candidate needed in one case, as medians. */
export type Row = {
  case: string;
  candidate: string;
  /** `GB`, or what else is counted. */
  unit: string;
  perSecond: number;
  /** CPU a unit in µs. */
  cpuMicros: number;
  errors: number;
};

function peerOf({ of }: Goal, rows: readonly Row[]): Row | undefined {
  const peers = rows.filter(({ candidate }) =>
    of === 'best' ? candidate === 'haproxy' || candidate === 'nginx' : candidate === of,
  );
  return peers.sort((a, b) => a.cpuMicros - b.cpuMicros)[0];
}

/** How a case stands to its goals: `0.95 × nginx (must 0.9)`; what was not measured is left out. */
export function ratios({ name, goals }: Scenario, all: readonly Row[]): string {
  const rows = all.filter((row) => row.case === name);
  const own = rows.find(({ candidate }) => candidate === 'sluice');
  return goals
    .flatMap((goal) => {
      const peer = peerOf(goal, rows);
      if (!own || !peer) return [];
      const ratio = peer.cpuMicros / own.cpuMicros;
      return [`${ratio.toFixed(2)} × ${peer.candidate} (must ${goal.ratio})`];
    })
    .join(', ');
}

/** CPU a unit for people: µs a request, seconds a GB. */
export function cpuText({ unit, cpuMicros }: Pick<Row, 'unit' | 'cpuMicros'>): string {
  return unit === 'GB' ? `${(cpuMicros / 1e6).toFixed(2)} s` : `${cpuMicros.toFixed(1)} µs`;
}

/** The rate for people: GB have decimals. */
export function rateText({ unit, perSecond }: Pick<Row, 'unit' | 'perSecond'>): string {
  return unit === 'GB' ? `${perSecond.toFixed(2)} GB/s` : `${perSecond.toFixed(0)}/s`;
}
