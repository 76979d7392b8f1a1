import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { METRICS } from '../../src/gateway/metrics/catalog.ts';
import { Backend } from '../support/backend.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

const promtool = spawnSync('promtool', ['--version']).status === 0;
const skip = promtool ? false : 'no promtool program (Debian: prometheus)';

async function setUp(t: TestContext, more = '', workers = 1) {
  const [port = 0, one = 0, dead = 0] = await freePorts(3);
  const backend = new Backend(one, 'one');
  await backend.start();
  const config = (extra: string) => `${extra}
listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:${one}", "127.0.0.1:${dead}"], health: { type: tcp, interval: 100ms } }
`;
  const gateway = await Gateway.start(config(more), { workers });
  t.after(async () => {
    await gateway.stop();
    await backend.kill();
  });
  const up = (id: number, reason: string) =>
    `sluice_endpoint_up{service="app",endpoint="127.0.0.1:${id}",reason="${reason}"}`;
  return { port, one, dead, gateway, config, up };
}

async function requests(port: number, count: number): Promise<void> {
  for (let sent = 0; sent < count; sent++) {
    await (await fetch(`http://127.0.0.1:${port}/`)).text();
  }
}

test('promtool accepts what is told', { skip }, async (t) => {
  const { port, gateway } = await setUp(t);
  await requests(port, 5);
  const { text } = await gateway.admin('/metrics');
  const checked = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
  assert.deepEqual([checked.stderr, checked.status], ['', 0]);
});

test('endpoints are told up or down with the reason', async (t) => {
  const { port, one, dead, gateway, up } = await setUp(t);
  await requests(port, 10);
  await eventually(
    'the dead one is down',
    async () => (await gateway.metric(up(dead, 'check'))) === 0,
  );
  assert.equal(await gateway.metric(up(one, 'ok')), 1);
  const drain = {
    method: 'PUT',
    body: '{"state":"drain"}',
    headers: { 'content-type': 'application/json' },
  };
  await gateway.admin(`/v1/services/app/endpoints/127.0.0.1:${one}`, drain);
  await eventually('it drains', async () => (await gateway.metric(up(one, 'drain'))) === 0);
  assert.equal(await gateway.metric(up(one, 'ok')), undefined, 'one reason at a time');
});

test('failures of endpoints are counted by class', async (t) => {
  const { port, dead, gateway, config } = await setUp(t);
  gateway.write(config('').replace(/health: .*(?= \})/, 'health: false'));
  await gateway.admin('/v1/reload', { method: 'POST' });
  await requests(port, 10);
  const series = `sluice_endpoint_failures_total{service="app",endpoint="127.0.0.1:${dead}",class="refused"}`;
  await eventually('refusals', async () => ((await gateway.metric(series)) ?? 0) > 0);
});

test('series of endpoints have a bound, can be switched off and on by a reload', async (t) => {
  const { port, gateway, config } = await setUp(t, 'metrics: { maxEndpoints: 1 }');
  await requests(port, 4);
  const lines = async () =>
    (await gateway.admin('/metrics')).text.match(/^sluice_endpoint_up\{.*$/gm)?.length ?? 0;
  assert.equal(await lines(), 1);
  assert.equal(await gateway.metric('sluice_metrics_endpoints_omitted'), 1);
  gateway.write(config('metrics: { perEndpoint: false }'));
  await gateway.admin('/v1/reload', { method: 'POST' });
  assert.equal(await lines(), 0);
  assert.doesNotMatch((await gateway.admin('/metrics')).text, /^sluice_endpoint_requests_total\{/m);
  gateway.write(config(''));
  await gateway.admin('/v1/reload', { method: 'POST' });
  assert.equal(await lines(), 2);
});

test('series of a service that a reload has removed go with it', async (t) => {
  const { port, gateway, config } = await setUp(t, '', 2);
  await requests(port, 10);
  const { workers } = JSON.parse((await gateway.admin('/v1/status')).text);
  process.kill(workers[0].pid, 'SIGKILL');
  await eventually('it is replaced', async () => {
    const restarts = await gateway.metric('sluice_worker_restarts_total');
    return restarts === 1 && (await gateway.admin('/readyz')).status === 200;
  });
  const of = async (service: string) =>
    (await gateway.admin('/metrics')).text.includes(`service="${service}"`);
  assert.ok(await of('app'));
  gateway.write(config('').replaceAll('app', 'other'));
  await gateway.admin('/v1/reload', { method: 'POST' });
  await eventually('the new one is told', () => of('other'));
  await eventually('the old one is not', async () => !(await of('app')));
});

test('counters do not go back when a worker is replaced', async (t) => {
  const { port, gateway } = await setUp(t, '', 2);
  const series = 'sluice_listener_requests_total{listener="web",code="2xx"}';
  await requests(port, 20);
  const before = (await gateway.metric(series)) ?? 0;
  assert.equal(before, 20);
  const { workers } = JSON.parse((await gateway.admin('/v1/status')).text);
  for (const { pid } of workers) process.kill(pid, 'SIGKILL');
  await eventually('both are replaced', async () => {
    assert.ok(((await gateway.metric(series)) ?? 0) >= before);
    return (await gateway.metric('sluice_worker_restarts_total')) === 2;
  });
  await eventually('they serve', async () => (await gateway.admin('/readyz')).status === 200);
  await requests(port, 5);
  assert.equal(await gateway.metric(series), before + 5);
});

test('a scrape can ask for a part', async (t) => {
  const { gateway } = await setUp(t);
  const names = async (query: string) => {
    const { status, text } = await gateway.admin(`/metrics?${query}`);
    assert.equal(status, 200, text);
    return [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name ?? '');
  };
  const endpoints = METRICS.filter(({ labels }) => labels.includes('endpoint'));
  assert.deepEqual(
    await names('scope=endpoint'),
    endpoints.map(({ name }) => name),
  );
  assert.ok((await names('scope=process')).includes('process_cpu_seconds_total'));
  assert.deepEqual(await names('metrics=sluice_workers,sluice_endpoint_up'), [
    'sluice_endpoint_up',
    'sluice_workers',
  ]);
  const all = await names('scope=listener,service');
  const less = await names('scope=listener&scope=service&metrics=-sluice_service_active');
  assert.deepEqual(
    all.filter((name) => !less.includes(name)),
    ['sluice_service_active'],
  );
  const wrong = await gateway.admin('/metrics?scope=backend');
  assert.equal(wrong.status, 400);
  assert.match(wrong.text, /backend.* is no scope; one of: process, listener/);
});
