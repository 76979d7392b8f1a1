import { test } from 'node:test';
import { simulate } from './simulation.ts';

const SMALL = { nodes: 4, services: 2, replicas: 4, steps: 60 };

test('small clusters through updates while their store is troubled', async () => {
  for (let seed = 1; seed <= 100; seed++) await simulate(seed, { ...SMALL, healthy: true });
});

test('small clusters through everything', async () => {
  for (let seed = 1; seed <= 100; seed++) await simulate(seed, { ...SMALL, healthy: false });
});
