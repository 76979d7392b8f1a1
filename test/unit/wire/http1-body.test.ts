import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { normalizeTarget } from '../../../src/wire/http-path.ts';
import { BodyDecoder, chunkHeader, lastChunk } from '../../../src/wire/http1-body.ts';

type Outcome = { body: string; trailers: string[] } | { error: string } | 'unfinished';

/** Decodes pieces as a connection would, one after the other. */
function decode(
  pieces: readonly string[],
  decoder = new BodyDecoder({ kind: 'chunked' }),
): Outcome {
  let body = '';
  let buffer = Buffer.alloc(0);
  for (const piece of pieces) {
    buffer = Buffer.concat([buffer, Buffer.from(piece, 'latin1')]);
    for (;;) {
      const step = decoder.decode(buffer, 0);
      if (step.kind === 'error') return { error: step.reason };
      buffer = buffer.subarray(step.consumed);
      if (step.kind === 'end') return { body, trailers: step.trailers };
      if (step.kind === 'need-more') break;
      body += step.data.toString('latin1');
    }
  }
  return 'unfinished';
}

test('chunks, extensions and trailers', () => {
  const text = '5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n';
  assert.deepEqual(decode([text]), { body: 'hello!', trailers: ['X-Sum', '1'] });
});

const BROKEN: readonly [string, string][] = [
  ['5\nhello\r\n0\r\n\r\n', 'bad-chunk-size'],
  ['-1\r\n', 'bad-chunk-size'],
  ['0x5\r\n', 'bad-chunk-size'],
  ['11111111111111111\r\n', 'chunk-size-too-large'],
  ['\r\n', 'bad-chunk-size'],
  ['5\r\nhelloXX', 'bad-chunk-end'],
  ['5\r\nhello\n', 'bad-chunk-end'],
  [`1;${'e'.repeat(20_000)}`, 'chunk-extensions-too-large'],
  [`0\r\nX: ${'t'.repeat(20_000)}`, 'trailers-too-large'],
  ['0\r\nX y: 1\r\n\r\n', 'bad-trailer'],
];

for (const [text, reason] of BROKEN) {
  test(`${JSON.stringify(text.slice(0, 20))}: ${reason}`, () =>
    assert.deepEqual(decode([text]), { error: reason }));
}

test('what is encoded is decoded again, however it is cut', () => {
  const bodies = fc.array(fc.string({ minLength: 1, maxLength: 40, unit: 'binary-ascii' }), {
    maxLength: 6,
  });
  fc.assert(
    fc.property(bodies, fc.array(fc.integer({ min: 1, max: 9 })), (chunks, cuts) => {
      const framed = chunks.map((chunk) => `${chunkHeader(chunk.length)}${chunk}\r\n`).join('');
      const text = framed + lastChunk(['X-End', 'yes']);
      const pieces: string[] = [];
      let at = 0;
      for (const cut of cuts) {
        pieces.push(text.slice(at, at + cut));
        at += cut;
      }
      pieces.push(text.slice(at));
      assert.deepEqual(decode(pieces), { body: chunks.join(''), trailers: ['X-End', 'yes'] });
    }),
  );
});

test('slashes in a row are one where they are to be merged', () => {
  const merged = (target: string) => normalizeTarget(target, 'reject', 'merge');
  assert.deepEqual(merged('//a///b//?c=//'), { path: '/a/b/', query: 'c=//' });
  assert.deepEqual(merged('/a//../b'), { path: '/b', query: undefined });
  assert.deepEqual(normalizeTarget('//a', 'reject'), { path: '//a', query: undefined });
});

test('a length is a length', () => {
  const decoder = new BodyDecoder({ kind: 'length', length: 5 });
  assert.deepEqual(decode(['he', 'llo', 'more'], decoder), { body: 'hello', trailers: [] });
});

const PATHS: readonly [string, string][] = [
  ['/a/../b', '/b'],
  ['/a/./b/.', '/a/b/'],
  ['/%2e%2e/', 'path-above-root'],
  ['/../x', 'path-above-root'],
  ['/a/%2E%2e/b', '/b'],
  ['/%61%7e', '/a~'],
  ['/%c3%a9', '/%C3%A9'],
  ['//a', '//a'],
  ['/a;x', '/a;x'],
  ['/%2f', 'escaped-slash'],
  ['/%5c', 'escaped-slash'],
  ['/\\', 'bad-path-character'],
  ['/%00', 'escaped-nul'],
  ['/%zz', 'bad-escape'],
  ['/%', 'bad-escape'],
  ['/\u0080', 'bad-path-character'],
];

for (const [target, expected] of PATHS) {
  test(`path ${JSON.stringify(target)} becomes ${expected}`, () => {
    const result = normalizeTarget(target, 'reject');
    assert.equal('error' in result ? result.error : result.path, expected);
  });
}
