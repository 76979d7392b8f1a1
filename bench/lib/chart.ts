import { cpuText, type Row, rateText } from './ratio.ts';

const WIDTH = 640;
const BAR = 28;
const LABEL = 110;

/** A bar chart of CPU time a unit, as SVG; shorter is better. */
export function drawChart(title: string, rows: readonly Row[]): string {
  const most = Math.max(...rows.map((row) => row.cpuMicros), 1);
  const bars = rows.map((row, index) => {
    const y = 44 + index * (BAR + 10);
    const width = (row.cpuMicros / most) * (WIDTH - LABEL - 220);
    const fill = row.candidate === 'sluice' ? '#0b7285' : '#adb5bd';
    const text = `${cpuText(row)}, ${rateText(row)}`;
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
    `<text x="8" y="22" font-size="15">${title}: CPU a unit (shorter is better)</text>` +
    `${bars.join('')}</svg>\n`
  );
}
