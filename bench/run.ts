import { cases } from './lib/cases.ts';
import { type Measurement, measure } from './lib/measure.ts';
import { median } from './lib/median.ts';
import { available } from './lib/peers.ts';
import { writeCharts, writeFigures } from './lib/results.ts';

const ROUNDS = Number(process.argv[2] ?? 5);

/** One candidate's rounds of one case, as medians. */
export type Row = {
  case: string;
  candidate: string;
  perSecond: number;
  cpuMicros: number;
  errors: number;
};

const rows: Row[] = [];
for (const scenario of cases) {
  if (scenario.mode === 'h2' && !available('h2load')) continue;
  const candidates = scenario.candidates.filter((candidate) => available(candidate.name));
  const results = new Map<string, Measurement[]>(candidates.map(({ name }) => [name, []]));
  // Interleaved, so that a change of the machine's speed meets all candidates alike.
  for (let round = 0; round < ROUNDS; round++) {
    for (const candidate of candidates) {
      results.get(candidate.name)?.push(await measure(scenario, candidate));
    }
  }
  for (const [candidate, list] of results) {
    const row = {
      case: scenario.name,
      candidate,
      perSecond: median(list.map((one) => one.perSecond)),
      cpuMicros: median(list.map((one) => one.cpuMicros)),
      errors: list.reduce((sum, one) => sum + one.errors, 0),
    };
    rows.push(row);
    console.log(
      `${row.case.padEnd(28)} ${candidate.padEnd(12)} ${row.perSecond.toFixed(0).padStart(8)}/s ` +
        `${row.cpuMicros.toFixed(1).padStart(8)} µs CPU ${String(row.errors).padStart(5)} errors`,
    );
  }
}

writeFigures('results', { rounds: ROUNDS, rows });
writeCharts(rows);
