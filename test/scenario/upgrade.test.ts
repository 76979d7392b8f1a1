import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Backend } from '../support/backend.ts';
import { EchoClients, echoServer } from '../support/echo-clients.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { failures, pacedLoad } from '../support/paced-load.ts';
import { isAlive } from '../support/processes.ts';

type Endpoint = { id: string; admin: string; weight: number; ejected: boolean; check: string };
type Service = { name: string; endpoints: Endpoint[] };

async function start(t: TestContext, workers = 2) {
  const [port = 0, one = 0, two = 0] = await freePorts(3);
  const echo = await echoServer();
  const backends = [new Backend(one, 'one'), new Backend(two, 'two')];
  for (const backend of backends) await backend.start();
  const config = `shutdown: { timeout: 10m }
listeners:
  web:
    bind: "127.0.0.1:${port}"
    protocol: http
    service: app
    routes: [{ match: { path: /echo }, service: echo }]
services:
  app:
    endpoints: ["127.0.0.1:${one}", "127.0.0.1:${two}"]
    sticky: { cookie: { name: node } }
  echo: { endpoints: ["127.0.0.1:${echo.port}"] }
`;
  const gateway = await Gateway.start(config, { workers });
  t.after(async () => {
    await gateway.stop();
    for (const backend of backends) await backend.kill();
    echo.close();
  });
  return { port, gateway, config, one, two };
}

async function endpoints(gateway: Gateway): Promise<Endpoint[]> {
  const { text } = await gateway.admin('/v1/services');
  return (JSON.parse(text) as Service[]).find(({ name }) => name === 'app')?.endpoints ?? [];
}

function statusOver(socketPath: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    http
      .get({ socketPath, path: '/' }, (response) => resolve(response.resume().statusCode))
      .on('error', reject);
  });
}

test('an upgrade under load: no request, connection or message is lost, and the old one ends', async (t) => {
  const { port, gateway, config } = await start(t);
  const old = gateway.process.pid ?? 0;
  const clients = new EchoClients();
  await clients.open(port, 20, 20);
  const load = pacedLoad(port, { perSecond: 300, seconds: 4 });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  // The new files are what the new daemon serves.
  gateway.write(
    config.replace('service: app\n', 'service: app\n    http: { serverHeader: new }\n'),
    2,
  );
  const { status, text } = await gateway.upgrade();
  assert.equal(status, 200, text);
  assert.notEqual(gateway.pid, old);
  const shots = await load;
  await clients.close();
  assert.deepEqual(failures(shots), []);
  assert.equal(shots.length, 1200);
  assert.deepEqual([clients.closed, clients.wrong], [0, 0]);
  assert.equal(clients.received, clients.sent);
  assert.ok(clients.sent > 100);
  const answer = await fetch(`http://127.0.0.1:${port}/`);
  assert.equal(answer.headers.get('server'), 'new');
  await eventually('the old daemon ends', () => !isAlive(old));
  assert.match(gateway.output, /a new daemon has taken over/);
});

test('an upgrade keeps orders, weights, ejections and the keys of cookies', async (t) => {
  const { port, gateway, one, two } = await start(t, 1);
  const cookie = (await fetch(`http://127.0.0.1:${port}/`)).headers.get('set-cookie') ?? '';
  const named = cookie.split(';')[0] ?? '';
  const put = async (endpoint: string, order: object) => {
    const { status, text } = await gateway.admin(`/v1/services/app/endpoints/${endpoint}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(order),
    });
    assert.equal(status, 200, text);
  };
  const holder = (await fetch(`http://127.0.0.1:${port}/`, { headers: { cookie: named } })).headers;
  const kept = holder.get('x-backend') === 'one' ? one : two;
  const other = kept === one ? two : one;
  await put(`127.0.0.1:${other}`, { state: 'drain' });
  await put(`127.0.0.1:${kept}`, { weight: 7 });
  const { status, text } = await gateway.upgrade();
  assert.equal(status, 200, text);
  const now = await endpoints(gateway);
  const find = (of: number) => now.find(({ id }) => id === `127.0.0.1:${of}`);
  assert.equal(find(other)?.admin, 'drain');
  assert.equal(find(kept)?.weight, 7);
  await put(`127.0.0.1:${other}`, { state: 'ready' });
  for (let round = 0; round < 5; round++) {
    const again = await fetch(`http://127.0.0.1:${port}/`, { headers: { cookie: named } });
    assert.equal(again.headers.get('set-cookie'), null, 'the cookie of before is good');
    assert.equal(again.headers.get('x-backend'), holder.get('x-backend'));
  }
});

test('an upgrade to a configuration with errors is refused with the reason; the old one serves', async (t) => {
  const { port, gateway, config } = await start(t, 1);
  const old = gateway.pid;
  gateway.write(config.replace('service: app', 'servce: app'));
  const { status, text } = await gateway.upgrade();
  assert.equal(status, 400);
  assert.match(text, /E_UPGRADE_REFUSED/);
  assert.match(text, /servce/);
  assert.equal(gateway.pid, old);
  assert.deepEqual(failures(await pacedLoad(port, { perSecond: 50, seconds: 1 })), []);
  // Mended, it goes through.
  gateway.write(config);
  assert.equal((await gateway.upgrade()).status, 200);
  assert.deepEqual(failures(await pacedLoad(port, { perSecond: 50, seconds: 1 })), []);
});

test('SIGUSR2 upgrades as well, the process file follows, unix sockets stay in place', async (t) => {
  const [port = 0, backendPort = 0] = await freePorts(2);
  const backend = new Backend(backendPort, 'one');
  await backend.start();
  const gateway = await Gateway.start(
    `listeners:
  web: { bind: ["127.0.0.1:${port}", "unix:{DIR}/web.sock"], protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:${backendPort}"] }
`,
    { args: ['--pidfile', '{DIR}/sluice.pid'] },
  );
  t.after(async () => {
    await gateway.stop();
    await backend.kill();
  });
  const old = gateway.pid;
  const named = () => Number(readFileSync(join(gateway.directory, 'sluice.pid'), 'utf8'));
  assert.equal(named(), old);
  gateway.process.kill('SIGUSR2');
  await eventually('the process file names another process', () => named() !== old);
  gateway.pid = named();
  await eventually('the old daemon ends', () => !isAlive(old));
  assert.equal(named(), gateway.pid);
  const { text } = await gateway.admin('/v1/status');
  assert.equal((JSON.parse(text) as { pid: number }).pid, gateway.pid);
  assert.equal(await statusOver(join(gateway.directory, 'web.sock')), 200);
});

test('a second daemon on the same configuration is refused, and leaves the first alone', async (t) => {
  const { port, gateway } = await start(t, 1);
  const second = await gateway.startSecond();
  assert.equal(second.code, 1);
  assert.match(second.output, /E_ALREADY_RUNS/);
  assert.match(second.output, new RegExp(String(gateway.pid)));
  assert.deepEqual(failures(await pacedLoad(port, { perSecond: 50, seconds: 1 })), []);
});
