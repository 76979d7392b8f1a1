import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BalancedEndpoint } from '../../src/balance/balancer.ts';
import { idleLoad } from '../../src/balance/balancer.ts';
import type { Algorithm } from '../../src/balance/catalog.ts';
import { ALGORITHMS, createBalancer } from '../../src/balance/catalog.ts';
import { hashKey } from '../../src/balance/hash.ts';
import { ManualClock } from '../../src/base/clock.ts';
import { seededRng } from '../../src/base/rng.ts';

const HASHED: readonly Algorithm[] = ['source-hash', 'consistent-hash', 'maglev'];

function pool(...weights: number[]): BalancedEndpoint[] {
  return weights.map((weight, i) => ({ id: `10.0.0.${i + 1}:80`, weight, load: idleLoad() }));
}

function balancer(algorithm: Algorithm, endpoints: BalancedEndpoint[], boundedLoad?: number) {
  const made = createBalancer(algorithm, {
    rng: seededRng(7),
    clock: new ManualClock(),
    options: { boundedLoad },
  });
  made.update(endpoints);
  return made;
}

for (const algorithm of ALGORITHMS) {
  describe(`balancer ${algorithm}`, () => {
    it('returns undefined when empty or all are excluded', () => {
      assert.equal(balancer(algorithm, []).pick({}), undefined);
      assert.equal(balancer(algorithm, []).pick({ hash: 1 }), undefined);
      const full = balancer(algorithm, pool(1, 2, 3));
      assert.equal(full.pick({ hash: 9, excluded: () => true }), undefined);
      assert.equal(full.pick({ excluded: () => true }), undefined);
    });

    it('never picks an excluded endpoint, and always finds the only one left', () => {
      const endpoints = pool(1, 256, 3, 0.1, 7);
      const made = balancer(algorithm, endpoints);
      for (let i = 0; i < 500; i++) {
        const left = endpoints[i % endpoints.length];
        const excluded = (ep: BalancedEndpoint) => ep !== left;
        assert.equal(made.pick({ hash: hashKey(`k${i}`), excluded }), left);
        assert.equal(made.pick({ excluded }), left);
      }
    });

    it('serves exactly the endpoints of the last update', () => {
      const made = balancer(algorithm, pool(1, 1, 1));
      made.pick({ hash: 3 });
      const replaced = pool(1, 1, 1);
      made.update(replaced);
      for (let i = 0; i < 100; i++) {
        const picked = made.pick({ hash: hashKey(`k${i}`) });
        assert.ok(picked && replaced.includes(picked), 'the new object, not the old of that id');
      }
      made.update([]);
      assert.equal(made.pick({ hash: 3 }), undefined);
    });

    if (algorithm !== 'first') {
      it('gives idle endpoints shares by weight', () => {
        const endpoints = pool(1, 2, 3, 4);
        const made = balancer(algorithm, endpoints);
        const counts = new Map<string, number>();
        const picks = 20_000;
        for (let i = 0; i < picks; i++) {
          const id = made.pick({ hash: hashKey(`client-${i}`) })?.id ?? '';
          counts.set(id, (counts.get(id) ?? 0) + 1);
        }
        // A ring's arcs vary by about 1/sqrt(nodes); all others follow their weights closely.
        const tolerance = algorithm.endsWith('-hash') ? 0.25 : 0.06;
        for (const ep of endpoints) {
          const expected = (picks * ep.weight) / 10;
          const got = counts.get(ep.id) ?? 0;
          assert.ok(Math.abs(got - expected) < expected * tolerance, `${ep.id}: ${got}`);
        }
      });
    }
  });
}

for (const algorithm of HASHED) {
  describe(`hashing balancer ${algorithm}`, () => {
    it('answers the same for the same hash, whatever the order of the endpoints', () => {
      const endpoints = pool(1, 2, 3, 1, 1);
      const one = balancer(algorithm, endpoints);
      const two = balancer(algorithm, endpoints.toReversed());
      for (let i = 0; i < 1000; i++) {
        const hash = hashKey(`k${i}`);
        assert.equal(one.pick({ hash }), two.pick({ hash }));
        assert.equal(one.pick({ hash }), one.pick({ hash }));
      }
    });

    it('goes round robin without a key', () => {
      const made = balancer(algorithm, pool(1, 1, 1));
      const ids = Array.from({ length: 6 }, () => made.pick({})?.id);
      assert.deepEqual(ids.slice(0, 3), ids.slice(3));
      assert.equal(new Set(ids).size, 3);
    });

    it('moves less than 2 % of the other keys when one of 100 leaves', () => {
      const endpoints = pool(...new Array<number>(100).fill(1));
      const before = balancer(algorithm, endpoints);
      const after = balancer(algorithm, endpoints.slice(1));
      let others = 0;
      let moved = 0;
      for (let i = 0; i < 20_000; i++) {
        const hash = hashKey(`k${i}`);
        const home = before.pick({ hash });
        if (home === endpoints[0]) continue;
        others++;
        if (after.pick({ hash }) !== home) moved++;
      }
      assert.ok(moved / others < 0.02, `${moved} of ${others}`);
    });

    it('keeps every endpoint within the bounded load', () => {
      const endpoints = pool(1, 1, 1, 1);
      const made = balancer(algorithm, endpoints, 1.25);
      for (let i = 1; i <= 400; i++) {
        const picked = made.pick({ hash: 42 });
        assert.ok(picked);
        picked.load.active++;
        assert.ok(picked.load.active <= Math.ceil((1.25 * i) / 4));
      }
    });
  });
}
