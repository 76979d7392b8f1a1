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
} from '../support/netns.ts';

const FORWARDS = 10_000;
const VIP = '10.128.0.1';
const FIRST_PORT = 10_000;
/** Ports that are tried: the ends, and some between. */
const SAMPLE = [0, 1, 1999, 2000, 4321, 6666, 8192, FORWARDS - 1].map((n) => FIRST_PORT + n);

const net = bridgeNetwork('a', ['172.20.0.0/24']);
const names = ['t1', 't2', 't3', 't4'];
const addressOf = (name: string) => `172.20.0.1${name.slice(1)}`;
const boxes = [...names, 'asker'].map((name, index) =>
  sandbox(name, [attachment(name, net, [`172.20.0.1${index + 1}/24`])]),
);
const to = (...targets: string[]) => targets.map((name) => `${addressOf(name)}:80`);
const vip = (port: number, targets: string[]) =>
  forward(port, targets, { address: VIP, kind: 'vip' });

const skip = netnsUnavailable();

describe('ten thousand forwards of three targets each', { skip }, () => {
  let host: TestHost;
  let asker: Peer;

  before(async () => {
    host = await TestHost.start();
    const forwards = Array.from({ length: FORWARDS }, (_, n) =>
      vip(FIRST_PORT + n, to('t1', 't2', 't3')),
    );
    const intent = { networks: [net], sandboxes: boxes, forwards, names: [] };
    assert.deepEqual((await host.agent.sync(intent)).failures, []);
    const peers = await Promise.all(boxes.map(({ id }) => host.peer(host.netns(id))));
    await Promise.all(names.map((name, index) => peers[index]?.listen(name, 80)));
    const last = peers.at(-1);
    assert.ok(last);
    asker = last;
  });
  after(() => host?.stop());

  const reached = async (port: number, times: number) => {
    const seen = new Set<string>();
    for (let n = 0; n < times; n++) {
      seen.add((await asker.tcp(VIP, port)).split(' ')[0] ?? '');
    }
    return [...seen].toSorted();
  };

  test('each leads to all of its targets', async () => {
    for (const port of SAMPLE) assert.deepEqual(await reached(port, 6), ['t1', 't2', 't3']);
  });

  test('one gets another target, and no other does', async () => {
    const [, , changed = 0] = SAMPLE;
    const put = { forwards: [vip(changed, to('t4', 't2', 't3'))] };
    assert.deepEqual((await host.agent.apply({ put, remove: {} })).failures, []);
    for (const port of SAMPLE) {
      const first = port === changed ? [] : ['t1'];
      const last = port === changed ? ['t4'] : [];
      assert.deepEqual(await reached(port, 6), [...first, 't2', 't3', ...last]);
    }
  });

  test('all but one go, and that one stays', async () => {
    const [kept = 0, ...others] = SAMPLE;
    const all = Array.from({ length: FORWARDS }, (_, n) => FIRST_PORT + n);
    const ids = all.filter((port) => port !== kept).map((port) => vip(port, []).id);
    assert.deepEqual((await host.agent.apply({ put: {}, remove: { forwards: ids } })).failures, []);
    assert.deepEqual(await reached(kept, 6), ['t1', 't2', 't3']);
    for (const port of others) assert.match(await asker.tcp(VIP, port, 300), /^(timeout|E[A-Z]+)$/);
  });
});
