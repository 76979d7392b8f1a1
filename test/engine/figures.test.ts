import assert from 'node:assert/strict';
import { test } from 'node:test';
import { engineSamples } from '../../src/control/metrics.ts';
import { startEngine } from '../support/engine.ts';

test('the figures tell of an agent that is away', async () => {
  const { engine, ready } = startEngine();
  await ready;
  const figure = () =>
    engineSamples(engine).find(({ family }) => family === 'sluice_engine_agent_connected')?.value;
  assert.equal(figure(), 1);
  engine.connected(false);
  assert.equal(figure(), 0);
  engine.connected(true);
  assert.equal(figure(), 1);
});
