import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AddressPool } from '../../../src/ipam/address-pool.ts';
import { type BlockRequest, checkBlocks, planBlocks } from '../../../src/ipam/block-plan.ts';
import {
  type Cidr,
  contains,
  formatAddress,
  formatCidr,
  lastOf,
  overlaps,
  parseAddress,
  parseCidr,
  width,
} from '../../../src/ipam/cidr.ts';
import { NetworkAddresses } from '../../../src/ipam/network-addresses.ts';
import { chooseSubnet, DEFAULT_SOURCES } from '../../../src/ipam/subnet-choice.ts';

const block = (text: string): Cidr => {
  const cidr = parseCidr(text);
  assert.ok(cidr, text);
  return cidr;
};
const request = (parts: Partial<BlockRequest>): BlockRequest => ({
  subnet: undefined,
  ipRange: undefined,
  gateway: undefined,
  auxAddresses: {},
  ...parts,
});
const surroundings = { sources: DEFAULT_SOURCES, taken: [], avoided: [] };

const anyCidr = fc
  .record({ four: fc.boolean(), bits: fc.nat(128), value: fc.bigInt(0n, (1n << 128n) - 1n) })
  .map(({ four, bits, value }): Cidr => {
    const family = four ? 4 : 6;
    const length = four ? bits % 33 : bits;
    const host = BigInt(width(family) - length);
    const own = four ? value >> 96n : value;
    return { family, base: (own >> host) << host, bits: length };
  });

test('addresses and blocks are read back as they were written', () => {
  fc.assert(
    fc.property(anyCidr, (cidr) => {
      assert.deepEqual(parseCidr(formatCidr(cidr)), cidr);
      const address = { family: cidr.family, value: lastOf(cidr) };
      assert.deepEqual(parseAddress(formatAddress(address)), address);
      assert.ok(contains(cidr, address));
    }),
  );
});

test('what is no address is not taken for one', () => {
  for (const text of ['', '1.2.3', '01.2.3.4', '1.2.3.256', 'fe80::1%eth0', '::g', '0x1.0.0.1']) {
    assert.equal(parseAddress(text), undefined, text);
  }
  for (const text of ['1.2.3.4/33', '1.2.3.4', '10.0.0.1/24', '::/129', '/8']) {
    assert.equal(parseCidr(text), undefined, text);
  }
});

test('overlap is symmetric and means a shared address', () => {
  fc.assert(
    fc.property(anyCidr, anyCidr, (a, b) => {
      assert.equal(overlaps(a, b), overlaps(b, a));
      const shared = a.family === b.family && a.base <= lastOf(b) && b.base <= lastOf(a);
      assert.equal(overlaps(a, b), shared);
    }),
  );
});

test('a pool hands out each address once, lowest first, and again what came back', () => {
  const steps = fc.array(fc.oneof(fc.constant('next' as const), fc.nat(20)), { maxLength: 80 });
  fc.assert(
    fc.property(steps, fc.integer({ min: 27, max: 32 }), (orders, bits) => {
      const pool = new AddressPool({ family: 4, base: 0x0a000000n, bits }, undefined);
      const held: bigint[] = [];
      for (const order of orders) {
        if (order === 'next') {
          const value = pool.next();
          if (value === undefined) continue;
          assert.ok(!held.includes(value), 'twice');
          for (let low = 0x0a000000n; low < value; low++) {
            assert.ok(held.includes(low) || (bits < 31 && low === 0x0a000000n), 'not the lowest');
          }
          held.push(value);
        } else if (held.length > 0) {
          const [gone] = held.splice(order % held.length, 1);
          if (gone !== undefined) pool.free(gone);
        }
        assert.equal(pool.used, held.length);
      }
    }),
  );
});

test('the ends of a block are kept back, but for blocks of one or two addresses', () => {
  const sizes = [
    ['10.0.0.0/25', 126],
    ['10.0.0.0/30', 2],
    ['10.0.0.0/31', 2],
    ['10.0.0.0/32', 1],
    ['fd00::/126', 3],
    ['fd00::/127', 2],
  ] as const;
  for (const [text, expected] of sizes) {
    const pool = new AddressPool(block(text), undefined);
    let count = 0;
    while (pool.next() !== undefined) count++;
    assert.equal(count, expected, text);
  }
});

test('serial choice does not give back at once what was released', () => {
  const pool = new AddressPool(block('10.0.0.0/29'), undefined);
  const first = pool.nextAfter(0n) ?? 0n;
  pool.free(first);
  assert.equal(pool.nextAfter(first), first + 1n);
});

test('subnets are chosen in order, around what is taken, without overlap', () => {
  const taken: Cidr[] = [];
  for (;;) {
    const next = chooseSubnet(DEFAULT_SOURCES, taken);
    if (!next) break;
    assert.ok(!taken.some((cidr) => overlaps(cidr, next)));
    taken.push(next);
  }
  const texts = taken.map(formatCidr);
  assert.equal(texts.length, 31);
  assert.deepEqual(
    [texts[0], texts[14], texts[15], texts[30]],
    ['172.17.0.0/16', '172.31.0.0/16', '192.168.0.0/20', '192.168.240.0/20'],
  );
  fc.assert(
    fc.property(fc.array(anyCidr, { maxLength: 12 }), (others) => {
      const chosen = chooseSubnet(DEFAULT_SOURCES, others);
      if (chosen) assert.ok(!others.some((cidr) => overlaps(cidr, chosen)));
    }),
  );
});

test('a plan fills in what was left open', () => {
  assert.deepEqual(planBlocks([], [4], surroundings), [
    { subnet: '172.17.0.0/16', ipRange: undefined, gateway: '172.17.0.1', auxAddresses: {} },
  ]);
  const [ranged] = planBlocks(
    [request({ subnet: '172.28.0.0/16', ipRange: '172.28.5.0/24' })],
    [4],
    surroundings,
  );
  assert.equal(ranged?.gateway, '172.28.5.0');
  const avoided = [block('172.17.4.0/24')];
  assert.equal(planBlocks([], [4], { ...surroundings, avoided })[0]?.subnet, '172.18.0.0/16');
  const explicit = [request({ subnet: '172.17.0.0/16' })];
  assert.equal(planBlocks(explicit, [4], { ...surroundings, avoided }).length, 1);
});

test('a plan that cannot be is refused in the known words', () => {
  const taken = [block('10.0.0.0/8')];
  assert.throws(
    () => planBlocks([request({ subnet: '10.1.0.0/16' })], [4], { ...surroundings, taken }),
    /invalid pool request: Pool overlaps with other one on this address space/,
  );
  assert.throws(
    () => planBlocks([], [6], surroundings),
    /all predefined address pools have been fully subnetted/,
  );
  assert.throws(
    () =>
      checkBlocks([
        request({
          subnet: '10.0.0.1/24',
          gateway: '10.0.1.1',
          ipRange: '10.0.0.0/16',
          auxAddresses: { a: 'fd00::1', b: 'x' },
        }),
      ]),
    {
      message: [
        'invalid network config:',
        'invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24',
        'invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.0.0/24',
        "invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24 doesn't contain this address",
        'invalid auxiliary address a: parent subnet is an IPv4 block',
        'invalid auxiliary address b: invalid address',
      ].join('\n'),
    },
  );
});

test('a network keeps gateway and auxiliary addresses back and says when it is full', () => {
  const addresses = new NetworkAddresses({
    id: 'ab12',
    name: 'n',
    ipam: {
      driver: 'default',
      options: {},
      chosen: true,
      blocks: planBlocks(
        [request({ subnet: '10.0.0.0/29', auxAddresses: { router: '10.0.0.5' } })],
        [4],
        surroundings,
      ),
    },
  });
  assert.throws(() => addresses.reserve('10.0.0.5'), /Address already in use/);
  assert.throws(() => addresses.reserve('10.0.0.1'), /Address already in use/);
  assert.throws(() => addresses.reserve('10.0.1.1'), /no configured subnet or ip-range contain/);
  assert.deepEqual(addresses.reserve('10.0.0.6'), { address: '10.0.0.6', prefixLength: 29 });
  const given = [2, 3, 4].map(() => addresses.allocate(4).address);
  assert.deepEqual(given, ['10.0.0.2', '10.0.0.3', '10.0.0.4']);
  assert.throws(() => addresses.allocate(4), {
    message: "no available IPv4 addresses on this network's address pools: n (ab12)",
  });
  addresses.release('10.0.0.3');
  assert.equal(addresses.allocate(4).address, '10.0.0.3');
});
