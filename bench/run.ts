import { type Candidate, cases, type Figure, type Scenario } from './lib/cases.ts';
import { type Measurement, measure } from './lib/measure.ts';
import { median } from './lib/median.ts';
import { available } from './lib/programs.ts';
import { type Row, rowText, type Standing, standings } from './lib/ratio.ts';
import { writeCharts, writeFigures, writeTable } from './lib/results.ts';

const [first = '5', ...chosen] = process.argv.slice(2);
const ROUNDS = Number(first);
const FIGURES = ['perSecond', 'cpuMicros', 'p99Micros', 'kib'] as const satisfies Figure[];

/** Whether a case has all words of one of the arguments in its name; without arguments all are meant. */
function isChosen({ name }: Scenario): boolean {
  const words = name.split(' ');
  const named = (text: string) => text.split(' ').every((word) => words.includes(word));
  return chosen.length === 0 || chosen.some(named);
}

/** A program that a case cannot do without and that is not here. */
function missing({ mode, load }: Scenario): string | undefined {
  const needed = [
    ...(mode === 'udp' || load === 'resumed' ? [] : [mode === 'h2' ? 'h2load' : 'wrk']),
    ...(mode === 'https' || mode === 'sni' ? ['openssl'] : []),
    ...(load === 'paced' ? ['haproxy'] : []),
  ];
  return needed.find((program) => !available(program));
}

function rowOf({ name, unit }: Scenario, candidate: Candidate, list: Measurement[]): Row {
  const row: Row = {
    case: name,
    candidate,
    unit: unit ?? 'request',
    errors: list.reduce((sum, one) => sum + one.errors, 0),
  };
  for (const figure of FIGURES) {
    const values = list.flatMap((one) => one[figure] ?? []);
    if (values.length > 0) row[figure] = median(values);
  }
  return row;
}

if (!(ROUNDS >= 1))
  throw new Error(`"${first}" is no number of rounds; "bench -- 5 http" is valid`);
const wanted = cases.filter(isChosen);
if (wanted.length === 0) {
  const names = cases.map(({ name }) => name).join('\n');
  throw new Error(`no case has these words in its name; there are:\n${names}`);
}
const rows: Row[] = [];
const standing: Standing[] = [];

/** Measures a case, tells its figures and adds them to the results. */
async function run(scenario: Scenario): Promise<void> {
  const { name, candidates } = scenario;
  const here = candidates.filter((one) => available(one === 'haproxy-splice' ? 'haproxy' : one));
  const results = await measure(scenario, here, ROUNDS);
  const measured = results.map(({ candidate, list }) => rowOf(scenario, candidate, list));
  for (const row of measured) {
    const errors = row.errors > 0 ? `  ${row.errors} errors` : '';
    console.log(`${name.padEnd(28)} ${row.candidate.padEnd(16)} ${rowText(row)}${errors}`);
  }
  const own = standings(scenario, measured);
  for (const { today, must, aim } of own) {
    const bounds = [must && `must ${must}`, aim && `aim ${aim}`].filter(Boolean).join(', ');
    console.log(`${' '.repeat(29)}${today} (${bounds})`);
  }
  rows.push(...measured);
  standing.push(...own);
  writeFigures('results', { rounds: ROUNDS, rows });
  writeCharts(measured, scenario.figure);
}

for (const scenario of wanted) {
  const lacks = missing(scenario);
  if (lacks) {
    console.log(`${scenario.name}: needs ${lacks}`);
    continue;
  }
  try {
    await run(scenario);
  } catch (error) {
    // The figures of the other cases are worth having.
    console.log(`${scenario.name}: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}
if (standing.length > 0) console.log(`\n${writeTable(standing)}`);
