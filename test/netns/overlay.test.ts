import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { stateLine } from '../../src/kernel/xfrm.ts';
import type { AdmissionIntent, VipIntent } from '../../src/model/cluster-intent.ts';
import type { SandboxIntent } from '../../src/model/host-intent.ts';
import { EMPTY_INTENT, netnsUnavailable, run, until } from '../support/netns.ts';
import {
  clusterIntent,
  gatewayBridge,
  member,
  overlayNetwork,
  peerOf,
  TestCluster,
} from '../support/netns-cluster.ts';

const skip = netnsUnavailable();

function hasEsp(): boolean {
  const [source, destination] = ['127.0.0.1', '127.0.0.1'];
  const line = stateLine({ source, destination, spi: 256, reqid: 1, key: '0'.repeat(40) });
  const argv = ['--net', 'ip', '-batch', '-'];
  return spawnSync('unshare', argv, { input: `${line}\n` }).status === 0;
}

const one = overlayNetwork('one', ['10.9.0.0/24', '10.9.1.0/24']);
const two = overlayNetwork('two', ['10.9.0.0/24']);
const overlays = [
  {
    id: one.id,
    segments: [
      { vni: 5001, subnets: ['10.9.0.0/24'], gateways: ['10.9.0.1/24'] },
      { vni: 5002, subnets: ['10.9.1.0/24'], gateways: ['10.9.1.1/24'] },
    ],
    mtu: 1450,
    encrypted: false,
  },
  {
    id: two.id,
    segments: [{ vni: 5003, subnets: ['10.9.0.0/24'], gateways: ['10.9.0.1/24'] }],
    mtu: 1450,
    encrypted: false,
  },
];

/** Ways to the other subnets of the overlay. */
function routed(box: SandboxIntent, destination: string, nextHop: string): SandboxIntent {
  const [first, ...rest] = box.attachments;
  assert.ok(first);
  return { ...box, attachments: [{ ...first, routes: [{ destination, nextHop }] }, ...rest] };
}

const boxes = {
  a1: routed(member('a1', one, ['10.9.0.11/24'], 11), '10.9.1.0/24', '10.9.0.1'),
  a2: member('a2', one, ['10.9.0.12/24'], 12),
  a3: routed(member('a3', one, ['10.9.1.13/24']), '10.9.0.0/24', '10.9.1.1'),
  b1: member('b1', two, ['10.9.0.11/24']),
  b2: member('b2', two, ['10.9.0.12/24']),
};
const places: Record<keyof typeof boxes, number> = { a1: 1, a2: 2, a3: 3, b1: 1, b2: 2 };
const names = Object.keys(boxes) as (keyof typeof boxes)[];

function clusterOf(
  host: number,
  vips: readonly VipIntent[] = [],
  admissions: readonly AdmissionIntent[] = [],
) {
  const peers = names
    .filter((name) => places[name] !== host)
    .map((name) => {
      const [joined] = boxes[name].attachments;
      assert.ok(joined);
      const network = joined.network === one.id ? one : two;
      return peerOf(network, places[name], joined.addresses[0]?.split('/')[0] ?? '');
    });
  const here = host === 3 ? overlays.slice(0, 1) : overlays;
  const ids = new Set(here.map((overlay) => overlay.id));
  return clusterIntent(host, {
    overlays: here,
    peers: peers.filter(({ network }) => ids.has(network)),
    ...{ vips, admissions },
  });
}

function hostOf(host: number) {
  return {
    ...EMPTY_INTENT,
    networks: [gatewayBridge(), one, two],
    sandboxes: names.filter((name) => places[name] === host).map((name) => boxes[name]),
  };
}

describe('overlays over three hosts, with packets', { skip }, () => {
  let cluster: TestCluster;
  const peer = (name: string) => cluster.peer(name);

  before(async () => {
    cluster = await TestCluster.start(3);
    for (const [index, host] of cluster.hosts.entries()) {
      assert.deepEqual((await host.agent.join(clusterOf(index + 1))).failures, []);
      assert.deepEqual((await host.agent.sync(hostOf(index + 1))).failures, []);
    }
    for (const name of names) {
      const host = cluster.host(places[name]);
      await cluster.addPeer(name, host, host.netns(boxes[name].id));
      await peer(name).listen(name, 80);
    }
    const outside = await cluster.host(1).peer(cluster.client);
    await outside.listen('out', 80);
  });
  after(() => cluster?.stop());

  const asks: [what: string, from: string, to: string, want: RegExp][] = [
    ['another host', 'a1', '10.9.0.12', /^a2 peer=10\.9\.0\.11$/],
    ['and back', 'a2', '10.9.0.11', /^a1 peer=10\.9\.0\.12$/],
    ['the same addresses in another overlay', 'b1', '10.9.0.12', /^b2 peer=10\.9\.0\.11$/],
    ['another subnet of the overlay', 'a1', '10.9.1.13', /^a3 peer=10\.9\.0\.11$/],
    ['the outside, as the host', 'a1', '198.51.100.100', /^out peer=192\.0\.2\.11$/],
    ['no outside without the gateway bridge', 'b1', '198.51.100.100', /^(ENETUNREACH|timeout)$/],
  ];
  for (const [what, from, to, want] of asks) {
    test(`TCP: ${what}`, async () => {
      assert.match(await peer(from).tcp(to, 80, 2000), want);
    });
  }

  test('UDP between hosts', async () => {
    assert.equal(await peer('a1').udp('10.9.0.12', 80), 'a2 peer=10.9.0.11');
  });

  test('nothing floods: an unknown neighbour is asked of nobody', async () => {
    const host = cluster.host(1);
    const sent = () => Number(host.onHost('cat', '/sys/class/net/eth0/statistics/tx_packets'));
    const before = sent();
    assert.match(await peer('b1').tcp('10.9.0.99', 80, 1500), /^(timeout|EHOSTUNREACH)$/);
    assert.ok(sent() - before < 3, 'the tunnel has sent packets');
  });

  const vip = { network: one.id, address: '10.9.0.2', draining: [], lost: [] };
  const joinAll = async (vips: readonly VipIntent[]) => {
    for (const [index, host] of cluster.hosts.entries()) {
      assert.deepEqual((await host.agent.join(clusterOf(index + 1, vips))).failures, []);
    }
  };

  test("a service's address leads to its members in turn, seen as the client", async () => {
    await joinAll([{ ...vip, targets: ['10.9.0.11', '10.9.0.12'] }]);
    const seen = [];
    for (let n = 0; n < 4; n++) seen.push(await peer('a1').tcp('10.9.0.2', 80));
    assert.deepEqual(seen.filter((text) => text === 'a2 peer=10.9.0.11').length, 2);
    assert.deepEqual(seen.filter((text) => text === 'a1 peer=10.9.0.11').length, 2);
    assert.match(await peer('a2').udp('10.9.0.2', 80), /^a[12] peer=10\.9\.0\.12$/);
  });

  test('a draining member keeps its connections and gets no new ones', async () => {
    await joinAll([{ ...vip, targets: ['10.9.0.12'] }]);
    assert.equal(
      await peer('a1').order({ op: 'hold', host: '10.9.0.2', port: 80 }),
      'a2 peer=10.9.0.11',
    );
    await joinAll([{ ...vip, targets: ['10.9.0.11'], draining: ['10.9.0.12'] }]);
    assert.equal(await peer('a1').order({ op: 'echo', text: 'still', timeoutMs: 2000 }), 'still');
    assert.equal(await peer('a1').tcp('10.9.0.2', 80), 'a1 peer=10.9.0.11');
  });

  test('connections to a member that is gone end; UDP goes elsewhere', async () => {
    const udp = { op: 'send', host: '10.9.0.2', port: 80, source: 6001, timeoutMs: 1000 } as const;
    await joinAll([{ ...vip, targets: ['10.9.0.12'] }]);
    await until(async () => (await peer('a1').order(udp)).startsWith('a2'));
    await joinAll([{ ...vip, targets: ['10.9.0.11'] }]);
    await until(async () => (await peer('a1').order(udp)).startsWith('a1'));
    const echo = { op: 'echo', text: 'anybody', timeoutMs: 1000 } as const;
    await until(async () => (await peer('a1').order(echo)) === 'gone');
  });

  test('what a member whose host is lost has not answered is answered by another one', async () => {
    const silent = cluster.host(2);
    await joinAll([{ ...vip, targets: ['10.9.0.12'] }]);
    silent.onHost('nft', 'add table inet silent');
    silent.onHost('nft', 'add chain inet silent in { type filter hook prerouting priority -400; }');
    silent.onHost('nft', 'add rule inet silent in udp dport 4789 drop');
    const patient = peer('a1').tcp('10.9.0.2', 80, 20_000);
    const send = { op: 'send', host: '10.9.0.2', port: 80, source: 6301, timeoutMs: 300 } as const;
    assert.equal(await peer('a1').order(send), 'timeout');
    const lost = { draining: ['10.9.0.12'], lost: ['10.9.0.12'] };
    await joinAll([{ ...vip, targets: ['10.9.0.11'], ...lost }]);
    assert.match(await patient, /^a1 /);
    await until(async () => (await peer('a1').order(send)).startsWith('a1'));
    silent.onHost('nft', 'delete table inet silent');
  });

  test('no member: connections are refused at once', async () => {
    await joinAll([{ ...vip, targets: [] }]);
    assert.equal(await peer('a1').tcp('10.9.0.2', 80), 'ECONNREFUSED');
  });

  test('a guarded member is reached by whom it names alone, by TCP and UDP', async () => {
    const guard = (...sources: string[]) => ({ network: one.id, member: '10.9.0.11', sources });
    const guarded = async (admissions: readonly AdmissionIntent[]) => {
      const { agent } = cluster.host(1);
      assert.deepEqual((await agent.join(clusterOf(1, [], admissions))).failures, []);
    };
    const from = { op: 'hold', host: '10.9.0.11', port: 80 } as const;
    assert.equal(await peer('a2').order(from), 'a1 peer=10.9.0.12');
    await guarded([guard('10.9.1.13')]);
    assert.equal(await peer('a2').tcp('10.9.0.11', 80), 'ECONNREFUSED');
    assert.doesNotMatch(await peer('a2').udp('10.9.0.11', 80), /^a1/);
    assert.equal(await peer('a3').tcp('10.9.0.11', 80), 'a1 peer=10.9.1.13');
    // What was begun before goes on, and the member reaches others.
    assert.equal(await peer('a2').order({ op: 'echo', text: 'on', timeoutMs: 2000 }), 'on');
    assert.equal(await peer('a1').tcp('10.9.0.12', 80), 'a2 peer=10.9.0.11');
    // The same address in another overlay is somebody else.
    assert.equal(await peer('b2').tcp('10.9.0.11', 80), 'b1 peer=10.9.0.12');
    await guarded([guard()]);
    assert.equal(await peer('a3').tcp('10.9.0.11', 80), 'ECONNREFUSED');
    await guarded([]);
    assert.equal(await peer('a2').tcp('10.9.0.11', 80), 'a1 peer=10.9.0.12');
  });

  test('a new agent finds everything; what somebody broke is mended', async () => {
    const host = cluster.host(1);
    await host.killAgent();
    assert.equal(await peer('a1').tcp('10.9.0.12', 80), 'a2 peer=10.9.0.11');
    const [netns = ''] = run('ip', 'netns')
      .split(/\s+/)
      .filter((name) => name.startsWith(`${host.prefix}.`));
    run('ip', '-n', netns, 'neigh', 'flush', 'nud', 'permanent');
    run(
      'ip',
      '-n',
      netns,
      'link',
      'set',
      run('ip', '-n', netns, '-o', 'link', 'show', 'type', 'bridge').split(': ')[1] ?? '',
      'down',
    );
    await host.startAgent();
    assert.deepEqual((await host.agent.join(clusterOf(1))).failures, []);
    assert.deepEqual((await host.agent.sync(hostOf(1))).failures, []);
    assert.equal(await peer('a1').tcp('10.9.0.12', 80), 'a2 peer=10.9.0.11');
    assert.equal(await peer('b1').tcp('10.9.0.12', 80), 'b2 peer=10.9.0.11');
  });

  test('an overlay goes when no sandbox needs it', async () => {
    const host = cluster.host(2);
    await host.agent.sync(EMPTY_INTENT);
    await host.agent.join(clusterIntent(2, {}));
    assert.doesNotMatch(run('ip', 'netns'), new RegExp(`^${host.prefix}\\.`, 'm'));
    assert.doesNotMatch(host.onHost('ip', 'link'), /vx\d/);
  });

  test('an overlay that cannot be encrypted is refused, not made in the clear', async (context) => {
    if (hasEsp()) return context.skip('this kernel has ESP with AES-GCM');
    const host = cluster.host(2);
    const sealed = overlays.slice(1).map((overlay) => ({ ...overlay, encrypted: true }));
    const report = await host.agent.join(clusterIntent(2, { overlays: sealed }));
    assert.match(report.failures[0]?.message ?? '', /cannot be encrypted: the kernel needs ESP/);
    assert.doesNotMatch(run('ip', 'netns'), new RegExp(`^${host.prefix}\\.`, 'm'));
  });

  test('an attachment to an overlay that is not set up says so', async () => {
    const report = await cluster.host(2).agent.sync(hostOf(2));
    assert.match(report.failures[0]?.message ?? '', /overlay .* is not set up on this host/);
    assert.equal(report.failures[0]?.id, boxes.a2.attachments[0]?.id);
  });
});
