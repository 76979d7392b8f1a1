import assert from 'node:assert/strict';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { findPlace, statPlace } from '../../../src/agent/runtime/scoped-path.ts';

const root = mkdtempSync(join(tmpdir(), 'sluice-scope-'));
before(() => {
  mkdirSync(join(root, 'etc'));
  mkdirSync(join(root, 'data/deep'), { recursive: true });
  writeFileSync(join(root, 'etc/passwd'), 'mine');
  symlinkSync('/etc', join(root, 'absolute'));
  symlinkSync('../../../../etc', join(root, 'data/up'));
  symlinkSync('data/deep', join(root, 'near'));
  symlinkSync('loop', join(root, 'loop'));
});
after(() => rmSync(root, { recursive: true, force: true }));

/** Where a path is found, without the root. */
function find(path: string, followLast = false): string {
  const { directory, name } = findPlace(root, path, followLast);
  try {
    return join(readlinkSync(`/proc/self/fd/${directory}`), name).slice(root.length) || '/';
  } finally {
    closeSync(directory);
  }
}

const found: [path: string, wanted: string][] = [
  ['/', '/'],
  ['/etc/passwd', '/etc/passwd'],
  ['/absolute/passwd', '/etc/passwd'],
  ['/data/up/passwd', '/etc/passwd'],
  ['/near/../deep', '/data/deep'],
  ['/../../etc', '/etc'],
  ['/near', '/near'],
  ['/near/', '/data/deep'],
  ['/near/.', '/data/deep'],
  ['/data/nothing', '/data/nothing'],
];
for (const [path, wanted] of found) {
  test(`${path} is ${wanted}, below the root`, () => assert.equal(find(path), wanted));
}

test('the last link is followed where that is asked for', () => {
  assert.equal(find('/absolute', true), '/etc');
});

test('what is not there is said so', () => {
  for (const path of ['/no/such', '/etc/passwd/x', '/loop/x', '/no/']) {
    assert.throws(() => find(path), /Could not find the file|too many links/, path);
  }
  const place = findPlace(root, '/data/nothing');
  assert.throws(() => statPlace(place, '/data/nothing'), { code: 'E_OBJECT_NOT_FOUND' });
  closeSync(place.directory);
});
