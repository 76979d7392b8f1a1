import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32c, decodeProxyHeader, encodeProxyHeader } from '../../../src/wire/proxy-protocol.ts';

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

function v2(hex: string): Buffer {
  return Buffer.concat([SIGNATURE, Buffer.from(hex.replaceAll(' ', ''), 'hex')]);
}

const FOUR = 'c0000201 c6336402 1f90 01bb';

test('v1 headers are read', () => {
  const text = 'PROXY TCP4 192.0.2.1 198.51.100.2 8080 443\r\nGET';
  assert.deepEqual(decodeProxyHeader(Buffer.from(text)), {
    kind: 'value',
    header: {
      source: { address: '192.0.2.1', port: 8080 },
      destination: { address: '198.51.100.2', port: 443 },
      tlvs: [],
    },
    consumed: text.length - 3,
  });
  const six = decodeProxyHeader(Buffer.from('PROXY TCP6 2001:db8:0::1 ::ffff:10.0.0.1 1 2\r\n'));
  assert.ok(six.kind === 'value');
  assert.equal(six.header.source?.address, '2001:db8::1');
  assert.equal(six.header.destination?.address, '10.0.0.1');
  const unknown = decodeProxyHeader(Buffer.from('PROXY UNKNOWN whatever it says\r\n'));
  assert.ok(unknown.kind === 'value');
  assert.equal(unknown.header.source, undefined);
});

test('v2 headers are read', () => {
  const proxy = decodeProxyHeader(v2(`21 11 0011 ${FOUR} ea 0002 6869`));
  assert.deepEqual(proxy, {
    kind: 'value',
    header: {
      source: { address: '192.0.2.1', port: 8080 },
      destination: { address: '198.51.100.2', port: 443 },
      tlvs: [{ type: 0xea, value: Buffer.from('hi') }],
    },
    consumed: 33,
  });
  for (const local of ['20 00 0000', `20 11 000c ${FOUR}`, '21 00 0000', '20 00 0003 ffffff']) {
    const result = decodeProxyHeader(v2(local));
    assert.ok(result.kind === 'value', local);
    assert.deepEqual(result.header, { tlvs: [] }, local);
  }
});

test('malformed headers are refused', () => {
  const cases: [Buffer | string, string][] = [
    ['GET / HTTP/1.1\r\n', 'signature'],
    ['PROXX', 'signature'],
    ['\r\n\r\n1', 'signature'],
    ['PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n', 'family'],
    ['PROXY \r\n', 'family'],
    ['PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n', 'fields'],
    ['PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n', 'fields'],
    ['PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n', 'fields'],
    ['PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n', 'address'],
    ['PROXY TCP4 ::1 ::1 1 2\r\n', 'address'],
    ['PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n', 'address'],
    ['PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n', 'port'],
    ['PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n', 'port'],
    ['PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n', 'port'],
    [`PROXY UNKNOWN ${'x'.repeat(100)}`, 'too-long'],
    [v2('11 11 000c'), 'version'],
    [v2('22 11 000c'), 'command'],
    [v2('21 41 000c'), 'family'],
    [v2('21 13 000c'), 'family'],
    [v2('21 11 0ff1'), 'too-long'],
    [v2('21 11 0004 c0000201'), 'length'],
    [v2(`21 11 000e ${FOUR} ea00`), 'tlv'],
    [v2(`21 11 000f ${FOUR} ea 0001`), 'tlv'],
    [v2(`21 11 0013 ${FOUR} 03 0004 00000000`), 'checksum'],
    [v2(`21 11 0010 ${FOUR} 03 0001 00`), 'checksum'],
  ];
  for (const [input, reason] of cases) {
    const result = decodeProxyHeader(Buffer.from(input as string));
    assert.deepEqual(result, { kind: 'error', reason }, String(input));
  }
});

test('CRC-32C of the check string', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
});

test('what is encoded is decoded again, however it is cut', () => {
  const port = fc.integer({ min: 0, max: 65_535 });
  const tlv = fc.record({
    type: fc.integer({ min: 0xe0, max: 0xff }),
    value: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  });
  const address = fc.constantFrom('10.1.2.3', '2001:db8::7', '::1', '192.0.2.255');
  const end = fc.record({ address, port }, { noNullPrototype: true });
  const tlvs = fc.array(tlv, { maxLength: 5 });
  fc.assert(
    fc.property(fc.constantFrom('v1', 'v2'), end, end, tlvs, (version, from, to, extra) => {
      const bytes = encodeProxyHeader(version, from, to, extra);
      for (let size = 0; size < bytes.length; size += 1 + (size % 7)) {
        assert.equal(decodeProxyHeader(bytes.subarray(0, size)).kind, 'need-more');
      }
      const result = decodeProxyHeader(Buffer.concat([bytes, Buffer.from('rest')]));
      assert.ok(result.kind === 'value');
      assert.equal(result.consumed, bytes.length);
      assert.deepEqual(result.header.source, from);
      assert.deepEqual(result.header.destination, to);
      const own = result.header.tlvs.filter(({ type }) => type !== 3);
      assert.deepEqual(
        own.map(({ type, value }) => [type, value.toString('hex')]),
        version === 'v1' ? [] : extra.map(({ type, value }) => [type, value.toString('hex')]),
      );
    }),
    { numRuns: 200 },
  );
});

test('ends that are not IP addresses are not named', () => {
  const unix = { address: 'unix', port: 0 };
  assert.equal(encodeProxyHeader('v1', unix, unix, []).toString(), 'PROXY UNKNOWN\r\n');
  const result = decodeProxyHeader(encodeProxyHeader('v2', unix, unix, []));
  assert.ok(result.kind === 'value');
  assert.equal(result.header.source, undefined);
});

test('arbitrary bytes never throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      decodeProxyHeader(Buffer.concat([SIGNATURE, bytes]));
      decodeProxyHeader(Buffer.from(bytes));
      decodeProxyHeader(Buffer.concat([Buffer.from('PROXY TCP6 '), bytes]));
    }),
    { numRuns: 500 },
  );
});
