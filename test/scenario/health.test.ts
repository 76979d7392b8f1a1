import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

/** A server whose `/healthz` answers what the test sets; everything else is 200. */
async function backend(t: TestContext, health: { status: number; body: string }) {
  const asked: http.IncomingMessage[] = [];
  const server = http.createServer((request, response) => {
    request.resume();
    if (request.url !== '/healthz') {
      response.end('served');
      return;
    }
    asked.push(request);
    response.statusCode = health.status;
    response.end(health.body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, asked };
}

async function start(t: TestContext, service: (port: number) => string, port: number) {
  const [web = 0] = await freePorts(1);
  const gateway = await Gateway.start(`listeners:
  web: { bind: "127.0.0.1:${web}", protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:${port}"], ${service(port)} }
`);
  t.after(() => gateway.stop());
  const status = async () => (await fetch(`http://127.0.0.1:${web}/`)).status;
  const endpoint = async () => {
    const { text } = await gateway.admin('/v1/services/app/endpoints');
    return JSON.parse(text)[0] as { check: string; reason: string };
  };
  return { gateway, status, endpoint };
}

const CHECK = 'interval: 200ms, fastInterval: 50ms, timeout: 1s';

test('hold: nothing is sent before the first good check', async (t) => {
  const health = { status: 503, body: '' };
  const { port, asked } = await backend(t, health);
  const { status, endpoint } = await start(
    t,
    () => `health: { type: http, path: /healthz, initialState: hold, ${CHECK} }`,
    port,
  );
  assert.equal(await status(), 503);
  await eventually('it is checked', () => asked.length > 0);
  assert.equal(await status(), 503);
  health.status = 200;
  await eventually('it is up', async () => (await endpoint()).check === 'up');
  assert.equal(await status(), 200);
});

test('a check asks as it is told, and judges status and body; what it found is told', async (t) => {
  const health = { status: 204, body: '' };
  const { port, asked } = await backend(t, health);
  const { status, endpoint } = await start(
    t,
    () => `health: { type: http, path: /healthz, method: POST, host: inner.test,
      headers: { x-check: "yes" }, rise: 2, fall: 2, ${CHECK},
      expect: { status: "200-299,418", body: { regex: "^(ready|fine)$" } } }`,
    port,
  );
  await eventually('it is down', async () => (await endpoint()).check === 'down');
  assert.equal((await endpoint()).reason, 'check: the body is not what is expected');
  assert.equal(await status(), 503);
  const seen = asked[0];
  assert.deepEqual(
    [seen?.method, seen?.headers.host, seen?.headers['x-check']],
    ['POST', 'inner.test', 'yes'],
  );
  Object.assign(health, { status: 418, body: 'ready' });
  await eventually('it is up', async () => (await endpoint()).check === 'up');
  assert.equal(await status(), 200);
  health.status = 500;
  await eventually('it is down', async () => (await endpoint()).check === 'down');
  assert.equal((await endpoint()).reason, 'check: status 500, expected 200-299,418');
});

test('panic: any rather than none', async (t) => {
  const { port } = await backend(t, { status: 500, body: '' });
  const { status, endpoint } = await start(
    t,
    () => `panic: any, health: { type: http, path: /healthz, ${CHECK} }`,
    port,
  );
  await eventually('it is down', async () => (await endpoint()).check === 'down');
  assert.equal(await status(), 200);
});

test('a reload keeps what is known of health, and what an operator has ordered', async (t) => {
  const sick = await backend(t, { status: 500, body: '' });
  const well = await backend(t, { status: 200, body: '' });
  const [web = 0] = await freePorts(1);
  const config = `listeners:
  web: { bind: "127.0.0.1:${web}", protocol: http, service: app }
services:
  app: { endpoints: ["127.0.0.1:${sick.port}", "127.0.0.1:${well.port}"],
    health: { type: http, path: /healthz, interval: 1h, fastInterval: 50ms } }
`;
  const gateway = await Gateway.start(config.replace('interval: 1h', 'interval: 100ms'));
  t.after(() => gateway.stop());
  const states = async () => {
    const { text } = await gateway.admin('/v1/services/app/endpoints');
    const endpoints = JSON.parse(text) as { check: string; admin: string; weight: number }[];
    return endpoints.map(({ check, admin, weight }) => `${check} ${admin} ${weight}`).join(', ');
  };
  const path = `/v1/services/app/endpoints/127.0.0.1:${well.port}`;
  const order = await gateway.admin(path, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: '{"state":"drain","weight":7}',
  });
  assert.equal(order.status, 200);
  await eventually('it is down', async () => (await states()) === 'down ready 1, up drain 7');
  // The new interval is so long that no check can tell anything again.
  gateway.write(config);
  assert.equal((await gateway.admin('/v1/reload', { method: 'POST' })).status, 200);
  assert.equal(await states(), 'down ready 1, up drain 7');
  assert.equal((await fetch(`http://127.0.0.1:${web}/`)).status, 503);
});
