import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dropFlows } from '../../../src/kernel/conntrack.ts';
import type { CommandResult } from '../../../src/kernel/exec.ts';

const GONE = "conntrack v1.4.7 (conntrack-tools): Operation failed: such conntrack doesn't exist";
const NONE = 'conntrack v1.4.7 (conntrack-tools): 0 flow entries have been deleted.';

/** What comes of it, and how often the command was run, when it ends like this each time. */
async function drop(...ends: readonly Partial<CommandResult>[]) {
  let runs = 0;
  const dropped = await dropFlows(
    async () => ({ code: 1, stdout: '', stderr: '', ...ends[Math.min(runs++, ends.length - 1)] }),
    { transport: 'tcp', replySource: '10.0.0.2' },
  );
  return { dropped, runs };
}

test('flows that end while others are dropped do not keep these', async () => {
  assert.deepEqual(await drop({ stderr: GONE }, { stderr: GONE }, { code: 0 }), {
    dropped: true,
    runs: 3,
  });
  assert.deepEqual(await drop({ stderr: NONE }), { dropped: true, runs: 1 });
  assert.deepEqual(await drop({ stderr: 'Operation not permitted' }), { dropped: false, runs: 1 });
  assert.deepEqual(await drop({ stderr: GONE }), { dropped: false, runs: 10 });
});
