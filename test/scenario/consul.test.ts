import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Backend } from '../support/backend.ts';
import { ConsulServer, noConsul as skip } from '../support/consul.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

/** The names of the backends that answer a handful of requests. */
async function answering(port: number): Promise<string> {
  const names = new Set<string>();
  for (let request = 0; request < 8; request++) {
    const answer = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
    if (answer?.status !== 200) return `status ${answer?.status}`;
    names.add(answer.headers.get('x-backend') ?? '');
    await answer.text();
  }
  return [...names].sort().join();
}

async function setUp(t: TestContext) {
  const [port = 0, one = 0, two = 0, ...ports] = await freePorts(7);
  const consul = new ConsulServer(ports);
  const backends = [new Backend(one, 'one'), new Backend(two, 'two')];
  t.after(() => Promise.all([consul, ...backends].map((part) => part.kill())));
  await Promise.all([consul, ...backends].map((part) => part.start()));
  await consul.register('one', one);
  const gateway =
    await Gateway.start(`discovery: { consul: { address: "http://127.0.0.1:${consul.http}" } }
listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services:
  app: { discover: { consul: { service: app } } }
`);
  t.after(() => gateway.stop());
  return { port, one, two, consul, gateway };
}

test('endpoints follow a Consul server, and outlive it', { skip, timeout: 60_000 }, async (t) => {
  const { port, one, two, consul, gateway } = await setUp(t);
  const age = async () =>
    (await gateway.metric('sluice_discovery_age_seconds{service="app"}')) ?? 0;
  const served = (by: string) =>
    eventually(`served by ${by}`, async () => (await answering(port)) === by);

  await served('one');
  await consul.register('two', two);
  await served('one,two');
  await consul.deregister('one');
  await served('two');
  await consul.deregister('two');
  await eventually('none is left', async () => !(await answering(port)).includes('two'));
  await consul.register('two', two);
  await served('two');
  assert.equal(await age(), 0, 'an open query is not stale');

  await consul.kill();
  await eventually('the age grows', async () => (await age()) > 1);
  const before = await age();
  await eventually('the age grows on', async () => (await age()) > before);
  assert.equal(await answering(port), 'two');

  // A development server forgets everything.
  await consul.start();
  await consul.register('one', one);
  await served('one');
  await eventually('the age is over', async () => (await age()) === 0);
});

test('names that Consul tells are held to what they lead to', {
  skip,
  timeout: 60_000,
}, async (t) => {
  const { port, one, two, consul, gateway } = await setUp(t);
  await consul.register('two', two, 'localhost');
  await consul.register('secrets', 80, '169.254.169.254');
  await eventually('both serve', async () => (await answering(port)) === 'one,two');
  const refused = 'sluice_discovery_refused_endpoints{service="app",reason="forbidden"}';
  await eventually('one is left out', async () => (await gateway.metric(refused)) === 1);
  const { text } = await gateway.admin('/v1/services/app/endpoints');
  assert.match(text, new RegExp(`"127.0.0.1:${one}"`));
  assert.match(text, new RegExp(`"127.0.0.1:${two}"`));
  assert.doesNotMatch(text, /localhost|169\.254/);
});
