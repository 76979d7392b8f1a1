import { appendFileSync, existsSync, mkdirSync } from 'node:fs';
import type { TestContext } from 'node:test';

const FOLDER = new URL('../results/', import.meta.url).pathname;
const TABLE = `${FOLDER}figures.md`;
const HEADING = '| experiment | what | measured | wanted |\n|---|---|---|---|\n';

/** One measured result, in words that stand alone. */
export type Figure = { experiment: string; what: string; measured: string; wanted: string };

/** Prints a figure as one line and adds it to the table in `test/results/figures.md`. */
export function figure(t: TestContext, { experiment, what, measured, wanted }: Figure): void {
  t.diagnostic(`${experiment}: ${what}: ${measured} (wanted: ${wanted})`);
  mkdirSync(FOLDER, { recursive: true });
  if (!existsSync(TABLE)) appendFileSync(TABLE, HEADING);
  appendFileSync(TABLE, `| ${experiment} | ${what} | ${measured} | ${wanted} |\n`);
}

/** Milliseconds as a table shows them. */
export function ms(value: number): string {
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;
}

/** Bytes as a table shows them. */
export function mib(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MiB`;
}
