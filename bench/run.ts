import { type Candidate, cases, type Scenario } from './lib/cases.ts';
import { type Measurement, measure } from './lib/measure.ts';
import { median } from './lib/median.ts';
import { available } from './lib/programs.ts';
import { cpuText, type Row, rateText, ratios } from './lib/ratio.ts';
import { writeCharts, writeFigures } from './lib/results.ts';

const [first = '5', ...parts] = process.argv.slice(2);
const ROUNDS = Number(first);
const NEEDS: Partial<Record<Scenario['mode'], string>> = {
  h2: 'h2load',
  https: 'openssl',
  sni: 'openssl',
};

function rowOf({ name, unit }: Scenario, candidate: string, list: Measurement[]): Row {
  return {
    case: name,
    candidate,
    unit: unit ?? 'request',
    perSecond: median(list.map((one) => one.perSecond)),
    cpuMicros: median(list.map((one) => one.cpuMicros)),
    errors: list.reduce((sum, one) => sum + one.errors, 0),
  };
}

async function runCase(scenario: Scenario, candidates: readonly Candidate[]): Promise<Row[]> {
  const results = candidates.map(({ name }) => ({ name, list: [] as Measurement[] }));
  // Interleaved, so that a change of the machine's speed meets all candidates alike.
  for (let round = 0; round < ROUNDS; round++) {
    for (const { name, list } of results) list.push(await measure(scenario, { name }));
  }
  return results.map(({ name, list }) => rowOf(scenario, name, list));
}

if (!(ROUNDS >= 1))
  throw new Error(`"${first}" is no number of rounds; "bench -- 5 http" is valid`);
const rows: Row[] = [];
for (const scenario of cases) {
  const { name, mode } = scenario;
  if (parts.length > 0 && !parts.some((part) => name.includes(part))) continue;
  const needed = NEEDS[mode];
  if (needed && !available(needed)) {
    console.log(`${name}: needs ${needed}`);
    continue;
  }
  const here = scenario.candidates.filter((candidate) => available(candidate.name));
  const measured = await runCase(scenario, here);
  rows.push(...measured);
  for (const row of measured) {
    const errors = row.errors > 0 ? `  ${row.errors} errors` : '';
    const figures = `${rateText(row).padStart(12)} ${cpuText(row).padStart(10)} CPU${errors}`;
    console.log(`${name.padEnd(28)} ${row.candidate.padEnd(12)} ${figures}`);
  }
  const reached = ratios(scenario, rows);
  if (reached) console.log(`${' '.repeat(29)}${reached}`);
  writeFigures('results', { rounds: ROUNDS, rows });
  writeCharts(rows);
}
