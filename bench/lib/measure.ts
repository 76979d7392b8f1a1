import type { Candidate, Scenario } from './cases.ts';
import { h2load, wrk } from './load.ts';
import { BACKEND_PORT, PROXY_PORT, startBackend, startProxy } from './peers.ts';
import { cpuSeconds } from './process-cpu.ts';

const SECONDS = 4;

/** One round of one candidate. CPU is the proxy's whole process tree. */
export type Measurement = { perSecond: number; cpuMicros: number; errors: number };

/** Starts backend and candidate, warms up for a second, loads for four, and stops both. */
export async function measure(scenario: Scenario, candidate: Candidate): Promise<Measurement> {
  const backend = await startBackend();
  try {
    const proxy = await startProxy(candidate, scenario);
    try {
      const target = `http://127.0.0.1:${proxy ? PROXY_PORT : BACKEND_PORT}/`;
      const { connections } = scenario;
      const load = scenario.mode === 'h2' ? h2load : wrk;
      await load(target, { connections, seconds: 1 });
      const before = proxy ? cpuSeconds(proxy.pid) : 0;
      const { requests, errors } = await load(target, { connections, seconds: SECONDS });
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
