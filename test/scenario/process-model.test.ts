import assert from 'node:assert/strict';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { Backend } from '../support/backend.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { failures, pacedLoad } from '../support/paced-load.ts';

type Status = { workers: { slot: number; pid: number }[] };

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

test('workers serve on when the supervisor is killed, and end by SIGTERM', async (t) => {
  const { port, gateway } = await one(t, 2);
  const pids = await workerPids(gateway);
  t.after(() => {
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended, as it should.
      }
    }
  });
  gateway.process.kill('SIGKILL');
  const shots = await pacedLoad(port, { perSecond: 100, seconds: 2 });
  assert.deepEqual(failures(shots), []);
  for (const pid of pids) process.kill(pid, 'SIGTERM');
  await eventually('the workers end', () =>
    pids.every((pid) => {
      try {
        process.kill(pid, 0);
        return false;
      } catch {
        return true;
      }
    }),
  );
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
