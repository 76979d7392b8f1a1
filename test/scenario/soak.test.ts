import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mixedFaults } from '../support/mixed-faults.ts';
import { noProc } from '../support/processes.ts';

// Ten minutes of the same, with memory judged by its slope, are in test/fault/soak.test.ts.
test('20 s of reloads, kills, freezes, churn and hostile input cost no request', {
  skip: noProc,
}, async (t) => {
  const { report, fresh, done } = await mixedFaults(t, { seconds: 20, perSecond: 200 });
  t.diagnostic(JSON.stringify(done));
  assert.ok(Object.keys(done).length >= 3, 'faults fired');
  assert.deepEqual(report.failures(), []);
  assert.deepEqual(fresh.failures(), []);
});
