import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { figure, ms } from '../support/figures.ts';
import { eventually } from '../support/gateway.ts';
import { runLoad, startLoad } from '../support/load.ts';
import { startSite } from '../support/site.ts';

const FAULT_AT_MS = 3000;

function sleep(delayMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, delayMs));
}

/** A load with the fault after 3 s; when it struck is on the load's own scale. */
async function withFault(
  t: TestContext,
  port: number,
  perSecond: number,
  fault: () => unknown,
  method: 'GET' | 'POST' = 'GET',
) {
  const load = await startLoad(t, { port, perSecond, seconds: 10, connections: 500, method });
  await sleep(FAULT_AT_MS);
  const faultMs = load.elapsedMs();
  await fault();
  return { report: await load.done, faultMs };
}

const site = (t: TestContext, service = '') => startSite(t, { service });

for (const perSecond of [20, 2000]) {
  const rate = `${perSecond} requests/s`;

  test(`one of two killed at ${rate}`, async (t) => {
    const { port, backends } = await site(t);
    const { report, faultMs } = await withFault(t, port, perSecond, () => backends[0]?.kill());
    assert.ok(report.served('one', 0, faultMs) > perSecond, 'it served before');
    assert.equal(report.served('one', faultMs + 1000), 0, 'it is dead');
    const measured = `${report.summary()} of ${report.sent} failed, worst ${ms(report.worstMs)}`;
    const what = `one of two backends killed at ${rate}`;
    figure(t, { experiment: '1', what, measured, wanted: '0 failed' });
    assert.deepEqual(report.failures(), []);
  });

  test(`one of two frozen at ${rate}`, async (t) => {
    const { port, backends } = await site(t);
    t.after(() => backends[0]?.thaw());
    const { report, faultMs } = await withFault(t, port, perSecond, () => backends[0]?.freeze());
    assert.ok(report.served('one', 0, faultMs) > perSecond, 'it served before');
    const slow = report.result.tookMs.filter((took) => took > 500).length;
    const measured = `${report.summary()} of ${report.sent} failed, ${slow} over 500 ms, worst ${ms(report.worstMs)}`;
    const what = `one of two backends frozen at ${rate}`;
    figure(t, { experiment: '3', what, measured, wanted: '≤ 2 failed, 0 after 2 s' });
    const bad = report.failures();
    assert.ok(bad.length <= 2, report.summary());
    assert.deepEqual(
      bad.filter(({ dueMs }) => dueMs > faultMs + 2000),
      [],
    );
  });

  test(`one of two answers 500 at ${rate}`, async (t) => {
    const { port, backends } = await site(t);
    const { report, faultMs } = await withFault(t, port, perSecond, () => backends[0]?.mode('500'));
    const bad = report.failures();
    assert.ok(bad.length > 0, 'the fault fired');
    const lastMs = Math.max(...bad.map(({ dueMs }) => dueMs)) - faultMs;
    const measured = `${report.summary()} of ${report.sent}, the last after ${ms(lastMs)}`;
    const what = `one of two backends answers 500 at ${rate}`;
    figure(t, { experiment: '4', what, measured, wanted: 'put aside ≤ 1 s' });
    assert.ok(lastMs <= 1000, measured);
  });
}

test('a backend that answers 500 to 30 % stays', async (t) => {
  const { port, backends, gateway } = await site(t);
  await backends[0]?.mode('500:30');
  const report = await runLoad(t, { port, perSecond: 500, seconds: 6, connections: 100 });
  const bad = report.failures().length;
  assert.ok(bad > 100, `the fault fired: ${bad}`);
  const { text } = await gateway.admin('/v1/services/app/endpoints');
  const served = report.served('one', 5000);
  const measured = `${served} of its requests in the last second, ejected: ${text.includes('"ejected":true')}`;
  const what = 'one of two backends answers 500 to 30 %';
  figure(t, { experiment: '4', what, measured, wanted: 'not put aside' });
  assert.ok(!text.includes('"ejected":true'), text);
});

test('four of six answer 500: at most half are put aside', async (t) => {
  const { port, backends, gateway } = await startSite(t, { backends: 6 });
  for (const one of backends.slice(0, 4)) await one.mode('500');
  const report = await runLoad(t, { port, perSecond: 500, seconds: 5, connections: 100 });
  assert.ok(report.failures().length > 0, 'the fault fired');
  const { text } = await gateway.admin('/v1/services/app/endpoints');
  const ejected = text.split('"ejected":true').length - 1;
  const what = 'four of six backends answer 500';
  const wanted = '≤ 3 of 6 put aside';
  figure(t, { experiment: '4', what, measured: `${ejected} put aside`, wanted });
  assert.ok(ejected >= 2 && ejected <= 3, `${ejected}: ${text}`);
});

test('a killed backend: POSTs in flight fail with 502 and none reaches an origin twice', async (t) => {
  const { port, backends, journal } = await site(t);
  const load = await startLoad(t, {
    port,
    perSecond: 300,
    seconds: 8,
    connections: 300,
    method: 'POST',
    path: '/?delay=40',
  });
  await sleep(FAULT_AT_MS);
  await backends[0]?.kill();
  const report = await load.done;
  assert.ok(report.served('one') > 100, 'it served before');
  const reached = readFileSync(journal, 'utf8').trim().split('\n');
  const numbers = reached.map((line) => line.split(' ')[1]);
  const twice = numbers.length - new Set(numbers).size;
  const bad = report.failures();
  const measured = `${report.summary()} of ${report.sent} failed, ${twice} repeated`;
  const what = 'one of two killed, POST at 300/s, each 40 ms';
  figure(t, { experiment: '2', what, measured, wanted: '≤ in flight, all 502, 0 repeated' });
  assert.equal(twice, 0);
  assert.ok(bad.length > 0, 'some were in flight');
  assert.ok(bad.length <= 30, measured);
  assert.deepEqual(new Set(bad.map(({ status }) => status)), new Set([502]));
});

for (const policy of ['fail-open', 'fail-closed'] as const) {
  test(`all backends dead, then one back: ${policy}`, async (t) => {
    const panic = policy === 'fail-open' ? ', panic: any' : '';
    const { port, backends, gateway } = await site(t, panic);
    const load = await startLoad(t, { port, perSecond: 200, connections: 200, timeoutMs: 3000 });
    await sleep(1000);
    await Promise.all(backends.map((one) => one.kill()));
    await eventually('both are down', async () => {
      const { text } = await gateway.admin('/v1/services/app/endpoints');
      return text.split('"check":"down"').length === 3;
    });
    await sleep(1000);
    const backMs = load.elapsedMs();
    await backends[1]?.start();
    const listensMs = load.elapsedMs();
    await sleep(3000);
    load.stop();
    const report = await load.done;
    const first = report.result.dueMs.find(
      (due, seq) => due > backMs && report.result.outcome[seq] === 'ok',
    );
    const last = Math.max(0, ...report.failures().map(({ dueMs }) => dueMs));
    const measured = `first answer ${ms((first ?? Number.POSITIVE_INFINITY) - listensMs)}, last failure ${ms(last - listensMs)} after it listens; before: ${report.summary()}`;
    const what = `both backends dead, one back, ${policy}`;
    figure(t, { experiment: '5', what, measured, wanted: 'traffic ≤ 1 s after return' });
    assert.ok(last - listensMs <= 1000, measured);
    assert.ok(report.failures().every(({ status }) => status === 503 || status === 502));
  });
}
