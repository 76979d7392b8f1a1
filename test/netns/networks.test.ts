import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { NetworkIntent } from '../../src/model/host-intent.ts';
import {
  attachment,
  bridgeNetwork,
  EMPTY_INTENT,
  forward,
  netnsUnavailable,
  run,
  sandbox,
  TestHost,
  until,
} from '../support/netns.ts';

/** Less than the 30 s between two full passes of the agent. */
const REPAIR_MS = 20_000;

const skip = netnsUnavailable();
const a = bridgeNetwork('a', ['172.20.0.0/24']);
const b = bridgeNetwork('b', ['172.21.0.0/24'], { mtu: 1400 });

describe('networks of sandboxes come, change and go', { skip }, () => {
  let host: TestHost;
  before(async () => {
    host = await TestHost.start();
  });
  after(() => host?.stop());

  const put = async (parts: Parameters<TestHost['agent']['apply']>[0]['put']) => {
    const { failures } = await host.agent.apply({ put: parts, remove: {} });
    assert.deepEqual(failures, []);
  };

  test('one more network on a running sandbox, and away again, disturbs no packet', async () => {
    await host.agent.sync(EMPTY_INTENT);
    const one = attachment('c1', a, ['172.20.0.11/24']);
    const two = attachment('c1', b, ['172.21.0.11/24'], 'eth1', []);
    await put({ networks: [a, b], sandboxes: [sandbox('c1', [one])] });
    const { id } = sandbox('c1', []);
    const ping = spawn(
      'nsenter',
      [`--net=/run/netns/${host.netns(id)}`, 'ping', '-q', '-i', '0.01', '-c', '80', '172.20.0.1'],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    );
    let said = '';
    ping.stdout.on('data', (data) => {
      said += data;
    });
    const ended = new Promise((resolve) => ping.once('exit', resolve));
    await put({ sandboxes: [sandbox('c1', [one, two])] });
    const links = host.inSandbox(id, 'ip', '-o', 'addr', 'show', 'dev', 'eth1');
    assert.match(links, /172\.21\.0\.11\/24/);
    assert.match(host.inSandbox(id, 'ip', 'link', 'show', 'eth1'), /mtu 1400/);
    assert.match(host.onHost('ip', 'link', 'show', 'br-b'), /mtu 1400/);
    assert.match(host.inSandbox(id, 'ip', 'route'), /default via 172\.20\.0\.1 dev eth0/);
    await put({ sandboxes: [sandbox('c1', [one])] });
    assert.throws(() => host.inSandbox(id, 'ip', 'link', 'show', 'eth1'));
    await ended;
    assert.match(said, / 0% packet loss/);
  });

  test('another gateway, another address, another MAC', async () => {
    const { id } = sandbox('c1', []);
    const one = attachment('c1', a, ['172.20.0.11/24'], 'eth0', []);
    const two = attachment('c1', b, ['172.21.0.11/24'], 'eth1', ['172.21.0.1']);
    await put({ sandboxes: [sandbox('c1', [one, two])] });
    assert.match(host.inSandbox(id, 'ip', 'route'), /default via 172\.21\.0\.1 dev eth1/);
    const moved = { ...two, addresses: ['172.21.0.99/24'], mac: '02:42:ac:15:00:63' };
    await put({ sandboxes: [sandbox('c1', [one, moved])] });
    const shown = host.inSandbox(id, 'ip', 'addr', 'show', 'eth1');
    assert.match(shown, /172\.21\.0\.99\/24/);
    assert.doesNotMatch(shown, /172\.21\.0\.11\/24/);
    assert.match(shown, /02:42:ac:15:00:63/);
    await put({ sandboxes: [sandbox('c1', [one, { ...moved, gateways: [] }])] });
    assert.doesNotMatch(host.inSandbox(id, 'ip', 'route'), /default/);
  });

  test('removed objects leave nothing', async () => {
    const { id } = sandbox('c1', []);
    const remove = { sandboxes: [id], networks: [a.id, b.id] };
    assert.deepEqual((await host.agent.apply({ put: {}, remove })).failures, []);
    assert.equal(existsSync(`/run/netns/${host.netns(id)}`), false);
    assert.doesNotMatch(host.onHost('ip', '-o', 'link'), /veth|br-/);
    assert.doesNotMatch(host.onHost('nft', 'list', 'ruleset'), /elements/);
  });

  for (const filtered of ['1', '0']) {
    const title = `members kept apart, published all the same (bridge-nf-call ${filtered})`;
    test(title, async () => {
      for (const name of ['iptables', 'ip6tables']) {
        host.onHost('sysctl', '-qw', `net.bridge.bridge-nf-call-${name}=${filtered}`);
      }
      const closed = bridgeNetwork('c', ['172.23.0.0/24', 'fd00:23::/64'], { icc: false });
      const one = sandbox('o', [attachment('o', closed, ['172.23.0.11/24', 'fd00:23::11/64'])]);
      const two = sandbox('p', [attachment('p', closed, ['172.23.0.12/24', 'fd00:23::12/64'])]);
      const published = forward(8090, ['172.23.0.11:80']);
      await put({ networks: [closed], sandboxes: [one, two], forwards: [published] });
      const [first, second, outside] = await Promise.all(
        [host.netns(one.id), host.netns(two.id), host.outside].map((name) => host.peer(name)),
      );
      await first?.listen('one', 80);
      await outside?.listen('out', 80);
      assert.match((await second?.tcp('172.23.0.11', 80, 500)) ?? '', /timeout|EHOSTUNREACH/);
      assert.match((await second?.tcp('fd00:23::11', 80, 500)) ?? '', /timeout|EHOSTUNREACH/);
      assert.match((await second?.tcp('192.0.2.10', 8090)) ?? '', /^one peer=/);
      assert.equal(await outside?.tcp('192.0.2.10', 8090), 'one peer=192.0.2.100');
      assert.equal(await first?.tcp('192.0.2.100', 80), 'out peer=192.0.2.10');
      for (const peer of [first, second, outside]) peer?.close();
      const remove = {
        sandboxes: [one.id, two.id],
        networks: [closed.id],
        forwards: [published.id],
      };
      await host.agent.apply({ put: {}, remove });
    });
  }

  test('a network without masquerade shows its own addresses to the outside', async () => {
    const routed = bridgeNetwork('r', ['172.24.0.0/24'], { masquerade: false });
    const box = sandbox('r', [attachment('r', routed, ['172.24.0.11/24'])]);
    await put({ networks: [routed], sandboxes: [box] });
    host.ip(host.outside, 'route', 'add', '172.24.0.0/24', 'via', '192.0.2.10');
    const [peer, outside] = await Promise.all([
      host.peer(host.netns(box.id)),
      host.peer(host.outside),
    ]);
    await outside.listen('out', 81);
    assert.equal(await peer.tcp('192.0.2.100', 81), 'out peer=172.24.0.11');
  });

  test('macvlan: members are on the network of the parent, with their own MAC', async () => {
    const lan: NetworkIntent = {
      ...bridgeNetwork('m', ['192.0.2.0/24']),
      driver: 'macvlan',
      link: 'eth0',
      gateways: [],
    };
    const join = (name: string, address: string) => {
      const joined = attachment(name, lan, [address], 'eth0', ['192.0.2.100']);
      return sandbox(name, [joined]);
    };
    const one = join('m1', '192.0.2.51/24');
    const two = join('m2', '192.0.2.52/24');
    await put({ networks: [lan], sandboxes: [one, two] });
    const [first, second, outside] = await Promise.all(
      [host.netns(one.id), host.netns(two.id), host.outside].map((name) => host.peer(name)),
    );
    await first?.listen('one', 80);
    assert.equal(await outside?.tcp('192.0.2.51', 80), 'one peer=192.0.2.100');
    assert.equal(await second?.tcp('192.0.2.51', 80), 'one peer=192.0.2.52');
    assert.match(host.inSandbox(one.id, 'ip', 'route'), /default via 192\.0\.2\.100 dev eth0/);
    assert.match(host.ip(host.outside, 'neigh', 'show', '192.0.2.51'), /02:42:c0:00:02:33/);
    await put({ sandboxes: [sandbox('m1', [])] });
    assert.throws(() => host.inSandbox(one.id, 'ip', 'link', 'show', 'eth0'));
    await host.agent.apply({
      put: {},
      remove: { networks: [lan.id], sandboxes: [one.id, two.id] },
    });
    assert.match(host.onHost('ip', 'link', 'show', 'eth0'), /UP/, 'the parent is the host’s');
  });

  test('macvlan on a VLAN of the parent', async (context) => {
    try {
      run(
        'unshare',
        '--net',
        'sh',
        '-c',
        'ip link add p0 type veth && ip link add link p0 name p0.2 type vlan id 2',
      );
    } catch {
      context.skip('this kernel has no 802.1q (CONFIG_VLAN_8021Q)');
      return;
    }
    const lan: NetworkIntent = {
      ...bridgeNetwork('v', ['10.9.0.0/24']),
      driver: 'macvlan',
      link: 'eth0.10',
      gateways: [],
    };
    const box = sandbox('v1', [attachment('v1', lan, ['10.9.0.2/24'], 'eth0', [])]);
    host.ip(
      host.outside,
      'link',
      'add',
      'link',
      'eth0',
      'name',
      'eth0.10',
      'type',
      'vlan',
      'id',
      '10',
    );
    host.ip(host.outside, 'addr', 'add', '10.9.0.1/24', 'dev', 'eth0.10');
    host.ip(host.outside, 'link', 'set', 'eth0.10', 'up');
    await put({ networks: [lan], sandboxes: [box] });
    const [peer, outside] = await Promise.all([
      host.peer(host.netns(box.id)),
      host.peer(host.outside),
    ]);
    await outside.listen('trunk', 82);
    assert.equal(await peer.tcp('10.9.0.1', 82), 'trunk peer=10.9.0.2');
    await host.agent.apply({ put: {}, remove: { networks: [lan.id], sandboxes: [box.id] } });
    assert.throws(() => host.onHost('ip', 'link', 'show', 'eth0.10'));
  });

  const refusals: [string, Partial<NetworkIntent>, RegExp][] = [
    ['a link that is somebody else’s', { link: 'eth0' }, /a link named eth0 exists already/],
    [
      'a bridge of the operator that is not there',
      { link: 'brx', external: true },
      /does not exist/,
    ],
    [
      'a parent that is not there',
      { driver: 'macvlan', link: 'nope' },
      /parent link nope does not/,
    ],
    ['a VLAN out of range', { driver: 'macvlan', link: 'eth0.5000' }, /VLAN from 1 to 4094/],
  ];
  for (const [what, changes, message] of refusals) {
    test(`refuses ${what}, and says so of those who join`, async () => {
      const bad = bridgeNetwork('bad', ['10.77.0.0/24'], changes);
      const box = sandbox('guest', [attachment('guest', bad, ['10.77.0.2/24'])]);
      const delta = { put: { networks: [bad], sandboxes: [box] }, remove: {} };
      const { failures } = await host.agent.apply(delta);
      assert.deepEqual(failures.map(({ kind }) => kind).toSorted(), ['attachment', 'network']);
      for (const failure of failures) assert.match(failure.message, message);
      const remove = { networks: [bad.id], sandboxes: [box.id] };
      await host.agent.apply({ put: {}, remove });
    });
  }

  test('a published port that somebody listens on is refused with the name', async () => {
    const net = bridgeNetwork('q', ['172.25.0.0/24']);
    const nc: ChildProcess = spawn(
      'nsenter',
      [`--net=/run/netns/${host.host}`, process.execPath, '-e', 'net.createServer().listen(8095)'],
      { stdio: 'ignore' },
    );
    try {
      await until(() => host.onHost('ss', '-Hltn', 'sport = :8095') !== '');
      const taken = forward(8095, ['172.25.0.2:80']);
      const { failures } = await host.agent.apply({
        put: { networks: [net], forwards: [taken, forward(8096, ['172.25.0.2:80'])] },
        remove: {},
      });
      assert.equal(failures.length, 1, JSON.stringify(failures));
      assert.match(
        failures[0]?.message ?? '',
        /^failed to bind host port 0\.0\.0\.0:8095\/tcp: address already in use by \S+ \(pid \d+\)$/,
      );
    } finally {
      nc.kill('SIGKILL');
    }
    assert.match(host.onHost('ss', '-Hltn', 'sport = :8096'), /8096/, 'the port is reserved');
    await host.agent.apply({
      put: {},
      remove: { forwards: [forward(8095, []).id, forward(8096, []).id], networks: [net.id] },
    });
    assert.equal(host.onHost('ss', '-Hltn', 'sport = :8096'), '');
    const strange = forward(8097, [], { address: '203.0.113.9' });
    const report = await host.agent.apply({ put: { forwards: [strange] }, remove: {} });
    assert.match(report.failures[0]?.message ?? '', /cannot assign requested address/);
    await host.agent.apply({ put: {}, remove: { forwards: [strange.id] } });
  });
});

describe('the kernel is kept as it has to be', { skip }, () => {
  let host: TestHost;
  const box = sandbox('k1', [attachment('k1', a, ['172.20.0.11/24'])]);
  const intent = {
    networks: [a],
    sandboxes: [box],
    forwards: [forward(8080, ['172.20.0.11:80'])],
    names: [],
  };
  before(async () => {
    host = await TestHost.start();
    assert.deepEqual((await host.agent.sync(intent)).failures, []);
  });
  after(() => host?.stop());

  const works = async () => {
    const outside = await host.peer(host.outside);
    const answer = await outside.tcp('192.0.2.10', 8080, 300);
    outside.close();
    return answer === 'k1 peer=192.0.2.100';
  };

  const harms: [string, (host: TestHost) => void][] = [
    ['a flushed ruleset', (one) => one.onHost('nft', 'flush', 'ruleset')],
    ['a flushed chain', (one) => one.onHost('nft', 'flush', 'chain', 'inet', one.prefix, 'nat_in')],
    ['a flushed map', (one) => one.onHost('nft', 'flush', 'map', 'inet', one.prefix, 'to_any4')],
    ['a removed bridge', (one) => one.onHost('ip', 'link', 'del', 'br-a')],
    ['a bridge that is down', (one) => one.onHost('ip', 'link', 'set', 'br-a', 'down')],
    ['a missing address', (one) => one.onHost('ip', 'addr', 'del', '172.20.0.1/24', 'dev', 'br-a')],
  ];
  test('a server is there', async () => {
    const peer = await host.peer(host.netns(box.id));
    await peer.listen('k1', 80);
    assert.ok(await works());
  });
  for (const [what, harm] of harms) {
    test(`repairs ${what} before it would look by itself`, async () => {
      host.events.length = 0;
      harm(host);
      await until(works, REPAIR_MS);
      await until(() => host.events.some(([name]) => name === 'degraded'), REPAIR_MS);
    });
  }

  test("another's table is not touched", async () => {
    host.onHost('nft', 'add', 'table', 'inet', 'other');
    host.onHost('nft', 'add', 'chain', 'inet', 'other', 'c');
    host.onHost('nft', 'add', 'rule', 'inet', 'other', 'c', 'drop');
    const before = host.onHost('nft', 'list', 'table', 'inet', 'other');
    await host.agent.sync(intent);
    host.onHost('nft', 'flush', 'table', 'inet', host.prefix);
    await until(works, REPAIR_MS);
    assert.equal(host.onHost('nft', 'list', 'table', 'inet', 'other'), before);
  });

  test('flows and new connections live on through the death of the agent', async () => {
    const outside = await host.peer(host.outside);
    const { op, ...target } = { op: 'hold' as const, host: '192.0.2.10', port: 8080 };
    assert.equal(await outside.order({ op, ...target }), 'k1 peer=192.0.2.100');
    await host.killAgent();
    assert.equal(await outside.order({ op: 'echo', text: 'alive', timeoutMs: 10_000 }), 'alive');
    assert.equal(await outside.tcp('192.0.2.10', 8080), 'k1 peer=192.0.2.100');
    const before = host.onHost('nft', '-a', 'list', 'table', 'inet', host.prefix);
    await host.startAgent();
    assert.deepEqual((await host.agent.sync(intent)).failures, []);
    assert.equal(host.onHost('nft', '-a', 'list', 'table', 'inet', host.prefix), before);
    assert.equal(await outside.order({ op: 'echo', text: 'still', timeoutMs: 10_000 }), 'still');
  });

  test('what a dead agent left and nobody wants goes', async () => {
    const more = sandbox('left', [attachment('left', a, ['172.20.0.77/24'])]);
    await host.agent.sync({ ...intent, sandboxes: [box, more] });
    assert.equal(existsSync(`/run/netns/${host.netns(more.id)}`), true);
    await host.killAgent();
    host.onHost('ip', 'link', 'add', 'foreign0', 'type', 'veth', 'peer', 'name', 'foreign1');
    await host.startAgent();
    await host.agent.sync(intent);
    assert.equal(existsSync(`/run/netns/${host.netns(more.id)}`), false);
    assert.match(host.onHost('ip', '-o', 'link'), /foreign0/);
    const veths = host.onHost('ip', '-o', 'link', 'show', 'master', 'br-a').trim().split('\n');
    assert.equal(veths.length, 1);
  });

  test('a target that goes takes its flows with it', async (context) => {
    if (!existsSync('/usr/sbin/conntrack')) {
      context.skip('the command conntrack is not installed');
      return;
    }
    const two = sandbox('k2', [attachment('k2', a, ['172.20.0.12/24'])]);
    const both = (targets: string[]) => [
      forward(8080, ['172.20.0.11:80']),
      forward(8091, targets),
      forward(8091, targets, { transport: 'udp' }),
    ];
    await host.agent.sync({
      ...intent,
      sandboxes: [box, two],
      forwards: both(['172.20.0.12:80']),
    });
    const [peer, outside] = await Promise.all([
      host.peer(host.netns(two.id)),
      host.peer(host.outside),
    ]);
    await peer.listen('k2', 80);
    const ask = { op: 'send' as const, host: '192.0.2.10', port: 8091, source: 40_000 };
    assert.match(await outside.order({ ...ask, timeoutMs: 1000 }), /^k2 /);
    await host.agent.apply({ put: { forwards: both(['172.20.0.11:80']) }, remove: {} });
    await until(async () => (await outside.order({ ...ask, timeoutMs: 1000 })).startsWith('k1 '));
  });

  test('beside Docker, whose chain drops what it does not know', async (context) => {
    if (!existsSync('/usr/sbin/iptables-nft') || !existsSync('/usr/sbin/iptables')) {
      context.skip('the command iptables is not installed');
      return;
    }
    const rules = ['-P FORWARD DROP', '-N DOCKER-USER', '-A FORWARD -j DOCKER-USER'];
    for (const rule of rules) host.onHost('iptables', ...rule.split(' '));
    assert.equal(await works(), false);
    assert.deepEqual((await host.agent.sync(intent)).failures, []);
    assert.ok(await works());
    await host.agent.sync(intent);
    const saved = () => host.onHost('iptables', '-S', 'DOCKER-USER').trim().split('\n');
    assert.equal(saved().length, 2, 'one rule, however often');
    await host.agent.sync({ ...EMPTY_INTENT, sandboxes: [{ ...box, attachments: [] }] });
    assert.equal(saved().length, 1);
    host.onHost('iptables', '-P', 'FORWARD', 'ACCEPT');
    await host.agent.sync(intent);
    assert.ok(await works());
  });

  test('another agent with another prefix works beside it', async () => {
    const before = host.onHost('nft', 'list', 'table', 'inet', host.prefix);
    const second = new TestHost();
    // Both play in the same host.
    Object.assign(second, { host: host.host });
    try {
      await second.startAgent();
      const net = bridgeNetwork('z', ['172.29.0.0/24']);
      const other = sandbox('z1', [attachment('z1', net, ['172.29.0.2/24'])]);
      const { failures } = await second.agent.sync({
        networks: [net],
        sandboxes: [other],
        forwards: [forward(8099, ['172.29.0.2:80'])],
        names: [],
      });
      assert.deepEqual(failures, []);
      const peer = await second.peer(second.netns(other.id));
      await peer.listen('z1', 80);
      const outside = await host.peer(host.outside);
      assert.equal(await outside.tcp('192.0.2.10', 8099), 'z1 peer=192.0.2.100');
      assert.ok(await works());
    } finally {
      await second.stop();
    }
    assert.equal(host.onHost('nft', 'list', 'table', 'inet', host.prefix), before);
    assert.ok(await works());
  });
});
