import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const REFERENCE = new URL('../../../docs/config.md', import.meta.url);

test('the reference says of every key what it means', () => {
  const rows = readFileSync(REFERENCE, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()));
  assert.ok(rows.length > 300, `${rows.length} keys`);
  // An object is told by its keys, a constant by its value.
  const silent = rows.filter(([, key, type, , meaning]) => {
    const plain = type !== 'object' && !/^`[\w-]+`$/.test(type ?? '');
    return plain && meaning === '' && key !== '';
  });
  assert.deepEqual(
    silent.map(([, key]) => key),
    [],
  );
});
