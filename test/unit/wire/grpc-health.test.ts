import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeHealthResponse, encodeHealthRequest } from '../../../src/wire/grpc-health.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

test('requests name a service or none', () => {
  assert.deepEqual(encodeHealthRequest(''), hex('00 00000000'));
  assert.deepEqual(encodeHealthRequest('a.B'), hex('00 00000005 0a 03 612e42'));
});

test('answers, with fields that are not known yet', () => {
  const cases: [string, ReturnType<typeof decodeHealthResponse>][] = [
    ['', 'need-more'],
    ['00 000000', 'need-more'],
    ['00 00000002 08', 'need-more'],
    ['00 00000000', 'UNKNOWN'],
    ['00 00000002 0801', 'SERVING'],
    ['00 00000002 0802', 'NOT_SERVING'],
    ['00 00000002 0803', 'SERVICE_UNKNOWN'],
    ['00 00000003 08ac02', 'UNKNOWN'],
    ['00 00000017 1205 0102030405 19 0000000000000000 25 00000000 0801', 'SERVING'],
    ['00 00000004 0801 0802', 'NOT_SERVING'],
    ['01 00000002 0801', undefined],
    ['00 00ffffff', undefined],
    ['00 00000001 08', undefined],
    ['00 00000002 0880', undefined],
    ['00 00000003 12ff01', undefined],
    ['00 00000002 0b01', undefined],
    ['ff', undefined],
  ];
  for (const [bytes, status] of cases)
    assert.equal(decodeHealthResponse(hex(bytes)), status, bytes);
});

test('arbitrary bytes never throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      const head = Buffer.alloc(5);
      head[4] = bytes.length;
      decodeHealthResponse(Buffer.concat([head, bytes]));
      decodeHealthResponse(Buffer.from(bytes));
    }),
    { numRuns: 1000 },
  );
});
