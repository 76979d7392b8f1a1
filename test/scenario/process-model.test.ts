import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Backend } from '../support/backend.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { failures, pacedLoad } from '../support/paced-load.ts';
import { endAll, isAlive } from '../support/processes.ts';

type Status = { workers: { slot: number; pid: number }[] };

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function one(t: TestContext, workers: number, extra = '') {
  const [port = 0, backendPort = 0, other = 0] = await freePorts(3);
  const backend = new Backend(backendPort, 'one');
  await backend.start();
  const config = `listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:${backendPort}"] }
${extra}`;
  const gateway = await Gateway.start(config, { workers });
  t.after(async () => {
    await gateway.stop();
    await backend.kill();
  });
  return { port, other, backendPort, gateway, config };
}

async function workerPids(gateway: Gateway): Promise<number[]> {
  const { text } = await gateway.admin('/v1/status');
  return (JSON.parse(text) as Status).workers.map(({ pid }) => pid);
}

test('a killed worker is replaced and new connections are served', async (t) => {
  const { port, gateway } = await one(t, 2);
  const before = await workerPids(gateway);
  assert.equal(before.length, 2);
  process.kill(before[0] ?? 0, 'SIGKILL');
  await eventually('a new worker serves', async () => {
    const now = await workerPids(gateway);
    const ready = (await gateway.admin('/readyz')).status === 200;
    return ready && now.length === 2 && !now.includes(before[0] ?? 0);
  });
  const shots = await pacedLoad(port, { perSecond: 100, seconds: 1 });
  assert.deepEqual(failures(shots), []);
  assert.equal(await gateway.metric('sluice_worker_restarts_total'), 1);
});

test('the supervisor is killed: workers serve on, and a new one takes over without an error', async (t) => {
  const { port, gateway } = await one(t, 2);
  const orphans = await workerPids(gateway);
  t.after(() => endAll(orphans));
  const load = pacedLoad(port, { perSecond: 300, seconds: 4 });
  await pause(500);
  gateway.process.kill('SIGKILL');
  await eventually('the supervisor is gone', () => !isAlive(gateway.pid));
  await pause(1000);
  assert.ok(orphans.every(isAlive));
  await gateway.startAgain();
  await eventually('the workers of before have left', () => !orphans.some(isAlive));
  assert.deepEqual(failures(await load), []);
  assert.match(gateway.output, /adopting the sockets/);
  assert.equal((await workerPids(gateway)).length, 2);
});

test('compiled code is left for workers to come by a process of its own, and goes with the daemon', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-test-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const [port = 0] = await freePorts(1);
  const gateway = await Gateway.start(
    `listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, routes: [{ respond: { status: 204 } }] }
`,
    // A cache of whoever runs the tests would be used instead.
    { workers: 1, env: { TMPDIR: directory, NODE_COMPILE_CACHE: undefined } },
  );
  t.after(() => gateway.stop());
  const [worker = 0] = await workerPids(gateway);
  const files = () => readdirSync(directory, { recursive: true });
  await eventually('it is there', () => files().length > 100);
  assert.deepEqual(await workerPids(gateway), [worker]);
  process.kill(worker, 'SIGKILL');
  await eventually('a new worker serves', async () => {
    const [now = worker] = await workerPids(gateway);
    return now !== worker && (await gateway.admin('/readyz')).status === 200;
  });
  await gateway.stop();
  assert.deepEqual(files(), []);
});

test('workers without a supervisor end by SIGTERM', async (t) => {
  const { port, gateway } = await one(t, 2);
  const orphans = await workerPids(gateway);
  t.after(() => endAll(orphans));
  gateway.process.kill('SIGKILL');
  assert.deepEqual(failures(await pacedLoad(port, { perSecond: 100, seconds: 1 })), []);
  endAll(orphans, 'SIGTERM');
  await eventually('the workers end', () => !orphans.some(isAlive));
});

test('a worker without a supervisor still fails over: a dead endpoint is put aside', async (t) => {
  const [port = 0, first = 0, second = 0] = await freePorts(3);
  const backends = [new Backend(first, 'first'), new Backend(second, 'second')];
  for (const backend of backends) await backend.start();
  const gateway = await Gateway.start(
    `listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:${first}", "127.0.0.1:${second}"] }
`,
    { workers: 1 },
  );
  const orphans = await workerPids(gateway);
  t.after(async () => {
    await gateway.stop();
    endAll(orphans);
    for (const backend of backends) await backend.kill();
  });
  gateway.process.kill('SIGKILL');
  await eventually('the worker notices', () => gateway.output.includes('serving on without it'));
  await backends[0]?.kill();
  assert.deepEqual(failures(await pacedLoad(port, { perSecond: 100, seconds: 1 })), []);
  await eventually('the endpoint is down', () => /endpoint down/.test(gateway.output));
  // It comes back, and is seen to.
  await backends[0]?.start();
  await eventually('the endpoint is up', () => /endpoint up/.test(gateway.output));
  const shots = await pacedLoad(port, { perSecond: 100, seconds: 1 });
  assert.ok(shots.some(({ backend }) => backend === 'first'));
});

test('reload under load: nothing fails and an idle connection of an unchanged listener stays', async (t) => {
  const { port, other, backendPort, gateway, config } = await one(t, 2);
  const idle = net.connect(port, '127.0.0.1');
  let closed = false;
  idle.on('close', () => {
    closed = true;
  });
  await new Promise((resolve) => idle.once('connect', resolve));
  t.after(() => idle.destroy());
  const load = pacedLoad(port, { perSecond: 200, seconds: 4 });
  for (let round = 0; round < 6; round++) {
    const added = `
  extra: { bind: "127.0.0.1:${other}", protocol: http, service: app }`;
    const changed = config.replace('service: app }', `service: app }${round % 2 ? '' : added}`);
    gateway.write(changed, 2);
    const { status, text } = await gateway.admin('/v1/reload', { method: 'POST' });
    assert.equal(status, 200, text);
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
  assert.deepEqual(failures(await load), []);
  assert.equal(closed, false, 'the idle connection was closed');
  assert.ok(backendPort > 0);
  assert.equal(await gateway.metric('sluice_config_generation'), 7);
});

test('a file with errors changes nothing, says why, and sets the metric to 0', async (t) => {
  const { port, gateway, config } = await one(t, 1);
  gateway.write(config.replace('service: app', 'servce: app'));
  const { status, text } = await gateway.admin('/v1/reload', { method: 'POST' });
  assert.equal(status, 400);
  assert.match(text, /servce/);
  assert.match(text, /did you mean/i);
  assert.equal(await gateway.metric('sluice_config_last_reload_successful'), 0);
  assert.deepEqual(failures(await pacedLoad(port, { perSecond: 50, seconds: 1 })), []);
  gateway.write(config);
  gateway.process.kill('SIGHUP');
  await eventually(
    'the mended file is applied',
    async () => (await gateway.metric('sluice_config_last_reload_successful')) === 1,
  );
});

test('a reload that cannot bind is refused whole', async (t) => {
  const { port, other, gateway, config } = await one(t, 1);
  const squatter = net.createServer();
  await new Promise<void>((resolve) => squatter.listen(other, '127.0.0.1', resolve));
  t.after(() => squatter.close());
  const added = `
  extra: { bind: "127.0.0.1:${other}", protocol: tcp, service: app }`;
  gateway.write(config.replace('service: app }', `service: app }${added}`));
  const { status, text } = await gateway.admin('/v1/reload', { method: 'POST' });
  assert.ok(status >= 400, text);
  assert.match(text, new RegExp(`${other}`));
  assert.deepEqual(failures(await pacedLoad(port, { perSecond: 50, seconds: 1 })), []);
});

test('a renamed listener, one that comes back at once and one that changes its protocol serve on', async (t) => {
  const { port, other, gateway, config } = await one(t, 2);
  const reload = async (next: string) => {
    gateway.write(next, 2);
    const { status, text } = await gateway.admin('/v1/reload', { method: 'POST' });
    assert.equal(status, 200, text);
  };
  const extra = config.replace(
    'service: app }',
    `service: app }\n  extra: { bind: "127.0.0.1:${other}", protocol: http, service: app }`,
  );
  await reload(extra);
  await reload(config);
  await reload(extra.replace('web:', 'front:'));
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.deepEqual(failures(await pacedLoad(port, { perSecond: 50, seconds: 1 })), []);
  assert.deepEqual(failures(await pacedLoad(other, { perSecond: 50, seconds: 1 })), []);
  await reload(config.replace('protocol: http', 'protocol: udp'));
  await reload(config);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.deepEqual(failures(await pacedLoad(port, { perSecond: 50, seconds: 1 })), []);
});

test('the number of workers changes by a reload, without a failed request', async (t) => {
  const { port, gateway, config } = await one(t, 1);
  const load = pacedLoad(port, { perSecond: 200, seconds: 5, newConnections: true });
  for (const workers of [3, 2, 1, 2]) {
    gateway.write(config, workers);
    const { status, text } = await gateway.admin('/v1/reload', { method: 'POST' });
    assert.equal(status, 200, text);
    await eventually(`${workers} workers serve`, async () => {
      const ready = (await gateway.admin('/readyz')).status === 200;
      return ready && (await workerPids(gateway)).length === workers;
    });
    await pause(500);
  }
  assert.deepEqual(failures(await load), []);
  assert.equal(await gateway.metric('sluice_worker_restarts_total'), 0);
});

test('workers that crash again and again: the others serve, /readyz and a metric say so', async (t) => {
  const { port, gateway } = await one(t, 2);
  const killed = new Set<number>();
  const killSecond = async () => {
    const { text } = await gateway.admin('/v1/status');
    const second = (JSON.parse(text) as Status).workers.find(({ slot }) => slot === 1);
    if (!second || killed.has(second.pid)) return;
    killed.add(second.pid);
    endAll([second.pid]);
  };
  await eventually('the loop is seen', async () => {
    await killSecond();
    return (await gateway.admin('/readyz')).text.includes('crashes at its start');
  });
  assert.ok(killed.size >= 2);
  const { status, text } = await gateway.admin('/readyz');
  assert.equal(status, 503);
  assert.match(text, /worker 1 crashes at its start: \d+ times in a row, last with SIGKILL/);
  assert.equal(await gateway.metric('sluice_worker_crash_loops'), 1);
  // The sockets of the empty slot are served by the other worker, also while it stays empty.
  const load = pacedLoad(port, { perSecond: 200, seconds: 2, newConnections: true });
  const killing = setInterval(() => void killSecond(), 20);
  const shots = await load;
  clearInterval(killing);
  // What a worker that is killed was about to answer is lost; if nobody served its sockets, half were.
  const lost = failures(shots).length;
  assert.ok(lost < shots.length / 5, `${lost} failed of ${shots.length}`);
  await eventually('it recovers', async () => (await gateway.admin('/readyz')).status === 200);
});
