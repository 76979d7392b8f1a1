import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  attachment,
  bridgeNetwork,
  forward,
  netnsUnavailable,
  type Peer,
  sandbox,
  TestHost,
  until,
} from '../support/netns.ts';

const a = bridgeNetwork('a', ['172.20.0.0/24', 'fd00:20::/64']);
const b = bridgeNetwork('b', ['172.21.0.0/24', 'fd00:21::/64']);
const inner = bridgeNetwork('int', ['172.22.0.0/24'], { internal: true });
const a1 = sandbox('a1', [attachment('a1', a, ['172.20.0.11/24', 'fd00:20::11/64'])]);
const a2 = sandbox('a2', [attachment('a2', a, ['172.20.0.12/24', 'fd00:20::12/64'])]);
const b1 = sandbox('b1', [attachment('b1', b, ['172.21.0.11/24', 'fd00:21::11/64'])]);
const i1 = sandbox('i1', [attachment('i1', inner, ['172.22.0.11/24'])]);
const intent = {
  networks: [a, b, inner],
  sandboxes: [a1, a2, b1, i1],
  forwards: [
    forward(8080, ['172.20.0.11:80', '[fd00:20::11]:80']),
    forward(8080, ['172.20.0.11:80', '[fd00:20::11]:80'], { transport: 'udp' }),
    forward(8081, ['172.20.0.12:80'], { address: '192.0.2.11' }),
    forward(8082, ['172.20.0.12:80'], { address: '127.0.0.1' }),
    forward(8083, ['172.20.0.12:80']),
    forward(8084, []),
    forward(8085, ['172.20.0.11:80', '172.20.0.12:80']),
  ],
  names: [],
};

const skip = netnsUnavailable();

describe('bridge networks and published ports, with packets', { skip }, () => {
  let host: TestHost;
  const peers: Record<string, Peer> = {};
  const peer = (name: string): Peer => {
    const found = peers[name];
    assert.ok(found);
    return found;
  };

  before(async () => {
    host = await TestHost.start();
    const report = await host.agent.sync(intent);
    assert.deepEqual(report.failures, []);
    const places = {
      host: host.host,
      out: host.outside,
      a1: host.netns(a1.id),
      a2: host.netns(a2.id),
      b1: host.netns(b1.id),
      i1: host.netns(i1.id),
    };
    await Promise.all(
      Object.entries(places).map(async ([name, namespace]) => {
        peers[name] = await host.peer(namespace);
        await peers[name].listen(name, name === 'host' ? 7000 : 80);
      }),
    );
  });
  after(() => host?.stop());

  const asks: [what: string, from: string, host: string, port: number, want: RegExp][] = [
    ['a client keeps its address', 'out', '192.0.2.10', 8080, /^a1 peer=192\.0\.2\.100$/],
    ['IPv6 as well', 'out', '2001:db8::10', 8080, /^a1 peer=2001:db8::100$/],
    ['one address of the host', 'out', '192.0.2.11', 8081, /^a2 peer=192\.0\.2\.100$/],
    ['and not another', 'out', '192.0.2.10', 8081, /^ECONNREFUSED$/],
    ['a port of the loopback is not open to the outside', 'out', '192.0.2.10', 8082, /REFUSED/],
    ['a port without targets is closed', 'out', '192.0.2.10', 8084, /^ECONNREFUSED$/],
    ['the host by its own address', 'host', '192.0.2.10', 8080, /^a1 peer=/],
    ['the host by its loopback', 'host', '127.0.0.1', 8080, /^a1 peer=172\.20\.0\.1$/],
    ['a port of the loopback', 'host', '127.0.0.1', 8082, /^a2 peer=172\.20\.0\.1$/],
    ['[::1] of a target with IPv6', 'host', '::1', 8080, /^a1 peer=/],
    ['[::1] of a target without IPv6', 'host', '::1', 8083, /^a2 peer=172\.20\.0\.1$/],
    ['IPv6 to a target without it', 'out', '2001:db8::10', 8083, /^a2 peer=172\.20\.0\.1$/],
    ['hairpin to oneself', 'a1', '192.0.2.10', 8080, /^a1 peer=172\.20\.0\.1$/],
    ['hairpin to oneself by IPv6', 'a1', '2001:db8::10', 8080, /^a1 peer=fd00:20::1$/],
    ['hairpin to a neighbour', 'a2', '192.0.2.10', 8080, /^a1 peer=172\.20\.0\.1$/],
    ['another network by a published port', 'b1', '192.0.2.10', 8080, /^a1 peer=172\.21\.0\.11$/],
    ['neighbours', 'a1', '172.20.0.12', 80, /^a2 peer=172\.20\.0\.11$/],
    ['another network is out of reach', 'a1', '172.21.0.11', 80, /^timeout$/],
    ['by IPv6 too', 'b1', 'fd00:20::11', 80, /^timeout$/],
    ['the outside, as the host', 'a1', '192.0.2.100', 80, /^out peer=192\.0\.2\.10$/],
    ['the outside by IPv6', 'a1', '2001:db8::100', 80, /^out peer=2001:db8::10$/],
    ['the host by its gateway address', 'a1', '172.20.0.1', 7000, /^host peer=172\.20\.0\.11$/],
    ['an internal network leads nowhere', 'i1', '192.0.2.100', 80, /^(ENETUNREACH|timeout)$/],
  ];
  for (const [what, from, to, port, want] of asks) {
    test(what, async () => {
      assert.match(await peer(from).tcp(to, port, 1000), want);
    });
  }

  test('UDP from the outside, the host and the loopback', async () => {
    assert.equal(await peer('out').udp('192.0.2.10', 8080), 'a1 peer=192.0.2.100');
    assert.equal(await peer('out').udp('2001:db8::10', 8080), 'a1 peer=2001:db8::100');
    assert.match(await peer('host').udp('127.0.0.1', 8080), /^a1 peer=172\.20\.0\.1$/);
  });

  test('a sandbox is not reached by its own address from the outside', async () => {
    host.ip(host.outside, 'route', 'add', '172.20.0.0/24', 'via', '192.0.2.10');
    assert.equal(await peer('out').tcp('172.20.0.11', 80, 700), 'timeout');
    host.ip(host.outside, 'route', 'del', '172.20.0.0/24');
  });

  test("a sandbox does not reach the host's loopback", async () => {
    const netns = host.netns(a2.id);
    await peer('host').order({
      op: 'listen',
      transport: 'tcp',
      host: '127.0.0.1',
      port: 7001,
      name: 'secret',
    });
    host.inSandbox(a2.id, 'sysctl', '-qw', 'net.ipv4.conf.all.route_localnet=1');
    host.ip(netns, 'addr', 'del', '127.0.0.1/8', 'dev', 'lo');
    host.ip(netns, 'route', 'add', '127.0.0.1/32', 'via', '172.20.0.1', 'src', '172.20.0.12');
    assert.equal(await peer('a2').tcp('127.0.0.1', 7001, 700), 'timeout');
    host.ip(netns, 'route', 'del', '127.0.0.1/32');
    host.ip(netns, 'addr', 'add', '127.0.0.1/8', 'dev', 'lo');
  });

  test('several targets take turns', async () => {
    const seen: string[] = [];
    for (let n = 0; n < 6; n++) seen.push(await peer('out').tcp('192.0.2.10', 8085));
    assert.deepEqual(seen.filter((one) => one.startsWith('a1')).length, 3);
    assert.deepEqual(seen.filter((one) => one.startsWith('a2')).length, 3);
  });

  test('addresses, routes and MACs are those of the intent', () => {
    const links = host.inSandbox(a1.id, 'ip', '-o', 'addr', 'show', 'dev', 'eth0');
    assert.match(links, /172\.20\.0\.11\/24/);
    assert.match(links, /fd00:20::11\/64/);
    assert.match(host.inSandbox(a1.id, 'ip', 'link', 'show', 'eth0'), /02:42:ac:14:00:0b/);
    assert.match(host.inSandbox(a1.id, 'ip', 'route'), /default via 172\.20\.0\.1 dev eth0/);
    assert.match(host.onHost('ip', '-o', 'link', 'show', 'master', 'br-a'), /veth[0-9a-f]{11}@/);
  });

  test('who has asked for an address too early hears of it at once', async () => {
    // By itself the kernel would ask again after ten minutes.
    for (const family of ['ipv4', 'ipv6']) {
      host.onHost('sysctl', '-qw', `net.${family}.neigh.br-a.retrans_time_ms=600000`);
    }
    const early = ['172.20.0.13', 'fd00:20::13'];
    await Promise.all(early.map((address) => peer('host').tcp(address, 80, 100)));
    const known = (address: string) => host.onHost('ip', 'neigh', 'show', address);
    for (const address of early) assert.match(known(address), /INCOMPLETE/);
    const a3 = sandbox('a3', [attachment('a3', a, ['172.20.0.13/24', 'fd00:20::13/64'])]);
    await host.agent.apply({ put: { sandboxes: [a3] }, remove: {} });
    for (const address of early) {
      await until(() => / lladdr 02:42:ac:14:00:0d /.test(known(address)));
    }
    await host.agent.sync(intent);
  });

  test('the same intent again changes nothing', async () => {
    const before = host.onHost('ip', '-o', 'link');
    assert.deepEqual((await host.agent.sync(intent)).failures, []);
    assert.equal(host.onHost('ip', '-o', 'link'), before);
  });
});
