import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turnstile, type Waiter } from '../../../src/net/turnstile.ts';

/** Lets `count` come at once; who began at once, and who when it was their turn. */
function crowd(turnstile: Turnstile, count: number) {
  const atOnce: number[] = [];
  const later: number[] = [];
  for (let at = 0; at < count; at++) {
    const waiter: Waiter = { waitsSince: 0, pass: () => later.push(at) };
    if (turnstile.enter(waiter)) atOnce.push(at);
  }
  return { atOnce, later };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a few begin at once, the others in their order, some in each turn of the loop', async () => {
  const turnstile = new Turnstile();
  const { atOnce, later } = crowd(turnstile, 10_000);
  const first = atOnce.length;
  assert.ok(first > 0 && first < 1000, `${first}`);
  assert.deepEqual(later, []);
  await turn();
  assert.ok(later.length > 0 && later.length < 1000, `${later.length}`);
  while (later.length < 10_000 - first) await turn();
  assert.deepEqual(
    [...atOnce, ...later],
    Array.from({ length: 10_000 }, (_, at) => at),
  );
  assert.ok(turnstile.longestWait() > 0);
  assert.equal(turnstile.longestWait(), 0, 'told once');
});

test('who comes while others wait comes after them, even from within a turn', async () => {
  const turnstile = new Turnstile();
  const order: string[] = [];
  const waiter = (name: string, then = () => {}): Waiter => ({
    waitsSince: 0,
    pass: () => {
      order.push(name);
      then();
    },
  });
  let more = 0;
  while (turnstile.enter(waiter('first', () => turnstile.enter(waiter('last'))))) more++;
  turnstile.enter(waiter('second'));
  await turn();
  await turn();
  assert.deepEqual(order, ['first', 'second', 'last'], `${more} had begun at once`);
});
