import { setTimeout } from 'node:timers/promises';
import { hold } from '../../test/support/attack.ts';
import type { Candidate, Figure, Scenario } from './cases.ts';
import { h2load, type Load, pacedLoad, resumedLoad, udpLoad, wrk } from './load.ts';
import { type Contender, startContender } from './peers.ts';
import { cpuSeconds, memoryKib } from './usage.ts';

/** The compiler of Node has settled when a proxy has worked so long, in CPU time. */
const WARM_UP_CPU_SECONDS = 8;
/** So long at most a proxy is warmed up that waits for its CPU. */
const MOST_WARM_UP_SECONDS = 24;
const SECONDS = 4;
/** So long after a load memory is read. */
const SETTLE_MS = 2000;
/** Readings that differ by less than this share follow each other when memory has settled. */
const STEADY = 0.01;
const MOST_READINGS = 8;
/** Memory hardly differs from round to round, and takes long to measure. */
const MOST_IDLE_ROUNDS = 3;
const PACE = 0.7;
const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';

/** One round of one candidate, by units. CPU and memory are those of the proxy's whole process tree. */
export type Measurement = Partial<Record<Figure, number>> & { readonly errors: number };

/** The measurements of a candidate, one a round. */
export type Rounds = { readonly candidate: Candidate; readonly list: Measurement[] };

function isEncrypted({ mode }: Scenario): boolean {
  return mode === 'https' || mode === 'sni';
}

function loadOnce(scenario: Scenario, to: Contender, seconds: number): Promise<Load> {
  const { mode, connections, path = '/', headers = [] } = scenario;
  const amount = { connections, seconds, cpus: to.loadCpus };
  if (mode === 'udp') return udpLoad(to.port, amount);
  if (mode === 'h2') return h2load(`http://127.0.0.1:${to.port}/`, amount);
  if (scenario.load === 'resumed') return resumedLoad(to.port, amount);
  // The name is what is sent as SNI.
  const origin = isEncrypted(scenario) ? 'https://localhost' : 'http://127.0.0.1';
  return wrk(`${origin}:${to.port}${path}`, { ...amount, headers });
}

/** Loads until the proxy has worked long enough; the direct connection, which has none, once. */
async function warmUp(scenario: Scenario, to: Contender): Promise<void> {
  const cpu = () => (to.pid ? cpuSeconds(to.pid) : Number.POSITIVE_INFINITY);
  const enough = cpu() + WARM_UP_CPU_SECONDS;
  for (let waited = 0; waited < MOST_WARM_UP_SECONDS; waited += SECONDS) {
    await loadOnce(scenario, to, SECONDS);
    if (cpu() >= enough) return;
  }
}

async function measureLoad(
  { unit }: Scenario,
  { pid }: Contender,
  load: (seconds: number) => Promise<Load>,
): Promise<Measurement> {
  const before = pid ? cpuSeconds(pid) : 0;
  const { requests, bytes, errors, p99Micros } = await load(SECONDS);
  const cpu = pid ? cpuSeconds(pid) - before : 0;
  const units = unit === 'GB' ? bytes / 1e9 : requests;
  return {
    perSecond: units / SECONDS,
    cpuMicros: (cpu / units) * 1e6,
    errors,
    ...(p99Micros === undefined ? {} : { p99Micros }),
  };
}

/**
 * All candidates are started and warmed up once, and then loaded in turn, `rounds` times, so that a change of the
 * machine's speed meets all of them alike.
 */
async function measureInTurn(
  scenario: Scenario,
  candidates: readonly Candidate[],
  rounds: number,
): Promise<Rounds[]> {
  await using stage = new AsyncDisposableStack();
  const contenders: (Rounds & { readonly to: Contender })[] = [];
  for (const [slot, candidate] of candidates.entries()) {
    const to = await startContender(stage, scenario, candidate, slot);
    contenders.push({ candidate, to, list: [] });
    await warmUp(scenario, to);
  }
  for (let round = 0; round < rounds; round++) {
    const rate = scenario.load === 'paced' ? await pace(scenario, contenders) : undefined;
    for (const { to, list } of contenders) {
      const { connections } = scenario;
      const load = (seconds: number) =>
        rate === undefined
          ? loadOnce(scenario, to, seconds)
          : pacedLoad(to.port, { connections, seconds, rate });
      list.push(await measureLoad(scenario, to, load));
    }
  }
  return contenders;
}

/** 70 % of the rate that haproxy reaches now. */
async function pace(
  scenario: Scenario,
  contenders: readonly { readonly candidate: Candidate; readonly to: Contender }[],
): Promise<number> {
  const haproxy = contenders.find(({ candidate }) => candidate === 'haproxy');
  if (!haproxy) throw new Error(`"${scenario.name}" needs haproxy, whose rate it is paced by`);
  const { requests } = await loadOnce(scenario, haproxy.to, SECONDS);
  return (PACE * requests) / SECONDS;
}

/**
 * What a fresh process keeps for each connection on which a request was answered. Memory is read after loads
 * that no longer change it, before and after: the garbage that they leave is no part of the difference.
 */
async function measureIdle(scenario: Scenario, candidate: Candidate): Promise<Measurement> {
  await using stage = new AsyncDisposableStack();
  const to = await startContender(stage, scenario, candidate, 0);
  const { connections } = scenario;
  const loaded = { ...scenario, connections: 50 };
  const read = async () => {
    for (let last = Number.NaN, tries = 1; ; tries++) {
      await loadOnce(loaded, to, SECONDS);
      await setTimeout(SETTLE_MS);
      const kib = memoryKib(to.pid ?? 0);
      if (Math.abs(kib - last) < STEADY * kib || tries === MOST_READINGS) return kib;
      last = kib;
    }
  };
  // The heap takes longer to settle than the compiler.
  await warmUp(loaded, to);
  await warmUp(loaded, to);
  const before = await read();
  const tls = { rejectUnauthorized: false, servername: 'localhost' };
  const secure = isEncrypted(scenario) ? { tls } : {};
  const held = await hold(to.port, connections, { send: GET, batch: 50, ...secure });
  stage.defer(() => held.close());
  const after = await read();
  const open = held.open();
  return { kib: (after - before) / open, errors: connections - open };
}

/** Measures candidates of a case, each `rounds` times; their memory three times at most. */
export async function measure(
  scenario: Scenario,
  candidates: readonly Candidate[],
  rounds: number,
): Promise<Rounds[]> {
  if (scenario.load !== 'idle') return measureInTurn(scenario, candidates, rounds);
  const results = candidates.map((candidate): Rounds => ({ candidate, list: [] }));
  for (let round = 0; round < Math.min(rounds, MOST_IDLE_ROUNDS); round++) {
    for (const { candidate, list } of results) list.push(await measureIdle(scenario, candidate));
  }
  return results;
}
