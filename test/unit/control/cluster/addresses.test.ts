import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  advertiseAddress,
  controlAddress,
  listenAddress,
} from '../../../../src/control/cluster/addresses.ts';

const LINKS = [
  { link: 'eth0', addresses: ['192.0.2.1', '2001:db8::1'] },
  { link: 'eth1', addresses: ['198.51.100.1', '198.51.100.2'] },
];

test('a manager is asked at its port, or at the usual one, in either family', () => {
  assert.equal(controlAddress('192.0.2.1'), '192.0.2.1:2377');
  assert.equal(controlAddress('192.0.2.1:4000'), '192.0.2.1:4000');
  assert.equal(controlAddress('2001:db8::1'), '[2001:db8::1]:2377');
  assert.equal(controlAddress('[2001:db8::1]'), '[2001:db8::1]:2377');
  assert.equal(controlAddress('[2001:db8::1]:4000'), '[2001:db8::1]:4000');
  assert.equal(controlAddress('manager.example'), 'manager.example:2377');
  assert.throws(() => controlAddress('192.0.2.1:70000'), /from 1 to 65535/);
});

test('addresses are given as such or by an interface that has one', () => {
  assert.deepEqual(listenAddress('', LINKS), { host: '0.0.0.0', port: 2377 });
  assert.deepEqual(listenAddress('[::]:4000', LINKS), { host: '::', port: 4000 });
  assert.deepEqual(listenAddress('eth0:4000', LINKS), { host: '192.0.2.1', port: 4000 });
  assert.throws(() => listenAddress('eth1', LINKS), /more than one address/);
  assert.throws(() => listenAddress('eth7', LINKS), /neither an address nor an interface/);
  const every = { host: '0.0.0.0', port: 2377 };
  assert.throws(() => advertiseAddress('', every, LINKS), /multiple addresses on different/);
  assert.throws(() => advertiseAddress('0.0.0.0', every, LINKS), /must be a non-zero IP address/);
  const one = LINKS.slice(0, 1);
  assert.deepEqual(advertiseAddress('', every, one), { host: '192.0.2.1', port: 2377 });
});
