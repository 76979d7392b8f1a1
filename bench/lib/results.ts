import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { drawChart } from './chart.ts';
import type { Row } from './ratio.ts';

/** Where figures are put. */
export const RESULTS = new URL('../results/', import.meta.url).pathname;

/** Writes figures with the commit and the machine that they are of. */
export function writeFigures(file: string, figures: object): void {
  mkdirSync(RESULTS, { recursive: true });
  const git = ['rev-parse', '--short', 'HEAD'];
  const commit = execFileSync('git', git, { encoding: 'utf8' }).trim();
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`;
  writeFileSync(
    `${RESULTS}${file}.json`,
    `${JSON.stringify({ commit, machine, ...figures }, null, 2)}\n`,
  );
}

/** Draws one chart a case. */
export function writeCharts(rows: readonly Row[]): void {
  for (const name of new Set(rows.map((row) => row.case))) {
    const own = rows.filter((row) => row.case === name);
    writeFileSync(`${RESULTS}${name.replaceAll(/\W+/g, '-')}.svg`, drawChart(name, own));
  }
}
