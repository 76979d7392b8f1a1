import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { EchoClients, echoServer } from '../support/echo-clients.ts';
import { figure, ms } from '../support/figures.ts';
import { eventually } from '../support/gateway.ts';
import { type LoadOptions, runLoad, startLoad } from '../support/load.ts';
import { endAll, isAlive, usage } from '../support/processes.ts';
import { type Site, startSite } from '../support/site.ts';

/** How long each load lasts; shorter only to try the experiments out. */
const SECONDS = Number(process.env['FAULT_SECONDS'] ?? 60);
const PER_SECOND = 1000;

const sleep = (delayMs: number) => new Promise((resolve) => setTimeout(resolve, delayMs));
const load = (port: number, more: Partial<LoadOptions> = {}): LoadOptions => ({
  port,
  perSecond: PER_SECOND,
  seconds: SECONDS,
  connections: 50,
  ...more,
});

async function reload({ gateway }: Pick<Site, 'gateway'>): Promise<number> {
  return (await gateway.admin('/v1/reload', { method: 'POST' })).status;
}

/** A site whose configuration alternates between two, with what the second has more. */
async function changing(t: TestContext, more = '') {
  const echo = await echoServer();
  t.after(() => echo.close());
  const services = `  echo: { endpoints: ["127.0.0.1:${echo.port}"] }\n${more}`;
  const listener =
    ', routes: [{ match: { path: /echo }, service: echo }, { match: { path: /x }, service: app }]';
  // The services follow the site's own, at the end of the text.
  const site = await startSite(t, { more: services, listener });
  const { gateway } = site;
  const text = readFileSync(gateway.configPath, 'utf8');
  const write = (round: number) =>
    writeFileSync(gateway.configPath, text.replace('path: /x', `path: /x${round % 2}`));
  return { ...site, write };
}

for (const [experiment, keepAlive, what] of [
  ['7', false, 'a new connection for each request'],
  ['8', true, 'kept connections'],
] as const) {
  test(`reload every second, ${what}`, async (t) => {
    const site = await changing(t);
    const running = await startLoad(t, load(site.port, { keepAlive }));
    let reloads = 0;
    while (running.elapsedMs() < SECONDS * 1000 - 500) {
      site.write(reloads);
      assert.equal(await reload(site), 200);
      reloads++;
      await sleep(1000);
    }
    const report = await running.done;
    const generation = await site.gateway.metric('sluice_config_generation');
    assert.equal(generation, reloads + 1, 'each reload was applied');
    const measured = `${report.summary()} of ${report.sent} failed over ${reloads} reloads, p99 ${ms(report.percentile(99))}`;
    figure(t, { experiment, what: `reload every second, ${what}`, measured, wanted: '0 failed' });
    assert.deepEqual(report.failures(), []);
  });
}

test('a reload that changes one route, with 1,000 WebSockets open', async (t) => {
  const site = await changing(t);
  const clients = new EchoClients();
  t.after(() => clients.close());
  for (let batch = 0; batch < 10; batch++) await clients.open(site.port, 100, 1000);
  for (let round = 0; round < 10; round++) {
    site.write(round);
    assert.equal(await reload(site), 200);
    await sleep(300);
  }
  await clients.close();
  const measured = `${clients.closed} of 1000 closed, ${clients.sent - clients.received} of ${clients.sent} messages lost`;
  figure(t, {
    experiment: '9',
    what: 'reload of one route, 1,000 WebSockets',
    measured,
    wanted: '0 closed',
  });
  assert.deepEqual([clients.closed, clients.wrong, clients.sent - clients.received], [0, 0, 0]);
});

test('100 reloads with an invalid file under load', async (t) => {
  const site = await startSite(t);
  const text = readFileSync(site.gateway.configPath, 'utf8');
  const running = await startLoad(t, load(site.port, { seconds: Math.min(SECONDS, 15) }));
  writeFileSync(site.gateway.configPath, text.replace('service: app', 'servce: app'));
  for (let round = 0; round < 100; round++) assert.equal(await reload(site), 400);
  const report = await running.done;
  const refused = await site.gateway.metric('sluice_config_reloads_total{result="refused"}');
  const measured = `${report.summary()} of ${report.sent} failed, ${refused} refusals counted`;
  figure(t, {
    experiment: '10',
    what: '100 invalid reloads',
    measured,
    wanted: '0 failed, 100 counted',
  });
  assert.equal(refused, 100);
  assert.equal(await site.gateway.metric('sluice_config_generation'), 1);
  assert.deepEqual(report.failures(), []);
});

test('a worker killed under load', async (t) => {
  const { port, gateway } = await startSite(t);
  const connections = 50;
  const running = await startLoad(t, load(port, { connections, seconds: 22 }));
  const replaced: number[] = [];
  for (let round = 0; round < 3; round++) {
    // Not so soon after its start that it would be taken for a crash loop.
    await sleep(6000);
    const [victim = 0] = await gateway.workers();
    const from = performance.now();
    endAll([victim]);
    await eventually('it is replaced', async () => {
      const now = await gateway.workers();
      return !now.includes(victim) && (await gateway.admin('/readyz')).status === 200;
    });
    replaced.push(performance.now() - from);
  }
  const report = await running.done;
  assert.equal(await gateway.metric('sluice_worker_restarts_total'), 3);
  const measured = `${report.summary()} of ${report.sent} failed over 3 kills; replaced after ${replaced.map(ms).join(', ')}`;
  figure(t, {
    experiment: '11',
    what: 'a worker killed',
    measured,
    wanted: '≤ 25 a kill; < 300 ms',
  });
  // Those that it had in its hands, at most all of its share.
  assert.ok(report.failures().length <= 3 * (connections / 2), report.summary());
});

test('the supervisor killed, and a new one later', async (t) => {
  const { port, gateway } = await startSite(t);
  const orphans = await gateway.workers();
  t.after(() => endAll(orphans));
  const running = await startLoad(t, load(port, { seconds: SECONDS + 20 }));
  await sleep(2000);
  endAll([gateway.pid]);
  await eventually('it is gone', () => !isAlive(gateway.pid));
  await sleep(SECONDS * 1000);
  assert.ok(orphans.every(isAlive), 'the workers serve without it');
  await gateway.startAgain();
  await eventually('the workers of before have left', () => !orphans.some(isAlive), 10_000);
  const report = await running.done;
  assert.match(gateway.output, /adopting the sockets/);
  const measured = `${report.summary()} of ${report.sent} failed; ${SECONDS} s without a supervisor`;
  figure(t, {
    experiment: '12',
    what: 'supervisor killed, then a new one',
    measured,
    wanted: '0 failed, ≥ 60 s',
  });
  assert.deepEqual(report.failures(), []);
});

test('upgrades under load, with WebSockets', async (t) => {
  const site = await changing(t, 'shutdown: { timeout: 10s }\n');
  const { port, gateway } = site;
  const first = gateway.pid;
  const clients = new EchoClients();
  t.after(() => clients.close());
  await clients.open(port, 50, 20);
  const kept = await startLoad(t, load(port, { seconds: 8 }));
  const fresh = await startLoad(t, load(port, { seconds: 8, keepAlive: false, perSecond: 300 }));
  await sleep(2000);
  const from = performance.now();
  const { status, text } = await gateway.upgrade();
  assert.equal(status, 200, text);
  const tookMs = performance.now() - from;
  const reports = [await kept.done, await fresh.done];
  await clients.close();
  await eventually('the old one ends', () => !isAlive(first), 11_000);
  const leftMs = performance.now() - from;
  const sent = reports.reduce((sum, one) => sum + one.sent, 0);
  const lost = `${clients.closed} of 50 WebSockets closed, ${clients.sent - clients.received} messages lost`;
  const measured = `${reports.map((one) => one.summary()).join(' + ')} of ${sent} failed; ${lost}; took over in ${ms(tookMs)}, old one gone after ${ms(leftMs)}`;
  figure(t, {
    experiment: '13',
    what: 'upgrade by descriptor passing',
    measured,
    wanted: '0 failed',
  });
  assert.deepEqual(
    reports.flatMap((one) => one.failures()),
    [],
  );
  assert.deepEqual([clients.closed, clients.wrong, clients.sent - clients.received], [0, 0, 0]);
});

test('three times what it can do', async (t) => {
  const { port, gateway } = await startSite(t, { workers: 1 });
  const most = await runLoad(t, { port, connections: 50, seconds: 5 });
  const best = most.sent / 5;
  const workers = await gateway.workers();
  const report = await runLoad(t, {
    port,
    perSecond: best * 3,
    seconds: SECONDS,
    connections: 2000,
    timeoutMs: 10_000,
  });
  const good = report.sent - report.failures().length;
  const { dueMs, tookMs } = report.result;
  const lastMs = dueMs.reduce((last, due, seq) => Math.max(last, due + (tookMs[seq] ?? 0)), 0);
  const from = performance.now();
  await eventually(
    'it recovers',
    async () => {
      const after = await runLoad(t, { port, perSecond: 50, seconds: 0.5, connections: 10 });
      return after.failures().length === 0 && after.worstMs < 250;
    },
    20_000,
  );
  const recoveredMs = performance.now() - from;
  const share = good / (lastMs / 1000) / best;
  const { rssBytes } = usage(workers);
  const shed = (await gateway.metric('sluice_overload_shed_total{reason="lag"}')) ?? 0;
  const measured = `goodput ${(share * 100).toFixed(0)} % of ${best.toFixed(0)}/s; ${report.summary()} of ${report.sent}; ${shed} shed; recovered in ${ms(recoveredMs)}; ${(rssBytes / 1e6).toFixed(0)} MB`;
  figure(t, {
    experiment: '32',
    what: 'overload of three times its maximum',
    measured,
    wanted: '≥ 80 %, ≤ 5 s',
  });
  assert.deepEqual(await gateway.workers(), workers, 'no worker has died');
  assert.ok(recoveredMs < 15_000);
});
