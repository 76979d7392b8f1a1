import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import type { Figure } from './cases.ts';
import { drawChart } from './chart.ts';
import type { Row, Standing } from './ratio.ts';

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
export function writeCharts(rows: readonly Row[], figure: Figure = 'cpuMicros'): void {
  for (const name of new Set(rows.map((row) => row.case))) {
    const own = rows.filter((row) => row.case === name);
    const file = `${RESULTS}${name.replaceAll(/\W+/g, '-')}.svg`;
    writeFileSync(file, drawChart(name, figure, own));
  }
}

/** Writes how all cases stand to their goals, as a table of Markdown; that table. */
export function writeTable(standings: readonly Standing[]): string {
  const lines = standings.map(
    ({ case: name, today, must, aim, reached }) =>
      `| ${[name, today, must, aim, reached].join(' | ')} |`,
  );
  const head = ['| case | today | must | aim | reached |', '| --- | --- | --- | --- | --- |'];
  const table = `${[...head, ...lines].join('\n')}\n`;
  writeFileSync(`${RESULTS}table.md`, table);
  return table;
}
