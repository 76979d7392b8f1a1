import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { BalancedEndpoint } from '../../../src/balance/balancer.ts';
import { idleLoad } from '../../../src/balance/balancer.ts';
import { hashKey } from '../../../src/balance/hash.ts';
import { LeastConnections } from '../../../src/balance/least-connections.ts';
import { buildMaglev, MAGLEV_SLOTS } from '../../../src/balance/maglev.ts';
import { PeakEwma } from '../../../src/balance/random-choice.ts';
import { buildRing, MAX_RING_NODES } from '../../../src/balance/ring.ts';
import { RoundRobin } from '../../../src/balance/round-robin.ts';
import { ManualClock } from '../../../src/base/clock.ts';
import { seededRng } from '../../../src/base/rng.ts';

function endpoint(id: string, weight = 1): BalancedEndpoint {
  return { id, weight, load: idleLoad() };
}

function sized(n: number, weight = 1): BalancedEndpoint[] {
  return Array.from({ length: n }, (_, i) => endpoint(`e${i}`, weight));
}

it('round robin has the sequence of nginx for 5, 1, 1', () => {
  const made = new RoundRobin();
  made.update([endpoint('a', 5), endpoint('b'), endpoint('c')]);
  const ids = Array.from({ length: 14 }, () => made.pick({})?.id).join('');
  assert.equal(ids, 'aabacaaaabacaa');
});

it('least connections compares by weight', () => {
  const made = new LeastConnections();
  const light = endpoint('light', 1);
  const heavy = endpoint('heavy', 4);
  made.update([light, heavy]);
  light.load.active = 1;
  heavy.load.active = 2;
  assert.equal(made.pick({}), heavy);
});

it('peak ewma prefers the faster and returns to the slower in time', () => {
  const clock = new ManualClock();
  const made = new PeakEwma(seededRng(1), clock);
  const fast = endpoint('fast');
  const slow = endpoint('slow');
  made.update([fast, slow]);
  made.finished(fast, 5);
  made.finished(slow, 500);
  const picks = Array.from({ length: 200 }, () => made.pick({}));
  assert.ok(picks.filter((ep) => ep === slow).length < 15);
  clock.advance(60_000);
  made.finished(fast, 5);
  assert.ok(Array.from({ length: 20 }, () => made.pick({})).includes(slow));
});

it('maglev shares its slots within 2 % of the mean', () => {
  const table = buildMaglev(sized(100));
  const counts = new Uint32Array(100);
  for (let slot = 0; slot < MAGLEV_SLOTS; slot++) {
    const owner = table.lookup(slot, 0);
    counts[owner] = (counts[owner] ?? 0) + 1;
  }
  const mean = MAGLEV_SLOTS / 100;
  for (const count of counts) assert.ok(Math.abs(count - mean) <= mean * 0.02);
});

it('the ring stays bounded', () => {
  assert.ok(buildRing(sized(1000, 256)).size <= MAX_RING_NODES);
  assert.equal(buildRing(sized(3)).size, 480);
});

it('one changed input bit changes about half of the hash bits', () => {
  let changed = 0;
  for (let i = 0; i < 1000; i++) {
    let diff = hashKey(`client-${i}-a`) ^ hashKey(`client-${i}-c`);
    for (; diff !== 0; diff &= diff - 1) changed++;
  }
  assert.ok(changed > 15_000 && changed < 17_000, String(changed));
});
