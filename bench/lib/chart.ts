import type { Figure } from './cases.ts';
import { type Row, rowText } from './ratio.ts';

const WIDTH = 720;
const BAR = 28;
const LABEL = 130;
const TITLES: Readonly<Record<Figure, string>> = {
  cpuMicros: 'CPU a unit (shorter is better)',
  perSecond: 'rate (longer is better)',
  p99Micros: '99th percentile of latencies (shorter is better)',
  kib: 'memory of each connection (shorter is better)',
};

/** A bar chart of one figure, as SVG. */
export function drawChart(title: string, figure: Figure, rows: readonly Row[]): string {
  const most = Math.max(...rows.map((row) => row[figure] ?? 0)) || 1;
  const bars = rows.map((row, index) => {
    const y = 44 + index * (BAR + 10);
    const width = ((row[figure] ?? 0) / most) * (WIDTH - LABEL - 280);
    const fill = row.candidate.startsWith('sluice') ? '#0b7285' : '#adb5bd';
    const text = rowText(row);
    return (
      `<text x="${LABEL - 8}" y="${y + 19}" text-anchor="end">${row.candidate}</text>` +
      `<rect x="${LABEL}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" fill="${fill}"/>` +
      `<text x="${(LABEL + width + 8).toFixed(1)}" y="${y + 19}">${text}</text>`
    );
  });
  const height = 54 + rows.length * (BAR + 10);
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" ` +
    'font-family="sans-serif" font-size="13">' +
    `<text x="8" y="22" font-size="15">${title}: ${TITLES[figure]}</text>` +
    `${bars.join('')}</svg>\n`
  );
}
