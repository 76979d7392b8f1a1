import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

/** A UDP server that answers every datagram with its name. */
async function echo(name: string) {
  const socket = dgram.createSocket('udp4');
  socket.on('message', (data, from) => {
    socket.send(`${name}:${data}`, from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  let open = true;
  const close = () => {
    if (open) socket.close();
    open = false;
  };
  return { name, port: socket.address().port, close };
}

/** A client whose socket only takes datagrams from the published address. */
async function client(port: number, host = '127.0.0.1') {
  const socket = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4');
  socket.connect(port, host);
  await once(socket, 'connect');
  return {
    close: () => socket.close(),
    ask: async (text: string) => {
      const answer = once(socket, 'message', { signal: AbortSignal.timeout(30_000) });
      socket.send(text);
      const [data] = await answer;
      return String(data);
    },
  };
}

test('UDP flows stay on their endpoint and leave a dead one', async (t) => {
  const servers = [await echo('one'), await echo('two')];
  const [port = 0] = await freePorts(1);
  const gateway = await Gateway.start(`listeners:
  dns: { bind: "127.0.0.1:${port}", protocol: udp, service: dns }
services:
  dns:
    endpoints: [${servers.map((server) => `"127.0.0.1:${server.port}"`).join(', ')}]
    balance: round-robin
    health: false
`);
  const clients = await Promise.all(Array.from({ length: 6 }, () => client(port)));
  t.after(async () => {
    for (const one of clients) one.close();
    for (const server of servers) server.close();
    await gateway.stop();
  });
  const first = await Promise.all(clients.map((one) => one.ask('a')));
  assert.deepEqual(first.toSorted(), [...Array(3).fill('one:a'), ...Array(3).fill('two:a')]);
  for (const text of ['b', 'c']) {
    const again = await Promise.all(clients.map((one) => one.ask(text)));
    assert.deepEqual(
      again,
      first.map((answer) => answer.replace('a', text)),
    );
  }
  servers[0]?.close();
  for (const one of clients) assert.equal(await one.ask('d'), 'two:d');
  await eventually('flows are counted', async () => {
    return (await gateway.metric('sluice_udp_flows_active{listener="dns"}')) === 6;
  });
  assert.equal(await gateway.metric('sluice_udp_flows_total{listener="dns"}'), 6);
});

test('an idle UDP flow ends', async (t) => {
  const server = await echo('one');
  const [port = 0] = await freePorts(1);
  const gateway = await Gateway.start(`listeners:
  dns: { bind: "127.0.0.1:${port}", protocol: udp, service: dns, timeouts: { idle: 300ms } }
services:
  dns: { endpoints: ["127.0.0.1:${server.port}"], health: false }
`);
  const one = await client(port);
  t.after(async () => {
    one.close();
    server.close();
    await gateway.stop();
  });
  assert.equal(await one.ask('a'), 'one:a');
  await eventually('the flow is gone', async () => {
    return (await gateway.metric('sluice_udp_flows_active{listener="dns"}')) === 0;
  });
  assert.equal(await one.ask('b'), 'one:b');
});

test('UDP over IPv6, over both, and to an endpoint on IPv6', async (t) => {
  const server = await echo('four');
  const six = dgram.createSocket('udp6');
  six.on('message', (data, from) => six.send(`six:${data}`, from.port, from.address));
  six.bind(0, '::1');
  await once(six, 'listening');
  const [only = 0, both = 0] = await freePorts(2);
  const gateway = await Gateway.start(
    `listeners:
  only: { bind: "[::1]:${only}", protocol: udp, service: four }
  both: { bind: ":${both}", protocol: udp, service: six, access: { deny: ["127.0.0.9/32"] } }
services:
  four: { endpoints: ["127.0.0.1:${server.port}"], health: false }
  six: { endpoints: ["[::1]:${six.address().port}"], health: false }
`,
    { workers: 2 },
  );
  const clients = [
    await client(only, '::1'),
    await client(both, '::1'),
    await client(both, '127.0.0.1'),
  ];
  t.after(async () => {
    for (const one of clients) one.close();
    server.close();
    six.close();
    await gateway.stop();
  });
  const answers = [];
  for (const one of clients) answers.push(await one.ask('a'));
  assert.deepEqual(answers, ['four:a', 'six:a', 'six:a']);
});
