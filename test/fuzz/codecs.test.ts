import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';
import { decode as decodeDns, encode as encodeDns } from 'dns-packet';
import fc from 'fast-check';
import { type Rng, seededRng } from '../../src/base/rng.ts';
import { parseDuration, parsePercent, parseSize } from '../../src/base/values.ts';
import { cookieValue, removeCookie } from '../../src/gateway/http/sticky-cookie.ts';
import { readClientHello } from '../../src/wire/client-hello.ts';
import { HpackDecoder, HpackEncoder } from '../../src/wire/hpack.ts';
import { normalizeTarget } from '../../src/wire/http-path.ts';
import { BodyDecoder } from '../../src/wire/http1-body.ts';
import { parseRequestHead, parseResponseHead } from '../../src/wire/http1-head.ts';
import { decodeProxyHeader, encodeProxyHeader } from '../../src/wire/proxy-protocol.ts';
import { mutate } from '../support/mutate.ts';
import { REQUESTS, RESPONSES, SCRAPS } from './corpus/http1.ts';

const RUNS = Number(process.env['FUZZ_RUNS'] ?? 4000);
const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
const LIMITS = {
  maxHeaderBytes: 16_384,
  maxHeaders: 100,
  maxUriBytes: 8192,
  underscoreHeaders: 'drop',
} as const;

/** Runs `check` on seeded inputs; a failure names the seed and the input that led to it. */
function fuzz(
  name: string,
  make: (rng: Rng) => string,
  check: (bytes: Buffer, rng: Rng) => void,
): void {
  test(name, (t) => {
    t.diagnostic(`seed ${SEED}, ${RUNS} runs`);
    const rng = seededRng(SEED);
    for (let run = 0; run < RUNS; run++) {
      const input = make(rng);
      try {
        check(Buffer.from(input, 'latin1'), rng);
      } catch (cause) {
        throw new Error(`seed ${SEED}, run ${run}, input ${JSON.stringify(input)}`, { cause });
      }
    }
  });
}

/** The whole body, however it is cut; undefined when it is refused. */
function decodeBody(bytes: Buffer, cuts: readonly number[]): string | undefined {
  const decoder = new BodyDecoder({ kind: 'chunked' });
  let buffer: Buffer = Buffer.alloc(0);
  let body = '';
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    buffer = Buffer.concat([buffer, bytes.subarray(from, cut)]);
    from = cut;
    for (;;) {
      const step = decoder.decode(buffer, 0);
      if (step.kind === 'error') return undefined;
      assert.ok(step.consumed >= 0 && step.consumed <= buffer.length);
      buffer = buffer.subarray(step.consumed);
      if (step.kind === 'need-more') break;
      if (step.kind === 'end') return `${body}|${step.trailers.join()}`;
      assert.ok(step.consumed > 0, 'it gets on');
      body += step.data.toString('latin1');
    }
  }
  return `${body}…`;
}

fuzz(
  'a request head is read alike in one piece and in two',
  (rng) => mutate(rng, REQUESTS, SCRAPS),
  (bytes, rng) => {
    const whole = parseRequestHead(bytes, 0, LIMITS);
    const cut = rng.below(bytes.length + 1);
    const first = parseRequestHead(bytes.subarray(0, cut), 0, LIMITS);
    if (first.kind === 'need-more') {
      assert.deepEqual(parseRequestHead(bytes, 0, LIMITS, cut), whole);
    } else if (first.kind === 'error' && whole.kind === 'value') {
      // A line end within the target is seen early in a part, in the whole by the target's check.
      assert.ok('error' in normalizeTarget(whole.value.target, 'reject'));
    } else assert.equal(first.kind, whole.kind);
    if (whole.kind !== 'value') return;
    assert.ok(whole.consumed <= bytes.length);
    for (const one of whole.value.headers) assert.doesNotMatch(one, /[\0\r\n]/);
    const { target } = whole.value;
    const normal = normalizeTarget(target, 'reject');
    if (!('error' in normal)) {
      assert.deepEqual(normalizeTarget(normal.path, 'reject'), {
        path: normal.path,
        query: undefined,
      });
      assert.doesNotMatch(normal.path, /\/\.\.?(\/|$)/);
    }
  },
);

fuzz(
  'a response head is read or refused',
  (rng) => mutate(rng, RESPONSES, SCRAPS),
  (bytes, _rng) => {
    const result = parseResponseHead(bytes, 0, 'GET');
    if (result.kind === 'value') {
      for (const one of result.value.headers) assert.doesNotMatch(one, /[\0\r\n]/);
    } else if (result.kind === 'error') assert.equal(result.status, 502);
  },
);

const BODIES = [
  '0\r\n\r\n',
  '5\r\nhello\r\n0\r\n\r\n',
  '3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: 1\r\n\r\n',
];

fuzz(
  'a chunked body is read alike however it is cut',
  (rng) => mutate(rng, BODIES, SCRAPS),
  (bytes, rng) => {
    const cuts = Array.from({ length: rng.below(5) }, () => rng.below(bytes.length + 1));
    cuts.sort((a, b) => a - b);
    assert.equal(decodeBody(bytes, cuts), decodeBody(bytes, []));
  },
);

/** What OpenSSL sends first, for `a.test` with ALPN. */
function clientHello(): Promise<Buffer> {
  return new Promise((resolve) => {
    const server = net.createServer((socket) => {
      socket.once('data', (data: Buffer) => {
        resolve(data);
        socket.destroy();
        server.close();
      });
    });
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo;
      const options = { port, host: '127.0.0.1', servername: 'a.test', ALPNProtocols: ['h2'] };
      tls.connect(options).on('error', () => {});
    });
  });
}

const HELLO = await clientHello();

test('a ClientHello as it is is routed', () => {
  const { kind, ...rest } = readClientHello(HELLO);
  assert.deepEqual({ kind, ...rest }, { kind: 'value', sni: 'a.test', alpn: ['h2'] });
});

fuzz(
  'a ClientHello is routed, refused or awaited',
  (rng) => mutate(rng, [HELLO.toString('latin1')], ['\0', '\xff', '\x16\x03\x01', '\0\0', 'a']),
  (bytes, _rng) => {
    const result = readClientHello(bytes);
    if (result.kind === 'value' && result.sni !== undefined) {
      assert.match(result.sni, /^[a-z0-9._-]{1,253}$/);
    }
  },
);

const ENDS = [
  { address: '10.0.0.1', port: 1234 },
  { address: '10.0.0.2', port: 80 },
] as const;
const PROXIES = [
  encodeProxyHeader('v1', ...ENDS, []),
  encodeProxyHeader('v2', ...ENDS, [{ type: 5, value: Buffer.from('id') }]),
  encodeProxyHeader('v2', { address: '::1', port: 1 }, { address: '::2', port: 2 }, []),
  Buffer.from('PROXY UNKNOWN\r\n'),
].map((bytes) => bytes.toString('latin1'));

fuzz(
  'a PROXY header is read, refused or awaited',
  (rng) => mutate(rng, PROXIES, ['\r\n', ' ', '\0', '\xff', '65536', '::', '-1', 'PROXY ']),
  (bytes, _rng) => {
    const result = decodeProxyHeader(bytes);
    if (result.kind === 'value') {
      assert.ok(result.consumed <= bytes.length);
      const cut = decodeProxyHeader(bytes.subarray(0, result.consumed - 1));
      assert.equal(cut.kind, 'need-more', 'no shorter header is taken');
    }
  },
);

const encoder = new HpackEncoder({ maxTableBytes: 4096 });
const block = encoder.encode([':method', 'GET', ':path', '/', 'cookie', 'a=b', 'x-a', 'b']);
fuzz(
  'HPACK blocks decode within their bound or fail',
  (rng) => mutate(rng, [block.toString('latin1')], ['\xff', '\x80', '\x3f\xe1\x1f', '\0', '\x40']),
  (bytes, _rng) => {
    const decoder = new HpackDecoder({ maxTableBytes: 4096, maxListBytes: 16_384 });
    for (let round = 0; round < 3; round++) {
      const result = decoder.decode(bytes);
      if (result.kind === 'error') break;
      assert.ok(result.bytes <= 16_384);
    }
  },
);

const answers = [{ type: 'A' as const, name: 'a.test', ttl: 1, data: '10.0.0.1' }];
const packet = encodeDns({
  type: 'response',
  id: 1,
  questions: [{ type: 'A', name: 'a.test' }],
  answers,
});
fuzz(
  'DNS answers decode or are refused',
  (rng) => mutate(rng, [packet.toString('latin1')], ['\xc0\x0c', '\xc0\0', '\xff', '\0']),
  (bytes, _rng) => {
    try {
      // A pointer without an end would be ended by the test's own limit of time.
      decodeDns(bytes);
    } catch (error) {
      assert.ok(error instanceof Error);
    }
  },
);

test('cookies: what is found is what was set, and removing leaves the others', () => {
  const name = fc.stringMatching(/^[a-z]{1,5}$/);
  const value = fc.stringMatching(/^[!#-+.-:<-[\]-~]{0,10}$/);
  const jar = fc.uniqueArray(fc.tuple(name, value), { selector: ([key]) => key, maxLength: 8 });
  fc.assert(
    fc.property(jar, name, (pairs, wanted) => {
      const headers = ['Cookie', pairs.map(([key, text]) => `${key}=${text}`).join('; ')];
      const expected = pairs.find(([key]) => key === wanted)?.[1];
      assert.equal(cookieValue(headers, wanted), expected);
      removeCookie(headers, wanted);
      assert.equal(cookieValue(headers, wanted), undefined);
      for (const [key, text] of pairs) {
        if (key !== wanted) assert.equal(cookieValue(headers, key), text);
      }
    }),
    { seed: SEED },
  );
});

test('durations, sizes and percentages are numbers within their bounds or nothing', () => {
  const near = fc.stringMatching(/^[-+0-9.e]{0,12} ?(us|ms|s|m|h|d|B|KB|KiB|GiB|%)?$/);
  fc.assert(
    fc.property(fc.oneof(fc.string(), near), (text) => {
      for (const parse of [parseDuration, parseSize, parsePercent]) {
        const value = parse(text);
        assert.ok(value === undefined || (Number.isFinite(value) && value >= 0), text);
      }
    }),
    { seed: SEED, numRuns: 2000 },
  );
});
