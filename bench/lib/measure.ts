import type { Candidate, Scenario } from './cases.ts';
import { h2load, type Load, udpLoad, wrk } from './load.ts';
import { BACKEND_PORT, PROXY_PORT, startBackend, startProxy } from './peers.ts';
import { cpuSeconds } from './process-cpu.ts';

const SECONDS = 4;

/** One round of one candidate, by units. CPU is the proxy's whole process tree. */
export type Measurement = { perSecond: number; cpuMicros: number; errors: number };

function loadOf(
  { mode, connections, path, headers = [] }: Scenario,
  port: number,
): (seconds: number) => Promise<Load> {
  if (mode === 'udp') return (seconds) => udpLoad(port, { connections, seconds });
  if (mode === 'h2')
    return (seconds) => h2load(`http://127.0.0.1:${port}/`, { connections, seconds });
  // The name is what is sent as SNI.
  const encrypted = mode === 'https' || mode === 'sni';
  const target = encrypted ? `https://localhost:${port}` : `http://127.0.0.1:${port}`;
  return (seconds) => wrk(target + (path ?? '/'), { connections, seconds, headers });
}

/** Starts backend and candidate, warms up for two seconds, loads for four, and stops both. */
export async function measure(scenario: Scenario, candidate: Candidate): Promise<Measurement> {
  const backend = await startBackend(scenario);
  try {
    const proxy = await startProxy(candidate, scenario);
    try {
      const load = loadOf(scenario, proxy ? PROXY_PORT : BACKEND_PORT);
      await load(2);
      const before = proxy ? cpuSeconds(proxy.pid) : 0;
      const { requests, errors, bytes } = await load(SECONDS);
      const cpu = proxy ? cpuSeconds(proxy.pid) - before : 0;
      const units = scenario.unit === 'GB' ? bytes / 1e9 : requests;
      return { perSecond: units / SECONDS, cpuMicros: (cpu / units) * 1e6, errors };
    } finally {
      await proxy?.stop();
    }
  } finally {
    await backend.stop();
  }
}
