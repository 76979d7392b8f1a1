import { missing } from '../../test/support/docker-daemon.ts';
import { netnsUnavailable } from '../../test/support/netns.ts';
import { median } from '../lib/median.ts';
import { available } from '../lib/programs.ts';
import { writeCharts, writeFigures } from '../lib/results.ts';
import { type FirstAnswerRow, measureFirstAnswer } from './first-answer.ts';
import { measureResolver, RESOLVERS, type ResolverRow } from './resolver.ts';
import { measureScale, type ScaleRow } from './scale.ts';
import { Site } from './site.ts';
import { measureTraffic, type TrafficMeasurement, trafficCases } from './traffic.ts';

const PARTS = ['traffic', 'scale', 'resolver', 'first-answer'] as const;
const NEEDS = {
  traffic: ['wrk', 'nginx', 'haproxy', 'dnsperf', 'dnsmasq'],
  scale: [],
  resolver: ['dnsperf', 'dnsmasq'],
  'first-answer': ['nginx'],
} as const;
const USAGE = `Usage: npm run bench:kernel [-- ROUNDS [${PARTS.join('|')}]...]`;
const SIZES = [10, 100, 1000, 10_000];

const [roundsText = '5', ...chosen] = process.argv.slice(2);
const rounds = Number(roundsText);
const parts = chosen.length > 0 ? chosen : PARTS;
if (!Number.isInteger(rounds) || rounds < 1) fail(USAGE);
if (parts.some((part) => !PARTS.some((one) => one === part))) fail(USAGE);
const unavailable = netnsUnavailable();
const noDaemon = parts.includes('first-answer') ? missing() : undefined;
if (noDaemon) fail(`the benchmark cannot run here: it ${noDaemon}`);
if (unavailable) fail(`the benchmark cannot run here: ${unavailable}`);
for (const tool of new Set(PARTS.flatMap((part) => (parts.includes(part) ? NEEDS[part] : [])))) {
  if (!available(tool)) fail(`the benchmark needs ${tool}`);
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

type TrafficRow = TrafficMeasurement & { case: string; candidate: string; unit: string };

function show(row: TrafficRow): void {
  console.log(
    `${row.case.padEnd(28)} ${row.candidate.padEnd(8)} ${row.perSecond.toFixed(1).padStart(9)}/s ` +
      `${row.cpuMicros.toFixed(2).padStart(10)} µs gateway CPU a ${row.unit} ${row.errors} errors`,
  );
}

async function traffic(): Promise<TrafficRow[]> {
  const rows: TrafficRow[] = [];
  const site = await Site.make();
  try {
    for (const scenario of trafficCases) {
      const results = new Map(
        scenario.candidates.map((name) => [name, [] as TrafficMeasurement[]]),
      );
      // Interleaved, so that a change of the machine's speed meets all candidates alike.
      for (let round = 0; round < rounds; round++) {
        for (const [name, list] of results) list.push(await measureTraffic(site, scenario, name));
      }
      for (const [candidate, list] of results) {
        const row = {
          case: scenario.name,
          unit: scenario.unit,
          candidate,
          perSecond: median(list.map((one) => one.perSecond)),
          cpuMicros: median(list.map((one) => one.cpuMicros)),
          errors: list.reduce((sum, one) => sum + one.errors, 0),
        };
        rows.push(row);
        show(row);
      }
    }
  } finally {
    await site.close();
  }
  writeCharts(rows);
  return rows;
}

async function scale(): Promise<ScaleRow[]> {
  const rows: ScaleRow[] = [];
  for (const kind of ['vip', 'published'] as const) {
    for (const size of SIZES) {
      const row = await measureScale(kind, size, rounds);
      rows.push(row);
      console.log(
        `${kind.padEnd(9)} ${String(size).padStart(6)} forwards × 3: load ` +
          `${row.loadMs.toFixed(0).padStart(5)} ms, one endpoint comes ` +
          `${row.addMs.toFixed(1).padStart(5)} ms, is replaced ${row.replaceMs.toFixed(1)} ms, agent ${row.agentMiB.toFixed(0)} MiB`,
      );
    }
  }
  return rows;
}

async function resolver(): Promise<ResolverRow[]> {
  const lists = new Map(RESOLVERS.map((name) => [name, [] as ResolverRow[]]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, list] of lists) list.push(await measureResolver(name));
  }
  return [...lists].map(([candidate, list]) => {
    const row = {
      case: 'names of a network',
      candidate,
      perSecond: median(list.map((one) => one.perSecond)),
      cpuMicros: median(list.map((one) => one.cpuMicros)),
      errors: list.reduce((sum, one) => sum + one.errors, 0),
    };
    show({ ...row, unit: 'query' });
    return row;
  });
}

async function firstAnswer(): Promise<FirstAnswerRow[]> {
  const rows = await measureFirstAnswer(rounds);
  for (const { case: name, rounds: count, medianMs, worstMs } of rows) {
    console.log(
      `${name.padEnd(28)} to the first answer: ${medianMs.toFixed(0)} ms, ` +
        `${worstMs.toFixed(0)} ms at worst of ${count}`,
    );
  }
  return rows;
}

const runs = { traffic, scale, resolver, 'first-answer': firstAnswer };
for (const part of PARTS) {
  if (!parts.includes(part)) continue;
  writeFigures(`kernel-${part}`, { rounds, rows: await runs[part]() });
}
