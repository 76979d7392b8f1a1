import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { wrk } from '../../bench/lib/load.ts';
import { available } from '../../bench/lib/programs.ts';
import { figure, ms } from '../support/figures.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { startCanary } from '../support/load.ts';

const BACKEND = new URL('../../bench/lib/backend.ts', import.meta.url).pathname;
/** As many clients as are served best, and so many that all of them want three times as much. */
const FEW = 50;
const MANY = 6000;
const SECONDS = 20;

/** One worker on a CPU of its own; the backend shares the other one with the load. */
async function start(t: TestContext): Promise<{ port: number; gateway: Gateway }> {
  const [port = 0, backendPort = 0] = await freePorts(2);
  const command = ['-c', '1', process.execPath, BACKEND, String(backendPort)];
  const backend = spawn('taskset', command, { stdio: 'inherit' });
  t.after(() => backend.kill());
  const gateway = await Gateway.start(
    `listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services: { app: { endpoints: ["127.0.0.1:${backendPort}"] } }
`,
    { workers: 1, prefix: ['taskset', '-c', '0'] },
  );
  t.after(() => gateway.stop());
  return { port, gateway };
}

test('offered far more than it can serve, a worker serves on, says no in time, and recovers', {
  skip: available('wrk') ? false : 'needs wrk',
}, async (t) => {
  const { port, gateway } = await start(t);
  const target = `http://127.0.0.1:${port}/`;
  await wrk(target, { connections: FEW, seconds: 3 });
  const most = await wrk(target, { connections: FEW, seconds: 5 });
  const canary = await startCanary(t, { port, check: false });
  const over = await wrk(target, { connections: MANY, seconds: SECONDS });
  canary.stop();
  const felt = await canary.done;
  await eventually('it has recovered', async () => {
    const lag = await gateway.metric('sluice_overloaded{reason="lag"}');
    return lag === 0 && (await gateway.admin('/healthz')).text.includes('"ok"');
  });
  const after = await startCanary(t, { port, check: false, seconds: 2 });
  const good = (over.requests - over.refused) / SECONDS;
  const share = good / (most.requests / 5);
  figure(t, {
    experiment: '32',
    what: `${MANY} clients that ask as fast as they are answered, ${SECONDS} s`,
    measured: `goodput ${(share * 100).toFixed(0)} % of that with ${FEW} clients, ${over.refused} refused; new connections p50 ${ms(felt.percentile(50))}, p99 ${ms(felt.percentile(99))}, failed: ${felt.summary()}`,
    wanted: 'goodput ≥ 80 %, recovery ≤ 5 s',
  });
  assert.deepEqual((await after.done).failures(), []);
  assert.equal(await gateway.metric('sluice_worker_restarts_total'), 0);
  // Nearly all who asked were served; those who were not got an answer.
  assert.ok(over.refused < over.requests / 2, `${over.refused} of ${over.requests} refused`);
  assert.ok(share > 0.5, `${share}`);
});
