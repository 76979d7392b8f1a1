import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

/** A server of bytes that greets everybody with its name, and one of HTTP that answers 200. */
async function backends(t: TestContext) {
  const open = new Set<net.Socket>();
  const tcp = net.createServer((socket) => {
    open.add(socket);
    socket.on('error', () => {});
    socket.write('hello');
  });
  const web = http.createServer((request, response) => {
    request.resume();
    response.end('ok');
  });
  for (const server of [tcp, web]) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  }
  t.after(() => {
    for (const socket of open) socket.destroy();
    tcp.close();
    web.closeAllConnections();
    web.close();
  });
  const portOf = (server: net.Server) => (server.address() as AddressInfo).port;
  return { tcp: portOf(tcp), web: portOf(web) };
}

/** Connects and waits for a greeting (`open`), or the end (`closed`). */
async function connect(t: TestContext, port: number) {
  const socket = net.connect(port, '127.0.0.1');
  t.after(() => socket.destroy());
  const state = await new Promise<'open' | 'closed'>((resolve) => {
    socket.once('data', () => resolve('open'));
    socket.once('close', () => resolve('closed'));
    socket.on('error', () => {});
  });
  return { state, socket };
}

async function statuses(url: string, times: number, headers: Record<string, string> = {}) {
  const answers = await Promise.all(Array.from({ length: times }, () => fetch(url, { headers })));
  const passed = answers.filter(({ status }) => status === 200).length;
  return { passed, limited: answers.filter(({ status }) => status === 429) };
}

test('rate limits: exact in number, by source or header, kept over a reload', async (t) => {
  const { web } = await backends(t);
  const [port = 0] = await freePorts(1);
  const config = `listeners:
  web:
    bind: "127.0.0.1:${port}"
    protocol: http
    routes:
      - { name: source, match: { path: /source }, service: app, rateLimit: { requests: 5, per: 1h } }
      - { name: header, match: { path: /header }, service: app,
          rateLimit: { requests: 2, per: 1h, burst: 4, by: { header: x-key } } }
      - { name: soon, match: { path: /soon }, service: app, rateLimit: { requests: 4, per: 12s, burst: 1 } }
services:
  app: { endpoints: ["127.0.0.1:${web}"] }
`;
  const gateway = await Gateway.start(config);
  t.after(() => gateway.stop());
  const url = `http://127.0.0.1:${port}`;
  const source = await statuses(`${url}/source`, 12);
  assert.equal(source.passed, 5);
  // The next token comes in 3600 s / 5.
  assert.equal(source.limited[0]?.headers.get('retry-after'), '720');
  for (const key of ['a', 'b']) {
    assert.equal((await statuses(`${url}/header`, 9, { 'x-key': key })).passed, 4);
  }
  assert.equal((await statuses(`${url}/soon`, 3)).passed, 1);
  await eventually('a token returns', async () => {
    return (await statuses(`${url}/soon`, 1)).passed === 1;
  });
  gateway.write(`${config}metrics: { maxEndpoints: 7 }\n`);
  assert.equal((await gateway.admin('/v1/reload', { method: 'POST' })).status, 200);
  assert.equal((await statuses(`${url}/source`, 3)).passed, 0);
  const limited = 'sluice_route_rate_limited_total{listener="web",route="source"}';
  assert.equal(await gateway.metric(limited), 10);
});

test('rate limits of two workers are one', async (t) => {
  const { web } = await backends(t);
  const [port = 0] = await freePorts(1);
  const gateway = await Gateway.start(
    `listeners:
  web:
    bind: "127.0.0.1:${port}"
    protocol: http
    routes: [{ service: app, rateLimit: { requests: 20, per: 1h } }]
services:
  app: { endpoints: ["127.0.0.1:${web}"] }
`,
    { workers: 2 },
  );
  t.after(() => gateway.stop());
  let passed = 0;
  // New connections, so that both workers are met; slow enough for them to tell each other.
  for (let turn = 0; turn < 60; turn++) {
    const headers = { connection: 'close' };
    passed += (await statuses(`http://127.0.0.1:${port}/`, 1, headers)).passed;
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
  assert.ok(passed >= 20 && passed <= 30, `${passed} of 60 passed a limit of 20`);
});

test('connections: by listener, by source, by endpoint with a queue', async (t) => {
  const { tcp } = await backends(t);
  const [all = 0, source = 0, queued = 0, brief = 0] = await freePorts(4);
  const gateway = await Gateway.start(`listeners:
  all: { bind: "127.0.0.1:${all}", protocol: tcp, limits: { maxConnections: 2 }, service: app }
  source: { bind: "127.0.0.1:${source}", protocol: tcp, limits: { maxConnectionsPerSource: 1 }, service: app }
  queued: { bind: "127.0.0.1:${queued}", protocol: tcp, service: narrow }
  brief: { bind: "127.0.0.1:${brief}", protocol: tcp, service: impatient }
services:
  app: { endpoints: ["127.0.0.1:${tcp}"], health: false }
  narrow:
    endpoints: [{ address: "127.0.0.1:${tcp}", maxConnections: 1 }]
    limits: { queue: { size: 1, timeout: 10m } }
    health: false
  impatient:
    endpoints: [{ address: "127.0.0.1:${tcp}", maxConnections: 1 }]
    limits: { queue: { size: 1, timeout: 200ms } }
    health: false
`);
  t.after(() => gateway.stop());
  const refused = (listener: string, reason: string) =>
    gateway.metric(`sluice_listener_refused_total{listener="${listener}",reason="${reason}"}`);
  const first = await connect(t, all);
  const states = [first.state, (await connect(t, all)).state, (await connect(t, all)).state];
  assert.deepEqual(states, ['open', 'open', 'closed']);
  assert.equal(await refused('all', 'listener-limit'), 1);
  first.socket.destroy();
  await eventually('there is room again', async () => (await connect(t, all)).state === 'open');

  assert.equal((await connect(t, source)).state, 'open');
  assert.equal((await connect(t, source)).state, 'closed');
  assert.equal(await refused('source', 'source-limit'), 1);

  const holder = await connect(t, queued);
  const waiting = connect(t, queued);
  await eventually('one waits', async () => {
    return (await gateway.metric('sluice_service_queue_length{service="narrow"}')) === 1;
  });
  assert.equal((await connect(t, queued)).state, 'closed');
  assert.equal(await refused('queued', 'queue-full'), 1);
  holder.socket.destroy();
  assert.equal((await waiting).state, 'open');

  assert.equal((await connect(t, brief)).state, 'open');
  assert.equal((await connect(t, brief)).state, 'closed');
  assert.equal(await refused('brief', 'queue-timeout'), 1);
});
