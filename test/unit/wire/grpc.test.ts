import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  encodeGrpcMessage,
  grpcStatusOf,
  isGrpcContentType,
  parseGrpcStatus,
  parseGrpcTimeout,
} from '../../../src/wire/grpc.ts';

test('content types of gRPC, and of what is like it', () => {
  for (const type of ['application/grpc', 'Application/gRPC+proto', 'application/grpc;a=b']) {
    assert.ok(isGrpcContentType(type), type);
  }
  for (const type of [
    'application/grpc-web',
    'application/grpc-web+proto',
    'application/json',
    '',
  ]) {
    assert.ok(!isGrpcContentType(type), type);
  }
});

test('timeouts in every unit; nothing else is one', () => {
  const cases: [string, number | undefined][] = [
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['3S', 3000],
    ['250m', 250],
    ['5000u', 5],
    ['1000000n', 1],
    ['99999999H', 99_999_999 * 3_600_000],
    ['123456789m', undefined],
    ['1h', undefined],
    ['-1S', undefined],
    ['1.5S', undefined],
    ['S', undefined],
    ['', undefined],
  ];
  for (const [text, ms] of cases) assert.equal(parseGrpcTimeout(text), ms, text);
});

test('HTTP statuses as statuses of gRPC', () => {
  const cases = [
    [400, 13],
    [401, 16],
    [403, 7],
    [404, 12],
    [413, 8],
    [429, 8],
    [502, 14],
    [503, 14],
    [504, 4],
    [418, 2],
  ] as const;
  for (const [http, status] of cases) assert.equal(grpcStatusOf(http), status, String(http));
});

test('a message is percent-encoded, and nothing of it can end a field', () => {
  assert.equal(encodeGrpcMessage('no: 100 % – ü\r\n'), 'no: 100 %25 %E2%80%93 %C3%BC%0D%0A');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      const encoded = encodeGrpcMessage(text);
      assert.match(encoded, /^[ -~]*$/);
      assert.equal(Buffer.from(decodeURIComponent(encoded)).toString(), text);
    }),
  );
});

test('a status is a number of at most two digits', () => {
  assert.equal(parseGrpcStatus('14'), 14);
  for (const text of ['', 'x', '-1', '100', undefined])
    assert.equal(parseGrpcStatus(text), undefined);
});
