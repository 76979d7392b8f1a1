import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeAgentReply } from '../../../src/wire/agent-check.ts';

function replyTo(line: string) {
  const result = decodeAgentReply(Buffer.from(`${line}\n`, 'latin1'), false);
  assert.ok(result.kind === 'value', `${line}: ${JSON.stringify(result)}`);
  return result.reply;
}

test('every word of the protocol', () => {
  const description = '';
  const cases: [string, object][] = [
    ['75%', { weight: { kind: 'relative', value: 0.75 }, description }],
    ['weight:30', { weight: { kind: 'absolute', value: 30 }, description }],
    ['weight:200%', { weight: { kind: 'relative', value: 2 }, description }],
    ['maxconn:100', { maxConnections: 100, description }],
    ['up', { health: 'up', description }],
    ['UP Ready', { health: 'up', order: 'ready', description }],
    ['drain', { order: 'drain', description }],
    ['maint', { order: 'maint', description }],
    ['fail', { health: 'down', description }],
    ['stopped#backup, running', { health: 'down', description: 'backup, running' }],
    ['down # \x1b[31mdisk full\t', { health: 'down', description: '[31mdisk full' }],
    [
      'ready,up\t50%  maxconn:8 new-word',
      {
        order: 'ready',
        health: 'up',
        weight: { kind: 'relative', value: 0.5 },
        maxConnections: 8,
        description,
      },
    ],
  ];
  for (const [line, expected] of cases) assert.deepEqual(replyTo(line), expected, line);
});

test('a line ends at CR, LF or the end of the stream', () => {
  for (const text of ['up\r\n', 'up\r', 'up\nmaint\n']) {
    const result = decodeAgentReply(Buffer.from(text), false);
    assert.deepEqual(result, { kind: 'value', reply: { health: 'up', description: '' } });
  }
  assert.equal(decodeAgentReply(Buffer.from('up'), false).kind, 'need-more');
  assert.equal(decodeAgentReply(Buffer.from('up'), true).kind, 'value');
});

test('what orders nothing is an error', () => {
  const cases: [string, string][] = [
    ['', 'empty'],
    ['  ,\t', 'empty'],
    ['# up', 'empty'],
    ['HTTP/1.1 400 Bad Request', 'no-known-word'],
    ['weight:-5', 'no-known-word'],
    ['-5%', 'no-known-word'],
    ['maxconn:50%', 'no-known-word'],
    ['75', 'no-known-word'],
    ['x'.repeat(1025), 'too-long'],
  ];
  for (const [line, reason] of cases) {
    assert.deepEqual(decodeAgentReply(Buffer.from(`${line}\n`), true), { kind: 'error', reason });
  }
  const endless = decodeAgentReply(Buffer.alloc(1025, 'u'), false);
  assert.deepEqual(endless, { kind: 'error', reason: 'too-long' });
});

test('arbitrary bytes never throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1200 }), fc.boolean(), (bytes, ended) => {
      decodeAgentReply(Buffer.from(bytes), ended);
    }),
  );
});
