import assert from 'node:assert/strict';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { freePorts, Gateway } from '../support/gateway.ts';

/** What a backend of raw bytes does with a request, by its path. */
const SCRIPT: Record<string, (socket: net.Socket, seen: string) => void> = {
  '/hints': (socket) => {
    socket.write('HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n');
    setTimeout(() => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'), 50);
  },
  '/until-close': (socket) => socket.end('HTTP/1.1 200 OK\r\n\r\nall of it'),
  '/cut': (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf'),
  '/hops': (socket) =>
    socket.write(
      'HTTP/1.1 200 OK\r\nconnection: x-inner, close\r\nx-inner: 1\r\nkeep-alive: timeout=5\r\n' +
        'proxy-authenticate: Basic\r\nx-outer: 2\r\ncontent-length: 0\r\n\r\n',
    ),
  '/not-modified': (socket) =>
    socket.write('HTTP/1.1 304 Not Modified\r\netag: "a"\r\ncontent-length: 500\r\n\r\n'),
  '/two-lengths': (socket) =>
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc'),
};

const servers: net.Server[] = [];
let port = 0;
let gateway: Gateway | undefined;

/** Echoes the head and body that it got, unless the script says otherwise. */
function serve(socket: net.Socket): void {
  let seen = '';
  socket.on('error', () => {});
  socket.on('data', (data) => {
    seen += data.toString('latin1');
    const end = seen.indexOf('\r\n\r\n');
    const chunked = /^transfer-encoding: *chunked/im.test(seen);
    const length = Number(/^content-length: *(\d+)/im.exec(seen)?.[1] ?? 0);
    const whole = chunked ? /\r\n0\r\n(.*\r\n)*\r\n$/.test(seen) : seen.length >= end + 4 + length;
    if (end < 0 || !whole) return;
    const path = /^\S+ ([^ ?]*)/.exec(seen)?.[1] ?? '';
    const act = SCRIPT[path];
    if (act) act(socket, seen);
    else {
      const body = /^HEAD /.test(seen) ? '' : seen;
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${seen.length}\r\n\r\n${body}`);
    }
    seen = '';
  });
}

/** Sends bytes and collects what comes until the end. */
function talk(...parts: string[]): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    let got = '';
    socket.setTimeout(5000, () => socket.destroy());
    socket.on('data', (data) => {
      got += data.toString('latin1');
      if (got.includes('100 Continue') && parts.length > 0) socket.write(parts.shift() ?? '');
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(got));
    socket.write(parts.shift() ?? '');
  });
}

const get = (path: string, fields = '', method = 'GET') =>
  talk(`${method} ${path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n${fields}\r\n`);

before(async () => {
  const server = net.createServer(serve);
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  [port = 0] = await freePorts(1);
  gateway = await Gateway.start(`listeners:
  web: { bind: "127.0.0.1:${port}", protocol: http, service: app }
services:
  app: { health: false, retries: false, passive: false,
    endpoints: ["127.0.0.1:${(server.address() as AddressInfo).port}"] }
`);
});

after(async () => {
  await gateway?.stop();
  for (const server of servers) server.close();
});

test('early hints come before the answer, and not for HTTP/1.0', async () => {
  assert.match(
    await get('/hints'),
    /^HTTP\/1\.1 103 .*\r\nlink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200 [\s\S]*ok$/i,
  );
  assert.match(await talk('GET /hints HTTP/1.0\r\nhost: a\r\n\r\n'), /^HTTP\/1\.[01] 200 /);
});

test('Expect: the body is asked for, and passes', async () => {
  const head = 'POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: 100-continue\r\n';
  const answer = await talk(`${head}content-length: 4\r\n\r\n`, 'body');
  assert.match(answer, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /);
  assert.match(answer, /\r\n\r\nbody$/);
});

test('trailers of a request pass, but none that would change the message', async () => {
  const head =
    'POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n';
  const answer = await talk(`${head}\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n`);
  assert.match(answer, /\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n$/i);
  const forged = await talk(`${head}\r\n0\r\ncontent-length: 9\r\nhost: b\r\n\r\n`);
  assert.doesNotMatch(forged, /content-length: 9|host: b/i);
});

test('fields of one hop stay here, both ways; what a client is, is told all the same', async () => {
  const fields =
    'connection: x-mine, x-forwarded-for, x-forwarded-proto\r\nx-mine: 1\r\nx-yours: 2\r\n' +
    'keep-alive: 5\r\nte: gzip\r\nproxy-authorization: Basic eA==\r\nupgrade-insecure-requests: 1\r\n';
  const seen = await get('/echo', fields);
  assert.doesNotMatch(seen, /x-mine|keep-alive:|proxy-authorization|^te:/im);
  assert.match(seen, /^x-yours: 2\r$/im);
  assert.match(seen, /^x-forwarded-for: 127\.0\.0\.1\r$/im);
  assert.match(seen, /^x-forwarded-proto: http\r$/im);
  const answer = await get('/hops');
  assert.doesNotMatch(answer, /x-inner|keep-alive:/i);
  assert.match(answer, /^x-outer: 2\r$/im);
});

test('HEAD and 304 have lengths without bodies, and the connection goes on', async () => {
  const next = 'GET /not-modified HTTP/1.1\r\nhost: a\r\n\r\n';
  const last = 'HEAD /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n';
  const answer = await talk(`HEAD /echo HTTP/1.1\r\nhost: a\r\n\r\n${next}${last}`);
  const heads = answer.split('\r\n\r\n');
  assert.equal(heads.length, 4, answer);
  assert.match(heads[0] ?? '', /200 OK[\s\S]*content-length: [1-9]/i);
  assert.match(heads[1] ?? '', /304 Not Modified/);
  assert.equal(heads[3], '');
});

test('an answer that ends with its connection is whole, one that is cut is not', async () => {
  assert.match(await get('/until-close'), /all of it(\r\n0\r\n\r\n)?$/);
  const socket = net.connect(port, '127.0.0.1');
  socket.write('GET /cut HTTP/1.1\r\nhost: a\r\n\r\n');
  const [error] = await once(socket, 'error');
  assert.equal(error.code, 'ECONNRESET');
});

test('an answer with two lengths is not passed on', async () => {
  assert.match(await get('/two-lengths'), /^HTTP\/1\.1 502 /);
});

test('fields that are dropped for their underscore count all the same', async () => {
  assert.match(await get('/echo', 'a_b: 1\r\n'.repeat(90)), /^HTTP\/1\.1 200 /);
  assert.match(await get('/echo', 'a_b: 1\r\n'.repeat(400)), /^HTTP\/1\.1 431 /);
});
