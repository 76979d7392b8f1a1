import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { hostContent } from '../../src/agent/plane/host-content.ts';
import { hostTable } from '../../src/agent/plane/host-table.ts';
import { parseListing } from '../../src/kernel/nft-listing.ts';
import type { TableContent } from '../../src/kernel/nft-table.ts';
import type { ForwardIntent } from '../../src/model/host-intent.ts';
import type { KernelListener } from '../../src/model/kernel-listener.ts';
import {
  attachment,
  bridgeNetwork,
  forward,
  netnsUnavailable,
  type Peer,
  sandbox,
  TestHost,
} from '../support/netns.ts';

const net = bridgeNetwork('a', ['172.20.0.0/24', 'fd00:20::/64']);
const addresses = ['172.20.0.11/24', 'fd00:20::11/64'];
const box = sandbox('k1', [attachment('k1', net, addresses)]);
/** A neighbour that reaches its own network alone. */
const shut = sandbox('k2', [attachment('k2', net, ['172.20.0.12/24'], 'eth0', [])]);
const skip = netnsUnavailable();

const shown = (content: TableContent) =>
  [...content.elements]
    .flatMap(([set, elements]) => [...elements].map(([key, value]) => `${set} ${key} ${value}`))
    .toSorted();

describe('the firewall of a host', { skip }, () => {
  let host: TestHost;
  let outside: Peer;

  before(async () => {
    host = await TestHost.start();
    const intent = { networks: [net], sandboxes: [box, shut], forwards: [], names: [] };
    assert.deepEqual((await host.agent.sync(intent)).failures, []);
    const [one, two] = [await host.peer(host.netns(box.id)), await host.peer(host.netns(shut.id))];
    await one.listen('k1', 80);
    await two.listen('k2', 80);
    outside = await host.peer(host.outside);
  });
  after(() => host?.stop());

  const put = async (forwards: ForwardIntent[]) => {
    const { failures } = await host.agent.apply({ put: { forwards }, remove: {} });
    assert.deepEqual(failures, []);
  };
  const listed = () => {
    const spec = hostTable(host.prefix);
    const text = host.onHost('nft', '-j', 'list', 'table', 'inet', host.prefix);
    return parseListing(spec, text);
  };

  test('holds elements of every form as they were meant, after each change', async () => {
    const v4 = ['172.20.0.11:80', '172.20.0.12:8080', '172.20.0.255:65535'];
    const v6 = ['[fd00:20::11]:80', '[fd00:20::ffff]:1'];
    const forms = (shift: number): ForwardIntent[] => [
      forward(7000, v4.slice(shift)),
      forward(7001, [...v4, ...v6].slice(shift)),
      forward(7002, v6.slice(shift), { transport: 'udp', balance: 'random' }),
      forward(7003, v4.slice(shift), { address: '192.0.2.11', balance: 'source-hash' }),
      forward(7004, v6.slice(shift), { address: '2001:db8::10' }),
      forward(7005, v4.slice(shift), { address: '10.128.0.1', kind: 'vip', transport: 'sctp' }),
      forward(7006, shift === 0 ? [] : v4),
    ];
    for (const shift of [0, 1, 0]) {
      await put(forms(shift));
      assert.deepEqual(shown(listed()), shown(hostContent([net], forms(shift))));
    }
    // More than one message holds.
    const many = Array.from({ length: 600 }, (_, n) =>
      forward(80, v4, { address: `10.129.${n >> 8}.${n & 255}`, kind: 'vip', id: `vip-${n}` }),
    );
    await put(many);
    assert.deepEqual(shown(listed()), shown(hostContent([net], [...forms(0), ...many])));
    const ids = many.map(({ id }) => id);
    await host.agent.apply({ put: {}, remove: { forwards: ids } });
    assert.deepEqual(shown(listed()), shown(hostContent([net], forms(0))));
  });

  test('leaves no number of a slot in the mark of a packet', async () => {
    await put([forward(7100, ['172.20.0.11:80', '172.20.0.11:80'])]);
    const watch = `${host.prefix}-watch`;
    host.onHost(
      'nft',
      `table inet ${watch} {
      counter marked { }
      counter seen { }
      chain c { type filter hook prerouting priority 0;
        tcp flags syn ct status dnat meta mark != 0 counter name marked
        tcp flags syn ct status dnat counter name seen
      }
    }`,
    );
    for (let n = 0; n < 4; n++) assert.match(await outside.tcp('192.0.2.10', 7100), /^k1 /);
    const text = host.onHost('nft', 'list', 'counters', 'table', 'inet', watch);
    host.onHost('nft', 'delete', 'table', 'inet', watch);
    assert.match(text, /counter marked \{\s+packets 0 /);
    assert.doesNotMatch(text, /counter seen \{\s+packets 0 /);
  });

  test('listeners of the gateway show tasks of this host their clients', async () => {
    const listener = (name: string, port: number, address: string): KernelListener => ({
      ...{ name, transport: 'tcp', balance: 'round-robin', dead: [] },
      binds: [{ address: undefined, port, families: [address.includes(':') ? 6 : 4] }],
      slots: [{ address, port: 80 }],
    });
    const failures = await host.agent.carry([
      listener('four', 7200, '172.20.0.11'),
      listener('six', 7201, 'fd00:20::11'),
      listener('shut', 7202, '172.20.0.12'),
    ]);
    assert.deepEqual(failures, []);
    assert.match(await outside.tcp('192.0.2.10', 7200), /^k1 peer=(::ffff:)?192\.0\.2\.100/);
    assert.match(await outside.tcp('2001:db8::10', 7201), /^k1 peer=2001:db8::100/);
    // It has no way back to anybody but its neighbours.
    assert.match(await outside.tcp('192.0.2.10', 7202), /^k2 peer=(::ffff:)?172\.20\.0\.1\b/);
    assert.match(await (await host.peer(host.netns(box.id))).tcp('192.0.2.10', 7200), /^k1 /);
    assert.match(await (await host.peer(host.host)).tcp('192.0.2.10', 7200), /^k1 /);
    assert.deepEqual(await host.agent.carry([]), []);
  });
});
