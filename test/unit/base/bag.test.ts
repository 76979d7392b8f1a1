import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Bag } from '../../../src/base/bag.ts';

test('a bag holds what a set would', () => {
  const order = fc.array(fc.tuple(fc.boolean(), fc.nat(9)));
  fc.assert(
    fc.property(order, (steps) => {
      const members = Array.from({ length: 10 }, (_, id) => ({ id, place: -1 }));
      const bag = new Bag<{ id: number; place: number }>();
      const set = new Set<number>();
      for (const [add, id] of steps) {
        const member = members[id] as { id: number; place: number };
        if (add) bag.add(member);
        else bag.delete(member);
        if (add) set.add(id);
        else set.delete(id);
      }
      const held: number[] = [];
      bag.visit(({ id }) => held.push(id));
      assert.equal(bag.size, set.size);
      assert.deepEqual(held.sort(), [...set].sort());
    }),
  );
});

test('a member that leaves during a visit is not visited', () => {
  const members = [0, 1, 2].map((id) => ({ id, place: -1 }));
  const bag = new Bag<{ id: number; place: number }>();
  for (const member of members) bag.add(member);
  const visited: number[] = [];
  bag.visit(({ id }) => {
    visited.push(id);
    for (const other of members) if (other.id > id) bag.delete(other);
  });
  assert.deepEqual(visited, [0]);
});
