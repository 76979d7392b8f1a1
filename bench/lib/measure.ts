import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import type { Candidate, Scenario } from './cases.ts';
import { BACKEND_PORT, PROXY_PORT, startBackend, startProxy } from './peers.ts';

const SECONDS = 4;
const TICKS_PER_SECOND = 100;

/** One round of one candidate. CPU is the proxy's whole process tree. */
export type Measurement = { perSecond: number; cpuMicros: number; errors: number };

function treeOf(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 4).split(' ')[0]));
    } catch {
      // It has ended in the meantime.
    }
  }
  const tree = [root];
  for (const pid of tree) {
    for (const [child, parent] of parents) if (parent === pid) tree.push(child);
  }
  return tree;
}

function cpuSeconds(root: number): number {
  let ticks = 0;
  for (const pid of treeOf(root)) {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

type Load = { requests: number; errors: number };

function onLoadCpu(command: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile('taskset', ['-c', '1', ...command], (error, stdout) =>
      error ? reject(error) : resolve(stdout),
    );
  });
}

async function wrk(port: number, connections: number, seconds: number): Promise<Load> {
  const target = `http://127.0.0.1:${port}/`;
  const text = await onLoadCpu(['wrk', '-t1', `-c${connections}`, `-d${seconds}s`, target]);
  const requests = Number(/(\d+) requests in/.exec(text)?.[1] ?? 0);
  const socket = [...(/Socket errors:.*/.exec(text)?.[0].matchAll(/\d+/g) ?? [])];
  const errors = socket.reduce((sum, [count]) => sum + Number(count), 0);
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0);
  return { requests, errors: errors + refused };
}

async function h2load(port: number, connections: number, seconds: number): Promise<Load> {
  const target = `http://127.0.0.1:${port}/`;
  const options = ['-t1', `-c${connections}`, '-m10', '-D', String(seconds)];
  const text = await onLoadCpu(['h2load', ...options, target]);
  const count = (what: string) => Number(new RegExp(`(\\d+) ${what}`).exec(text)?.[1] ?? 0);
  const requests = count('2xx');
  return { requests, errors: count('failed') + count('3xx') + count('4xx') + count('5xx') };
}

/** Starts backend and candidate, warms up for a second, loads for four, and stops both. */
export async function measure(scenario: Scenario, candidate: Candidate): Promise<Measurement> {
  const backend = await startBackend();
  try {
    const proxy = await startProxy(candidate, scenario);
    try {
      const port = proxy ? PROXY_PORT : BACKEND_PORT;
      const load = scenario.mode === 'h2' ? h2load : wrk;
      await load(port, scenario.connections, 1);
      const before = proxy ? cpuSeconds(proxy.pid) : 0;
      const { requests, errors } = await load(port, scenario.connections, SECONDS);
      const cpu = proxy ? cpuSeconds(proxy.pid) - before : 0;
      return {
        perSecond: requests / SECONDS,
        cpuMicros: (cpu / requests) * 1e6,
        errors,
      };
    } finally {
      await proxy?.stop();
    }
  } finally {
    await backend.stop();
  }
}
