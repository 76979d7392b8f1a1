import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { silentLogger } from '../../src/base/logger.ts';
import { ConsulBackend } from '../../src/store/consul-backend.ts';
import { EtcdBackend } from '../../src/store/etcd-backend.ts';
import { SharedStore } from '../../src/store/shared-store.ts';
import { ConsulServer, noConsul } from '../support/consul.ts';
import { EtcdCluster, noEtcd } from '../support/etcd.ts';
import { eventually, freePorts } from '../support/gateway.ts';

const LEASE_MS = 3000;

function openEtcd(cluster: EtcdCluster, addresses = cluster.addresses) {
  const options = { addresses, prefix: 'sluice', tls: undefined, leaseMs: LEASE_MS };
  return SharedStore.open(new EtcdBackend(options), silentLogger);
}

/** Writes until it is told to stop; the numbers that were acknowledged. */
function writer(store: SharedStore, id: string) {
  const acknowledged: number[] = [];
  let going = true;
  const done = (async () => {
    for (let n = 1; going; n++) {
      try {
        await store.update([{ kind: 'w', id: `${id}-${n}`, value: n, expected: 0 }]);
        acknowledged.push(n);
      } catch {
        // Refused or unknown: only what was acknowledged has to be there.
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  return {
    acknowledged,
    stop: async () => {
      going = false;
      await done;
    },
  };
}

describe('etcd of three members', { skip: noEtcd, timeout: 120_000 }, () => {
  for (const [name, harm, heal] of [
    ['killed', 'SIGKILL', undefined],
    ['frozen', 'SIGSTOP', 'SIGCONT'],
  ] as const) {
    test(`its leader is ${name}: nothing that was acknowledged is lost`, async (t) => {
      const cluster = await EtcdCluster.start(3);
      t.after(() => cluster.close());
      const leader = await cluster.leader();
      const at = cluster.names.indexOf(leader);
      // The manager talks to the very member that is harmed.
      const order = [at, (at + 1) % 3, (at + 2) % 3];
      const store = await openEtcd(
        cluster,
        order.map((one) => cluster.addresses[one] ?? ''),
      );
      t.after(() => store.close());
      const witness = await openEtcd(cluster, [cluster.addresses[(at + 1) % 3] ?? '']);
      t.after(() => witness.close());
      const writing = writer(store, name);
      await eventually('it writes', () => writing.acknowledged.length > 10);
      cluster.signal(leader, harm);
      const before = writing.acknowledged.length;
      await eventually('it goes on', () => writing.acknowledged.length > before + 10, 30_000);
      if (heal) cluster.signal(leader, heal);
      await writing.stop();
      const { acknowledged } = writing;
      const last = `${name}-${acknowledged.at(-1)}`;
      await eventually('the witness has all', () => witness.get('w', last) !== undefined, 15_000);
      const lost = acknowledged.filter((n) => !witness.get('w', `${name}-${n}`));
      assert.deepEqual(lost, []);
      t.diagnostic(`${acknowledged.length} writes acknowledged, none lost`);
    });
  }

  test('a view that slept over a compaction becomes whole again', async (t) => {
    const cluster = await EtcdCluster.start(3);
    t.after(() => cluster.close());
    // One that does not lead: a change that is asked for while members vote may fail.
    const at = (cluster.names.indexOf(await cluster.leader()) + 1) % 3;
    const first = cluster.names[at] ?? '';
    const address = cluster.addresses[at] ?? '';
    const others = cluster.addresses.filter((one) => one !== address);
    const sleeper = await openEtcd(cluster, [address]);
    t.after(() => sleeper.close());
    const busy = await openEtcd(cluster, others);
    t.after(() => busy.close());
    await busy.update([{ kind: 'x', id: 'gone', value: 1 }]);
    await eventually('both have it', () => sleeper.get('x', 'gone') !== undefined);
    await cluster.kill(first);
    await eventually('it is seen to be away', () => !sleeper.available, 15_000);
    await busy.update([{ kind: 'x', id: 'gone', value: undefined }]);
    for (let n = 0; n < 20; n++) await busy.update([{ kind: 'x', id: 'kept', value: n }]);
    const batches: number[] = [];
    sleeper.watch((events) => batches.push(events.length));
    cluster.startMember(first);
    await eventually('it is back', () => sleeper.available, 30_000);
    await cluster.compact();
    await eventually('it has the latest', () => sleeper.get('x', 'kept')?.value === 19, 15_000);
    assert.equal(sleeper.get('x', 'gone'), undefined);
    await busy.update([{ kind: 'x', id: 'kept', value: 'after' }]);
    await eventually('it goes on', () => sleeper.get('x', 'kept')?.value === 'after');
    assert.ok(batches[0] === 2, `what was missed comes at once: ${batches}`);
  });

  test('a manager cut off leads no more before another one does', async (t) => {
    const cluster = await EtcdCluster.start(3);
    t.after(() => cluster.close());
    const [, ...others] = cluster.names;
    const cut = await openEtcd(cluster, [cluster.addresses[0] ?? '']);
    t.after(() => cut.close());
    const whole = await openEtcd(cluster, cluster.addresses.slice(1));
    t.after(() => whole.close());
    const leaders = new Set<string>();
    const most: number[] = [];
    const stand = (store: SharedStore, id: string) =>
      store.campaign(id, (leads) => {
        if (leads) leaders.add(id);
        else leaders.delete(id);
        most.push(leaders.size);
      });
    stand(cut, 'cut');
    await eventually('one leads', () => leaders.has('cut'));
    stand(whole, 'whole');
    // Its only member is frozen: for this manager the store is away, for the other one it is not.
    cluster.signal(cluster.names[0] ?? '', 'SIGSTOP');
    await eventually('the other one leads', () => leaders.has('whole'), 40_000);
    cluster.signal(cluster.names[0] ?? '', 'SIGCONT');
    assert.equal(Math.max(...most), 1, 'two led at the same time');
    assert.equal(others.length, 2);
  });
});

describe('Consul', { skip: noConsul, timeout: 120_000 }, () => {
  test('a server that comes back empty, and one that goes', async (t) => {
    const server = new ConsulServer(await freePorts(4));
    await server.start();
    t.after(() => server.kill());
    const addresses = [`127.0.0.1:${server.http}`];
    const rest = { prefix: 'sluice', tls: undefined, token: undefined, leaseMs: 10_000 };
    const store = await SharedStore.open(new ConsulBackend({ addresses, ...rest }), silentLogger);
    t.after(() => store.close());
    const told: boolean[] = [];
    store.campaign('one', (leads) => told.push(leads));
    await eventually('it leads', () => told.length === 1);
    await store.update([{ kind: 'x', id: '1', value: 1 }]);
    await server.kill();
    await eventually('it is seen to be away', () => !store.available, 15_000);
    assert.equal(store.get('x', '1')?.value, 1, 'the last good state stays');
    await assert.rejects(store.update([{ kind: 'x', id: '2', value: 2 }]), /Consul at/);
    await eventually('the lead is given up', () => told.at(-1) === false, 15_000);
    await server.start();
    await eventually('it is back', () => store.available, 20_000);
    await store.update([{ kind: 'x', id: '3', value: 3 }]);
    await eventually('it leads again', () => told.at(-1) === true, 20_000);
  });

  test('a long value whose writing was made and not acknowledged is whole', async (t) => {
    const server = new ConsulServer(await freePorts(4));
    await server.start();
    t.after(() => server.kill());
    let lost = 0;
    const relay = http.createServer((request, response) => {
      const { url: path, method, headers } = request;
      const order = { host: '127.0.0.1', port: server.http, path, method, headers };
      const asking = http.request(order, (answer) => {
        if (path?.startsWith('/v1/txn')) {
          assert.equal(answer.statusCode, 200);
          lost++;
          request.socket.destroy();
        } else {
          response.writeHead(answer.statusCode ?? 0, answer.headers);
          answer.pipe(response);
        }
      });
      asking.on('error', () => response.destroy());
      request.pipe(asking);
    });
    await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
    t.after(() => {
      relay.close();
      relay.closeAllConnections();
    });
    const open = async (port: number) => {
      const rest = { prefix: 'sluice', tls: undefined, token: undefined, leaseMs: 10_000 };
      const backend = new ConsulBackend({ addresses: [`127.0.0.1:${port}`], ...rest });
      const store = await SharedStore.open(backend, silentLogger);
      t.after(() => store.close());
      return store;
    };
    const store = await open(server.http);
    await store.update([{ kind: 'x', id: 'long', value: 'a'.repeat(500_000) }]);
    // exempt(as): a server that listens on a port
    const parted = await open((relay.address() as AddressInfo).port);
    const value = 'b'.repeat(500_000);
    await assert.rejects(parted.update([{ kind: 'x', id: 'long', value }]), /Consul at/);
    assert.equal(lost, 1);
    const other = await open(server.http);
    assert.equal(other.get('x', 'long')?.value, value);
  });
});
