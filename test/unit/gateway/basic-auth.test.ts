import assert from 'node:assert/strict';
import { createHash, scryptSync } from 'node:crypto';
import { test } from 'node:test';
import { PasswordGate } from '../../../src/gateway/http/basic-auth.ts';

const salt = Buffer.from('salt');
const scrypt = scryptSync('slow:word', salt, 32, { N: 1024 }).toString('base64');
const AUTH = {
  realm: 'r',
  users: {
    plain: 'word',
    sha: `{SHA256}${createHash('sha256').update('word').digest('base64')}`,
    slow: `{SCRYPT}1024:${salt.toString('base64')}:${scrypt}`,
    broken: '{SCRYPT}3:x:y',
    apache: '$apr1$saltsalt$Ua.aHJ08K0O47l6WPgqHn0',
    crypt:
      '$6$saltsalt$6HmnG.ehEMzgYMK0TCxOBULoMaNQNXyzFOT2qYch1YHPdYIj3P.88UVgCUtiy.ZlNcL02CwzdM1b.zOdo6qf30',
  },
};

const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

test('plain, SHA-256 and scrypt passwords', () => {
  const gate = new PasswordGate();
  const judge = (given: string | undefined) => gate.judge(given, AUTH, 0);
  for (const right of ['plain:word', 'sha:word', 'slow:slow:word', 'apache:word', 'crypt:word']) {
    assert.equal(judge(basic(right)), 'authorized', right);
  }
  const wrong = ['plain:', 'plain:words', 'sha:', 'slow:word', 'none:word', 'plain', 'broken:y'];
  for (const text of [...wrong, '__proto__:x', ''])
    assert.equal(judge(basic(text)), 'refused', text);
  for (const given of [undefined, '', 'Bearer x', 'basic ', 'Basic !!']) {
    assert.equal(judge(given), 'refused');
  }
});

test('what is slow to compute is computed five times a second, and once for each password', () => {
  const gate = new PasswordGate();
  const verdicts = (from: number, nowMs: number) =>
    Array.from({ length: 7 }, (_, at) => gate.judge(basic(`slow:${from + at}`), AUTH, nowMs));
  const five = new Array(5).fill('refused');
  assert.deepEqual(verdicts(0, 100), [...five, 'busy', 'busy']);
  assert.equal(gate.judge(basic('slow:0'), AUTH, 200), 'refused', 'known');
  assert.equal(gate.judge(basic('plain:word'), AUTH, 200), 'authorized', 'not slow');
  assert.equal(gate.judge(basic('slow:slow:word'), AUTH, 1000), 'authorized');
  assert.deepEqual(verdicts(10, 1100), [...five.slice(1), 'busy', 'busy', 'busy']);
  assert.equal(gate.judge(basic('slow:slow:word'), AUTH, 1200), 'authorized', 'known');
});
