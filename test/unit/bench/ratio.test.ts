import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Goal, Scenario } from '../../../bench/lib/cases.ts';
import { type Row, standings } from '../../../bench/lib/ratio.ts';

const ROWS: Row[] = [
  { candidate: 'sluice', cpuMicros: 20, perSecond: 300, p99Micros: 900, kib: 2 },
  { candidate: 'haproxy', cpuMicros: 24, perSecond: 250, p99Micros: 1000, kib: 1 },
  { candidate: 'nginx', cpuMicros: 18, perSecond: 200, p99Micros: 600, kib: 1 },
].map((row) => ({ ...row, case: 'one', unit: 'request', errors: 0 }));

const against = (goal: Goal) => {
  const scenario: Scenario = {
    ...{ name: 'one', mode: 'http', connections: 1, candidates: [] },
    goals: [goal],
  };
  return standings(scenario, ROWS)[0];
};

test('CPU is compared with the cheaper peer: above 1 ours is cheaper', () => {
  const { today, must, reached } = against({ of: 'best', must: 0.9, aim: 1 }) ?? {};
  assert.deepEqual([today, must, reached], ['0.90 × nginx, CPU', '≥ 0.9', 'must']);
});

test('a rate is compared with the faster peer: above 1 ours is faster', () => {
  const { today, reached } = against({ figure: 'perSecond', of: 'best', must: 0.9, aim: 1 }) ?? {};
  assert.deepEqual([today, reached], ['1.20 × haproxy, rate', 'aim']);
});

test('latency and memory may be so much at most', () => {
  const latency = against({ figure: 'p99Micros', of: 'nginx', must: 1.3, aim: 1 });
  assert.deepEqual([latency?.today, latency?.reached], ['1.50 × nginx, p99', 'no']);
  const memory = against({ figure: 'kib', of: 'none', must: 3, aim: 1.5 });
  assert.deepEqual([memory?.today, memory?.aim, memory?.reached], ['2.00 KiB', '≤ 1.5', 'must']);
});

test('a peer that was not there leaves its goal out', () => {
  assert.equal(against({ of: 'undici', must: 2.2 }), undefined);
});
