import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/logger.ts';
import { MetricRegistry } from '../../../src/base/metrics.ts';
import { METRICS } from '../../../src/gateway/metrics/catalog.ts';
import { OverloadGuard } from '../../../src/gateway/worker/overload.ts';

/** A clock whose timers fire late, as those of a busy loop do. */
class LateClock implements Clock {
  #now = 0;
  #task: () => void = () => {};

  now(): number {
    return this.#now;
  }

  wall(): number {
    return this.#now;
  }

  after(_delayMs: number, task: () => void) {
    this.#task = task;
    return { cancel() {} };
  }

  fire(afterMs: number): void {
    this.#now += afterMs;
    this.#task();
  }
}

function guardOf(descriptors: number) {
  const clock = new LateClock();
  const metrics = new MetricRegistry(METRICS);
  const told: string[][] = [];
  const usage = { memory: 0, waitMs: 0 };
  const guard = new OverloadGuard({
    clock,
    metrics,
    logger: silentLogger,
    resources: { descriptors, memory: () => usage.memory },
    workers: () => 1,
    memoryLimit: () => undefined,
    waitMs: () => usage.waitMs,
    onChange: (reasons) => told.push([...reasons]),
  });
  const count = (name: string, reason: string) => metrics.cell(name, reason).value;
  return { clock, guard, told, usage, count };
}

test('a loop that comes late three times in a row refuses work, says so, and recovers', () => {
  const { clock, guard, told, count } = guardOf(1024);
  for (const afterMs of [450, 450, 100, 450, 450]) clock.fire(afterMs);
  assert.deepEqual(told, [], 'stalls that are over');
  for (let look = 0; look < 30; look++) clock.fire(1500);
  assert.deepEqual(told, [['lag']]);
  assert.equal(count('sluice_overloaded', 'lag'), 1);
  const refused = Array.from({ length: 1000 }, () => guard.refuseWork()).filter(Boolean).length;
  assert.ok(refused > 250 && refused < 420, `${refused}`);
  assert.equal(count('sluice_overload_shed_total', 'lag'), refused);
  for (let look = 0; look < 20; look++) clock.fire(100);
  assert.deepEqual(told, [['lag'], []]);
  assert.equal(count('sluice_overloaded', 'lag'), 0);
  assert.equal(guard.refuseWork(), false);
});

test('requests that wait for their turn count as lag', () => {
  const { clock, usage, told } = guardOf(1024);
  usage.waitMs = 300;
  for (let look = 0; look < 3; look++) clock.fire(100);
  assert.deepEqual(told, [['lag']]);
});

test('without memory every new request is refused, until there is some again', () => {
  const { clock, guard, told, usage, count } = guardOf(1024);
  usage.memory = 0.95;
  clock.fire(100);
  assert.equal(guard.refuseWork(), true);
  assert.equal(count('sluice_overload_shed_total', 'memory'), 1);
  usage.memory = 0.5;
  clock.fire(100);
  assert.equal(guard.refuseWork(), false);
  assert.deepEqual(told, [['memory'], []]);
});

test('of the descriptors each client may need two, beside those of the process', () => {
  const { guard, count } = guardOf(64 + 4);
  for (let open = 0; open < 2; open++) {
    assert.equal(guard.refuseConnection(), false);
    guard.opened();
  }
  assert.equal(guard.refuseConnection(), true);
  assert.equal(count('sluice_overload_shed_total', 'descriptors'), 1);
  guard.closed();
  assert.equal(guard.refuseConnection(), false);
});
