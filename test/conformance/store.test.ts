import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import Consul from 'consul';
import { SluiceError } from '../../src/base/errors.ts';
import { silentLogger } from '../../src/base/logger.ts';
import { ConsulBackend } from '../../src/store/consul-backend.ts';
import { ConsulParts, type Entry } from '../../src/store/consul-parts.ts';
import { EtcdBackend } from '../../src/store/etcd-backend.ts';
import { LocalStore } from '../../src/store/local-store.ts';
import { type SharedBackend, SharedStore } from '../../src/store/shared-store.ts';
import { MAX_CHANGES, packed, type Store, type StoreEvent } from '../../src/store/store.ts';
import { ConsulServer, noConsul } from '../support/consul.ts';
import { EtcdCluster, noEtcd } from '../support/etcd.ts';
import { eventually, freePorts } from '../support/gateway.ts';

const LEASE_MS = 10_000;
/** Longer than the lead takes to pass on. */
const LAG_MS = 3000;

type Subject = {
  readonly name: string;
  readonly skip: string | false;
  /** Several managers can have it open. */
  readonly shared: boolean;
  start(): Promise<void>;
  /** A manager's view, `lagMs` late; views with one prefix see one state. */
  open(prefix: string, lagMs?: number): Promise<Store>;
  stop(): Promise<void>;
  /** Keys of parts of values that are too long for one. */
  parts?(prefix: string): Promise<readonly string[]>;
};

function embedded(): Subject {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-store-'));
  return {
    ...{ name: 'embedded', skip: false, shared: false },
    start: async () => {},
    open: async (prefix) => new LocalStore(join(folder, `${prefix}.db`)),
    stop: async () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** The same, hearing of every change so much later. */
function lagging<T extends SharedBackend>(backend: T, lagMs: number): T {
  if (lagMs === 0) return backend;
  const follow = backend.follow.bind(backend);
  backend.follow = (feed, signal) =>
    follow(
      {
        replace: (...all) => void setTimeout(() => feed.replace(...all), lagMs),
        apply: (...all) => void setTimeout(() => feed.apply(...all), lagMs),
      },
      signal,
    );
  return backend;
}

function consul(): Subject {
  let server: ConsulServer | undefined;
  return {
    ...{ name: 'consul', skip: noConsul, shared: true },
    start: async () => {
      server = new ConsulServer(await freePorts(4));
      await server.start();
    },
    open: (prefix, lagMs = 0) => {
      const addresses = [`127.0.0.1:${server?.http}`];
      const options = { addresses, prefix, tls: undefined, token: undefined, leaseMs: LEASE_MS };
      return SharedStore.open(lagging(new ConsulBackend(options), lagMs), silentLogger);
    },
    stop: async () => server?.kill(),
    parts: async (prefix) => {
      const answer = await fetch(`http://127.0.0.1:${server?.http}/v1/kv/${prefix}/p/?keys`);
      return answer.status === 404 ? [] : ((await answer.json()) as string[]);
    },
  };
}

function etcd(): Subject {
  let cluster: EtcdCluster | undefined;
  return {
    ...{ name: 'etcd', skip: noEtcd, shared: true },
    start: async () => {
      cluster = await EtcdCluster.start(3);
    },
    open: (prefix, lagMs = 0) => {
      const addresses = cluster?.addresses ?? [];
      const options = { addresses, prefix, tls: undefined, leaseMs: LEASE_MS };
      return SharedStore.open(lagging(new EtcdBackend(options), lagMs), silentLogger);
    },
    stop: async () => cluster?.close(),
  };
}

function stale(error: unknown): boolean {
  return error instanceof SluiceError && error.code === 'E_STORE_STALE';
}

let prefixes = 0;

for (const subject of [embedded(), consul(), etcd()]) {
  describe(`store ${subject.name}`, { skip: subject.skip, timeout: 90_000 }, () => {
    before(() => subject.start());
    after(() => subject.stop());

    async function opened(t: { after(task: () => unknown): void }, prefix = `p${prefixes++}`) {
      const store = await subject.open(prefix);
      t.after(() => store.close());
      return { store, prefix };
    }

    test('what is written is there when update resolves, and after opening anew', async (t) => {
      const prefix = `p${prefixes++}`;
      const first = await subject.open(prefix);
      const version = await first.update([
        { kind: 'node', id: 'b', value: { n: 2, text: 'ü "quoted"' }, expected: 0 },
        { kind: 'node', id: 'a', value: { n: 1 }, expected: 0 },
        { kind: 'task', id: 'a', value: [] },
      ]);
      const ids = (store: Store) => store.list('node').map(({ id }) => id);
      assert.deepEqual(ids(first), ['a', 'b']);
      assert.equal(first.get('node', 'a')?.version, version);
      assert.equal(first.get('task', 'a')?.version, version);
      assert.equal(first.get('task', 'c'), undefined);
      await first.close();
      const { store } = await opened(t, prefix);
      assert.deepEqual(ids(store), ['a', 'b']);
      assert.deepEqual(store.get('node', 'b'), {
        id: 'b',
        version,
        value: { n: 2, text: 'ü "quoted"' },
      });
    });

    test('a stale version changes nothing of its transaction', async (t) => {
      const { store } = await opened(t);
      const one = await store.update([{ kind: 'x', id: '1', value: 1, expected: 0 }]);
      const two = await store.update([{ kind: 'x', id: '1', value: 2, expected: one }]);
      assert.ok(two > one);
      for (const expected of [0, one]) {
        const changes = [
          { kind: 'x', id: 'other', value: 1 },
          { kind: 'x', id: '1', value: 3, expected },
        ];
        await assert.rejects(store.update(changes), stale);
      }
      const drop = [{ kind: 'x', id: '1', value: undefined, expected: one }];
      await assert.rejects(store.update(drop), stale);
      assert.equal(store.get('x', 'other'), undefined);
      assert.equal(store.get('x', '1')?.value, 2);
      await store.update([{ kind: 'x', id: '1', value: undefined, expected: two }]);
      assert.equal(store.get('x', '1'), undefined);
      await store.update([{ kind: 'x', id: '1', value: 4, expected: 0 }]);
      assert.equal(store.get('x', '1')?.value, 4);
    });

    test('as many changes as the contract allows; one more is refused', async (t) => {
      const { store } = await opened(t);
      const many = Array.from({ length: MAX_CHANGES }, (_, at) => ({
        ...{ kind: 'x', id: String(at), value: 'v'.repeat(4000), expected: 0 },
      }));
      await store.update(many);
      assert.equal(store.list('x').length, MAX_CHANGES);
      const more = [...many, { kind: 'x', id: 'more', value: 1, expected: 0 }];
      await assert.rejects(store.update(more), /60 at most/);
    });

    test('packs are as large as every backend takes, and keep their order', async (t) => {
      const { store } = await opened(t);
      const many = Array.from({ length: 2 * MAX_CHANGES }, (_, at) => ({
        ...{ kind: 'x', id: String(at), value: 'v'.repeat(10_000), expected: 0 },
      }));
      const packs = packed(many.map((change) => [change]));
      assert.deepEqual(packs.flat(2), many);
      for (const pack of packs) await store.update(pack.flat());
      assert.equal(store.list('x').length, many.length);
    });

    test('a value as long as the longest configuration, beside others', async (t) => {
      const prefix = `p${prefixes++}`;
      const text = (letter: string) => `ü${letter.repeat(1_400_000)}🔑`;
      const first = await subject.open(prefix);
      const one = await first.update([
        { kind: 'x', id: 'long', value: { text: text('a') }, expected: 0 },
        { kind: 'x', id: 'short', value: 1, expected: 0 },
      ]);
      assert.deepEqual(first.get('x', 'long')?.value, { text: text('a') });
      const late = [{ kind: 'x', id: 'long', value: { text: text('b') }, expected: one + 1 }];
      await assert.rejects(first.update(late), stale);
      const parts = (await subject.parts?.(prefix))?.length;
      await first.update([{ kind: 'x', id: 'long', value: { text: text('c') }, expected: one }]);
      await first.close();
      const { store } = await opened(t, prefix);
      assert.deepEqual(store.get('x', 'long')?.value, { text: text('c') });
      assert.equal(store.get('x', 'short')?.value, 1);
      // Those of the value that was not written, and of the one before, are gone.
      assert.equal((await subject.parts?.(prefix))?.length, parts);
      await store.update([{ kind: 'x', id: 'long', value: undefined }]);
      assert.equal(store.get('x', 'long'), undefined);
      assert.deepEqual((await subject.parts?.(prefix)) ?? [], []);
    });

    test('what is too large is refused by name, and the store goes on', async (t) => {
      const { store } = await opened(t);
      const huge = { kind: 'x', id: 'huge', value: 'v'.repeat(4_000_000), expected: 0 };
      if (subject.shared) {
        const limits =
          /more than the store of the cluster takes at once, .*(too large|larger than)/;
        await assert.rejects(store.update([huge]), { code: 'E_STORE_TOO_LARGE', message: limits });
      } else await store.update([huge]);
      await store.update([{ kind: 'x', id: 'small', value: 1, expected: 0 }]);
    });

    test('a watch tells each change after it is in the mirror, in order', async (t) => {
      const { store } = await opened(t);
      const seen: StoreEvent[] = [];
      const versions: number[] = [];
      const stop = store.watch((events, version) => {
        for (const event of events) {
          assert.deepEqual(store.get(event.kind, event.id), event.object);
          seen.push(event);
        }
        versions.push(version);
      });
      for (let n = 0; n < 10; n++) {
        await store.update([
          { kind: 'x', id: 'even', value: n },
          { kind: 'x', id: 'odd', value: n },
        ]);
      }
      await store.update([{ kind: 'x', id: 'odd', value: undefined }]);
      const values = seen.filter(({ id }) => id === 'even').map(({ object }) => object?.value);
      assert.deepEqual(values, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      assert.equal(seen.at(-1)?.object, undefined);
      assert.deepEqual(
        versions,
        versions.toSorted((a, b) => a - b),
      );
      stop();
      await store.update([{ kind: 'x', id: 'even', value: 11 }]);
      assert.equal(seen.length, 21);
    });

    test('the one that stands alone leads, until it gives up', async (t) => {
      const { store } = await opened(t);
      const told: boolean[] = [];
      const stop = store.campaign('one', (leads) => told.push(leads));
      await eventually('it leads', () => told.length > 0);
      await stop();
      assert.deepEqual(told, [true, false]);
    });

    if (!subject.shared) return;

    test('two managers see one state, and the later of two writers is refused', async (t) => {
      const { store: a, prefix } = await opened(t);
      const { store: b } = await opened(t, prefix);
      const seen: unknown[] = [];
      b.watch((events) => seen.push(...events.map(({ object }) => object?.value)));
      const version = await a.update([{ kind: 'x', id: '1', value: 'a', expected: 0 }]);
      await eventually('the other has it', () => b.get('x', '1')?.version === version);
      const both = [a, b].map((store, at) =>
        store.update([{ kind: 'x', id: '1', value: at, expected: version }]),
      );
      const results = await Promise.allSettled(both);
      assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
      const lost = results.find((one) => one.status === 'rejected');
      assert.ok(stale(lost?.reason), String(lost?.reason));
      await eventually('both agree', () => a.get('x', '1')?.value === b.get('x', '1')?.value);
      assert.equal(seen[0], 'a');
    });

    test('clusters with other prefixes do not meet', async (t) => {
      const { store: a, prefix } = await opened(t);
      const { store: b } = await opened(t, `${prefix}0`);
      await a.update([{ kind: 'x', id: '1', value: 'a', expected: 0 }]);
      await b.update([{ kind: 'x', id: '1', value: 'b', expected: 0 }]);
      assert.equal(a.get('x', '1')?.value, 'a');
      assert.equal(b.get('x', '1')?.value, 'b');
    });

    test('one of several leads; when it gives up another one does', async (t) => {
      const { store: a, prefix } = await opened(t);
      const { store: b } = await opened(t, prefix);
      const leaders = new Set<string>();
      const stand = (store: Store, id: string) =>
        store.campaign(id, (leads) => {
          if (leads) leaders.add(id);
          else leaders.delete(id);
          assert.ok(leaders.size <= 1, 'two lead');
        });
      const stops = new Map([
        ['a', stand(a, 'a')],
        ['b', stand(b, 'b')],
      ]);
      await eventually('one leads', () => leaders.size === 1);
      const [first = ''] = leaders;
      await stops.get(first)?.();
      await eventually('the other leads', () => leaders.size === 1, 20_000);
      assert.ok(!leaders.has(first));
      await stops.get(first === 'a' ? 'b' : 'a')?.();
      assert.equal(leaders.size, 0);
    });

    test('who takes the lead over knows all that was written before', async (t) => {
      const { store: a, prefix } = await opened(t);
      const b = await subject.open(prefix, LAG_MS);
      t.after(() => b.close());
      let first = false;
      const stop = a.campaign('first', (now) => {
        first = now;
      });
      await eventually('one leads', () => first);
      let known: unknown;
      const other = b.campaign('other', (now) => {
        if (now) known ??= b.get('x', 'last')?.value;
      });
      t.after(other);
      for (let n = 0; n < 30; n++) {
        await a.update([{ kind: 'x', id: 'last', value: n }]);
      }
      await stop();
      await eventually('the other leads', () => known !== undefined, 20_000);
      assert.equal(known, 29);
    });
  });
}

test('parts that nothing refers to for a while are removed, and no others', {
  skip: noConsul,
}, async (t) => {
  const server = new ConsulServer(await freePorts(4));
  await server.start();
  t.after(() => server.kill());
  const consul = new Consul({ host: '127.0.0.1', port: server.http });
  const entry = (Key: string, Value: string, Flags = 0) => ({ Key, Value, Flags, ModifyIndex: 1 });
  const entries = [
    entry('k/p/lost/0', 'x'),
    entry('k/p/kept/0', Buffer.from('"text"').toString('base64')),
    entry('k/o/x/1', 'kept', 1),
  ];
  for (const { Key, Value } of entries) await consul.kv.set(Key, Value);
  const keys = async () => (await consul.kv.keys('k/')) as unknown as string[];
  const parts = new ConsulParts('k', () => consul, 10);
  await eventually('it is gone', async () => {
    assert.equal(parts.reader(entries)(entries[2] as Entry), '"text"');
    return !(await keys()).includes('k/p/lost/0');
  });
  assert.deepEqual(await keys(), ['k/o/x/1', 'k/p/kept/0']);
  assert.equal(parts.reader(entries.slice(2))(entries[2] as Entry), undefined);
});

test('parts that were removed before their value was written fail its transaction', {
  skip: noConsul,
}, async (t) => {
  const server = new ConsulServer(await freePorts(4));
  await server.start();
  t.after(() => server.kill());
  const consul = new Consul({ host: '127.0.0.1', port: server.http });
  const parts = new ConsulParts('k', () => consul);
  const [written] = await parts.write([{ kind: 'x', id: '1', value: 'v'.repeat(500_000) }]);
  const operations = [
    { KV: { Verb: 'set', Key: 'k/o/x/1', Value: '', ...written } },
    ...parts.guards([written]),
  ];
  const write = () => consul.transaction.create(operations as never);
  await parts.drop([written]);
  await assert.rejects(write(), /conflict/i);
  assert.equal(await consul.kv.get('k/o/x/1'), undefined);
});
