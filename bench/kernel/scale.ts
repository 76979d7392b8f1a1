import { readFileSync } from 'node:fs';
import type { ForwardIntent, HostIntent } from '../../src/model/host-intent.ts';
import { bridgeNetwork, EMPTY_INTENT, forward, TestHost } from '../../test/support/netns.ts';
import { median } from '../lib/median.ts';

const CHANGES = 15;
const FIRST_PORT = 20_000;

/** What a number of forwards costs the agent; times as its client sees them. */
export type ScaleRow = {
  kind: ForwardIntent['kind'];
  forwards: number;
  loadMs: number;
  /** A further endpoint comes. */
  addMs: number;
  /** An endpoint is replaced: the flows of the one before are cut, too. */
  replaceMs: number;
  agentMiB: number;
};

const network = bridgeNetwork('a', ['172.20.0.0/16']);

/** Forwards with three targets each: ports of the host, or addresses of their own. */
export function forwardsOf(kind: ForwardIntent['kind'], count: number): ForwardIntent[] {
  return Array.from({ length: count }, (_, n) => {
    const targets = [1, 2, 3].map((k) => `172.20.${(n >> 6) & 255}.${(n & 63) * 4 + k}:80`);
    if (kind === 'published') return forward(FIRST_PORT + n, targets);
    const address = `10.128.${n >> 8}.${n & 255}`;
    return forward(80, targets, { kind, address, id: `vip-${n}` });
  });
}

function residentMiB(pid: number): number {
  const [, kib = '0'] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}

type Turn = (forward: ForwardIntent, turn: number) => ForwardIntent;

const fresh = (turn: number) => ({ address: `172.20.255.${turn + 1}`, port: 80 });
const added: Turn = (forward, turn) => ({
  ...forward,
  targets: [...forward.targets, fresh(turn)],
});
const replaced: Turn = (forward, turn) => ({
  ...forward,
  targets: [fresh(turn), ...forward.targets.slice(1)],
});

/** Median time of changes of one forward, each after the other. */
async function timed(host: TestHost, start: ForwardIntent, step: Turn): Promise<number> {
  const times: number[] = [];
  let forward = start;
  for (let turn = 0; turn < CHANGES; turn++) {
    forward = step(forward, turn);
    const from = performance.now();
    await host.agent.apply({ put: { forwards: [forward] }, remove: {} });
    times.push(performance.now() - from);
  }
  return median(times);
}

async function once(kind: ForwardIntent['kind'], count: number): Promise<ScaleRow> {
  const host = await TestHost.start();
  try {
    const intent: HostIntent = { ...EMPTY_INTENT, networks: [network] };
    await host.agent.sync(intent);
    const forwards = forwardsOf(kind, count);
    const start = performance.now();
    const report = await host.agent.apply({ put: { forwards }, remove: {} });
    const loadMs = performance.now() - start;
    if (report.failures.length > 0) throw new Error(JSON.stringify(report.failures[0]));
    const [middle, other] = [forwards[count >> 1], forwards[0]];
    if (!middle || !other) throw new Error('no forwards');
    const addMs = await timed(host, other, added);
    const replaceMs = await timed(host, middle, replaced);
    const agentMiB = residentMiB(host.agentPid);
    return { kind, forwards: count, loadMs, addMs, replaceMs, agentMiB };
  } finally {
    await host.stop();
  }
}

/** Loads that many forwards into new agents and changes one endpoint again and again. */
export async function measureScale(
  kind: ForwardIntent['kind'],
  count: number,
  rounds: number,
): Promise<ScaleRow> {
  const all: ScaleRow[] = [];
  for (let round = 0; round < rounds; round++) all.push(await once(kind, count));
  const middle = (pick: (row: ScaleRow) => number) => median(all.map(pick));
  return {
    ...{ kind, forwards: count, loadMs: middle((row) => row.loadMs) },
    ...{ addMs: middle((row) => row.addMs), replaceMs: middle((row) => row.replaceMs) },
    agentMiB: middle((row) => row.agentMiB),
  };
}
