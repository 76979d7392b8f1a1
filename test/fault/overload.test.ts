import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { wrk } from '../../bench/lib/load.ts';
import { available } from '../../bench/lib/programs.ts';
import { crowd } from '../support/crowd.ts';
import { figure, ms } from '../support/figures.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { Haproxy, noHaproxy } from '../support/haproxy.ts';
import { type LoadReport, startCanary } from '../support/load.ts';

const BACKEND = new URL('../../bench/lib/backend.ts', import.meta.url).pathname;
/** As many clients as are served best, and so many that all of them want far more than can be served. */
const FEW = 50;
const MANY = 6000;
/** In seconds. What is measured first would otherwise be the compiler. */
const [WARM, BEFORE, OVER, AFTER] = [15, 5, 60, 5];
const skip = available('wrk') ? false : 'needs wrk';

/** A backend, which shares a CPU with the load; a proxy has the other one. */
async function startBackend(t: TestContext): Promise<{ port: number; backendPort: number }> {
  const [port = 0, backendPort = 0] = await freePorts(2);
  const command = ['-c', '1', process.execPath, BACKEND, String(backendPort)];
  const backend = spawn('taskset', command, { stdio: 'inherit' });
  t.after(() => backend.kill());
  return { port, backendPort };
}

/** What the same clients get while few, all, and again few of them ask. */
async function underload(t: TestContext, port: number, whenOver = async () => {}) {
  await wrk(`http://127.0.0.1:${port}/`, { connections: FEW, seconds: WARM });
  const phases = [
    { asking: FEW, seconds: BEFORE },
    { asking: MANY, seconds: OVER },
    { asking: FEW, seconds: AFTER },
  ];
  const told = crowd(port, MANY, phases);
  const before = (await told.next()).value;
  const canary = await startCanary(t, { port, check: false });
  const over = (await told.next()).value;
  canary.stop();
  await whenOver();
  const after = (await told.next()).value;
  await told.return(undefined);
  assert.ok(before && over && after);
  const most = Math.max(before.served / BEFORE, after.served / AFTER);
  const goodput = over.served / OVER;
  return { most, goodput, share: goodput / most, over, canary: await canary.done };
}

function told(run: Awaited<ReturnType<typeof underload>>): string {
  const { most, goodput, share, over, canary } = run;
  const rate = (perSecond: number) => `${perSecond.toFixed(0)}/s`;
  const refused = `${rate(over.refused / OVER)} refused, ${over.ended} connections ended`;
  const felt = (report: LoadReport) =>
    `new connections p50 ${ms(report.percentile(50))}, p99 ${ms(report.percentile(99))}, failed: ${report.summary()}`;
  return `goodput ${rate(goodput)}, ${(share * 100).toFixed(0)} % of ${rate(most)} with ${FEW}; ${refused}; ${felt(canary)}`;
}

const WHAT = `${MANY} clients that ask as fast as they are answered, ${OVER} s`;

test('offered far more than it can serve, a worker serves on, says no in time, and recovers', {
  skip,
}, async (t) => {
  const { port, backendPort } = await startBackend(t);
  const gateway = await Gateway.start(
    `listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services: { app: { endpoints: ["127.0.0.1:${backendPort}"] } }
`,
    { workers: 1, prefix: ['taskset', '-c', '0'] },
  );
  t.after(() => gateway.stop());
  let recoveredMs = Number.NaN;
  const run = await underload(t, port, async () => {
    const endedAt = performance.now();
    await eventually('it has recovered', async () => {
      const lag = await gateway.metric('sluice_overloaded{reason="lag"}');
      return lag === 0 && (await gateway.admin('/healthz')).text.includes('"ok"');
    });
    recoveredMs = performance.now() - endedAt;
  });
  figure(t, {
    experiment: '32',
    what: WHAT,
    measured: `${told(run)}; recovered after ${ms(recoveredMs)}`,
    wanted: 'goodput ≥ 80 %, recovery ≤ 5 s',
  });
  const after = await startCanary(t, { port, check: false, seconds: 2 });
  assert.deepEqual((await after.done).failures(), []);
  assert.equal(await gateway.metric('sluice_worker_restarts_total'), 0);
  // Most who asked were served, and none was thrown out.
  assert.ok(run.over.refused < run.over.served, `${run.over.refused} refused`);
  assert.equal(run.over.ended, 0);
  assert.ok(run.share > 0.5, `${run.share}`);
});

test('what HAProxy makes of the same clients', { skip: skip || noHaproxy }, async (t) => {
  const { port, backendPort } = await startBackend(t);
  const config = `defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend web
  bind 127.0.0.1:${port}
  default_backend app
backend app
  server a 127.0.0.1:${backendPort} maxconn 256
`;
  await Haproxy.start(
    t,
    config,
    '  nbthread 1\n  cpu-map 1 0\n  maxconn 9000\n  tune.pool-high-fd-ratio 100\n  tune.pool-low-fd-ratio 90',
  );
  const run = await underload(t, port);
  figure(t, { experiment: '32', what: `${WHAT}: HAProxy`, measured: told(run), wanted: '—' });
  assert.ok(run.over.served > 0);
});
