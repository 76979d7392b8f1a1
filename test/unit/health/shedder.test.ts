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
  shedder.observe({ lagMs: 400, memory: 0.5 });
  const first = refusedOf(shedder, 10_000);
  for (let look = 0; look < 20; look++) shedder.observe({ lagMs: 2000, memory: 0.5 });
  const later = refusedOf(shedder, 10_000);
  assert.ok(first > 0 && first < 100, `${first}`);
  assert.ok(later > 3000 && later < 3700, `${later}`);
  assert.deepEqual(shedder.reasons, ['lag']);
  for (let look = 0; look < 20; look++) shedder.observe({ lagMs: 0, memory: 0.5 });
  assert.equal(refusedOf(shedder, 1000), 0);
});

test('it settles where the lag is at its limit, although those who are refused come back late', () => {
  for (const clients of [4500, 6000, 12_000]) {
    const shedder = new Shedder(seededRng(4));
    /** Served at a look, and the looks for which who was refused stays away. */
    const [served, away] = [1500, 30];
    const refused: number[] = [];
    const lags: number[] = [];
    for (let look = 0; look < 600; look++) {
      const absent = refused.slice(-away).reduce((sum, count) => sum + count, 0);
      const waiting = Math.max(0, clients - absent);
      refused.push(refusedOf(shedder, Math.min(served, waiting)));
      const lagMs = (waiting / served) * 100;
      lags.push(lagMs);
      shedder.observe({ lagMs, memory: 0.5 });
    }
    const settled = lags.slice(300);
    const [least, most] = [Math.min(...settled), Math.max(...settled)];
    assert.ok(least > 150 && most < 250, `${clients} clients wait ${least} to ${most} ms`);
  }
});

test('without memory left it refuses every new request', () => {
  const shedder = new Shedder(seededRng(3));
  shedder.observe({ lagMs: 0, memory: 0.95 });
  assert.equal(refusedOf(shedder, 100), 100);
  assert.deepEqual(shedder.reasons, ['memory']);
  shedder.observe({ lagMs: 0, memory: 0.5 });
  assert.equal(refusedOf(shedder, 100), 0);
});
