import assert from 'node:assert/strict';
import { test } from 'node:test';
import { foreignChanges, monitorEvents } from '../../../src/agent/plane/watch.ts';

const OWN = 41;
const events = (text: string, cut = text.length) => {
  let count = 0;
  const take = foreignChanges(
    'sluice',
    (pid) => pid === OWN,
    () => {
      count += 1;
    },
  );
  const lines = monitorEvents(() => assert.fail('no end'));
  take(lines(text.slice(0, cut)));
  take(lines(text.slice(cut)));
  return count;
};
const change = (table: string, pid: number) =>
  `add element inet ${table} to_any4 { tcp . 80 : 10.0.0.2 . 80 }\n` +
  `# new generation 7 by process ${pid} (nft)\n`;

test('a change of our table by another is told once', () => {
  assert.equal(events(change('sluice', 42)), 1);
  assert.equal(events(`delete table inet sluice\n# new generation 9 by process 42 (nft)\n`), 1);
});

test('what we did ourselves, and what others do elsewhere, is not', () => {
  assert.equal(events(change('sluice', OWN)), 0);
  assert.equal(events(change('sluice_gateway', 42)), 0);
  assert.equal(events(change('sluice', OWN) + change('filter', 42)), 0);
});

test('wherever the output is cut', () => {
  const text = change('sluice', OWN) + change('sluice', 42) + change('other', 43);
  for (let cut = 0; cut <= text.length; cut++) assert.equal(events(text, cut), 1, `at ${cut}`);
});

test('a line without an end is given up, and costs no more than what was read', () => {
  let ended = 0;
  const lines = monitorEvents(() => {
    ended += 1;
  });
  const part = '0'.repeat(64 * 1024);
  for (let count = 0; count < 1000; count++) assert.deepEqual(lines(part), []);
  assert.ok(ended > 0);
  assert.deepEqual(lines('\nadd chain inet sluice late\n'), [{ table: 'sluice' }]);
});
