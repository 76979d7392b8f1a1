import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backend } from '../support/backend.ts';
import { ConsulServer, noConsul } from '../support/consul.ts';
import { figure, ms } from '../support/figures.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { startLoad } from '../support/load.ts';

const AWAY_MS = Number(process.env['CONSUL_AWAY_SECONDS'] ?? 30) * 1000;

test('Consul is killed under load and returns', { skip: noConsul }, async (t) => {
  const [port = 0, one = 0, two = 0, ...ports] = await freePorts(7);
  const consul = new ConsulServer(ports);
  const backends = [new Backend(one, 'one'), new Backend(two, 'two')];
  await Promise.all([consul.start(), ...backends.map((backend) => backend.start())]);
  await consul.register('one', one);
  const gateway = await Gateway.start(
    `discovery: { consul: { address: "http://127.0.0.1:${consul.http}" } }
listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services:
  app: { discover: { consul: { service: app } } }
`,
    { workers: 2 },
  );
  t.after(async () => {
    await gateway.stop();
    await consul.kill();
    await Promise.all(backends.map((backend) => backend.kill()));
  });
  await eventually('it is discovered', async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    await answer.text();
    return answer.ok;
  });
  const load = await startLoad(t, { port, perSecond: 500, connections: 100 });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await consul.kill();
  await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
  const stale = await gateway.metric('sluice_discovery_age_seconds{service="app"}');
  await consul.start();
  await consul.register('one', one);
  await consul.register('two', two);
  const backMs = load.elapsedMs();
  await new Promise((resolve) => setTimeout(resolve, 8000));
  load.stop();
  const report = await load.done;
  const first = report.result.dueMs.find(
    (due, seq) => due > 0 && report.result.backend[seq] === 'two',
  );
  const took = (first ?? Number.POSITIVE_INFINITY) - backMs;
  figure(t, {
    experiment: '17',
    what: `Consul killed for ${AWAY_MS / 1000} s under 500 requests/s`,
    measured: `${report.summary()} of ${report.sent} failed; a new instance served ${ms(Math.max(0, took))} after its registration`,
    wanted: '0 failed, recovery ≤ 5 s',
  });
  assert.deepEqual(report.failures(), []);
  assert.ok(took <= 5000, ms(took));
  assert.ok((stale ?? 0) > AWAY_MS / 2000, `the age told of it: ${stale}`);
});
