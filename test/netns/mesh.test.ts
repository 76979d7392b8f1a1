import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { MeshIntent } from '../../src/model/cluster-intent.ts';
import type { ForwardIntent } from '../../src/model/host-intent.ts';
import { EMPTY_INTENT, forward, netnsUnavailable, until } from '../support/netns.ts';
import {
  clusterIntent,
  gatewayBridge,
  member,
  overlayNetwork,
  TestCluster,
} from '../support/netns-cluster.ts';

const skip = netnsUnavailable();
const none = overlayNetwork('none', []);

/** A task on hosts 2 and 3; host 1 has none. */
const tasks = [
  { name: 't2', host: 2, mesh: ['10.0.0.12', 'fd00:5e::12'], own: ['172.18.0.12', 'fd00:18::12'] },
  { name: 't3', host: 3, mesh: ['10.0.0.13', 'fd00:5e::13'], own: ['172.18.0.13', 'fd00:18::13'] },
] as const;
type Task = (typeof tasks)[number];

function boxOf({ name, own }: Task) {
  const box = member(name, none, [], Number(own[0].split('.').at(-1)));
  return { ...box, attachments: box.attachments.slice(1).map((one) => ({ ...one, link: 'eth0' })) };
}

const node = (host: number) => ({
  id: `node${host}`,
  mac: `02:00:00:00:00:0${host}`,
  tunnel: `192.0.2.1${host}`,
  addresses: [`192.0.2.1${host}`, `2001:db8:1::1${host}`],
});

function targetsOf(host: number, serving: readonly Task[]): string[] {
  return serving.flatMap((task) =>
    (task.host === host ? task.own : task.mesh).map((address) => `[${address}]:80`),
  );
}

function meshOf(
  host: number,
  serving: readonly Task[] = tasks,
  changes: (targets: string[]) => ForwardIntent[] = () => [],
  draining: readonly Task[] = [],
  lost: readonly Task[] = [],
): MeshIntent {
  const targets = targetsOf(host, serving);
  return {
    ...{ vni: 4097, mtu: 1450, mac: node(host).mac },
    sources: { ipv4: `192.0.2.1${host}`, ipv6: `2001:db8:1::1${host}` },
    nodes: [1, 2, 3].filter((other) => other !== host).map(node),
    remote: tasks
      .filter((task) => task.host !== host)
      .flatMap((task) => task.mesh.map((address) => ({ address, node: `node${task.host}` }))),
    local: tasks
      .filter((task) => task.host === host)
      .flatMap((task) =>
        task.mesh.map((address, index) => ({ address, target: task.own[index] ?? '' })),
      ),
    forwards: [
      forward(8080, targets),
      forward(8080, targets, { transport: 'udp' }),
      forward(8081, []),
      ...changes(targets),
    ],
    direct: [],
    draining: draining.flatMap((task) => [...(task.host === host ? task.own : task.mesh)]),
    lost: lost.flatMap(({ mesh }) => [...mesh]),
  };
}

/** The mesh with a port more, on which tasks answer clients without the host that was asked. */
function directMesh(host: number, serving: readonly Task[], draining: readonly Task[] = []) {
  const mesh = meshOf(
    host,
    serving,
    (targets) => [forward(8087, targets), forward(8087, targets, { transport: 'udp' })],
    draining,
  );
  const direct = (['tcp', 'udp'] as const).map((transport) => ({
    ...{ transport, port: 8087, balance: 'round-robin' as const },
    hosts: serving.flatMap((task) => (task.host === host ? [] : `node${task.host}`)),
    targets: serving
      .filter((task) => task.host === host)
      .flatMap((task) => task.own.map((address) => ({ address, port: 80 }))),
  }));
  return { ...mesh, direct };
}

describe('the routing mesh over three hosts, with packets', { skip }, () => {
  let cluster: TestCluster;
  const peer = (name: string) => cluster.peer(name);
  const joinAll = async (meshFor: (host: number) => MeshIntent) => {
    for (const [index, host] of cluster.hosts.entries()) {
      const intent = clusterIntent(index + 1, { mesh: meshFor(index + 1) });
      assert.deepEqual((await host.agent.join(intent)).failures, []);
    }
  };

  before(async () => {
    cluster = await TestCluster.start(3);
    for (const [index, host] of cluster.hosts.entries()) {
      const sandboxes = tasks.filter((task) => task.host === index + 1).map(boxOf);
      const intent = { ...EMPTY_INTENT, networks: [gatewayBridge()], sandboxes };
      assert.deepEqual((await host.agent.sync(intent)).failures, []);
      // As strict as distributions have it: the mesh must live with that.
      host.onHost(
        'sysctl',
        '-qw',
        'net.ipv4.conf.all.rp_filter=1',
        'net.ipv4.conf.eth0.rp_filter=1',
      );
      await cluster.addPeer(`h${index + 1}`, host, host.host);
    }
    await joinAll((host) => meshOf(host));
    for (const task of tasks) {
      const host = cluster.host(task.host);
      await cluster.addPeer(task.name, host, host.netns(boxOf(task).id));
      await peer(task.name).listen(task.name, 80);
    }
    await cluster.addPeer('client', cluster.host(1), cluster.client);
    await peer('client').listen('client', 80);
  });
  after(() => cluster?.stop());

  for (const host of [1, 2, 3]) {
    const to = [`192.0.2.1${host}`, `2001:db8:1::1${host}`] as const;
    test(`by host ${host}: every task answers and sees the client`, async () => {
      for (const [address, client] of [
        [to[0], '198.51.100.100'],
        [to[1], '2001:db8:2::100'],
      ] as const) {
        for (const transport of ['tcp', 'udp'] as const) {
          const seen = new Set<string>();
          for (let n = 0; n < 4; n++) seen.add(await peer('client')[transport](address, 8080));
          assert.deepEqual([...seen].sort(), [`t2 peer=${client}`, `t3 peer=${client}`], transport);
        }
      }
    });

    test(`host ${host} itself, by its addresses and the loopback`, async () => {
      for (const address of [to[0], to[1], '127.0.0.1', '::1']) {
        for (let n = 0; n < 2; n++) {
          assert.match(await peer(`h${host}`).tcp(address, 8080, 2000), /^t[23] peer=/, address);
        }
      }
    });
  }

  test('a task by its own and by other hosts, and itself among those that answer', async () => {
    const hosts = [11, 12, 13].flatMap((end) => [`192.0.2.${end}`, `2001:db8:1::${end}`]);
    for (const address of hosts) {
      const seen = new Set<string>();
      for (let n = 0; n < 2; n++) {
        seen.add((await peer('t2').tcp(address, 8080, 2000)).slice(0, 2));
      }
      assert.deepEqual([...seen].sort(), ['t2', 't3'], address);
    }
  });

  test("tasks' own connections leave as before", async () => {
    assert.equal(await peer('t2').tcp('198.51.100.100', 80), 'client peer=192.0.2.12');
  });

  test('a port without tasks is refused', async () => {
    assert.equal(await peer('client').tcp('192.0.2.11', 8081), 'ECONNREFUSED');
  });

  test('one client port by three hosts to one task: all answer', async () => {
    await joinAll((host) => meshOf(host, tasks.slice(1)));
    const answers: string[] = [];
    for (const to of ['192.0.2.11', '192.0.2.12', '192.0.2.13']) {
      const order = { op: 'send', host: to, port: 8080, source: 6100, timeoutMs: 2000 } as const;
      answers.push(await peer('client').order(order));
    }
    assert.deepEqual(answers, Array(3).fill('t3 peer=198.51.100.100'));
  });

  test('a draining task keeps its connections; a gone one loses them, UDP too', async () => {
    const [t2, t3] = tasks;
    const echo = (text: string) => ({ op: 'echo', text, timeoutMs: 2000 }) as const;
    const udp = {
      op: 'send',
      host: '192.0.2.11',
      port: 8080,
      source: 6200,
      timeoutMs: 1000,
    } as const;
    await joinAll((host) => meshOf(host, [t2]));
    assert.match(await peer('client').order({ op: 'hold', host: '192.0.2.11', port: 8080 }), /^t2/);
    assert.match(await peer('client').order(udp), /^t2/);
    await joinAll((host) => meshOf(host, [t3], undefined, [t2]));
    assert.equal(await peer('client').order(echo('still')), 'still');
    assert.equal(await peer('client').tcp('192.0.2.11', 8080), 't3 peer=198.51.100.100');
    await joinAll((host) => meshOf(host, [t3]));
    await until(async () => (await peer('client').order(udp)).startsWith('t3'));
    await until(async () => (await peer('client').order(echo('anybody'))) === 'gone');
  });

  test('what a host that is lost has not answered is answered by another one', async () => {
    const [t2, t3] = tasks;
    const silent = cluster.host(2);
    await joinAll((host) => meshOf(host, [t2]));
    silent.onHost('nft', 'add table inet silent');
    silent.onHost('nft', 'add chain inet silent in { type filter hook prerouting priority -400; }');
    silent.onHost('nft', 'add rule inet silent in udp dport 4789 drop');
    const order = { host: '192.0.2.11', port: 8080 } as const;
    const patient = peer('client').tcp(order.host, order.port, 20_000);
    const send = { op: 'send', ...order, source: 6300, timeoutMs: 300 } as const;
    assert.equal(await peer('client').order(send), 'timeout');
    await joinAll((host) => meshOf(host, [t3], undefined, [t2], host === t2.host ? [] : [t2]));
    assert.match(await patient, /^t3 /);
    await until(async () => (await peer('client').order(send)).startsWith('t3'));
    silent.onHost('nft', 'delete table inet silent');
  });

  test('by source: one client stays with one task', async () => {
    await joinAll((host) =>
      meshOf(host, tasks, (targets) => [forward(8082, targets, { balance: 'source-hash' })]),
    );
    const seen = new Set<string>();
    for (let n = 0; n < 6; n++) seen.add(await peer('client').tcp('192.0.2.11', 8082));
    assert.equal(seen.size, 1);
  });

  test('local policy: only hosts with a task answer, by their own', async () => {
    await joinAll((host) => {
      const own = tasks.filter((task) => task.host === host);
      return meshOf(host, tasks, () => [forward(8083, targetsOf(host, own))]);
    });
    assert.equal(await peer('client').tcp('192.0.2.11', 8083), 'ECONNREFUSED');
    for (const { host, name } of tasks) {
      const to = `192.0.2.1${host}`;
      assert.equal(await peer('client').tcp(to, 8083), `${name} peer=198.51.100.100`);
    }
  });

  test('beside a listener of the gateway and a port of the host', async () => {
    const host = cluster.host(2);
    const slots = [{ address: '172.18.0.12', port: 80 }];
    const [task] = tasks;
    await host.agent.apply({
      put: { forwards: [forward(8085, ['172.18.0.12:80'])] },
      remove: {},
    });
    const listener = {
      ...{
        name: 'l',
        transport: 'tcp' as const,
        binds: [{ address: undefined, families: [4, 6] as const, port: 8086 }],
      },
      dead: [],
      ...{ balance: 'round-robin' as const, slots },
    };
    await host.agent.carry([listener]);
    for (const port of [8080, 8085, 8086]) {
      const answer = await peer('client').tcp('192.0.2.12', port);
      assert.match(
        answer,
        port === 8080 ? /^t[23] peer=198/ : new RegExp(`^${task.name} peer=198`),
      );
    }
    await host.agent.carry([]);
  });

  test('large transfers fit the tunnel, also where no ICMP comes through', async () => {
    await joinAll((host) => meshOf(host, tasks.slice(1)));
    const bytes = 300_000;
    assert.match(await peer('client').order({ op: 'hold', host: '192.0.2.11', port: 8080 }), /^t3/);
    assert.equal(await peer('client').order({ op: 'bulk', bytes, timeoutMs: 5000 }), String(bytes));
  });

  test('frames of a stranger are dropped', async () => {
    const table = cluster
      .host(2)
      .onHost('nft', 'list', 'table', 'inet', `${cluster.host(2).prefix}-mesh`);
    assert.match(table, /udp dport 4789 ip saddr != @tunnels4 drop/);
  });

  const CLIENTS = { 4: '198.51.100.100', 6: '2001:db8:2::100' } as const;
  const received = (host: number) => {
    const at = cluster.host(host);
    const show = at.onHost('ip', '-s', 'link', 'show', `${at.prefix.slice(0, 10)}-mesh`);
    return Number(/RX:.*\n\s*(\d+)/.exec(show)?.[1]);
  };

  for (const host of [1, 2, 3]) {
    test(`direct, by host ${host}: every task answers and sees the client`, async () => {
      await joinAll((number) => directMesh(number, tasks));
      for (const [address, client] of [
        [`192.0.2.1${host}`, CLIENTS[4]],
        [`2001:db8:1::1${host}`, CLIENTS[6]],
      ] as const) {
        for (const transport of ['tcp', 'udp'] as const) {
          const seen = new Set<string>();
          await until(async () => {
            seen.add(await peer('client')[transport](address, 8087));
            return seen.size === tasks.length;
          });
          assert.deepEqual([...seen].sort(), [`t2 peer=${client}`, `t3 peer=${client}`], transport);
        }
      }
      assert.equal(
        cluster.host(1).onHost('conntrack', '-L', '-p', 'tcp', '--dport', '8087').trim(),
        '',
      );
    });
  }

  test('direct: hosts and tasks themselves are answered as well', async () => {
    for (const end of [11, 12, 13]) {
      for (const address of [`192.0.2.${end}`, `2001:db8:1::${end}`]) {
        for (const name of ['h1', 'h2', 't2', 't3']) {
          assert.match(await peer(name).tcp(address, 8087, 2000), /^t[23] peer=/, name + address);
        }
      }
    }
  });

  test('direct: large transfers, whose answers the host that was asked does not see', async () => {
    const bytes = 300_000;
    await joinAll((number) => directMesh(number, tasks.slice(1)));
    assert.match(await peer('client').order({ op: 'hold', host: '192.0.2.11', port: 8087 }), /^t3/);
    const before = received(1);
    assert.equal(await peer('client').order({ op: 'bulk', bytes, timeoutMs: 5000 }), String(bytes));
    assert.ok(received(1) - before < bytes / 10);
  });

  test('direct: a connection outlasts a drain and the agent; a gone task ends it', async () => {
    const [t2, t3] = tasks;
    const echo = (text: string) => ({ op: 'echo', text, timeoutMs: 2000 }) as const;
    await joinAll((host) => directMesh(host, [t2]));
    assert.match(await peer('client').order({ op: 'hold', host: '192.0.2.11', port: 8087 }), /^t2/);
    await joinAll((host) => directMesh(host, [t3], [t2]));
    assert.equal(await peer('client').order(echo('still')), 'still');
    assert.equal(await peer('client').tcp('192.0.2.11', 8087), `t3 peer=${CLIENTS[4]}`);
    await cluster.host(1).killAgent();
    assert.equal(await peer('client').order(echo('alone')), 'alone');
    await cluster.host(1).startAgent();
    await joinAll((host) => directMesh(host, [t3], [t2]));
    assert.equal(await peer('client').order(echo('again')), 'again');
    await joinAll((host) => directMesh(host, [t3]));
    await until(async () => (await peer('client').order(echo('anybody'))) === 'gone');
  });

  test('direct no more: the host that was asked is in the way again', async () => {
    await joinAll((host) => ({ ...directMesh(host, tasks), direct: [] }));
    assert.match(await peer('client').tcp('192.0.2.11', 8087), /^t[23] peer=198/);
    const list = cluster.host(1).onHost('conntrack', '-L', '-p', 'tcp', '--dport', '8087');
    assert.match(list, /dport=8087/);
    assert.doesNotMatch(cluster.host(1).onHost('nft', 'list', 'tables'), /direct/);
  });

  test('the agent dies: everything goes on; the next one finds it, and mends what lacks', async () => {
    const host = cluster.host(1);
    await host.killAgent();
    assert.match(await peer('client').tcp('192.0.2.11', 8080), /^t3 peer=198\.51\.100\.100/);
    host.onHost('nft', 'delete', 'table', 'netdev', `${host.prefix}-mesh`);
    host.onHost('ip', 'rule', 'del', 'pref', '7001');
    await host.startAgent();
    await joinAll((number) => meshOf(number));
    assert.match(await peer('client').tcp('192.0.2.11', 8080), /^t[23] peer=198\.51\.100\.100/);
    assert.match(host.onHost('ip', 'rule'), /7001:.*fwmark 0x70000000\/0xf0000000/);
  });

  test('nothing is left when the cluster is', async () => {
    for (const [index, host] of cluster.hosts.entries()) {
      await host.agent.join(clusterIntent(index + 1, {}));
      assert.doesNotMatch(host.onHost('ip', 'rule'), /7001/);
      assert.doesNotMatch(host.onHost('ip', 'link'), /mesh/);
      assert.doesNotMatch(host.onHost('nft', 'list', 'tables'), /mesh|direct/);
    }
    assert.equal(await peer('client').tcp('192.0.2.11', 8080), 'ECONNREFUSED');
  });
});
