import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { Backend } from '../support/backend.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

test('an agent drains its endpoint and takes it back', async (t) => {
  const [port = 0, one = 0, two = 0, agentPort = 0] = await freePorts(4);
  const backends = [new Backend(one, 'one'), new Backend(two, 'two')];
  t.after(() => Promise.all(backends.map((backend) => backend.kill())));
  await Promise.all(backends.map((backend) => backend.start()));
  let line = 'up 100%\n';
  const agent = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (asked) => socket.end(asked.toString() === 'state\n' ? line : 'what?\n'));
  });
  await new Promise<void>((resolve) => agent.listen(agentPort, '127.0.0.1', resolve));
  t.after(() => agent.close());
  const gateway = await Gateway.start(`listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, routes: [
    { name: a, match: { path: "/a" }, service: watched },
    { name: b, match: { path: "/b" }, service: plain } ] }
services:
  watched:
    endpoints: ["127.0.0.1:${one}"]
    agentCheck: { port: ${agentPort}, interval: 100ms, send: 'state\\n' }
  plain: { endpoints: ["127.0.0.1:${two}"] }
`);
  t.after(() => gateway.stop());
  const statusOf = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status;
  assert.equal(await statusOf('/a'), 200);
  line = 'drain#nightly backup\n';
  await eventually('drained', async () => (await statusOf('/a')) === 503);
  assert.equal(await statusOf('/b'), 200);
  const explained = await gateway.admin(`/v1/explain?listen=127.0.0.1:${port}&path=/a`);
  assert.match(explained.text, /not: agent: drain \(nightly backup\)/);
  const up = `sluice_endpoint_up{service="watched",endpoint="127.0.0.1:${one}",reason="agent"}`;
  assert.equal(await gateway.metric(up), 0);
  assert.match((await gateway.admin('/v1/events')).text, /"reason":"agent: drain/);
  line = 'ready\n';
  await eventually('ready', async () => (await statusOf('/a')) === 200);
});
