import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GatewayPlane } from '../../../src/agent/plane/gateway-plane.ts';
import { IntentStore } from '../../../src/agent/plane/intent-store.ts';
import { createNaming } from '../../../src/agent/plane/naming.ts';
import { ManualClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import type { KernelListener } from '../../../src/model/kernel-listener.ts';
import { FakeNft } from '../../support/fake-nft.ts';

const LONGER_THAN_A_LOOK_MS = 11_000;

const web: KernelListener = {
  ...{ name: 'web', transport: 'tcp', balance: 'round-robin', dead: [], slots: [] },
  binds: [{ address: undefined, port: 8080, families: [4] }],
};

test('a table that is lost comes back with the next look; one that was given up does not', async () => {
  const nft = new FakeNft();
  const clock = new ManualClock();
  const told: string[] = [];
  const tools = {
    ...{ clock, logger: silentLogger, native: undefined, execRoot: '', podmanEnv: [] },
    exec: async () => ({ code: 1, stdout: '', stderr: '' }),
    naming: createNaming('sluice'),
  };
  const plane = new GatewayPlane(tools, nft, new IntentStore(), (reason) => told.push(reason));
  const lookWith = async (listeners: KernelListener[]) => {
    clock.advance(LONGER_THAN_A_LOOK_MS);
    // The same once more, which comes after the look and by itself compares nothing.
    await plane.carry(listeners);
  };
  await plane.carry([web]);
  assert.equal(nft.tables.size, 1);
  nft.tables.clear();
  await lookWith([web]);
  assert.equal(nft.tables.size, 1);
  assert.match(told.join(), /was repaired/);
  await plane.carry([]);
  await lookWith([]);
  assert.equal(nft.tables.size, 0);
  await plane.close();
});
