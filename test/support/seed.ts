import type { TestContext } from 'node:test';
import { type Rng, seededRng } from '../../src/base/rng.ts';

/** The test's random choices. The seed is printed; `SEED=…` in the environment repeats a run. */
export function seeded(t: TestContext): Rng {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32));
  t.diagnostic(`seed ${seed}`);
  return seededRng(seed);
}

/** One of `values`, which has at least one. */
export function oneOf<T>(rng: Rng, values: readonly T[]): T {
  const value = values[rng.below(values.length)];
  if (value === undefined) throw new Error('nothing to choose from');
  return value;
}
