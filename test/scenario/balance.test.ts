import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

const NAMES = ['a', 'b', 'c', 'd'];

type Server = { name: string; port: number; server: http.Server; held: http.ServerResponse[] };

const open: http.Server[] = [];
let servers: Server[] = [];
let port = 0;
let gateway: Gateway;

/** Answers with its name; holds what asks for `/hold`. */
async function backend(name: string, at = 0): Promise<Server> {
  const held: http.ServerResponse[] = [];
  const server = http.createServer((request, response) => {
    request.resume();
    response.setHeader('x-name', name);
    if (request.url?.endsWith('/hold')) held.push(response);
    else request.on('end', () => response.end(`${name} ${request.url}`));
  });
  open.push(server);
  server.listen(at, '127.0.0.1');
  await once(server, 'listening');
  return { name, port: (server.address() as AddressInfo).port, server, held };
}

function end(server: http.Server): void {
  server.closeAllConnections();
  server.close();
}

type Answer = { name: string; status: number; headers: Headers };

async function ask(service: string, headers = {}, path = '/', method = 'GET'): Promise<Answer> {
  const answer = await fetch(`http://127.0.0.1:${port}/${service}${path}`, {
    method,
    headers,
    ...(method === 'POST' ? { body: 'x' } : {}),
  });
  await answer.arrayBuffer();
  return {
    name: answer.headers.get('x-name') ?? '',
    status: answer.status,
    headers: answer.headers,
  };
}

/** Names by key, each asked twice: it must be the same both times. */
async function places(keys: number, one: (key: number) => Promise<Answer>): Promise<string[]> {
  const names: string[] = [];
  for (let key = 0; key < keys; key++) {
    const { name } = await one(key);
    assert.equal((await one(key)).name, name);
    names.push(name);
  }
  return names;
}

before(async () => {
  servers = await Promise.all(NAMES.map((name) => backend(name)));
  const [gone = 0, web = 0] = await freePorts(2);
  port = web;
  const all = `endpoints: [${servers.map((one) => `"127.0.0.1:${one.port}"`).join(', ')}], health: false`;
  const two = `endpoints: ["127.0.0.1:${servers[0]?.port}", "127.0.0.1:${servers[1]?.port}"], health: false`;
  const services: Record<string, string> = {
    header: `balance: { algorithm: consistent-hash, key: { header: x-key } }, ${all}`,
    cookie: `balance: { algorithm: maglev, key: { cookie: user } }, ${all}`,
    path: `balance: { algorithm: maglev, key: path }, ${all}`,
    first: `balance: first, limits: { maxConnectionsPerEndpoint: 1 }, ${all}`,
    least: `balance: least-connections, ${two}`,
    app: `sticky: { appCookie: { name: SESSION } }, ${all}`,
    source: `sticky: { source: { timeout: 500ms } }, balance: round-robin, ${two}`,
    sticky: `sticky: { cookie: { name: S, secure: true, sameSite: none, domain: a.test } }, ${two}`,
    refused: `balance: first, health: false, passive: false, endpoints: ["127.0.0.1:${gone}", "127.0.0.1:${servers[0]?.port}"]`,
    queue: `limits: { maxConnections: 1, queue: { size: 10, timeout: 5s } }, endpoints: ["127.0.0.1:${servers[2]?.port}"], health: false`,
    weights: `balance: round-robin, sticky: { cookie: { name: W } }, health: false, endpoints: [{ address: "127.0.0.1:${servers[0]?.port}", weight: 0 }, "127.0.0.1:${servers[1]?.port}"]`,
  };
  const names = Object.keys(services);
  gateway = await Gateway.start(`listeners:
  web:
    bind: "127.0.0.1:${port}"
    protocol: http
    routes:
${names.map((name) => `      - { match: { path: "/${name}/*" }, service: ${name}, rewrite: { stripPrefix: "/${name}" } }`).join('\n')}
services:
${names.map((name) => `  ${name}: { ${services[name]} }`).join('\n')}
`);
});

after(async () => {
  await gateway?.stop();
  for (const server of open) end(server);
});

const hold = (service: string) => ask(service, {}, '/hold');

/** Ends what the backends hold. */
function letGo(): void {
  for (const { held } of servers) for (const response of held.splice(0)) response.end();
}

for (const [service, one] of [
  ['header', (key: number) => ask('header', { 'x-key': `k${key}` })],
  ['cookie', (key: number) => ask('cookie', { cookie: `x=1; user=u${key}` })],
  ['path', (key: number) => ask('path', {}, `/p${key}`)],
] as const) {
  test(`hashing by ${service}: a key stays, keys spread`, async () => {
    const names = await places(60, one);
    for (const name of NAMES) {
      const share = names.filter((other) => other === name).length;
      assert.ok(share >= 3 && share <= 30, `${name} has ${share} of 60`);
    }
  });
}

test('hashing: who leaves takes only its own keys along', async () => {
  const one = (key: number) => ask('header', { 'x-key': `k${key}` });
  const before = await places(60, one);
  const order = (state: string) =>
    gateway.admin(`/v1/services/header/endpoints/127.0.0.1:${servers[0]?.port}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ state }),
    });
  assert.equal((await order('drain')).status, 200);
  await eventually('no key is left', async () =>
    (await places(60, one)).every((name) => name !== 'a'),
  );
  const names = await places(60, one);
  for (const [key, name] of before.entries()) if (name !== 'a') assert.equal(names[key], name);
  await order('ready');
  await eventually('keys return', async () => `${await places(60, one)}` === `${before}`);
});

test('first: in order, each to its limit', async () => {
  const holding = [];
  for (const { held, name } of servers.slice(0, 3)) {
    holding.push(hold('first'));
    await eventually(`${name} holds one`, () => held.length === 1);
  }
  assert.equal((await ask('first')).name, 'd');
  letGo();
  await Promise.all(holding);
  assert.equal((await ask('first')).name, 'a');
});

test('least connections: the one with less at work', async () => {
  const first = hold('least');
  await eventually('one holds', () => servers.some(({ held }) => held.length === 1));
  const busy = servers.find(({ held }) => held.length === 1)?.name;
  for (let turn = 0; turn < 6; turn++) assert.notEqual((await ask('least')).name, busy);
  letGo();
  await first;
});

test('sticky by an application cookie', async () => {
  const names = await places(30, (key) => ask('app', { cookie: `SESSION=${key}` }));
  assert.equal(new Set(names).size, 4);
});

test('sticky by source', async () => {
  const { name } = await ask('source');
  for (let turn = 0; turn < 5; turn++) assert.equal((await ask('source')).name, name);
});

test('sticky by cookie: attributes, and another endpoint at once when its own is gone', async () => {
  const first = await ask('sticky');
  const set = first.headers.get('set-cookie') ?? '';
  assert.match(set, /^S=[\w-]{22}; Path=\/; Domain=a\.test; HttpOnly; Secure; SameSite=None$/);
  const cookie = set.split(';')[0] ?? '';
  const own = servers.find(({ name }) => name === first.name);
  end(own?.server as http.Server);
  const next = await ask('sticky', { cookie }, '/', 'POST');
  assert.equal(next.status, 200);
  assert.notEqual(next.name, first.name);
  assert.notEqual(next.headers.get('set-cookie')?.split(';')[0], cookie);
  const again = await backend(first.name, own?.port);
  servers = servers.map((one) => (one === own ? again : one));
});

test('a refused connection is tried elsewhere, a POST too, whatever the budget', async () => {
  for (let turn = 0; turn < 20; turn++) {
    assert.equal((await ask('refused', {}, '/', 'POST')).status, 200);
  }
});

test('weight 0 takes nothing new', async () => {
  for (let turn = 0; turn < 6; turn++) assert.equal((await ask('weights')).name, 'b');
});

test('a queue is served in the order of arrival', async () => {
  const holding = hold('queue');
  await eventually('it is at work', () => servers.some(({ held }) => held.length === 1));
  const order: number[] = [];
  const waiting: Promise<unknown>[] = [];
  for (let turn = 0; turn < 6; turn++) {
    waiting.push(ask('queue', {}, `/${turn}`).then(() => order.push(turn)));
    await eventually('it waits', async () => {
      return (await gateway.metric('sluice_service_queue_length{service="queue"}')) === turn + 1;
    });
  }
  letGo();
  await Promise.all([holding, ...waiting]);
  assert.deepEqual(order, [0, 1, 2, 3, 4, 5]);
});

test('a sticky cookie holds on another daemon that has the same key, and on no other', async (t) => {
  const [web = 0] = await freePorts(1);
  const start = (key: string) =>
    Gateway.start(`cookieKey: ${key}
listeners: { web: { bind: "127.0.0.1:${web}", protocol: http, service: app } }
services:
  app:
    sticky: { cookie: {} }
    health: false
    endpoints: [${servers.map((one) => `"127.0.0.1:${one.port}"`).join(', ')}]
`);
  const cookies: string[] = [];
  for (const key of ['0123456789abcdef', '0123456789abcdef', 'fedcba9876543210']) {
    const daemon = await start(key);
    t.after(() => daemon.stop());
    const answer = await fetch(`http://127.0.0.1:${web}/`, {
      headers: { cookie: cookies[0] ?? '', connection: 'close' },
    });
    await answer.arrayBuffer();
    cookies.push(answer.headers.get('set-cookie')?.split(';')[0] ?? '');
    await daemon.stop();
  }
  assert.deepEqual(
    cookies.map((cookie) => cookie !== ''),
    [true, false, true],
  );
  assert.notEqual(cookies[0], cookies[2]);
});
