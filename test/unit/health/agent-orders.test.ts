import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentOrders } from '../../../src/health/agent-orders.ts';

const description = '';

test('what a reply does not name stays', () => {
  const orders = new AgentOrders();
  assert.equal(orders.take({ health: 'down', description: 'disk full' }), true);
  assert.equal(orders.take({ weight: { kind: 'relative', value: 0.5 }, description }), true);
  assert.equal(orders.take({ weight: { kind: 'relative', value: 0.5 }, description }), false);
  assert.equal(orders.state, 'down');
  assert.equal(orders.reason, 'agent: down (disk full)');
  assert.equal(orders.take({ order: 'ready', description }), true);
  assert.equal(orders.state, 'down', 'ready takes no down back');
  orders.take({ health: 'up', order: 'drain', description });
  assert.equal(orders.state, 'drain');
  orders.take({ health: 'up', description });
  assert.equal(orders.state, 'drain', 'up takes no drain back');
  orders.take({ order: 'ready', description });
  assert.equal(orders.state, 'ready');
  assert.equal(orders.reason, '');
});

test('maint is stricter than down, down than drain', () => {
  const orders = new AgentOrders();
  orders.take({ health: 'down', order: 'maint', description });
  assert.equal(orders.state, 'maint');
  orders.take({ order: 'drain', description });
  assert.equal(orders.state, 'down');
});

test('weights are shares of the configured one or absolute, at most 256', () => {
  const orders = new AgentOrders();
  assert.equal(orders.weight(10), 10);
  orders.take({ weight: { kind: 'relative', value: 0.75 }, description });
  assert.equal(orders.weight(10), 7.5);
  assert.equal(orders.weight(1), 0.75);
  orders.take({ weight: { kind: 'absolute', value: 3 }, description });
  assert.equal(orders.weight(10), 3);
  orders.take({ weight: { kind: 'relative', value: 1000 }, description });
  assert.equal(orders.weight(10), 256);
});

test('a limit of 0 is the configured one', () => {
  const orders = new AgentOrders();
  assert.equal(orders.maxConnections(7), 7);
  orders.take({ maxConnections: 3, description });
  assert.equal(orders.maxConnections(7), 3);
  orders.take({ maxConnections: 0, description });
  assert.equal(orders.maxConnections(undefined), undefined);
});
