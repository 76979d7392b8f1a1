import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LevelCell, MetricRegistry } from '../../../src/base/metrics.ts';
import { MetricAggregator } from '../../../src/gateway/metrics/aggregator.ts';
import { StatHistory } from '../../../src/gateway/stats/stat-history.ts';
import {
  ENDPOINT_TALLY,
  EndpointTally,
  peakIn,
} from '../../../src/gateway/upstream/endpoint-tally.ts';

const FAMILY = 'sluice_listener_connections_total';
const OPEN = 'sluice_listener_connections_active';

const counted = (value: number, listener = 'web') => ({
  family: FAMILY,
  labels: [listener],
  value,
});
const level = (value: number, peak: number) => ({ family: OPEN, labels: ['web'], value, peak });

test('a rate is what came in the last second, and its highest value stays', () => {
  const history = new StatHistory();
  const rate = () => history.rate('listener_connections_total', 'web');
  history.take([counted(5)], 0);
  assert.deepEqual([rate().now, rate().most], [0, 0]);
  history.take([counted(25)], 2000);
  assert.deepEqual([rate().now, rate().most], [10, 10]);
  history.take([counted(25)], 2100);
  assert.equal(rate().now, 10, 'a look in between says nothing');
  history.take([counted(26), counted(3, 'other')], 3000);
  assert.deepEqual([rate().now, rate().most], [1, 10]);
  assert.equal(history.rate('listener_connections_total').now, 4, 'of all together');
  history.take([counted(2)], 4000);
  assert.equal(rate().now, 0, 'an object that was made anew counts from nothing');
  history.clear();
  assert.equal(rate().most, 0);
});

test('a peak is the highest that was reported, also in between two looks', () => {
  const history = new StatHistory();
  history.take([level(1, 7)], 0);
  history.take([level(2, 3)], 100);
  assert.equal(history.peak('listener_connections_active', 'web'), 7);
  history.prune(({ labels }) => labels[0] !== 'web');
  assert.equal(history.peak('listener_connections_active', 'web'), 0);
});

test('idle is the time since a counter last moved', () => {
  const history = new StatHistory();
  const idle = (now: number) => history.idleSeconds(now, 'listener_connections_total', 'web');
  history.take([counted(0)], 0);
  assert.equal(idle(5000), -1);
  history.take([counted(1)], 1000);
  history.take([counted(1)], 2000);
  assert.equal(idle(3500), 2);
});

test('a level that was read in between keeps its highest value for the next look', () => {
  const cell = new LevelCell();
  cell.set(5);
  cell.set(1);
  assert.equal(cell.peak, 5);
  cell.turn();
  cell.set(2);
  assert.deepEqual([cell.value, cell.peak], [2, 5]);
  cell.turn();
  assert.equal(cell.peak, 2);
});

test('the longest time of an endpoint is that of any worker, until it is cleared', () => {
  const workers = [150, 400].map((ms) => {
    const registry = new MetricRegistry([ENDPOINT_TALLY]);
    const tally = new EndpointTally(registry.tally(ENDPOINT_TALLY.name, 'app', 's1'));
    tally.connected(ms);
    tally.connected(20);
    return registry;
  });
  const all = new MetricAggregator([ENDPOINT_TALLY]);
  const history = new StatHistory();
  const look = (at: number) => {
    for (const [index, one] of workers.entries()) all.update(`${index}`, one.samples());
    history.take(all.samples(), at);
    return peakIn(history.peaks('endpoint_tally', 'app', 's1'), 'connectMs');
  };
  const turn = () => {
    for (const one of workers) one.turnPeaks();
  };
  assert.equal(look(0), 400);
  turn();
  turn();
  assert.equal(look(1000), 400, 'it stays');
  history.clear();
  assert.equal(look(2000), 0, 'what was before is forgotten');
  history.prune(() => false);
  assert.equal(history.peaks('endpoint_tally', 'app', 's1'), undefined);
});

test('a worker that has ended leaves its counts, and no highest values', () => {
  const registry = new MetricRegistry([ENDPOINT_TALLY]);
  new EndpointTally(registry.tally(ENDPOINT_TALLY.name, 'app', 's1')).connected(90);
  const all = new MetricAggregator([ENDPOINT_TALLY]);
  all.update('0', registry.samples());
  all.retire('0');
  const [left] = all.samples();
  assert.equal(left?.peaks, undefined);
  assert.equal(
    left?.counts?.reduce((sum, count) => sum + count, 0),
    91,
  );
});
