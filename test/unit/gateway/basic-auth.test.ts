import assert from 'node:assert/strict';
import { createHash, scryptSync } from 'node:crypto';
import { test } from 'node:test';
import { ManualClock } from '../../../src/base/clock.ts';
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
  const gate = new PasswordGate(new ManualClock());
  const judge = (given: string | undefined) => gate.judge(given, AUTH);
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
  const clock = new ManualClock();
  const gate = new PasswordGate(clock);
  const judge = (text: string) => gate.judge(basic(text), AUTH);
  const verdicts = (from: number) =>
    Array.from({ length: 7 }, (_, at) => judge(`slow:${from + at}`));
  const five = new Array(5).fill('refused');
  assert.deepEqual(verdicts(0), [...five, 'busy', 'busy']);
  assert.equal(judge('slow:0'), 'refused', 'known');
  assert.equal(judge('plain:word'), 'authorized', 'not slow');
  clock.advance(1000);
  assert.equal(judge('slow:slow:word'), 'authorized');
  assert.deepEqual(verdicts(10), [...five.slice(1), 'busy', 'busy', 'busy']);
  assert.equal(judge('slow:slow:word'), 'authorized', 'known');
});

test('what is slow to compute takes a quarter of a second of each at most', () => {
  class Late extends ManualClock {
    override now(): number {
      this.advance(130);
      return super.now();
    }
  }
  const gate = new PasswordGate(new Late());
  const verdicts = [1, 2, 3].map((at) => gate.judge(basic(`slow:${at}`), AUTH));
  assert.deepEqual(verdicts, ['refused', 'refused', 'busy']);
});
