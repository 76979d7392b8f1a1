import assert from 'node:assert/strict';
import http from 'node:http';
import { type TestContext, test } from 'node:test';
import type { Answer } from 'dns-packet';
import { DnsServer } from '../support/dns-server.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

/** A server that answers with its own address. */
async function backend(t: TestContext, host: string, port: number): Promise<void> {
  const server = http.createServer((_, response) => response.end(host));
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
}

const a = (name: string, ...addresses: string[]): Answer[] =>
  addresses.map((data) => ({ type: 'A', name, ttl: 1, data }));

async function setUp(t: TestContext, discover: string, more = '') {
  const [web = 0, port = 0] = await freePorts(2);
  for (const host of ['127.0.0.2', '127.0.0.3', '127.0.0.4']) await backend(t, host, port);
  const dns = new DnsServer();
  await dns.start();
  t.after(() => dns.close());
  const text = discover.replace('PORT', String(port)).replace('SERVER', `"127.0.0.1:${dns.port}"`);
  const config = (extra: string) => `${extra}
listeners:
  web: { bind: "127.0.0.1:${web}", protocol: http, service: app }
services:
  app: { discover: { dns: ${text} }, health: false, balance: round-robin }
`;
  const start = async () => {
    const gateway = await Gateway.start(config(more));
    t.after(() => gateway.stop());
    return gateway;
  };
  const serving = async (): Promise<string> => {
    const names = new Set<string>();
    for (let sent = 0; sent < 8; sent++) {
      const answer = await fetch(`http://127.0.0.1:${web}/`);
      names.add(answer.status === 200 ? await answer.text() : `status ${answer.status}`);
    }
    return [...names].sort().join();
  };
  const served = (by: string) =>
    eventually(`served by ${by}`, async () => (await serving()) === by);
  return { dns, port, start, serving, served, config };
}

test('A records are followed by their TTL, over TCP when they are truncated', async (t) => {
  const { dns, start, served } = await setUp(t, '{ name: app.test, port: PORT, server: SERVER }');
  dns.records = a('app.test', '127.0.0.2');
  await start();
  await served('127.0.0.2');
  dns.records = a('app.test', '127.0.0.3', '127.0.0.2');
  await served('127.0.0.2,127.0.0.3');
  dns.truncate = true;
  dns.records = a('app.test', '127.0.0.4');
  await served('127.0.0.4');
  assert.ok(dns.overTcp > 0);
});

test('a server that fails, babbles or is away leaves the last endpoints; its age grows', {
  timeout: 90_000,
}, async (t) => {
  const { dns, start, serving, served } = await setUp(
    t,
    '{ name: app.test, port: PORT, server: SERVER, refresh: 200ms }',
    'discovery: { emptyAfter: 5s }',
  );
  dns.records = a('app.test', '127.0.0.2', '127.0.0.3');
  const gateway = await start();
  await served('127.0.0.2,127.0.0.3');
  const age = async () =>
    (await gateway.metric('sluice_discovery_age_seconds{service="app"}')) ?? 0;
  for (const mode of ['failure', 'junk', 'silent'] as const) {
    dns.mode = mode;
    await eventually(`the age grows by ${mode}`, async () => (await age()) > 2);
    assert.equal(await serving(), '127.0.0.2,127.0.0.3', mode);
    dns.mode = 'records';
    await eventually('it is fresh again', async () => (await age()) < 1, 30_000);
  }
  for (let flap = 0; flap < 6; flap++) {
    dns.mode = flap % 2 === 0 ? 'empty' : 'records';
    await new Promise((resolve) => setTimeout(resolve, 1300));
    assert.equal(await serving(), '127.0.0.2,127.0.0.3', 'a flapping source empties nothing');
  }
  dns.mode = 'empty';
  await served('status 503');
  dns.mode = 'records';
  await served('127.0.0.2,127.0.0.3');
});

test('SRV records: ports, weights and priorities', async (t) => {
  const { dns, port, start, served } = await setUp(
    t,
    '{ name: _http._tcp.app.test, type: SRV, server: SERVER, refresh: 200ms }',
  );
  const srv = (target: string, priority: number, weight: number): Answer => ({
    type: 'SRV',
    name: '_http._tcp.app.test',
    ttl: 1,
    data: { target, port, priority, weight },
  });
  const hosts = [
    ...a('one.test', '127.0.0.2'),
    ...a('two.test', '127.0.0.3'),
    ...a('b.test', '127.0.0.4'),
  ];
  dns.records = [...hosts, srv('one.test', 1, 1000), srv('two.test', 1, 3000), srv('b.test', 2, 0)];
  const gateway = await start();
  await served('127.0.0.2,127.0.0.3');
  const { text } = await gateway.admin('/v1/services/app/endpoints');
  const endpoints = (JSON.parse(text) as { id: string; weight: number; backup: boolean }[]).map(
    ({ id, weight, backup }) => [id, weight, backup],
  );
  assert.deepEqual(endpoints, [
    [`127.0.0.2:${port}`, 85, false],
    [`127.0.0.3:${port}`, 256, false],
    [`127.0.0.4:${port}`, 1, true],
  ]);
  dns.records = [...hosts, srv('b.test', 2, 0)];
  await served('127.0.0.4');
});

test('addresses where secrets live are left out, told and let in by name only', async (t) => {
  const { dns, port, start, served, config } = await setUp(
    t,
    '{ name: app.test, port: PORT, server: SERVER, refresh: 200ms }',
  );
  dns.records = a('app.test', '127.0.0.2', '169.254.169.254', '0.0.0.0', '224.0.0.1');
  const gateway = await start();
  await served('127.0.0.2');
  const refused = () =>
    gateway.metric('sluice_discovery_refused_endpoints{service="app",reason="forbidden"}');
  assert.equal(await refused(), 3);
  assert.match(gateway.output, /169\.254\.169\.254:\d+ \(linkLocal\)/);
  gateway.write(config('discovery: { allow: [169.254.0.0/16] }'));
  await gateway.admin('/v1/reload', { method: 'POST' });
  await eventually('two are left', async () => (await refused()) === 2);
  const { text } = await gateway.admin('/v1/services/app/endpoints');
  assert.match(text, new RegExp(`"169.254.169.254:${port}"`));
});
