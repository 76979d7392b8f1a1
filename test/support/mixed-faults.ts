import { readFileSync, writeFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { exchange, hold } from './attack.ts';
import { type LoadReport, startLoad } from './load.ts';
import { usage } from './processes.ts';
import { oneOf, seeded } from './seed.ts';
import { type Site, startSite } from './site.ts';

const HOSTILE = [
  'GET / HTTP/1.1\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nshort',
  '\x16\x03\x01',
];

/** What the daemon's processes held at one moment. */
export type Sample = { atMs: number; rssBytes: number; fds: number };

/** How a mixed run went. */
export type MixedResult = {
  report: LoadReport;
  fresh: LoadReport;
  samples: Sample[];
  /** How often each fault was done. */
  done: Record<string, number>;
};

type Fault = (site: Site, t: TestContext) => Promise<unknown>;

let turn = 0;

const FAULTS: Readonly<Record<string, Fault>> = {
  reload: async ({ gateway }) => {
    const weight = 1 + (turn++ % 5);
    const { configPath } = gateway;
    const text = readFileSync(configPath, 'utf8').replace(/idle: \d+s/, `idle: ${50 + weight}s`);
    writeFileSync(configPath, text);
    await gateway.admin('/v1/reload', { method: 'POST' });
  },
  'kill a backend': async ({ backends }) => {
    await backends[0]?.kill();
    await new Promise((resolve) => setTimeout(resolve, 500));
    await backends[0]?.start();
  },
  'freeze a backend': async ({ backends }) => {
    backends[1]?.freeze();
    await new Promise((resolve) => setTimeout(resolve, 700));
    backends[1]?.thaw();
  },
  churn: async ({ port }) => {
    const held = await hold(port, 100, { send: 'GET / HTTP/1.1\r\nhost: a\r\n\r\n' });
    for (const socket of held.sockets) socket.resetAndDestroy();
  },
  'hostile input': async ({ port }) => {
    for (const bytes of HOSTILE) await exchange(port, bytes, { half: true, timeoutMs: 2000 });
  },
};

/** Load on kept and on new connections, while seeded faults follow one another. */
export async function mixedFaults(
  t: TestContext,
  options: { seconds: number; perSecond: number },
): Promise<MixedResult> {
  const rng = seeded(t);
  const site = await startSite(t, { backends: 3, service: ', keepAlive: { idle: 50s }' });
  const { seconds, perSecond } = options;
  const { port } = site;
  const load = await startLoad(t, { port, perSecond, seconds, connections: 200 });
  const fresh = await startLoad(t, {
    port,
    perSecond: perSecond / 20,
    seconds,
    connections: 100,
    keepAlive: false,
  });
  const samples: Sample[] = [];
  const sampler = setInterval(() => {
    const { rssBytes, fds } = usage(site.pids());
    samples.push({ atMs: load.elapsedMs(), rssBytes, fds });
  }, 1000);
  t.after(() => clearInterval(sampler));
  const done: Record<string, number> = {};
  const names = Object.keys(FAULTS);
  while (load.elapsedMs() < (seconds - 3) * 1000) {
    const name = oneOf(rng, names);
    await FAULTS[name]?.(site, t);
    done[name] = (done[name] ?? 0) + 1;
    await new Promise((resolve) => setTimeout(resolve, 500 + rng.below(1500)));
  }
  const [report, freshReport] = await Promise.all([load.done, fresh.done]);
  clearInterval(sampler);
  return { report, fresh: freshReport, samples, done };
}

/** Bytes a minute by which memory grew, by least squares, over the samples from `fromMs` on. */
export function slopePerMinute(samples: readonly Sample[], fromMs: number): number {
  const chosen = samples.filter(({ atMs }) => atMs >= fromMs);
  const meanX = chosen.reduce((sum, { atMs }) => sum + atMs, 0) / chosen.length;
  const meanY = chosen.reduce((sum, { rssBytes }) => sum + rssBytes, 0) / chosen.length;
  let above = 0;
  let below = 0;
  for (const { atMs, rssBytes } of chosen) {
    above += (atMs - meanX) * (rssBytes - meanY);
    below += (atMs - meanX) ** 2;
  }
  return (above / below) * 60_000;
}
