import assert from 'node:assert/strict';
import { test } from 'node:test';
import { throughGateway } from '../support/differential.ts';

test('whatever passes is read by the origin as it was sent', async (t) => {
  const { sent, taken, refused, wrong } = await throughGateway(t, 600);
  t.diagnostic(`${sent} messages: ${taken} taken, ${refused} refused`);
  assert.deepEqual(wrong, []);
  assert.ok(taken > sent / 10 && refused > sent / 10, `${taken} taken, ${refused} refused`);
});
