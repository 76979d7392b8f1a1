import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HpackDecoder, HpackEncoder } from '../../../src/wire/hpack.ts';
import { huffmanDecode, huffmanEncode, huffmanLength } from '../../../src/wire/hpack-huffman.ts';

const LIMITS = { maxTableBytes: 4096, maxListBytes: 65_536 };

function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex');
}

function fieldsOf(decoder: HpackDecoder, block: Buffer | string): string[] {
  const result = decoder.decode(typeof block === 'string' ? hex(block) : block);
  assert.ok(result.kind === 'fields', JSON.stringify(result));
  return result.fields;
}

const COMPRESSION = { kind: 'error', reason: 'compression' };

const FIRST = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com'];
const REQUESTS = [
  FIRST,
  [...FIRST, 'cache-control', 'no-cache'],
  [
    ...[':method', 'GET', ':scheme', 'https', ':path', '/index.html'],
    ...[':authority', 'www.example.com', 'custom-key', 'custom-value'],
  ],
];

test('requests of RFC 7541 C.3 and C.4', () => {
  const plain = new HpackDecoder(LIMITS);
  const blocks = [
    '828684410f7777772e6578616d706c652e636f6d',
    '828684be58086e6f2d6361636865',
    '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
  ];
  assert.deepEqual(
    blocks.map((block) => fieldsOf(plain, block)),
    REQUESTS,
  );
  const huffman = new HpackDecoder(LIMITS);
  const coded = [
    '828684418cf1e3c2e5f23a6ba0ab90f4ff',
    '828684be5886a8eb10649cbf',
    '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf',
  ];
  assert.deepEqual(
    coded.map((block) => fieldsOf(huffman, block)),
    REQUESTS,
  );
});

test('responses of RFC 7541 C.5 and C.6, with eviction from a table of 256 bytes', () => {
  const date = 'Mon, 21 Oct 2013 20:13:2';
  const location = ['location', 'https://www.example.com'];
  const cookie = 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1';
  const common = ['cache-control', 'private', 'date', `${date}1 GMT`, ...location];
  const expected = [
    [':status', '302', ...common],
    [':status', '307', ...common],
    [
      ...[':status', '200', 'cache-control', 'private', 'date', `${date}2 GMT`, ...location],
      ...['content-encoding', 'gzip', 'set-cookie', cookie],
    ],
  ];
  const plain = new HpackDecoder(LIMITS);
  assert.deepEqual(fieldsOf(plain, '3fe101'), []);
  const blocks = [
    '4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54' +
      '6e1768747470733a2f2f7777772e6578616d706c652e636f6d',
    '4803333037c1c0bf',
    '88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f' +
      '3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b20' +
      '76657273696f6e3d31',
  ];
  assert.deepEqual(
    blocks.map((block) => fieldsOf(plain, block)),
    expected,
  );
  const huffman = new HpackDecoder(LIMITS);
  assert.deepEqual(fieldsOf(huffman, '3fe101'), []);
  const coded = [
    '488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f' +
      '0b97c8e9ae82ae43d3',
    '4883640effc1c0bf',
    '88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335df' +
      'dfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
  ];
  assert.deepEqual(
    coded.map((block) => fieldsOf(huffman, block)),
    expected,
  );
});

test('literals of RFC 7541 C.2', () => {
  const decoder = new HpackDecoder(LIMITS);
  const custom = '400a637573746f6d2d6b65790d637573746f6d2d686561646572';
  assert.deepEqual(fieldsOf(decoder, custom), ['custom-key', 'custom-header']);
  assert.deepEqual(fieldsOf(decoder, 'be'), ['custom-key', 'custom-header']);
  assert.deepEqual(fieldsOf(decoder, '040c2f73616d706c652f70617468'), [':path', '/sample/path']);
  const secret = '100870617373776f726406736563726574';
  assert.deepEqual(fieldsOf(decoder, secret), ['password', 'secret']);
  assert.deepEqual(fieldsOf(decoder, '82'), [':method', 'GET']);
  assert.deepEqual(decoder.decode(hex('bf')), COMPRESSION);
});

test('blocks that cannot be decoded are compression errors', () => {
  const cases: Record<string, string> = {
    'index 0': '80',
    'index beyond the tables': 'be',
    'name beyond the tables': '7e01 61',
    'integer cut': 'ff',
    'integer cut later': 'ff8080',
    'integer of too many bytes': 'ff80808080 00',
    'integer beyond 2^32': 'ffffffffff7f',
    'no value': '4001 61',
    'name cut': '400561',
    'value cut': '0161 0561',
    'huge string': '007fffffff7f',
    'padding of eight bits': '0001 61 82 1fff',
    'padding with zeros': '0001 61 81 18',
    'EOS in a string': '0001 61 84 ffffffff',
    'size update after a field': '82 20',
    'size update above the limit': '3fe21f',
    'literal cut at once': '00',
  };
  for (const [name, block] of Object.entries(cases)) {
    assert.deepEqual(new HpackDecoder(LIMITS).decode(hex(block)), COMPRESSION, name);
  }
});

test('size updates empty the table and may follow one another before the first field', () => {
  const decoder = new HpackDecoder(LIMITS);
  fieldsOf(decoder, '4001 61 01 62');
  assert.deepEqual(fieldsOf(decoder, 'be'), ['a', 'b']);
  assert.deepEqual(fieldsOf(decoder, '20 3fe11f 82'), [':method', 'GET']);
  assert.deepEqual(decoder.decode(hex('be')), COMPRESSION);
  const larger = new HpackDecoder({ maxTableBytes: 65_536, maxListBytes: 100 });
  assert.deepEqual(fieldsOf(larger, '3fe1ff03'), []);
  assert.deepEqual(larger.decode(hex('3fe2ff03')), COMPRESSION);
});

test('an entry larger than the table empties it', () => {
  const decoder = new HpackDecoder(LIMITS);
  fieldsOf(decoder, '3f11 4001 61 01 62');
  const long = 'c'.repeat(64);
  fieldsOf(decoder, Buffer.concat([hex('4001 61 40'), Buffer.from(long)]));
  assert.deepEqual(decoder.decode(hex('be')), COMPRESSION);
});

test('a list that is too large leaves the table in step', () => {
  const decoder = new HpackDecoder({ maxTableBytes: 4096, maxListBytes: 2048 });
  const value = Buffer.alloc(1000, 'x');
  fieldsOf(decoder, Buffer.concat([hex('4001 61 7fe906'), value]));
  const bomb = Buffer.concat([Buffer.alloc(60_000, 0xbe), hex('4001 62 01 63')]);
  assert.deepEqual(decoder.decode(bomb), { kind: 'error', reason: 'too-large' });
  assert.deepEqual(fieldsOf(decoder, 'be'), ['b', 'c']);
  const result = decoder.decode(hex('bf be'));
  assert.deepEqual(result, {
    kind: 'fields',
    fields: ['a', value.toString(), 'b', 'c'],
    bytes: 1001 + 32 + 2 + 32,
  });
});

test('secrets are never indexed, paths are not, and the rest from the second time on', () => {
  const encoder = new HpackEncoder({ maxTableBytes: 4096 });
  const secret = ['authorization', 'Basic c2VjcmV0'];
  for (let turn = 0; turn < 3; turn++) {
    const block = encoder.encode(secret);
    assert.equal((block[0] as number) & 0xf0, 0x10);
    assert.ok(block.length > 8);
  }
  for (const name of ['cookie', 'set-cookie', 'proxy-authorization']) {
    assert.equal((encoder.encode([name, 'a=b'])[0] as number) & 0xf0, 0x10, name);
  }
  const path = [':path', '/a/b'];
  assert.deepEqual(encoder.encode(path), encoder.encode(path));
  const field = ['x-served-by', 'edge-1'];
  const first = encoder.encode(field);
  const second = encoder.encode(field);
  const third = encoder.encode(field);
  assert.equal((first[0] as number) & 0xf0, 0);
  assert.equal((second[0] as number) & 0xc0, 0x40);
  assert.deepEqual(third, hex('be'));
});

test('the encoder follows the size that the peer allows', () => {
  const encoder = new HpackEncoder({ maxTableBytes: 1024 });
  const decoder = new HpackDecoder(LIMITS);
  const field = ['x-served-by', 'edge-1'];
  const first = encoder.encode(field);
  assert.deepEqual(first.subarray(0, 3), hex('3fe107'));
  fieldsOf(decoder, first);
  for (let turn = 0; turn < 2; turn++) fieldsOf(decoder, encoder.encode(field));
  encoder.setMaxTableBytes(0);
  encoder.setMaxTableBytes(65_536);
  const both = encoder.encode(field);
  assert.deepEqual(both.subarray(0, 4), hex('20 3fe107'));
  assert.deepEqual(fieldsOf(decoder, both), field);
  encoder.setMaxTableBytes(0);
  for (let turn = 0; turn < 3; turn++) {
    assert.deepEqual(fieldsOf(decoder, encoder.encode(field)), field);
  }
  assert.equal(encoder.encode(field).length, first.length - 3);
});

test('every text comes back from Huffman code', () => {
  const out = Buffer.alloc(4096);
  const text = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(text, (bytes) => {
      const latin1 = bytes.toString('latin1');
      const coded = Buffer.alloc(1000);
      const end = huffmanEncode(latin1, coded, 3);
      assert.equal(end - 3, huffmanLength(latin1));
      const size = huffmanDecode(coded, 3, end, out);
      assert.equal(out.toString('latin1', 0, size), latin1);
    }),
    { numRuns: 500 },
  );
});

const NAMES = fc.oneof(
  fc.constantFrom(':path', ':status', 'cookie', 'date', 'x-a', 'x-b', 'accept-encoding', 'age'),
  fc.stringMatching(/^[a-z-]{1,12}$/),
);
const VALUES = fc.oneof(
  fc.constantFrom('', '/', '200', 'gzip, deflate', 'a', 'x'.repeat(900), 'ÿþ\x80'),
  fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)) }),
);
const BLOCKS = fc.array(
  fc.record({ fields: fc.array(fc.tuple(NAMES, VALUES)), resize: fc.option(fc.nat(6000)) }),
  { maxLength: 40 },
);

test('what is encoded is decoded again, over many blocks and sizes of the table', () => {
  fc.assert(
    fc.property(BLOCKS, fc.nat(5000), (blocks, maxTableBytes) => {
      const encoder = new HpackEncoder({ maxTableBytes });
      const decoder = new HpackDecoder({ maxTableBytes: 6000, maxListBytes: 1 << 20 });
      for (const { fields, resize } of blocks) {
        if (resize !== null) encoder.setMaxTableBytes(resize);
        const flat = fields.flat();
        for (let turn = 0; turn < 3; turn++) {
          assert.deepEqual(fieldsOf(decoder, encoder.encode(flat)), flat);
        }
      }
    }),
    { numRuns: 200 },
  );
});

test('more names than an encoder remembers do no harm', () => {
  const encoder = new HpackEncoder({ maxTableBytes: 65_536 });
  encoder.setMaxTableBytes(65_536);
  const decoder = new HpackDecoder({ maxTableBytes: 65_536, maxListBytes: 65_536 });
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 400; n++) {
      const field = [`x-${n}`, `value ${n}`];
      assert.deepEqual(fieldsOf(decoder, encoder.encode([...field, ...field])), [
        ...field,
        ...field,
      ]);
    }
  }
});

test('arbitrary bytes never throw', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 5 }), (blocks) => {
      const decoder = new HpackDecoder(LIMITS);
      for (const block of blocks) decoder.decode(Buffer.from(block));
    }),
    { numRuns: 2000 },
  );
});
