import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EmbeddedStore } from '../../../src/store/embedded-store.ts';

function folder(t: { after(task: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), 'sluice-store-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test('objects survive a reopening, with versions that only grow', (t) => {
  const path = join(folder(t), 'state.db');
  const first = EmbeddedStore.open(path);
  const one = first.write([{ kind: 'a', id: 'x', value: { n: 1 } }]);
  const two = first.write([{ kind: 'a', id: 'y', value: { n: 2 }, expected: 0 }]);
  assert.ok(two > one);
  first.close();
  const second = EmbeddedStore.open(path);
  t.after(() => second.close());
  assert.deepEqual(second.list('a'), [
    { id: 'x', version: one, value: { n: 1 } },
    { id: 'y', version: two, value: { n: 2 } },
  ]);
  assert.ok(second.write([{ kind: 'a', id: 'x', value: undefined }]) > two);
  assert.equal(second.list('a').length, 1);
});

test('a stale writer is refused and changes nothing', () => {
  const store = EmbeddedStore.open(':memory:');
  const version = store.write([{ kind: 'a', id: 'x', value: 1 }]);
  assert.throws(
    () =>
      store.write([
        { kind: 'a', id: 'y', value: 1 },
        { kind: 'a', id: 'x', value: 2, expected: version - 1 },
      ]),
    { code: 'E_STORE_STALE' },
  );
  assert.deepEqual(store.list('a'), [{ id: 'x', version, value: 1 }]);
  assert.equal(store.version, version);
});

test('one process at a time; the second is told how to help itself', (t) => {
  const path = join(folder(t), 'state.db');
  const store = EmbeddedStore.open(path);
  t.after(() => store.close());
  assert.throws(() => EmbeddedStore.open(path), /give each its own --data-root/);
});

test('what was written before a kill is whole', { timeout: 30_000 }, async (t) => {
  const path = join(folder(t), 'state.db');
  const child = fork(new URL('../../support/store-writer.ts', import.meta.url), [path]);
  const last = await new Promise<number>((resolve) => {
    let acknowledged = 0;
    child.on('message', (count) => {
      acknowledged = Number(count);
      if (acknowledged === 40) child.kill('SIGKILL');
    });
    child.on('exit', () => resolve(acknowledged));
  });
  const store = EmbeddedStore.open(path);
  t.after(() => store.close());
  const left = store.list('left').map(({ value }) => value);
  const right = store.list('right').map(({ value }) => value);
  assert.deepEqual(left, right);
  assert.ok(left.length >= last, `${left.length} of ${last} acknowledged`);
});
