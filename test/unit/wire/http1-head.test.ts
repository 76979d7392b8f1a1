import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRequestHead, parseResponseHead } from '../../../src/wire/http1-head.ts';

const LIMITS = {
  maxHeaderBytes: 16_384,
  maxHeaders: 100,
  maxUriBytes: 8192,
  underscoreHeaders: 'drop',
} as const;

function verdict(text: string): string {
  const result = parseRequestHead(Buffer.from(text, 'latin1'), 0, LIMITS);
  return result.kind === 'error' ? `${result.status} ${result.reason}` : result.kind;
}

const field = (line: string) => `POST / HTTP/1.1\r\nHost: a\r\n${line}\r\n\r\n`;

/** One documented verdict for each ambiguity. Source: RFC 9112; RFC 9110. */
const VERDICTS: readonly [string, string, string][] = [
  [
    'length and transfer encoding',
    field('Content-Length: 5\r\nTransfer-Encoding: chunked'),
    '400 length-and-transfer-encoding',
  ],
  ['two lengths', field('Content-Length: 5\r\nContent-Length: 6'), '400 repeated-content-length'],
  [
    'the same length twice',
    field('Content-Length: 5\r\nContent-Length: 5'),
    '400 repeated-content-length',
  ],
  ['a list of lengths', field('Content-Length: 5,5'), '400 bad-content-length'],
  ['a signed length', field('Content-Length: +5'), '400 bad-content-length'],
  ['a hexadecimal length', field('Content-Length: 0x5'), '400 bad-content-length'],
  [
    'a length of 20 digits',
    field('Content-Length: 99999999999999999999'),
    '400 bad-content-length',
  ],
  ['an empty length', field('Content-Length:'), '400 bad-content-length'],
  ['xchunked', field('Transfer-Encoding: xchunked'), '501 unknown-transfer-coding'],
  ['chunked twice', field('Transfer-Encoding: chunked, chunked'), '400 chunked-not-last'],
  ['chunked before gzip', field('Transfer-Encoding: chunked, gzip'), '400 chunked-not-last'],
  ['gzip before chunked', field('Transfer-Encoding: gzip, chunked'), '501 unknown-transfer-coding'],
  ['identity', field('Transfer-Encoding: identity'), '501 unknown-transfer-coding'],
  [
    'transfer encoding on 1.0',
    'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n',
    '400 transfer-encoding-on-1.0',
  ],
  ['space before the colon', field('X : y'), '400 bad-header-name'],
  ['an empty name', field(': y'), '400 empty-header-name'],
  [
    'space before the first field',
    'GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n',
    '400 obsolete-folding',
  ],
  ['a folded line', field('X: a\r\n b'), '400 obsolete-folding'],
  ['a bare CR', field('X: a\rb'), '400 bare-line-end'],
  ['a bare LF', field('X: a\nY: b'), '400 bare-line-end'],
  ['only LF', 'GET / HTTP/1.1\nHost: a\n\n', '400 bare-line-end'],
  ['NUL in a value', field('X: a\0b'), '400 control-character'],
  ['no host', 'GET / HTTP/1.1\r\n\r\n', '400 no-host'],
  ['two hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', '400 repeated-host'],
  ['a host with a path', 'GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n', '400 bad-host'],
  ['user information in a host', 'GET / HTTP/1.1\r\nHost: u@a\r\n\r\n', '400 bad-host'],
  ['a method of 1 kB', `${'A'.repeat(1024)} / HTTP/1.1\r\nHost: a\r\n\r\n`, '400 bad-method'],
  ['a lower-case method', 'get / HTTP/1.1\r\nHost: a\r\n\r\n', '400 lower-case-method'],
  ['an unknown method', 'BREW / HTTP/1.1\r\nHost: a\r\n\r\n', 'value'],
  ['a long target', `GET /${'a'.repeat(9000)} HTTP/1.1\r\nHost: a\r\n\r\n`, '414 target-too-long'],
  ['an endless target', `GET /${'a'.repeat(9000)}`, '414 target-too-long'],
  ['headers over 16 KiB', field(`X: ${'a'.repeat(17_000)}`), '431 header-too-large'],
  [
    '101 fields',
    field(Array.from({ length: 101 }, (_, n) => `X${n}: y`).join('\r\n')),
    '431 too-many-headers',
  ],
  ['HTTP/0.9', 'GET /\r\n\r\n', '400 bad-request-line'],
  ['HTTP/2.0', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', '505 unsupported-version'],
  ['HTTP/3.1', 'GET / HTTP/3.1\r\nHost: a\r\n\r\n', '505 unsupported-version'],
  ['HTTP/1.10', 'GET / HTTP/1.10\r\nHost: a\r\n\r\n', '400 bad-version'],
  [
    'a coding with a blank that is none',
    field('Transfer-Encoding: \xa0chunked'),
    '501 unknown-transfer-coding',
  ],
  [
    'an expectation beside an unknown one',
    field('Expect: wonders\r\nExpect: 100-continue'),
    '417 unknown-expectation',
  ],
  ['an unknown expectation', field('Expect: wonders'), '417 unknown-expectation'],
  ['CONNECT', 'CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n', '405 connect'],
  ['a space in the target', 'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n', '400 bad-request-line'],
  ['a target without a slash', 'GET a HTTP/1.1\r\nHost: a\r\n\r\n', '400 bad-target'],
];

for (const [what, text, expected] of VERDICTS) {
  test(`${what}: ${expected}`, () => assert.equal(verdict(text), expected));
}

test('the absolute form wins over Host', () => {
  const text = 'GET http://B.example:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n';
  const result = parseRequestHead(Buffer.from(text), 0, LIMITS);
  assert.equal(result.kind, 'value');
  if (result.kind !== 'value') return;
  assert.equal(result.value.host, 'b.example:81');
  assert.equal(result.value.target, '/x?y');
});

test('a field with an underscore in its name is dropped', () => {
  const result = parseRequestHead(Buffer.from(field('X_Y: 1\r\nX-Z: 2')), 0, LIMITS);
  assert.ok(result.kind === 'value');
  assert.deepEqual(result.value.headers, ['Host', 'a', 'X-Z', '2']);
});

test('an upgrade counts only with Connection: upgrade, and h2c never', () => {
  const upgrade = (lines: string) => {
    const result = parseRequestHead(Buffer.from(field(lines)), 0, LIMITS);
    return result.kind === 'value' ? result.value.upgrade : result.kind;
  };
  assert.equal(upgrade('Upgrade: websocket'), undefined);
  assert.equal(upgrade('Connection: Upgrade\r\nUpgrade: WebSocket'), 'websocket');
  assert.equal(upgrade('Connection: Upgrade\r\nUpgrade: h2c'), undefined);
});

test('a head in pieces reads like a head at once', () => {
  const text = 'POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc';
  const whole = parseRequestHead(Buffer.from(text), 0, LIMITS);
  for (let size = 1; size < text.length; size++) {
    const part = parseRequestHead(Buffer.from(text.slice(0, size)), 0, LIMITS);
    if (part.kind !== 'need-more') assert.deepEqual(part, whole);
  }
});

test('no bytes make it throw', () => {
  const piece = fc.constantFrom(
    'GET ',
    '/',
    ' HTTP/1.1',
    '\r\n',
    'Host: a',
    ': ',
    '\0',
    '\n',
    'é',
    'Content-Length: 1',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const bytes = Buffer.from(pieces.join(''), 'latin1');
      parseRequestHead(bytes, 0, LIMITS);
      parseResponseHead(bytes, 0, 'GET');
    }),
    { numRuns: 2000 },
  );
});

test('responses that two readers could take differently are refused', () => {
  const read = (lines: string, status = '200 OK') => {
    const text = `HTTP/1.1 ${status}\r\n${lines}\r\n\r\n`;
    const result = parseResponseHead(Buffer.from(text), 0, 'GET');
    if (result.kind === 'error') return result.reason;
    return result.kind === 'value' ? result.value.framing.kind : result.kind;
  };
  assert.equal(
    read('Content-Length: 5\r\nTransfer-Encoding: chunked'),
    'length-and-transfer-encoding',
  );
  assert.equal(read('Content-Length: 5\r\nContent-Length: 6'), 'repeated-content-length');
  assert.equal(read('Transfer-Encoding: gzip, chunked'), 'unknown-transfer-coding');
  assert.equal(read('X: y'), 'until-close');
  assert.equal(read('Content-Length: 7', '304 Not Modified'), 'none');
  assert.equal(read('Content-Length: 7', 'garbage'), 'bad-status-line');
});
