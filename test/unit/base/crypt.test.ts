import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { cryptHash, isCryptHash } from '../../../src/base/crypt.ts';

/** What crypt(3) of this machine makes of a password. */
function systemCrypt(password: string, setting: string): string {
  const script = 'print crypt($ARGV[0], $ARGV[1])';
  return spawnSync('perl', ['-e', script, password, setting], { encoding: 'utf8' }).stdout;
}

const SETTINGS = ['$1$ab$', '$1$saltsalt$', '$5$grain$', '$5$rounds=1000$saltsaltsaltsalt$'].concat(
  ['$6$x$', '$6$rounds=2000$saltsaltsaltsalt$', '$2y$04$abcdefghijklmnopqrstuu'],
  ['$2b$05$......................', '$2a$06$ABCDEFGHIJKLMNOPQRSTUu'],
);

test('hashes are those of crypt(3)', () => {
  for (const setting of SETTINGS) {
    for (const password of ['', 'a', 'secret', 'grün 🔑', 'x'.repeat(70), 'y'.repeat(90)]) {
      const stored = systemCrypt(password, setting);
      assert.ok(isCryptHash(stored), stored);
      assert.equal(cryptHash(password, stored), stored, password);
      assert.notEqual(cryptHash(`!${password}`, stored), stored);
    }
  }
});

test('hashes of Apache are those of openssl', () => {
  for (const [kind, algorithm] of [
    ['-apr1', '$apr1$'],
    ['-1', '$1$'],
  ] as const) {
    for (const password of ['a', 'secret', 'a longer one than sixteen bytes']) {
      const args = ['passwd', kind, '-salt', 'saltsalt', password];
      const stored = spawnSync('openssl', args, { encoding: 'utf8' }).stdout.trim();
      assert.ok(stored.startsWith(algorithm));
      assert.equal(cryptHash(password, stored), stored);
    }
  }
  // Source: Apache httpd, "Password Formats"; RFC 2307 with salt.
  assert.equal(
    cryptHash('myPassword', '{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE='),
    '{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=',
  );
  const salted = '{SSHA}W6ZyVkfPS3ERBpK3iOQr7wrtJxdzYWx0';
  assert.notEqual(cryptHash('wrong', salted), salted);
});

test('what would take too long, or is of no known kind, is no hash', () => {
  for (const stored of [
    'secret',
    '$7$x$y',
    '$2y$11$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyz01234',
  ]) {
    assert.equal(isCryptHash(stored), false);
    assert.equal(cryptHash('secret', stored), undefined);
  }
});
