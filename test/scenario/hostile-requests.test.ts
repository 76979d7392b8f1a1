import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { exchange, statusOf } from '../support/attack.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

let port = 0;
let gateway: Gateway | undefined;
let origin: http.Server | undefined;
let seen: { method: string; url: string; headers: string[]; body: string; trailers: string[] }[] =
  [];

before(async () => {
  origin = http.createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const { method = '', url = '', rawHeaders: headers, rawTrailers: trailers } = request;
      seen.push({ method, url, headers, body, trailers });
      response.end('origin');
    });
  });
  const server = origin;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  [port = 0] = await freePorts(1);
  gateway = await Gateway.start(`listeners:
  web:
    bind: "127.0.0.1:${port}"
    protocol: http
    service: app
    timeouts: { header: 700ms, idle: 700ms }
services:
  app: { health: false, endpoints: ["127.0.0.1:${(server.address() as AddressInfo).port}"] }
`);
});

after(async () => {
  await gateway?.stop();
  origin?.closeAllConnections();
  origin?.close();
});

const GET = 'GET / HTTP/1.1\r\nHost: a.test\r\n';
const POST = 'POST / HTTP/1.1\r\nHost: a.test\r\n';
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;

/** What is sent, and the status of the one answer, after which the connection is closed. */
const REFUSED: Readonly<Record<string, readonly [string, number]>> = {
  'length and transfer-encoding': [
    `${POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
  ],
  'transfer-encoding and length': [
    `${POST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`,
    400,
  ],
  'two lengths': [`${POST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef`, 400],
  'the same length twice': [`${POST}Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde`, 400],
  'a list of lengths': [`${POST}Content-Length: 5, 5\r\n\r\nabcde`, 400],
  'a length with a sign': [`${POST}Content-Length: +5\r\n\r\nabcde`, 400],
  'a negative length': [`${POST}Content-Length: -5\r\n\r\nabcde`, 400],
  'a hexadecimal length': [`${POST}Content-Length: 0x5\r\n\r\nabcde`, 400],
  'a length of 20 digits': [`${POST}Content-Length: 00000000000000000005\r\n\r\nabcde`, 400],
  'a length with a space in it': [`${POST}Content-Length: 1 0\r\n\r\nabcde`, 400],
  'an empty length': [`${POST}Content-Length:\r\n\r\n`, 400],
  xchunked: [`${POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 501],
  'chunked twice': [`${POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`, 400],
  'chunked in two fields': [
    `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
  ],
  'chunked before gzip': [`${POST}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n`, 400],
  'gzip before chunked': [`${POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 501],
  identity: [`${POST}Transfer-Encoding: identity\r\n\r\nabc`, 501],
  'an empty transfer-encoding': [`${POST}Transfer-Encoding:\r\n\r\n`, 501],
  'chunked with a vertical tab': [`${POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`, 400],
  'chunked in quotes': [`${POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n`, 501],
  'chunked on HTTP/1.0': [
    'POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    400,
  ],
  'a chunk size of 17 digits': [`${CHUNKED}00000000000000005\r\nabcde\r\n0\r\n\r\n`, 400],
  'a negative chunk size': [`${CHUNKED}-1\r\na\r\n0\r\n\r\n`, 400],
  'a chunk size with 0x': [`${CHUNKED}0x5\r\nabcde\r\n0\r\n\r\n`, 400],
  'a chunk size with a sign': [`${CHUNKED}+5\r\nabcde\r\n0\r\n\r\n`, 400],
  'a chunk size with an underscore': [`${CHUNKED}1_0\r\n0123456789abcdef\r\n0\r\n\r\n`, 400],
  'an empty chunk size': [`${CHUNKED}\r\nabc\r\n0\r\n\r\n`, 400],
  'chunk data without its end': [`${CHUNKED}5\r\nabcdefg\r\n0\r\n\r\n`, 400],
  'a bare LF after a chunk size': [`${CHUNKED}5\nabcde\r\n0\r\n\r\n`, 400],
  'a bare LF after chunk data': [`${CHUNKED}5\r\nabcde\n0\r\n\r\n`, 400],
  'a bare CR in a chunk extension': [`${CHUNKED}5;a\rb\r\nabcde\r\n0\r\n\r\n`, 400],
  'a space before a chunk size': [`${CHUNKED} 5\r\nabcde\r\n0\r\n\r\n`, 400],
  '64 kB of chunk extensions': [`${CHUNKED}5;${'a'.repeat(65_536)}\r\nabcde\r\n0\r\n\r\n`, 400],
  'a trailer that is no field': [`${CHUNKED}0\r\nbad trailer\r\n\r\n`, 400],
  'a space before the colon': [`${GET}X-A : b\r\n\r\n`, 400],
  'a length with a space before the colon': [`${POST}Content-Length : 5\r\n\r\nabcde`, 400],
  'an empty name': [`${GET}: b\r\n\r\n`, 400],
  'no colon': [`${GET}X-A\r\n\r\n`, 400],
  'a name with a character that is no token': [`${GET}X(A: b\r\n\r\n`, 400],
  'a space before the first field': ['GET / HTTP/1.1\r\n Host: a.test\r\n\r\n', 400],
  'a folded line': [`${GET}X-A: b\r\n c\r\n\r\n`, 400],
  'a bare CR in a value': [`${GET}X-A: b\rc\r\n\r\n`, 400],
  'a bare LF in a value': [`${GET}X-A: b\nX-B: c\r\n\r\n`, 400],
  'bare LFs only': ['GET / HTTP/1.1\nHost: a.test\n\n', 400],
  'a NUL in a value': [`${GET}X-A: b\0c\r\n\r\n`, 400],
  'a NUL in a name': [`${GET}X\0A: b\r\n\r\n`, 400],
  'no Host': ['GET / HTTP/1.1\r\n\r\n', 400],
  'two Hosts': [`${GET}Host: b.test\r\n\r\n`, 400],
  'a Host with a path': ['GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400],
  'a Host with a user': ['GET / HTTP/1.1\r\nHost: a/b@c\r\n\r\n', 400],
  'a Host list': ['GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n', 400],
  'a Host with a space': ['GET / HTTP/1.1\r\nHost: a test\r\n\r\n', 400],
  'a user in the target': ['GET http://u@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'a method of 1 kB': [`${'A'.repeat(1024)} / HTTP/1.1\r\nHost: a.test\r\n\r\n`, 400],
  'a method in lower case': ['get / HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'a method with a colon': ['G:T / HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'a space before the method': [' GET / HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'two spaces after the method': ['GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'a tab after the method': ['GET\t/ HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'a space after the version': ['GET / HTTP/1.1 \r\nHost: a.test\r\n\r\n', 400],
  'a space in the target': ['GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'no target': ['GET HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'a target without a slash': ['GET a HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'an asterisk for GET': ['GET * HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'a long target': [`GET /${'a'.repeat(9000)} HTTP/1.1\r\nHost: a.test\r\n\r\n`, 414],
  'a long target without an end': [`GET /${'a'.repeat(9000)}`, 414],
  'headers of 20 kB': [`${GET}X-A: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
  'headers of 20 kB without an end': [`${GET}X-A: ${'a'.repeat(20_000)}`, 431],
  '101 headers': [`${GET}${'X-A: b\r\n'.repeat(101)}\r\n`, 431],
  'HTTP/0.9': ['GET /\r\n\r\n', 400],
  'HTTP/2.0': ['GET / HTTP/2.0\r\nHost: a.test\r\n\r\n', 505],
  'HTTP/3.1': ['GET / HTTP/3.1\r\nHost: a.test\r\n\r\n', 505],
  'HTTP/1.10': ['GET / HTTP/1.10\r\nHost: a.test\r\n\r\n', 400],
  'http/1.1 in lower case': ['GET / http/1.1\r\nHost: a.test\r\n\r\n', 400],
  'an unknown expectation': [`${GET}Expect: the-worst\r\n\r\n`, 417],
  CONNECT: ['CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n', 405],
  'climbing above the root': ['GET /a/../../b HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'climbing in escapes': ['GET /%2e%2e/b HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'an escaped slash': ['GET /a%2fb HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'an escaped backslash': ['GET /a%5Cb HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'an escaped NUL': ['GET /a%00b HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'a broken escape': ['GET /a%zz HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'a backslash': ['GET /a\\b HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'a raw byte in the path': ['GET /\x80 HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'a fragment': ['GET /a#b HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
  'a TLS hello': ['\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03', 400],
};

test('every ambiguous request gets its one refusal and a closed connection', async () => {
  seen = [];
  const wrong: string[] = [];
  for (const [name, [bytes, status]] of Object.entries(REFUSED)) {
    // A second request behind it must not be served, whatever the first one meant.
    const smuggled = `${bytes}GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n`;
    const sent = bytes.endsWith('\r\n\r\n') ? smuggled : bytes;
    const { text, ending } = await exchange(port, sent);
    const answers = text.split(/^HTTP\/1\.1 /m).length - 1;
    const fine = statusOf(text) === status && answers === 1 && ending === 'end';
    if (!fine) wrong.push(`${name}: ${ending}: ${text.slice(0, 60)}`);
    else if (!/\r\nconnection: close\r\n/i.test(text)) wrong.push(`${name}: no Connection: close`);
  }
  assert.deepEqual(wrong, []);
  const whole = seen.filter(({ url }) => url === '/smuggled');
  assert.deepEqual(whole, [], 'nothing that followed a refused request reached the origin');
  await eventually('refusals are counted', async () => {
    const { text } = (await gateway?.admin('/metrics')) ?? { text: '' };
    return /sluice_listener_bad_requests_total\{[^}]*reason="repeated-host"[^}]*\} [1-9]/.test(
      text,
    );
  });
});

async function forwarded(bytes: string) {
  seen = [];
  const { text } = await exchange(port, bytes, { half: true });
  return { text, request: seen[0], count: seen.length };
}

const named = (headers: readonly string[] = [], name: string) =>
  headers.filter((_, at) => at % 2 === 1 && headers[at - 1]?.toLowerCase() === name);

test('the absolute form wins over Host, which is rewritten', async () => {
  const { request } = await forwarded('GET http://b.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n');
  assert.equal(request?.url, '/x');
  assert.deepEqual(named(request?.headers, 'host'), ['b.test']);
});

test('what Connection names is removed; what the gateway adds survives', async () => {
  const hostile = 'Connection: X-Forwarded-For, Host, X-Secret, close\r\nX-Secret: 1\r\n';
  const { request, text } = await forwarded(`${GET}${hostile}X-Forwarded-For: 6.6.6.6\r\n\r\n`);
  assert.match(text, /^HTTP\/1.1 200 /);
  assert.deepEqual(named(request?.headers, 'x-secret'), []);
  assert.deepEqual(named(request?.headers, 'x-forwarded-for'), ['127.0.0.1']);
  assert.deepEqual(named(request?.headers, 'host'), ['a.test']);
});

test('forged client addresses are replaced and names with underscores dropped', async () => {
  const forged =
    'X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX_Forwarded_For: 6.6.6.6\r\n';
  const more = 'Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n';
  const { request } = await forwarded(`${GET}${forged}${more}\r\n`);
  const all = request?.headers.join(' ') ?? '';
  assert.ok(!all.includes('6.6.6.6'), all);
  assert.deepEqual(named(request?.headers, 'x-forwarded-proto'), ['http']);
});

test('trailers that could change the message are dropped, others pass', async () => {
  const trailers = 'Content-Length: 9\r\nHost: b\r\nTransfer-Encoding: x\r\nX-Sum: 1\r\n';
  const { request } = await forwarded(`${CHUNKED}3\r\nabc\r\n0\r\n${trailers}\r\n`);
  assert.equal(request?.body, 'abc');
  const names = request?.trailers.filter((_, at) => at % 2 === 0).map((one) => one.toLowerCase());
  assert.deepEqual(names, ['x-sum']);
});

test('chunk extensions are not forwarded', async () => {
  const { request, text } = await forwarded(`${CHUNKED}3;a=b\r\nabc\r\n0;c\r\n\r\n`);
  assert.match(text, /^HTTP\/1.1 200 /);
  assert.equal(request?.body, 'abc');
});

test('paths are forwarded in the form in which they were matched', async () => {
  const paths = { '//a': '//a', '/a/./b/../c': '/a/c', '/%61%7e': '/a~', '/a;x=1': '/a;x=1' };
  for (const [sent, want] of Object.entries(paths)) {
    const { request } = await forwarded(`GET ${sent} HTTP/1.1\r\nHost: a.test\r\n\r\n`);
    assert.equal(request?.url, want);
  }
});

test('h2c by upgrade is served as HTTP/1.1, with the offer removed', async () => {
  const offer = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n';
  const { request, text } = await forwarded(`${GET}${offer}\r\n`);
  assert.match(text, /^HTTP\/1.1 200 /);
  assert.deepEqual(named(request?.headers, 'upgrade'), []);
  assert.deepEqual(named(request?.headers, 'http2-settings'), []);
});

test('a client that has sent all and half-closes is answered', async () => {
  for (const framing of [
    'Content-Length: 3\r\n\r\nabc',
    'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
  ]) {
    const { text, request } = await forwarded(`${POST}${framing}`);
    assert.match(text, /^HTTP\/1.1 200 /);
    assert.equal(request?.body, 'abc');
  }
  const { text, count } = await forwarded(`${POST}Content-Length: 3\r\n\r\nab`);
  assert.deepEqual([text, count], ['', 0], 'what is missing will not come');
});

test('an upgrade that the origin does not take leaves an ordinary connection', async () => {
  const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 9\r\n\r\n';
  const { text, count } = await forwarded(`${GET}${upgrade}${GET}Connection: close\r\n\r\n`);
  assert.equal(text.split('HTTP/1.1 200').length - 1, 2);
  assert.equal(count, 2);
});

test('1000 pipelined requests are answered in order; after Connection: close nothing is', async () => {
  seen = [];
  const many = Array.from(
    { length: 1000 },
    (_, at) => `GET /${at} HTTP/1.1\r\nHost: a.test\r\n\r\n`,
  );
  const last = `${POST}Connection: close\r\nContent-Length: 1\r\n\r\nx${GET}\r\n`;
  const { text, ending } = await exchange(port, many.join('') + last, { timeoutMs: 60_000 });
  assert.equal(ending, 'end');
  assert.equal(text.split('HTTP/1.1 200').length - 1, 1001);
  const urls = seen.slice(0, 1000).map(({ url }) => url);
  assert.deepEqual(
    urls,
    many.map((_, at) => `/${at}`),
  );
  assert.equal(seen.length, 1001);
});

test('a head that does not come gets 408, silence is closed', async () => {
  const started = await exchange(port, 'GET / HTTP/1.1\r\nHost: a');
  assert.equal(statusOf(started.text), 408);
  assert.equal(started.ending, 'end');
  const trickled = Array.from(`GET / HTTP/1.1\r\nHost: a.test\r\nX-A: ${'b'.repeat(400)}`);
  const slow = await exchange(port, trickled, { gapMs: 60, timeoutMs: 60_000 });
  assert.equal(statusOf(slow.text), 408);
  assert.ok(slow.sent < trickled.length, 'it is not waited for as long as bytes come');
  const silent = await exchange(port, '');
  assert.equal(silent.text, '');
  assert.notEqual(silent.ending, 'open');
});

test('refusals never echo what was sent', async () => {
  const { text } = await exchange(port, 'GET /<script>\\ HTTP/1.1\r\nHost: <script>\r\n\r\n');
  assert.ok(text.length > 0 && !text.includes('<script>'), text);
});
