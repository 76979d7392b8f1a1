import { test } from 'node:test';
import { type Shape, simulate } from '../sim/simulation.ts';

/** Seeds begin here; another number tries others. */
const FIRST = Number(process.env['SIM_SEED'] ?? 1000);

async function run(count: number, shape: Shape): Promise<void> {
  for (let seed = FIRST; seed < FIRST + count; seed++) await simulate(seed, shape);
}

const SMALL = { nodes: 5, services: 3, replicas: 6, steps: 150 };
const MIDDLE = { nodes: 100, services: 10, replicas: 200, steps: 60 };
const LARGE = { nodes: 1000, services: 100, replicas: 200, steps: 60 };

test('2,000 small clusters through everything', () => run(2000, { ...SMALL, healthy: false }));

test('1,000 small clusters through updates while their store is troubled', () =>
  run(1000, { ...SMALL, healthy: true }));

test('20 clusters of 100 nodes and 1,000 tasks', () => run(20, { ...MIDDLE, healthy: false }));

test('clusters of 1,000 nodes and 10,000 tasks', () => run(2, { ...LARGE, healthy: false }));
