import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forbiddenReason } from '../../../src/gateway/discovery/forbidden.ts';

const CASES: [host: string, local: boolean, reason: string | undefined][] = [
  ['10.0.0.1', false, undefined],
  ['2001:db8::1', false, undefined],
  ['169.254.169.254', true, 'linkLocal'],
  ['::ffff:169.254.169.254', true, 'linkLocal'],
  ['64:ff9b::a9fe:a9fe', true, 'linkLocal'],
  ['fe80::1', true, 'linkLocal'],
  ['0.0.0.0', true, 'unspecified'],
  ['::', true, 'unspecified'],
  ['255.255.255.255', true, 'broadcast'],
  ['ff02::1', true, 'multicast'],
  ['127.0.0.1', false, 'loopback'],
  ['127.9.9.9', false, 'loopback'],
  ['::1', false, 'loopback'],
  ['::ffff:127.0.0.1', false, 'loopback'],
  ['127.0.0.1', true, undefined],
  ['169.254.7.7', false, undefined],
];

test('what a source may not name', () => {
  for (const [host, local, reason] of CASES) {
    const fence = { allow: ['169.254.7.0/24', 'fd00::/8'], local };
    assert.equal(forbiddenReason({ host, port: 80 }, fence), reason, `${host} ${local}`);
  }
  assert.equal(forbiddenReason({ path: '/run/x' }, { allow: [], local: true }), 'a unix path');
});
