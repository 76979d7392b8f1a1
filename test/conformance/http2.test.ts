import assert from 'node:assert/strict';
import http from 'node:http';
import type net from 'node:net';
import { after, before, test } from 'node:test';
import { freePorts, Gateway } from '../support/gateway.ts';
import {
  ACK,
  block,
  END_HEADERS,
  END_STREAM,
  frame,
  get,
  PADDED,
  PREFACE,
  PRIORITY,
  RawHttp2,
  request,
  settings,
  TYPE,
  u32,
} from '../support/http2-raw.ts';

const { DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY } = TYPE;
const { WINDOW_UPDATE, CONTINUATION } = TYPE;
const PROTOCOL = 1;
const FLOW_CONTROL = 3;
const STREAM_CLOSED = 5;
const FRAME_SIZE = 6;
const REFUSED_STREAM = 7;
const COMPRESSION = 9;

/** What has to follow: an answer, a living connection, or an error on the stream or connection. */
type Verdict =
  | { kind: 'answer'; id: number; status: string }
  | { kind: 'alive' }
  | { kind: 'stream'; id: number; code: number }
  | { kind: 'connection'; code: number };

type Case = [name: string, bytes: Buffer[], verdict: Verdict, options?: { first?: Buffer }];

const answered = (id = 1, status = '200'): Verdict => ({ kind: 'answer', id, status });
const alive: Verdict = { kind: 'alive' };
const stream = (code: number, id = 1): Verdict => ({ kind: 'stream', id, code });
const connection = (code: number): Verdict => ({ kind: 'connection', code });

const OPEN = END_HEADERS;
const WHOLE = END_HEADERS | END_STREAM;
const PING_FRAME = frame(PING, 0, 0, '12345678');
const priority = (on: number, weight = 15) => Buffer.concat([u32(on), Buffer.from([weight])]);
const headers = (id: number, flags: number, ...fields: string[]) =>
  frame(HEADERS, flags, id, block(...fields));
const post = (id: number, ...more: string[]) => headers(id, OPEN, ...request('POST'), ...more);
/** A stream that stays open for a while: its endpoint waits for the body. */
const half = (id: number) => headers(id, WHOLE, ...request('GET', '/slow'));
const without = (name: string) => {
  const fields = request();
  fields.splice(fields.indexOf(name), 2);
  return fields;
};
const replaced = (name: string, value: string) => {
  const fields = request();
  fields[fields.indexOf(name) + 1] = value;
  return fields;
};
const padded = (length: number, body: Buffer | string, padding: number) =>
  Buffer.concat([Buffer.from([length]), Buffer.from(body as Buffer), Buffer.alloc(padding)]);

const GENERIC: Case[] = [
  ['2 PRIORITY on an idle stream', [frame(TYPE.PRIORITY, 0, 1, priority(0))], alive],
  ['2 WINDOW_UPDATE on half-closed', [half(1), frame(WINDOW_UPDATE, 0, 1, u32(100))], answered()],
  ['2 PRIORITY on half-closed', [half(1), frame(TYPE.PRIORITY, 0, 1, priority(0))], answered()],
  ['2 RST_STREAM on half-closed', [half(1), frame(RST_STREAM, 0, 1, u32(8)), get(3)], answered(3)],
  ['3.1 DATA', [post(1), frame(DATA, END_STREAM, 1, 'test')], answered()],
  [
    '3.1 several DATA',
    [post(1), frame(DATA, 0, 1, 'test'), frame(DATA, END_STREAM, 1, 'test')],
    answered(),
  ],
  [
    '3.1 DATA with padding',
    [post(1), frame(DATA, PADDED | END_STREAM, 1, padded(6, 'test', 6))],
    answered(),
  ],
  ['3.2 HEADERS', [get(1)], answered()],
  [
    '3.2 HEADERS with padding',
    [frame(HEADERS, WHOLE | PADDED, 1, padded(6, block(...request()), 6))],
    answered(),
  ],
  [
    '3.2 HEADERS with priority',
    [frame(HEADERS, WHOLE | PRIORITY, 1, Buffer.concat([priority(0), block(...request())]))],
    answered(),
  ],
  ['3.3 PRIORITY 1', [frame(TYPE.PRIORITY, 0, 1, priority(0, 0)), get(1)], answered()],
  ['3.3 PRIORITY 256', [frame(TYPE.PRIORITY, 0, 1, priority(0, 255)), get(1)], answered()],
  ['3.3 PRIORITY with dependency', [frame(TYPE.PRIORITY, 0, 1, priority(3)), get(1)], answered()],
  [
    '3.3 exclusive PRIORITY',
    [frame(TYPE.PRIORITY, 0, 1, priority(0x80000003)), get(1)],
    answered(),
  ],
  [
    '3.3 PRIORITY of an idle stream, then a lower one',
    [frame(TYPE.PRIORITY, 0, 5, priority(0)), get(3)],
    answered(3),
  ],
  ['3.4 RST_STREAM', [post(1), frame(RST_STREAM, 0, 1, u32(8))], alive],
  ['3.5 SETTINGS', [settings([3, 100])], alive],
  ['3.8 GOAWAY', [frame(GOAWAY, 0, 0, u32(0, 0))], alive],
  ['3.9 WINDOW_UPDATE', [frame(WINDOW_UPDATE, 0, 0, u32(1)), get(1)], answered()],
  ['3.9 WINDOW_UPDATE of a stream', [post(1), frame(WINDOW_UPDATE, 0, 1, u32(1))], alive],
  [
    '3.10 one CONTINUATION',
    [headers(1, END_STREAM, ...request()), frame(CONTINUATION, END_HEADERS, 1, block('x-a', 'b'))],
    answered(),
  ],
  [
    '3.10 several CONTINUATION',
    [
      headers(1, END_STREAM, ...request()),
      frame(CONTINUATION, 0, 1, block('x-a', 'b')),
      frame(CONTINUATION, END_HEADERS, 1, block('x-b', 'c')),
    ],
    answered(),
  ],
  ['4 HEAD', [headers(1, WHOLE, ...request('HEAD'))], answered()],
  [
    '4 POST with trailers',
    [post(1), frame(DATA, 0, 1, 'test'), headers(1, WHOLE, 'x-test', 'ok')],
    answered(),
  ],
];

/** Field blocks by hand: `:method GET`, `:scheme http`, `:path /` are 0x82, 0x86 and 0x84. */
const STATIC = [0x82, 0x86, 0x84];
const AUTHORITY = [0x01, 6, ...Buffer.from('a.test')];
const packed = (...bytes: number[]) => frame(HEADERS, WHOLE, 1, bytes);
const HUFFMAN_USER = [0xb5, 0x05, 0xb1, 0x61, 0xcc, 0x5a, 0x93];

const HPACK: Case[] = [
  ['indexed fields', [packed(...STATIC, ...AUTHORITY)], answered()],
  [
    'literal with indexing, indexed name',
    [packed(...STATIC, 0x41, 6, ...Buffer.from('a.test'))],
    answered(),
  ],
  [
    'literal with indexing, indexed name, huffman',
    [packed(...STATIC, ...AUTHORITY, 0x7a, 0x82, 0x4e, 0xff)],
    answered(),
  ],
  [
    'literal with indexing, new name',
    [packed(...STATIC, ...AUTHORITY, 0x40, 1, 0x61, 1, 0x62)],
    answered(),
  ],
  [
    'literal with indexing, new name, huffman',
    [packed(...STATIC, ...AUTHORITY, 0x40, 0x87, ...HUFFMAN_USER, 1, 0x62)],
    answered(),
  ],
  [
    'literal without indexing, new name',
    [packed(...STATIC, ...AUTHORITY, 0x00, 1, 0x61, 1, 0x62)],
    answered(),
  ],
  [
    'literal never indexed, indexed name',
    [packed(...STATIC, 0x11, 6, ...Buffer.from('a.test'))],
    answered(),
  ],
  [
    'literal never indexed, new name',
    [packed(...STATIC, ...AUTHORITY, 0x10, 1, 0x61, 1, 0x62)],
    answered(),
  ],
  [
    'a table size update first',
    [packed(0x20, 0x3f, 0xe1, 0x1f, ...STATIC, ...AUTHORITY)],
    answered(),
  ],
  [
    'an entry of the dynamic table, by a second stream',
    [
      packed(...STATIC, 0x41, 6, ...Buffer.from('a.test')),
      frame(HEADERS, WHOLE, 3, [...STATIC, 0xbe]),
    ],
    answered(3),
  ],
  ['2.3.3 an index beyond the tables', [packed(...STATIC, 0xff, 0x7f)], connection(COMPRESSION)],
  [
    '2.3.3 a literal with a name beyond the tables',
    [packed(...STATIC, 0x7f, 0x7f, 1, 0x61)],
    connection(COMPRESSION),
  ],
  ['4.2 a table size update at the end', [packed(...STATIC, 0x20)], connection(COMPRESSION)],
  [
    '5.2 huffman padding over 7 bits',
    [packed(...STATIC, 0x40, 0x82, 0x1f, 0xff, 1, 0x62)],
    connection(COMPRESSION),
  ],
  [
    '5.2 huffman padding of zeros',
    [packed(...STATIC, 0x40, 0x81, 0x18, 1, 0x62)],
    connection(COMPRESSION),
  ],
  [
    '5.2 huffman with EOS',
    [packed(...STATIC, 0x40, 0x85, 0x1f, 0xff, 0xff, 0xff, 0xff, 1, 0x62)],
    connection(COMPRESSION),
  ],
  ['6.1 index 0', [packed(...STATIC, 0x80)], connection(COMPRESSION)],
  [
    '6.3 a table larger than SETTINGS allow',
    [packed(0x3f, 0xe2, 0x1f, ...STATIC)],
    connection(COMPRESSION),
  ],
  ['a cut literal', [packed(...STATIC, 0x40, 5, 0x61)], connection(COMPRESSION)],
  [
    'an endless integer',
    [packed(...STATIC, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)],
    connection(COMPRESSION),
  ],
];

const FRAMES: Case[] = [
  ['3.4 an unknown setting first', [get(1)], answered(), { first: settings([0xff, 1]) }],
  ['3.4 no SETTINGS first', [], connection(PROTOCOL), { first: PING_FRAME }],
  ['4.1 an unknown type', [frame(0x16, 0, 0, '12345678')], alive],
  ['4.1 undefined flags', [frame(PING, 0x16, 0, '12345678')], alive],
  ['4.1 the reserved bit', [frame(PING, 0, 0x80000000, '12345678')], alive],
  ['4.2 DATA of 2^14', [post(1), frame(DATA, END_STREAM, 1, Buffer.alloc(16_384))], answered()],
  [
    '4.2 DATA over 2^14',
    [post(1), frame(DATA, END_STREAM, 1, Buffer.alloc(16_385))],
    connection(FRAME_SIZE),
  ],
  [
    '4.2 HEADERS over 2^14',
    [frame(HEADERS, WHOLE, 1, Buffer.alloc(16_385))],
    connection(FRAME_SIZE),
  ],
  [
    '4.3 PRIORITY within a block',
    [headers(1, END_STREAM, ...request()), frame(TYPE.PRIORITY, 0, 1, priority(0))],
    connection(PROTOCOL),
  ],
  [
    '4.3 HEADERS of another stream within a block',
    [headers(1, END_STREAM, ...request()), get(3)],
    connection(PROTOCOL),
  ],
  ['5.5 an unknown frame', [frame(0xff, 0, 1, 'x'), get(1)], answered()],
  [
    '5.5 an unknown frame within a block',
    [headers(1, END_STREAM, ...request()), frame(0xff, 0, 0, 'x')],
    connection(PROTOCOL),
  ],
];

const STREAMS: Case[] = [
  ['5.1 idle: DATA', [frame(DATA, END_STREAM, 1, 'x')], connection(PROTOCOL)],
  ['5.1 idle: RST_STREAM', [frame(RST_STREAM, 0, 1, u32(8))], connection(PROTOCOL)],
  ['5.1 idle: WINDOW_UPDATE', [frame(WINDOW_UPDATE, 0, 1, u32(1))], connection(PROTOCOL)],
  ['5.1 idle: CONTINUATION', [frame(CONTINUATION, END_HEADERS, 1)], connection(PROTOCOL)],
  ['5.1 half-closed: DATA', [half(1), frame(DATA, END_STREAM, 1, 'x')], stream(STREAM_CLOSED)],
  ['5.1 half-closed: HEADERS', [half(1), half(1)], stream(STREAM_CLOSED)],
  [
    '5.1 half-closed: CONTINUATION',
    [half(1), frame(CONTINUATION, END_HEADERS, 1, block('a', 'b'))],
    connection(PROTOCOL),
  ],
  [
    '5.1 closed by reset: DATA',
    [post(1), frame(RST_STREAM, 0, 1, u32(8)), frame(DATA, END_STREAM, 1, 'x')],
    stream(STREAM_CLOSED),
  ],
  [
    '5.1 closed by reset: HEADERS',
    [post(1), frame(RST_STREAM, 0, 1, u32(8)), headers(1, WHOLE, 'a', 'b')],
    stream(STREAM_CLOSED),
  ],
  [
    '5.1 closed by reset: CONTINUATION',
    [post(1), frame(RST_STREAM, 0, 1, u32(8)), frame(CONTINUATION, END_HEADERS, 1)],
    connection(PROTOCOL),
  ],
  ['5.1.1 an even id', [get(2)], connection(PROTOCOL)],
  ['5.1.1 a smaller id', [get(5), get(3)], connection(PROTOCOL)],
  [
    '5.3.1 HEADERS that depend on themselves',
    [frame(HEADERS, WHOLE | PRIORITY, 1, Buffer.concat([priority(1), block(...request())]))],
    connection(PROTOCOL),
  ],
  [
    '5.3.1 PRIORITY that depends on itself',
    [post(1), frame(TYPE.PRIORITY, 0, 1, priority(1))],
    stream(PROTOCOL),
  ],
];

const CONTROL: Case[] = [
  ['6.1 DATA on stream 0', [frame(DATA, END_STREAM, 0, 'x')], connection(PROTOCOL)],
  [
    '6.1 DATA with too much padding',
    [post(1), frame(DATA, PADDED | END_STREAM, 1, padded(6, 'test', 0))],
    connection(PROTOCOL),
  ],
  ['6.1 DATA without its padding length', [post(1), frame(DATA, PADDED, 1)], connection(PROTOCOL)],
  ['6.2 HEADERS on stream 0', [get(0)], connection(PROTOCOL)],
  [
    '6.2 HEADERS with too much padding',
    [frame(HEADERS, WHOLE | PADDED, 1, padded(200, block(...request()), 0))],
    connection(PROTOCOL),
  ],
  [
    '6.2 HEADERS too short for its priority',
    [frame(HEADERS, WHOLE | PRIORITY, 1, 'abc')],
    connection(FRAME_SIZE),
  ],
  ['6.3 PRIORITY on stream 0', [frame(TYPE.PRIORITY, 0, 0, priority(1))], connection(PROTOCOL)],
  ['6.3 PRIORITY of 4', [post(1), frame(TYPE.PRIORITY, 0, 1, u32(0))], stream(FRAME_SIZE)],
  ['6.4 RST_STREAM on stream 0', [frame(RST_STREAM, 0, 0, u32(8))], connection(PROTOCOL)],
  ['6.4 RST_STREAM of 3', [post(1), frame(RST_STREAM, 0, 1, 'abc')], connection(FRAME_SIZE)],
  ['6.5 SETTINGS ACK with payload', [frame(SETTINGS, ACK, 0, 'abcdef')], connection(FRAME_SIZE)],
  ['6.5 SETTINGS on a stream', [frame(SETTINGS, 0, 1, '')], connection(PROTOCOL)],
  ['6.5 SETTINGS of 3', [frame(SETTINGS, 0, 0, 'abc')], connection(FRAME_SIZE)],
  ['6.5.2 ENABLE_PUSH 2', [settings([2, 2])], connection(PROTOCOL)],
  ['6.5.2 a window of 2^31', [settings([4, 0x80000000])], connection(FLOW_CONTROL)],
  ['6.5.2 frames under 2^14', [settings([5, 16_383])], connection(PROTOCOL)],
  ['6.5.2 frames over 2^24-1', [settings([5, 16_777_216])], connection(PROTOCOL)],
  ['6.5.2 an unknown setting', [settings([0xff, 1])], alive],
  ['RFC 8441: ENABLE_CONNECT_PROTOCOL 2', [settings([8, 2])], connection(PROTOCOL)],
  ['6.6 PUSH_PROMISE', [post(1), frame(PUSH_PROMISE, 4, 1, u32(2))], connection(PROTOCOL)],
  ['6.7 PING on a stream', [frame(PING, 0, 1, '12345678')], connection(PROTOCOL)],
  ['6.7 PING of 6', [frame(PING, 0, 0, '123456')], connection(FRAME_SIZE)],
  ['6.7 an unasked PING ACK', [frame(PING, ACK, 0, '12345678')], alive],
  ['6.8 GOAWAY on a stream', [frame(GOAWAY, 0, 1, u32(0, 0))], connection(PROTOCOL)],
  ['6.8 GOAWAY of 4', [frame(GOAWAY, 0, 0, u32(0))], connection(FRAME_SIZE)],
  ['6.9 WINDOW_UPDATE by 0', [frame(WINDOW_UPDATE, 0, 0, u32(0))], connection(PROTOCOL)],
  [
    '6.9 WINDOW_UPDATE of a stream by 0',
    [post(1), frame(WINDOW_UPDATE, 0, 1, u32(0))],
    stream(PROTOCOL),
  ],
  ['6.9 WINDOW_UPDATE of 3', [frame(WINDOW_UPDATE, 0, 0, 'abc')], connection(FRAME_SIZE)],
  [
    '6.9.1 a window over 2^31-1',
    [frame(WINDOW_UPDATE, 0, 0, u32(0x7fffffff))],
    connection(FLOW_CONTROL),
  ],
  [
    "6.9.1 a stream's window over 2^31-1",
    [post(1), frame(WINDOW_UPDATE, 0, 1, u32(0x7fffffff))],
    stream(FLOW_CONTROL),
  ],
  [
    '6.9.2 a window over 2^31-1 by SETTINGS',
    [post(1), frame(WINDOW_UPDATE, 0, 1, u32(0x7fff0000)), settings([4, 0x7fffffff])],
    connection(FLOW_CONTROL),
  ],
  [
    '6.10 CONTINUATION after the end',
    [post(1), frame(CONTINUATION, END_HEADERS, 1)],
    connection(PROTOCOL),
  ],
  [
    '6.10 CONTINUATION on stream 0',
    [headers(1, END_STREAM, ...request()), frame(CONTINUATION, END_HEADERS, 0)],
    connection(PROTOCOL),
  ],
  [
    '6.10 CONTINUATION after DATA',
    [post(1), frame(DATA, 0, 1, 'x'), frame(CONTINUATION, END_HEADERS, 1)],
    connection(PROTOCOL),
  ],
  [
    '6.10 CONTINUATION after CONTINUATION with END_HEADERS',
    [
      headers(1, 0, ...request('POST')),
      frame(CONTINUATION, END_HEADERS, 1),
      frame(CONTINUATION, END_HEADERS, 1),
    ],
    connection(PROTOCOL),
  ],
  ['7 GOAWAY with an unknown code', [frame(GOAWAY, 0, 0, u32(0, 0xff))], alive],
  ['7 RST_STREAM with an unknown code', [post(1), frame(RST_STREAM, 0, 1, u32(0xff))], alive],
];

const bad = (...fields: string[]): Buffer[] => [headers(1, WHOLE, ...request(), ...fields)];
const badBody = (length: string, ...bodies: string[]) => [
  post(1, 'content-length', length),
  ...bodies.map((text, at) => frame(DATA, at === bodies.length - 1 ? END_STREAM : 0, 1, text)),
];

const MESSAGES: Case[] = [
  ['8.1 HEADERS twice', [post(1), headers(1, END_HEADERS, 'a', 'b')], stream(PROTOCOL)],
  ['8.1 a pseudo field in trailers', [post(1), headers(1, WHOLE, ':path', '/')], stream(PROTOCOL)],
  ['8.2.1 an upper-case name', bad('X-Test', 'ok'), stream(PROTOCOL)],
  ['8.2.1 a name with a colon', bad('x:test', 'ok'), stream(PROTOCOL)],
  ['8.2.1 a name with a blank', bad('x test', 'ok'), stream(PROTOCOL)],
  ['8.2.1 an empty name', bad('', 'ok'), stream(PROTOCOL)],
  ['8.2.1 NUL in a value', bad('x-test', 'a\0b'), stream(PROTOCOL)],
  ['8.2.1 CR LF in a value', bad('x-test', 'a\r\nx-smuggled: 1'), stream(PROTOCOL)],
  ['8.2.1 LF in a value', bad('x-test', 'a\nb'), stream(PROTOCOL)],
  ['8.2.1 a blank before a value', bad('x-test', ' a'), stream(PROTOCOL)],
  ['8.2.1 CR LF in a name', bad('x-a\r\nx-b', 'c'), stream(PROTOCOL)],
  [
    '8.2.1 CR LF in :path',
    [headers(1, WHOLE, ...replaced(':path', '/ HTTP/1.1\r\na: b'))],
    stream(PROTOCOL),
  ],
  [
    '8.2.1 CR LF in :method',
    [headers(1, WHOLE, ...replaced(':method', 'GET / \r\n'))],
    stream(PROTOCOL),
  ],
  ['8.2.2 Connection', bad('connection', 'keep-alive'), stream(PROTOCOL)],
  ['8.2.2 Proxy-Connection', bad('proxy-connection', 'keep-alive'), stream(PROTOCOL)],
  ['8.2.2 Keep-Alive', bad('keep-alive', '1'), stream(PROTOCOL)],
  ['8.2.2 Upgrade', bad('upgrade', 'websocket'), stream(PROTOCOL)],
  [
    '8.2.2 Transfer-Encoding',
    [headers(1, WHOLE, ...request('POST'), 'transfer-encoding', 'chunked')],
    stream(PROTOCOL),
  ],
  ['8.2.2 TE: trailers, deflate', bad('te', 'trailers, deflate'), stream(PROTOCOL)],
  ['8.2.2 TE: trailers', bad('te', 'trailers'), answered()],
  ['8.3 an unknown pseudo field', bad(':test', 'ok'), stream(PROTOCOL)],
  ['8.3 a pseudo field of responses', bad(':status', '200'), stream(PROTOCOL)],
  ['8.3 a name from the prototype', bad(':constructor', 'x'), stream(PROTOCOL)],
  [
    '8.3 a pseudo field after others',
    [headers(1, WHOLE, ...without(':path'), 'a', 'b', ':path', '/')],
    stream(PROTOCOL),
  ],
  ['8.3.1 an empty :path', [headers(1, WHOLE, ...replaced(':path', ''))], stream(PROTOCOL)],
  ['8.3.1 a :path without /', [headers(1, WHOLE, ...replaced(':path', 'a'))], stream(PROTOCOL)],
  [
    '8.3.1 an absolute :path',
    [headers(1, WHOLE, ...replaced(':path', 'http://b.test/'))],
    stream(PROTOCOL),
  ],
  ['8.3.1 * for GET', [headers(1, WHOLE, ...replaced(':path', '*'))], stream(PROTOCOL)],
  ['8.3.1 no :method', [headers(1, WHOLE, ...without(':method'))], stream(PROTOCOL)],
  ['8.3.1 no :scheme', [headers(1, WHOLE, ...without(':scheme'))], stream(PROTOCOL)],
  ['8.3.1 no :path', [headers(1, WHOLE, ...without(':path'))], stream(PROTOCOL)],
  [
    '8.3.1 neither :authority nor Host',
    [headers(1, WHOLE, ...without(':authority'))],
    stream(PROTOCOL),
  ],
  ['8.3.1 Host alone', [headers(1, WHOLE, ...without(':authority'), 'host', 'a.test')], answered()],
  ['8.3.1 :authority and the same Host', bad('host', 'A.test'), answered()],
  ['8.3.1 :authority and another Host', bad('host', 'b.test'), stream(PROTOCOL)],
  ['8.3.1 Host twice', bad('host', 'a.test', 'host', 'a.test'), stream(PROTOCOL)],
  [
    '8.3.1 userinfo in :authority',
    [headers(1, WHOLE, ...replaced(':authority', 'u@a.test'))],
    stream(PROTOCOL),
  ],
  ['8.3.1 another :scheme', [headers(1, WHOLE, ...replaced(':scheme', 'ftp'))], stream(PROTOCOL)],
  ['8.3.1 :method twice', [headers(1, WHOLE, ':method', 'GET', ...request())], stream(PROTOCOL)],
  ['8.3.1 :scheme twice', [headers(1, WHOLE, ':scheme', 'http', ...request())], stream(PROTOCOL)],
  ['8.3.1 :path twice', [headers(1, WHOLE, ':path', '/', ...request())], stream(PROTOCOL)],
  [
    '8.3.1 :authority twice',
    [headers(1, WHOLE, ':authority', 'a.test', ...request())],
    stream(PROTOCOL),
  ],
  ['8.5 CONNECT with :path', [headers(1, OPEN, ...request('CONNECT'))], stream(PROTOCOL)],
  [
    '8.5 CONNECT',
    [headers(1, OPEN, ':method', 'CONNECT', ':authority', 'a.test:80')],
    answered(1, '405'),
  ],
  ['RFC 8441: :protocol with GET', bad(), answered()],
  [
    'RFC 8441: :protocol without CONNECT',
    [headers(1, WHOLE, ':protocol', 'websocket', ...request())],
    stream(PROTOCOL),
  ],
  [
    'RFC 8441: another :protocol',
    [headers(1, OPEN, ':protocol', 'connect-udp', ...request('CONNECT'))],
    answered(1, '501'),
  ],
  ['8.1.1 more DATA than content-length', badBody('1', 'test'), stream(PROTOCOL)],
  ['8.1.1 less DATA than content-length', badBody('9', 'test'), stream(PROTOCOL)],
  ['8.1.1 several DATA, less', badBody('9', 'test', 'test'), stream(PROTOCOL)],
  ['8.1.1 content-length and no DATA', bad('content-length', '1'), stream(PROTOCOL)],
  [
    '8.1.1 content-length twice',
    bad('content-length', '0', 'content-length', '0'),
    stream(PROTOCOL),
  ],
  ['8.1.1 a signed content-length', badBody('+4', 'test'), stream(PROTOCOL)],
  ['an escaped slash', [get(1, '/a%2fb')], answered(1, '400')],
  ['a path above the root', [get(1, '/../b')], answered(1, '400')],
  ['a lower-case method', [headers(1, WHOLE, ...request('get'))], answered(1, '400')],
  ['an unknown expectation', bad('expect', 'x'), answered(1, '417')],
  ['a long target', [get(1, `/${'a'.repeat(9000)}`)], answered(1, '414')],
  ['many fields', bad(...Array.from({ length: 120 }, () => ['a', 'b']).flat()), answered(1, '431')],
  [
    'OPTIONS *',
    [
      headers(
        1,
        WHOLE,
        ':method',
        'OPTIONS',
        ':scheme',
        'http',
        ':path',
        '*',
        ':authority',
        'a.test',
      ),
    ],
    answered(),
  ],
];

let port = 0;
let gateway: Gateway | undefined;
let backend: http.Server | undefined;
const seen: string[] = [];

before(async () => {
  backend = http.createServer((asked, response) => {
    seen.push(`${asked.method} ${asked.url}`);
    if (asked.url === '/stuck') return;
    const slow = asked.url === '/slow' ? 100 : 0;
    asked.resume().on('end', () => setTimeout(() => response.end('hello'), slow));
    asked.on('error', () => {});
  });
  await new Promise<void>((resolve) => backend?.listen(0, '127.0.0.1', resolve));
  [port = 0] = await freePorts(1);
  const to = (backend.address() as net.AddressInfo).port;
  gateway = await Gateway.start(`listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app, accessLog: false }
services: { app: { endpoints: ["127.0.0.1:${to}"] } }
`);
});

after(async () => {
  await gateway?.stop();
  backend?.closeAllConnections();
  backend?.close();
});

async function judge(raw: RawHttp2, verdict: Verdict): Promise<void> {
  if (verdict.kind === 'alive') assert.ok(await raw.isAlive());
  else if (verdict.kind === 'answer') {
    await raw.until('an answer', () => raw.status(verdict.id) !== undefined || raw.closed);
    assert.equal(raw.status(verdict.id), verdict.status);
    assert.ok(await raw.isAlive());
  } else if (verdict.kind === 'stream') {
    await raw.until('a reset', () => raw.resetCode(verdict.id) !== undefined || raw.closed);
    assert.equal(raw.resetCode(verdict.id), verdict.code);
    // The stream's fault is not the connection's.
    raw.send(get(11));
    await raw.until('the next answer', () => raw.status(11) !== undefined || raw.closed);
    assert.equal(raw.status(11), '200');
  } else {
    await raw.until('the end', () => raw.closed);
    assert.equal(raw.goawayCode(), verdict.code);
  }
}

const SUITES: [string, Case[]][] = [
  ['generic', GENERIC],
  ['HPACK', HPACK],
  ['frames', FRAMES],
  ['streams', STREAMS],
  ['control frames', CONTROL],
  ['messages', MESSAGES],
];

for (const [suite, cases] of SUITES) {
  test(`HTTP/2 conformance: ${suite}, ${cases.length} cases`, async (context) => {
    for (const [name, bytes, verdict, options] of cases) {
      await context.test(name, async () => {
        const raw = await RawHttp2.open(port, options?.first);
        raw.send(...bytes);
        try {
          await judge(raw, verdict);
        } finally {
          raw.close();
        }
      });
    }
  });
}

test('3.4 an invalid preface', async () => {
  const raw = await RawHttp2.open(
    port,
    settings(),
    Buffer.from('PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n'),
  );
  await raw.until('the end', () => raw.closed);
  const cut = await RawHttp2.open(port, Buffer.alloc(0), PREFACE.subarray(0, 10));
  cut.send(PREFACE.subarray(10), settings(), get(1));
  await cut.until('an answer', () => cut.status(1) === '200');
  cut.close();
});

test('3.4 the server speaks first, within its limits, and acknowledges SETTINGS', async () => {
  const raw = await RawHttp2.open(port);
  await raw.until('an ACK', () => raw.find(SETTINGS, 0, ACK) !== undefined);
  const payload = raw.frames[0]?.payload ?? Buffer.alloc(0);
  assert.equal(raw.frames[0]?.type, SETTINGS);
  const sent = new Map<number, number>();
  for (let at = 0; at < payload.length; at += 6) {
    sent.set(payload.readUInt16BE(at), payload.readUInt32BE(at + 2));
  }
  assert.deepEqual([sent.get(3), sent.get(4), sent.get(8)], [100, 65_536, 1]);
  raw.close();
});

test('5.1 a frame for a stream that has ended on both sides ends the connection', async () => {
  for (const late of [frame(DATA, END_STREAM, 1, 'x'), headers(1, WHOLE, 'a', 'b')]) {
    const raw = await RawHttp2.open(port);
    raw.send(get(1));
    await raw.until('the answer', () => raw.find(DATA, 1, END_STREAM) !== undefined);
    raw.send(frame(WINDOW_UPDATE, 0, 1, u32(1)), frame(TYPE.PRIORITY, 0, 1, priority(0)));
    assert.ok(await raw.isAlive());
    raw.send(late);
    await raw.until('the end', () => raw.closed);
    assert.equal(raw.goawayCode(), STREAM_CLOSED);
  }
});

test('5.1.2 streams over the limit are refused, the others served', async () => {
  const raw = await RawHttp2.open(port);
  const ids = Array.from({ length: 110 }, (_, at) => 1 + 2 * at);
  raw.send(...ids.map((id) => half(id)));
  await raw.until('all', () => ids.every((id) => raw.status(id) ?? raw.resetCode(id)));
  assert.equal(ids.filter((id) => raw.status(id) === '200').length, 100);
  assert.equal(ids.filter((id) => raw.resetCode(id) === REFUSED_STREAM).length, 10);
  raw.close();
});

test('6.5.3, 6.9.2 windows follow SETTINGS, also below zero', async () => {
  const raw = await RawHttp2.open(port, settings([4, 100], [4, 3]));
  raw.send(get(1));
  await raw.until('3 bytes', () => raw.body(1).length === 3);
  raw.send(settings([4, 2]), PING_FRAME);
  await raw.until('a pong', () => raw.find(PING, 0, ACK) !== undefined);
  assert.equal(raw.body(1).toString(), 'hel');
  raw.send(frame(WINDOW_UPDATE, 0, 1, u32(1)));
  assert.ok(await raw.isAlive());
  assert.equal(raw.body(1).toString(), 'hel');
  raw.send(settings([4, 4]));
  await raw.until('the rest', () => raw.find(DATA, 1, END_STREAM) !== undefined);
  assert.equal(raw.body(1).toString(), 'hello');
  raw.close();
});

test('6.9.1 more body than the window is an error', async () => {
  const raw = await RawHttp2.open(port);
  raw.send(headers(1, OPEN, ...request('POST', '/stuck')));
  const piece = frame(DATA, 0, 1, Buffer.alloc(16_384));
  raw.send(...Array.from({ length: 2000 }, () => piece));
  await raw.until('an end', () => raw.closed || raw.resetCode(1) !== undefined, 5000);
  assert.equal(raw.resetCode(1) ?? raw.goawayCode(), FLOW_CONTROL);
  raw.close();
});

test('nothing malformed has reached the endpoint', () => {
  const allowed = /^(GET|POST|HEAD|OPTIONS) (\/|\/slow|\/stuck|\*)$/;
  assert.deepEqual(
    seen.filter((one) => !allowed.test(one)),
    [],
  );
});
