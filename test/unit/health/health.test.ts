import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { eligible } from '../../../src/health/eligible.ts';
import { OutlierTracker } from '../../../src/health/outlier.ts';
import { RetryBudget } from '../../../src/health/retry-budget.ts';
import { RiseFall } from '../../../src/health/rise-fall.ts';
import { SilenceDetector } from '../../../src/health/silence.ts';
import { slowStartFactor } from '../../../src/health/slow-start.ts';
import { TokenBuckets } from '../../../src/health/token-bucket.ts';

const PASSIVE = {
  failures: 5,
  errorRatio: 0.5,
  within: 10_000,
  ejectFor: 30_000,
  maxEjected: 0.5,
};

const TIMING = { interval: 2000, fastInterval: 1000, downInterval: 5000 };

function outcome(endpoint: string, ok: number, failed: number, tail = failed, refused = 0) {
  return { endpoint, ok, failed, tail, byClass: { refused } };
}

it('a first failed check marks down at once; hold waits for the first good one', () => {
  const held = new RiseFall({ rise: 2, fall: 3, initialState: 'hold', ...TIMING }, 0);
  assert.equal(held.state, 'unknown');
  assert.deepEqual(held.result(false, 1), { state: 'down', changed: true, nextDelay: 5000 });
  assert.deepEqual(held.result(true, 2), { state: 'down', changed: false, nextDelay: 1000 });
  assert.deepEqual(held.result(true, 3), { state: 'up', changed: true, nextDelay: 2000 });
});

it('the check state moves only on enough results in a row', () => {
  const counts = fc.integer({ min: 1, max: 5 });
  fc.assert(
    fc.property(counts, counts, fc.array(fc.boolean()), (rise, fall, results) => {
      const made = new RiseFall({ rise, fall, initialState: 'up', ...TIMING }, 0);
      results.forEach((ok, i) => {
        const step = made.result(ok, i);
        if (!step.changed || i === 0) return;
        const needed = results.slice(Math.max(0, i + 1 - (ok ? rise : fall)), i + 1);
        assert.ok(needed.every((one) => one === ok));
        assert.equal(step.state, ok ? 'up' : 'down');
      });
    }),
  );
});

it('ejects after failures in a row over several batches, and returns it in time', () => {
  const made = new OutlierTracker(PASSIVE);
  made.update(['a', 'b']);
  assert.deepEqual(made.report([outcome('a', 0, 3), outcome('b', 9, 0)], 0), []);
  const ejected = { endpoint: 'a', ejected: true, reason: 'consecutive' };
  assert.deepEqual(made.report([outcome('a', 0, 2)], 100), [ejected]);
  assert.deepEqual(made.tick(30_099), []);
  assert.deepEqual(made.tick(30_100), [{ endpoint: 'a', ejected: false, reason: 'expired' }]);
  made.report([outcome('a', 0, 5)], 30_200);
  assert.deepEqual(made.tick(90_199), [], 'the second ejection lasts twice as long');
  assert.equal(made.tick(90_200).length, 1);
});

it('ejects on two refusals and on the ratio, but not when peers fail as much', () => {
  const made = new OutlierTracker(PASSIVE);
  made.update(['a', 'b', 'c', 'd']);
  assert.equal(made.report([outcome('a', 0, 2, 2, 2)], 0)[0]?.reason, 'refused');
  assert.equal(made.report([outcome('b', 10, 10, 0), outcome('c', 9, 0)], 0)[0]?.reason, 'ratio');
  const alike = new OutlierTracker(PASSIVE);
  alike.update(['a', 'b']);
  assert.deepEqual(alike.report([outcome('a', 0, 9), outcome('b', 0, 9)], 0), []);
});

it('never ejects more than the cap, and never the only endpoint', () => {
  const batch = fc.tuple(fc.nat(7), fc.nat(5), fc.nat(30), fc.nat(20_000));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.array(batch), (size, batches) => {
      const ids = Array.from({ length: size }, (_, i) => `e${i}`);
      const made = new OutlierTracker(PASSIVE);
      made.update(ids);
      let now = 0;
      for (const [index, ok, failed, gap] of batches) {
        now += gap;
        made.report([outcome(`e${index}`, ok, failed)], now);
        assert.ok(ids.filter((id) => made.isEjected(id)).length <= Math.floor(size / 2));
        made.tick(now);
      }
    }),
  );
});

it('composes tiers, admin state and panic', () => {
  const up = { admin: 'ready', check: 'up', ejected: false, backup: false } as const;
  const down = { ...up, check: 'down' } as const;
  const backup = { ...up, backup: true };
  assert.deepEqual(eligible([up, down, backup], { panic: 'none' }), [up]);
  assert.deepEqual(eligible([down, backup], { panic: 'any' }), [backup]);
  assert.deepEqual(eligible([down], { panic: 'none' }), []);
  assert.deepEqual(eligible([down, { ...up, admin: 'drain' }], { panic: 'any' }), [down]);
  assert.equal(eligible([up, down, down], { panic: 0.5 }).length, 3);
  assert.deepEqual(eligible([up, down], { panic: 0.5 }), [up]);
});

it('budgets retries by recent requests', () => {
  const made = new RetryBudget(0.2, 0);
  for (let i = 0; i < 10; i++) made.request(500);
  assert.deepEqual(
    [1, 2, 3].map(() => made.tryRetry(900)),
    [true, true, false],
  );
  assert.equal(made.tryRetry(60_000), false);
});

it('limits by tokens, forgets the oldest key and takes debts', () => {
  const made = new TokenBuckets({ perSecond: 10, burst: 2, maxKeys: 3 });
  const allowed = [1, 2, 3].map(() => made.take('a', 0).allowed);
  assert.deepEqual(allowed, [true, true, false]);
  assert.equal(made.take('a', 0).retryAfterMs, 100);
  assert.equal(made.take('a', 100).allowed, true);
  made.drain('b', 2, 100);
  assert.equal(made.take('b', 100).allowed, false);
  for (const key of ['c', 'd', 'e']) made.take(key, 100);
  assert.equal(made.size, 3);
});

it('suspects silence only of one that used to answer', () => {
  const made = new SilenceDetector(1000);
  made.started(0);
  assert.equal(made.suspect(5000), false);
  made.firstByte(5000);
  made.finished(true);
  assert.equal(made.suspect(9000), false);
  made.started(9000);
  assert.equal(made.suspect(9999), false);
  assert.equal(made.suspect(10_000), true);
  made.finished(false);
  assert.equal(made.suspect(10_000), false);
});

it('starts slowly', () => {
  assert.deepEqual(
    [0, 500, 1000, 2000].map((ms) => slowStartFactor(ms, 1000)),
    [0.1, 0.5, 1, 1],
  );
});
