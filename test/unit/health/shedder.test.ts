import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRng } from '../../../src/base/rng.ts';
import { Shedder } from '../../../src/health/shedder.ts';

function refusedOf(shedder: Shedder, count: number): number {
  let refused = 0;
  for (let at = 0; at < count; at++) if (shedder.refuse()) refused++;
  return refused;
}

test('a shedder lets everything in while the loop keeps up', () => {
  const shedder = new Shedder(seededRng(1));
  for (let look = 0; look < 10; look++) shedder.observe({ lagMs: 150, memory: 0.5 });
  assert.equal(refusedOf(shedder, 1000), 0);
  assert.deepEqual(shedder.reasons, []);
});

test('it refuses more the longer the lag lasts, at most a third, and recovers within two seconds', () => {
  const shedder = new Shedder(seededRng(2));
  for (const lagMs of [250, 250, 0, 250, 250]) shedder.observe({ lagMs, memory: 0.5 });
  assert.equal(refusedOf(shedder, 1000), 0, 'a stall that is over');
  shedder.observe({ lagMs: 250, memory: 0.5 });
  const first = refusedOf(shedder, 10_000);
  for (let look = 0; look < 100; look++) shedder.observe({ lagMs: 250, memory: 0.5 });
  const later = refusedOf(shedder, 10_000);
  assert.ok(first > 0 && first < 200, `${first}`);
  assert.ok(later > 3000 && later < 3700, `${later}`);
  assert.deepEqual(shedder.reasons, ['lag']);
  for (let look = 0; look < 20; look++) shedder.observe({ lagMs: 0, memory: 0.5 });
  assert.equal(refusedOf(shedder, 1000), 0);
});

test('it settles where the lag is at its limit, instead of swinging', () => {
  const shedder = new Shedder(seededRng(4));
  // A process that is late by as much as it is offered more than it can serve.
  const shares: number[] = [];
  for (let look = 0; look < 300; look++) {
    const share = refusedOf(shedder, 10_000) / 10_000;
    shares.push(share);
    shedder.observe({ lagMs: 300 - 500 * share, memory: 0.5 });
  }
  const settled = shares.slice(150);
  assert.ok(Math.min(...settled) > 0.15 && Math.max(...settled) < 0.25, `${settled}`);
});

test('without memory left it refuses every new request', () => {
  const shedder = new Shedder(seededRng(3));
  shedder.observe({ lagMs: 0, memory: 0.95 });
  assert.equal(refusedOf(shedder, 100), 100);
  assert.deepEqual(shedder.reasons, ['memory']);
  shedder.observe({ lagMs: 0, memory: 0.5 });
  assert.equal(refusedOf(shedder, 100), 0);
});
