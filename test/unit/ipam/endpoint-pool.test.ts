import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAddress, parseAddress, parseCidr, width } from '../../../src/ipam/cidr.ts';
import { EndpointPool, type EndpointUse } from '../../../src/ipam/endpoint-pool.ts';

const USES: readonly EndpointUse[] = ['task', 'vip'];

function cidr(text: string) {
  const block = parseCidr(text);
  assert(block, text);
  return block;
}

function value(text: string): bigint {
  return parseAddress(text)?.value ?? -1n;
}

function poolOf(subnet: string, range?: string, reserved: readonly string[] = []) {
  const pool = new EndpointPool(cidr(subnet), range ? cidr(range) : undefined, reserved.map(value));
  const { family } = pool.subnet;
  const text = (number: bigint | undefined) =>
    number === undefined ? undefined : formatAddress({ family, value: number });
  return {
    pool,
    next: (use: EndpointUse) => text(pool.next(use)),
    take: (address: string, use: EndpointUse) => pool.take(value(address), use),
    free: (address: string) => pool.free(value(address)),
  };
}

test('tasks go upwards, services downwards, and what came back is given late', () => {
  const { next, free } = poolOf('10.0.1.0/24', undefined, ['10.0.1.1']);
  assert.equal(next('task'), '10.0.1.2');
  assert.equal(next('task'), '10.0.1.3');
  assert.equal(next('vip'), '10.0.1.254');
  assert.equal(next('vip'), '10.0.1.253');
  free('10.0.1.2');
  free('10.0.1.254');
  assert.equal(next('task'), '10.0.1.4');
  assert.equal(next('vip'), '10.0.1.252');
});

test('neither use takes everything', () => {
  for (const [greedy, other] of [USES, [...USES].reverse()]) {
    assert(greedy && other);
    const { next } = poolOf('10.0.1.0/24', undefined, ['10.0.1.1']);
    let given = 0;
    while (next(greedy) !== undefined) given++;
    assert.equal(given, 253 - 16);
    for (let more = 0; more < 16; more++) assert(next(other));
    assert.equal(next(other), undefined);
  }
});

test('a range limits the choice; what is asked for need not be in it', () => {
  const { next, take } = poolOf('10.0.0.0/16', '10.0.5.0/30');
  assert.equal(take('10.0.9.9', 'task'), true);
  assert.equal(take('10.0.9.9', 'vip'), false);
  assert.equal(take('10.1.0.1', 'task'), false);
  assert.equal(take('10.0.0.0', 'task'), false);
  const given = [next('task'), next('task'), next('task'), next('vip'), next('task')];
  assert.deepEqual(given, ['10.0.5.0', '10.0.5.1', '10.0.5.2', '10.0.5.3', undefined]);
});

test('subnets of one and two addresses, and IPv6', () => {
  assert.equal(poolOf('10.0.0.4/31').next('task'), '10.0.0.4');
  assert.equal(poolOf('10.0.0.4/32').next('vip'), '10.0.0.4');
  const { next } = poolOf('fd00:1::/64', undefined, ['fd00:1::1']);
  assert.equal(next('task'), 'fd00:1::2');
  assert.equal(next('vip'), 'fd00:1::ffff:ffff:ffff:ffff');
});

test('no address is given twice, and all of a subnet is given', () => {
  const operation = fc.record({
    use: fc.constantFrom(...USES),
    free: fc.boolean(),
    index: fc.nat(),
  });
  const subnets = fc.constantFrom('10.0.0.0/28', '10.0.0.0/26', '10.0.0.0/30', 'fd00::/123');
  const property = fc.property(subnets, fc.array(operation, { maxLength: 200 }), (subnet, all) => {
    const { pool } = poolOf(subnet);
    const held = new Map<bigint, EndpointUse>();
    const size = 2 ** (width(pool.subnet.family) - pool.subnet.bits);
    const usable = pool.subnet.family === 4 ? size - 2 : size - 1;
    for (const { use, free, index } of all) {
      const some = [...held.keys()][index % Math.max(1, held.size)];
      if (free && some !== undefined) {
        pool.free(some);
        held.delete(some);
        continue;
      }
      const given = pool.next(use);
      if (given === undefined) {
        const others = [...held.values()].filter((one) => one !== use).length;
        const kept = Math.max(0, Math.floor(size / 16) - others);
        assert(usable - held.size <= kept, `${usable - held.size} are free`);
        continue;
      }
      assert(!held.has(given));
      held.set(given, use);
    }
  });
  fc.assert(property, { numRuns: 300 });
});
