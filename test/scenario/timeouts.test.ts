import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import http2 from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

const DEADLINE_MS = 300;
/** Longer than its default, which is short. */
const CONNECT_MS = 1500;
/** Below every default but those of `connect` and `handshake`. */
const LATEST_MS = 9500;
/** Long enough for a tester that is kept from its beats for a moment. */
const TCP_IDLE_MS = 1500;

const servers: net.Server[] = [];
const sockets = new Set<net.Socket>();
let stuck: ChildProcess | undefined;
let gateway: Gateway | undefined;
/** Connections to the server that sends more than is taken. */
const flood = { begun: 0, ended: 0 };
let ports: number[] = [];

/** A peer that does with each connection what `serve` says, and lives until the end. */
async function peer(serve: (socket: net.Socket) => void): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    serve(socket);
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** A process that listens and never accepts, with its queue full: nobody else gets an answer. */
async function neverAccepts(): Promise<number> {
  const script = `const server = require('node:net').createServer();
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));`;
  stuck = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(stuck.stdout as NodeJS.ReadableStream, 'data');
  stuck.kill('SIGSTOP');
  const port = Number(line);
  let connected = 0;
  for (let turn = 0; turn < 4; turn++) {
    const socket = net.connect(port, '127.0.0.1', () => connected++);
    socket.on('error', () => {});
    sockets.add(socket);
  }
  // As many as its queue holds are connected; the kernel leaves the others without an answer.
  await eventually('its queue is full', () => connected === 2);
  return port;
}

type Ended = { text: string; afterMs: number };

/** Connects, does something, and waits for the end of the connection. */
function untilEnd(port: number, act: (socket: net.Socket) => void): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now();
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    sockets.add(socket);
    let text = '';
    socket.setTimeout(30_000, () => socket.destroy(new Error(`open for 30 s; got ${text}`)));
    socket.on('connect', () => act(socket));
    socket.on('data', (data) => {
      text += data.toString('latin1');
    });
    const ended = () => resolve({ text, afterMs: performance.now() - startedAt });
    socket.on('end', ended);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNRESET' || error.code === 'EPIPE') ended();
      else reject(error);
    });
  });
}

function assertInTime({ afterMs }: { afterMs: number }, deadlineMs = DEADLINE_MS): void {
  assert.ok(afterMs >= deadlineMs * 0.9, `ended after ${afterMs} ms`);
  assert.ok(afterMs < LATEST_MS, `ended after ${afterMs} ms`);
}

const GET = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
const UPGRADE =
  'GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n' +
  'sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
const SWITCHED =
  'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n';

before(async () => {
  const good = await peer((socket) => {
    let text = '';
    socket.on('data', (data) => {
      text += data.toString('latin1');
      if (text.includes('\r\n\r\n') && (!text.startsWith('POST') || text.endsWith('whole'))) {
        socket.write(text.includes('upgrade: websocket') ? SWITCHED : OK);
        text = '';
      }
    });
  });
  const silent = await peer((socket) => socket.resume());
  const halting = await peer((socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf'));
  });
  const flooding = await peer((socket) => {
    flood.begun++;
    socket.on('close', () => flood.ended++);
    socket.once('data', () => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${64 << 20}\r\n\r\n`);
      socket.write(Buffer.alloc(64 << 20));
    });
  });
  const never = await neverAccepts();
  ports = await freePorts(10);
  const d = `${DEADLINE_MS}ms`;
  const bind = (at: number) => `bind: "127.0.0.1:${ports[at]}"`;
  const service = (...endpoints: number[]) =>
    `health: false, passive: false, endpoints: [${endpoints.map((one) => `"127.0.0.1:${one}"`)}]`;
  gateway = await Gateway.start(`listeners:
  connect: { ${bind(0)}, protocol: http, timeouts: { connect: ${CONNECT_MS}ms }, service: connect }
  header: { ${bind(1)}, protocol: http, timeouts: { header: ${d} }, service: good }
  request: { ${bind(2)}, protocol: http, timeouts: { request: ${d} }, service: silent }
  idle: { ${bind(3)}, protocol: http, timeouts: { idle: ${d} }, service: good,
    routes: [{ match: { path: /halting }, service: halting }] }
  write: { ${bind(4)}, protocol: http, timeouts: { write: ${d} }, service: flooding }
  tunnel: { ${bind(5)}, protocol: http, timeouts: { tunnel: ${d} }, service: good }
  tcp: { ${bind(6)}, protocol: tcp, timeouts: { idle: ${TCP_IDLE_MS}ms }, service: silent }
  half: { ${bind(7)}, protocol: tcp, timeouts: { halfClose: ${d} }, service: silent }
  hello: { ${bind(8)}, protocol: tls-passthrough, timeouts: { handshake: ${d} }, service: good }
  unset: { ${bind(9)}, protocol: tls-passthrough, service: good }
services:
  connect: { balance: first, ${service(never, good)} }
  good: { ${service(good)} }
  silent: { ${service(silent)} }
  halting: { ${service(halting)} }
  flooding: { ${service(flooding)} }
`);
});

after(async () => {
  await gateway?.stop();
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
  stuck?.kill('SIGKILL');
});

const port = (at: number) => ports[at] ?? 0;

test('connect: an endpoint that does not accept is left for the next, with a POST too', async () => {
  const startedAt = performance.now();
  const answer = await fetch(`http://127.0.0.1:${port(0)}/`, { method: 'POST', body: 'whole' });
  assert.equal(answer.status, 200);
  assertInTime({ afterMs: performance.now() - startedAt }, CONNECT_MS);
});

test('header: a head that trickles is answered 408 and closed', async () => {
  const ended = await untilEnd(port(1), (socket) => {
    socket.write('GET / HTTP/1.1\r\n');
    const trickle = setInterval(() => socket.write('x'), 50);
    socket.on('close', () => clearInterval(trickle));
    socket.on('end', () => clearInterval(trickle));
  });
  assertInTime(ended);
  assert.match(ended.text, /^HTTP\/1\.1 408 /);
});

test('request: an endpoint that does not answer is 504', async () => {
  const startedAt = performance.now();
  const answer = await fetch(`http://127.0.0.1:${port(2)}/`);
  assert.equal(answer.status, 504);
  assertInTime({ afterMs: performance.now() - startedAt });
});

test('idle: a kept connection is closed, an upload that stands still is 408', async () => {
  const kept = await untilEnd(port(3), (socket) => socket.write(GET));
  assertInTime(kept);
  assert.match(kept.text, /^HTTP\/1\.1 200 /);
  const upload = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc';
  const stalled = await untilEnd(port(3), (socket) => socket.write(upload));
  assertInTime(stalled);
  assert.match(stalled.text, /^HTTP\/1\.1 408 /);
});

test('idle: an answer that stands still is cut, so that nobody takes it for whole', async () => {
  const request = 'GET /halting HTTP/1.1\r\nhost: a\r\n\r\n';
  const cut = await untilEnd(port(3), (socket) => socket.write(request));
  assertInTime(cut);
  assert.match(cut.text, /half$/);
});

test('write: a client that does not read is cut', async () => {
  const { begun } = flood;
  const startedAt = performance.now();
  const socket = net.connect(port(4), '127.0.0.1', () => socket.write(GET));
  sockets.add(socket);
  socket.on('error', () => {});
  socket.pause();
  await eventually('it is at work', () => flood.begun === begun + 1);
  await eventually('the client is cut, and the endpoint let go', () => flood.ended === begun + 1);
  assertInTime({ afterMs: performance.now() - startedAt });
  assert.equal(await gateway?.metric('sluice_service_active{service="flooding"}'), 0);
});

test('write: an HTTP/2 stream that is not taken is given up', async (t) => {
  const { begun } = flood;
  const session = http2.connect(`http://127.0.0.1:${port(4)}`);
  session.on('error', () => {});
  t.after(() => session.destroy());
  const stream = session.request({ ':path': '/' });
  stream.on('error', () => {});
  stream.pause();
  await eventually('it is at work', () => flood.begun === begun + 1);
  await eventually('the endpoint is let go', () => flood.ended === begun + 1);
});

test('tunnel: an upgraded connection without a byte is closed', async () => {
  const ended = await untilEnd(port(5), (socket) => socket.write(UPGRADE));
  assertInTime(ended);
  assert.match(ended.text, /^HTTP\/1\.1 101 /);
});

test('tcp idle: a session without a byte is closed, one with bytes is not', async () => {
  assertInTime(await untilEnd(port(6), (socket) => socket.write('x')), TCP_IDLE_MS);
  const busy = await untilEnd(port(6), (socket) => {
    let left = 15;
    const beat = setInterval(() => {
      socket.write('x');
      if (--left === 0) clearInterval(beat);
    }, TCP_IDLE_MS / 6);
  });
  assert.ok(busy.afterMs > 3 * TCP_IDLE_MS, `${busy.afterMs}`);
});

test('half-close: the other direction has its time', async () => {
  assertInTime(await untilEnd(port(7), (socket) => socket.end('x')));
});

test('handshake: half a ClientHello is not waited for', async () => {
  const half = (socket: net.Socket) => socket.write(Buffer.from([0x16, 3, 1, 0, 200, 1]));
  const ends: string[] = [];
  const untold = untilEnd(port(9), half).then(() => ends.push('default'));
  const told = await untilEnd(port(8), half);
  ends.push('own');
  assert.ok(told.afterMs >= DEADLINE_MS * 0.9, `ended after ${told.afterMs} ms`);
  await untold;
  assert.deepEqual(ends, ['own', 'default'], 'its own deadline is before the default one');
});
