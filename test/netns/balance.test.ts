import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { ForwardIntent } from '../../src/model/host-intent.ts';
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

const VIP = '10.128.0.1';
const VIP6 = 'fd00:128::1';
const a = bridgeNetwork('a', ['172.20.0.0/24', 'fd00:20::/64']);
const b = bridgeNetwork('b', ['172.21.0.0/24', 'fd00:21::/64']);
const box = (name: string, last: number) =>
  sandbox(name, [attachment(name, a, [`172.20.0.${last}/24`, `fd00:20::${last}/64`])]);
const targets = [box('t1', 11), box('t2', 12), box('t3', 13)];
const client = sandbox('cl', [attachment('cl', b, ['172.21.0.11/24', 'fd00:21::11/64'])]);
const to = (...lasts: number[]) => lasts.map((last) => `172.20.0.${last}:80`);
const to6 = (...lasts: number[]) => lasts.map((last) => `[fd00:20::${last}]:80`);

const vip = (port: number, of: string[], changes: Partial<ForwardIntent> = {}) =>
  forward(port, of, { kind: 'vip', address: VIP, ...changes });

const forwards = [
  vip(8000, to(11, 12, 13)),
  vip(8000, to(11, 12, 13), { transport: 'udp' }),
  vip(8001, to(11, 12, 13), { balance: 'source-hash' }),
  vip(8002, to(11, 12, 13), { balance: 'random' }),
  vip(8003, []),
  vip(8004, to(11, 11, 11, 12)),
  vip(8000, to6(11, 12), { address: VIP6 }),
  vip(8005, to(12)),
];

describe('one address for several targets', { skip: netnsUnavailable() }, () => {
  let host: TestHost;
  let peer: Peer;
  let outside: Peer;
  const targetPeers: Peer[] = [];

  before(async () => {
    host = await TestHost.start();
    const { failures } = await host.agent.sync({
      networks: [a, b],
      sandboxes: [...targets, client],
      forwards,
      names: [],
    });
    assert.deepEqual(failures, []);
    for (const [index, { id }] of targets.entries()) {
      const target = await host.peer(host.netns(id));
      await target.listen(`t${index + 1}`, 80);
      targetPeers.push(target);
    }
    [peer, outside] = await Promise.all([
      host.peer(host.netns(client.id)),
      host.peer(host.outside),
    ]);
    host.ip(host.outside, 'route', 'add', `${VIP}/32`, 'via', '192.0.2.10');
  });
  after(() => host?.stop());

  async function counts(ask: () => Promise<string>, times: number): Promise<Map<string, number>> {
    const seen = new Map<string, number>();
    for (let n = 0; n < times; n++) {
      const [name = ''] = (await ask()).split(' ');
      seen.set(name, (seen.get(name) ?? 0) + 1);
    }
    return seen;
  }
  const sorted = (seen: Map<string, number>) => [...seen].toSorted();

  test('takes turns exactly, over TCP and UDP, and keeps who asked', async () => {
    const equal = [
      ['t1', 4],
      ['t2', 4],
      ['t3', 4],
    ];
    assert.deepEqual(sorted(await counts(() => peer.tcp(VIP, 8000), 12)), equal);
    assert.deepEqual(sorted(await counts(() => peer.udp(VIP, 8000), 12)), equal);
    assert.match(await peer.tcp(VIP, 8000), / peer=172\.21\.0\.11$/);
    assert.match(await outside.tcp(VIP, 8000), / peer=192\.0\.2\.100$/);
  });

  test('over IPv6', async () => {
    assert.deepEqual(sorted(await counts(() => peer.tcp(VIP6, 8000), 6)), [
      ['t1', 3],
      ['t2', 3],
    ]);
    assert.match(await peer.tcp(VIP6, 8000), / peer=fd00:21::11$/);
  });

  test('a target reaches itself and its neighbours by it', async () => {
    const [first] = targetPeers;
    assert.ok(first);
    const seen = await counts(() => first.tcp(VIP, 8000), 6);
    assert.deepEqual([...seen.keys()].toSorted(), ['t1', 't2', 't3']);
  });

  test('keeps a source with its target, or chooses by chance, or by share', async () => {
    assert.equal((await counts(() => peer.tcp(VIP, 8001), 8)).size, 1);
    assert.equal((await counts(() => peer.tcp(VIP, 8002), 60)).size, 3);
    assert.deepEqual(sorted(await counts(() => peer.tcp(VIP, 8004), 8)), [
      ['t1', 6],
      ['t2', 2],
    ]);
  });

  test('refuses at once where there is no target', async () => {
    assert.equal(await peer.tcp(VIP, 8003), 'ECONNREFUSED');
    assert.equal(await outside.tcp(VIP, 8003), 'ECONNREFUSED');
  });

  test('a target that goes gets nothing new and loses its flows; others keep theirs', async (context) => {
    if (!existsSync('/usr/sbin/conntrack')) {
      context.skip('the command conntrack is not installed');
      return;
    }
    assert.match(await peer.order({ op: 'hold', host: VIP, port: 8005 }), /^t2 /);
    assert.match(await outside.order({ op: 'hold', host: VIP, port: 8000 }), /^t\d /);
    const changed = [vip(8005, to(11)), vip(8000, to(11, 12, 13, 13))];
    assert.deepEqual(
      (await host.agent.apply({ put: { forwards: changed }, remove: {} })).failures,
      [],
    );
    const lost = { op: 'echo' as const, text: 'lost?', timeoutMs: 10_000 };
    await until(async () => (await peer.order(lost)) === 'gone');
    assert.equal(await outside.order({ op: 'echo', text: 'here', timeoutMs: 10_000 }), 'here');
    assert.match(await peer.tcp(VIP, 8005), /^t1 /);
    await host.agent.apply({ put: { forwards: [vip(8005, [])] }, remove: {} });
    assert.equal(await peer.tcp(VIP, 8005), 'ECONNREFUSED');
  });

  test('changes of one forward disturb no connection to another', async () => {
    let stop = false;
    const change = (async () => {
      for (let n = 0; !stop; n++) {
        const many = n % 2 === 0 ? to(11, 12) : to(13);
        await host.agent.apply({ put: { forwards: [vip(8009, many)] }, remove: {} });
      }
    })();
    const answers = await counts(() => peer.tcp(VIP, 8002), 120);
    stop = true;
    await change;
    assert.deepEqual([...answers.keys()].toSorted(), ['t1', 't2', 't3']);
  });
});
