import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathWithin } from '../../../src/agent/runtime/podman/image-content.ts';

const root = mkdtempSync(join(tmpdir(), 'sluice-image-'));
after(() => rmSync(root, { recursive: true, force: true }));

test('links of an image lead nowhere but into the image', () => {
  mkdirSync(join(root, 'data/deep'), { recursive: true });
  symlinkSync('/etc', join(root, 'absolute'));
  symlinkSync('../../../../etc', join(root, 'data/up'));
  symlinkSync('data/deep', join(root, 'near'));
  symlinkSync('loop', join(root, 'loop'));
  assert.equal(pathWithin(root, '/absolute/passwd'), join(root, 'etc/passwd'));
  assert.equal(pathWithin(root, '/data/up/passwd'), join(root, 'etc/passwd'));
  assert.equal(pathWithin(root, '/near/../deep'), join(root, 'data/deep'));
  assert.equal(pathWithin(root, '/../../x'), join(root, 'x'));
  assert.equal(pathWithin(root, '/'), join(root, '/'));
  assert.equal(pathWithin(root, '/no/such'), join(root, 'no/such'));
  assert.throws(() => pathWithin(root, '/loop/x'), /too many links/);
});
