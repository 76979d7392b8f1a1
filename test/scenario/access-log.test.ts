import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { Backend } from '../support/backend.ts';
import { makeCertificates } from '../support/certs.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

const SLUICED = new URL('../../src/main/sluiced.ts', import.meta.url).pathname;

async function setUp(t: TestContext, access: string, workers = 1) {
  const [web = 0, tcp = 0, udp = 0, one = 0, dead = 0] = await freePorts(5);
  const backend = new Backend(one, 'one');
  t.after(() => backend.kill());
  await backend.start();
  const echo = dgram.createSocket('udp4');
  t.after(() => echo.close());
  echo.on('message', (data, from) => echo.send(data, from.port, from.address));
  await new Promise<void>((resolve) => echo.bind(one, '127.0.0.1', resolve));
  const config = `log: { access: { file: "{DIR}/access.log", ${access} } }
listeners:
  web:
    bind: "127.0.0.1:${web}"
    protocol: http
    routes:
      - { name: gone, match: { path: /gone }, service: gone }
      - { name: all, service: app }
  raw: { bind: "127.0.0.1:${tcp}", protocol: tcp, service: app }
  dns: { bind: "127.0.0.1:${udp}", protocol: udp, service: app, timeouts: { idle: 300ms } }
services:
  app: { endpoints: ["127.0.0.1:${one}"], health: false }
  gone: { endpoints: ["127.0.0.1:${dead}"], health: false, passive: false }
`;
  const gateway = await Gateway.start(config, { workers });
  t.after(() => gateway.stop());
  const path = join(gateway.directory, 'access.log');
  const lines = () =>
    existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : [];
  return { gateway, backend, web, tcp, udp, one, dead, path, lines };
}

const get = async (port: number, path: string) =>
  (await fetch(`http://127.0.0.1:${port}${path}`, { headers: { 'user-agent': 'a "b"' } })).text();

test('a line a session for every protocol, as JSON', async (t) => {
  const { web, tcp, udp, one, lines } = await setUp(t, 'format: json');
  await get(web, '/x?y=1');
  await get(web, '/gone');
  const socket = net.connect(tcp, '127.0.0.1');
  socket.end('GET / HTTP/1.0\r\n\r\n').resume();
  const flow = dgram.createSocket('udp4');
  t.after(() => flow.close());
  flow.send('hello', udp, '127.0.0.1');
  await eventually('four lines', () => lines().length === 4);
  const records = lines().map((line) => JSON.parse(line));
  const of = (listener: string, route?: string) =>
    records.find((record) => record.listener === listener && (!route || record.route === route));
  const http = of('web', 'all');
  assert.equal(http.http.target, '/x?y=1');
  assert.equal(http.http.status, 200);
  assert.equal(http.endpoint, `127.0.0.1:${one}`);
  assert.ok(http.waitMs >= 0 && http.responseMs > 0 && http.durationMs >= http.responseMs);
  assert.equal(of('web', 'gone').outcome, 'no-endpoint');
  assert.ok(of('raw').bytesOut > 0);
  const datagrams = of('dns');
  assert.deepEqual(
    [datagrams.bytesIn, datagrams.bytesOut, datagrams.outcome, datagrams.endpoint],
    [5, 5, 'ok', `127.0.0.1:${one}`],
  );
});

// The expressions are those of HAProxy's manual for its own fields.
const HTTPLOG =
  /^127\.0\.0\.1:\d+ \[\d{2}\/\w{3}\/\d{4}:\d{2}:\d{2}:\d{2}\.\d{3}\] (\S+) (\S+)\/(\S+) (-?\d+)\/(-?\d+)\/(-?\d+)\/(-?\d+)\/\+?(\d+) (\d{3}) \+?(\d+) (\S+) (\S+) (\S{4}) (\d+)\/(\d+)\/(\d+)\/(\d+)\/\+?(\d+) (\d+)\/(\d+) "([^"]*)"$/;
const TCPLOG =
  /^127\.0\.0\.1:\d+ \[\d{2}\/\w{3}\/\d{4}:\d{2}:\d{2}:\d{2}\.\d{3}\] (\S+) (\S+)\/(\S+) (-?\d+)\/(-?\d+)\/\+?(\d+) \+?(\d+) (\S{2}) (\d+)\/(\d+)\/(\d+)\/(\d+)\/\+?(\d+) (\d+)\/(\d+)$/;

test('a tunnel is told with the status that its client got, and the bytes of both ways', async (t) => {
  const { web, one, backend, lines } = await setUp(t, 'format: json');
  await backend.kill();
  const server = http.createServer();
  new WebSocketServer({ server }).on('connection', (socket) => {
    socket.on('message', () => socket.close());
  });
  server.listen(one, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const socket = new WebSocket(`ws://127.0.0.1:${web}/h1`);
  socket.on('open', () => socket.send('hello'));
  await once(socket, 'close');
  const session = http2.connect(`http://127.0.0.1:${web}`);
  t.after(() => session.destroy());
  await once(session, 'remoteSettings');
  const head = { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/h2' };
  const stream = session.request({ ...head, 'sec-websocket-version': '13' });
  const [answer] = await once(stream, 'response');
  assert.equal(answer[':status'], 200);
  // The text `hello`, masked by zeros, and a close.
  stream.end(Buffer.from('818500000000' + '68656c6c6f' + '888000000000', 'hex'));
  stream.resume();
  await once(stream, 'close');
  await eventually('two lines', () => lines().length === 2);
  const told = lines().map((line) => JSON.parse(line));
  assert.deepEqual(
    told.map((record) => [record.http.target, record.http.status, record.bytesIn >= 17]),
    [
      ['/h1', 101, true],
      ['/h2', 200, true],
    ],
  );
  assert.ok(told.every(({ bytesOut }) => bytesOut > 0));
});

test('what becomes no session has a line too: refusals and failed handshakes', async (t) => {
  const [refusing = 0, limited = 0, secure = 0, passing = 0] = await freePorts(4);
  const gateway = await Gateway.start(
    `log: { access: { file: "{DIR}/access.log", sample: "0%" } }
listeners:
  refusing: { bind: "127.0.0.1:${refusing}", protocol: http, access: { deny: ["127.0.0.1"] }, service: app }
  limited: { bind: "127.0.0.1:${limited}", protocol: http, limits: { maxConnections: 1 }, service: app }
  secure:
    bind: "127.0.0.1:${secure}"
    protocol: https
    service: app
    tls: { certificates: [{ cert: "{DIR}/certs/example.com.pem", key: "{DIR}/certs/example.com.key" }] }
  passing: { bind: "127.0.0.1:${passing}", protocol: tls-passthrough, routes: [{ match: { sni: a.test }, service: app }] }
services: { app: { endpoints: ["127.0.0.1:9"], health: false } }
`,
    { prepare: (directory) => makeCertificates(join(directory, 'certs')) },
  );
  t.after(() => gateway.stop());
  const send = (port: number, text: string) =>
    new Promise<void>((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () =>
        text ? socket.write(text) : socket.end(),
      );
      socket.on('error', () => {});
      socket.on('close', () => resolve());
      socket.resume();
    });
  await send(refusing, 'GET / HTTP/1.1\r\n\r\n');
  const holder = net.connect(limited, '127.0.0.1');
  t.after(() => holder.destroy());
  await once(holder, 'connect');
  await eventually(
    'the first is held',
    async () =>
      (await gateway.metric('sluice_listener_connections_active{listener="limited"}')) === 1,
  );
  await send(limited, 'GET / HTTP/1.1\r\n\r\n');
  await send(secure, 'GET / HTTP/1.1\r\n\r\n');
  // A look whether the port is open is no session.
  await send(secure, '');
  await send(passing, '');
  await send(passing, 'GET / HTTP/1.1\r\n\r\n');
  const lines = () =>
    readFileSync(join(gateway.directory, 'access.log'), 'utf8').split('\n').filter(Boolean);
  await eventually('four lines', () => lines().length >= 4);
  const told = lines().map((line) => JSON.parse(line));
  assert.deepEqual(
    told.map(({ listener, outcome, client }) => [listener, outcome, client]),
    [
      ['refusing', 'access', '127.0.0.1'],
      ['limited', 'listener-limit', '127.0.0.1'],
      ['secure', 'tls-plain-http', '127.0.0.1'],
      ['passing', 'not-tls', '127.0.0.1'],
    ],
  );
});

test('httplog and tcplog have the fields of HAProxy', async (t) => {
  const { web, tcp, one, dead, lines } = await setUp(t, 'format: httplog');
  await get(web, '/x');
  await get(web, '/gone');
  net.connect(tcp, '127.0.0.1').end('GET / HTTP/1.0\r\n\r\n').resume();
  await eventually('three lines', () => lines().length === 3);
  const [good, gone] = lines().map((line) => HTTPLOG.exec(line));
  assert.ok(good && gone, lines().join('\n'));
  assert.deepEqual(good.slice(1, 4), ['web', 'app', `127.0.0.1:${one}`]);
  assert.deepEqual([good[9], good[13], good[21]], ['200', '----', 'GET /x HTTP/1.1']);
  assert.deepEqual([gone[3], gone[9], gone[13]], [`127.0.0.1:${dead}`, '502', 'SC--']);
  assert.match(lines()[2] ?? '', TCPLOG);
});

test('common, combined and a template; quotes and control characters do no harm', async (t) => {
  const { gateway, web, lines } = await setUp(t, 'format: combined');
  await get(web, '/x');
  await eventually('a line', () => lines().length === 1);
  assert.match(
    lines()[0] ?? '',
    /^127\.0\.0\.1 - - \[[^\]]+ \+0000\] "GET \/x HTTP\/1\.1" 200 \d+ "-" "a \\x22b\\x22"$/,
  );
  const text = readFileSync(gateway.configPath, 'utf8');
  writeFileSync(
    gateway.configPath,
    text.replace('format: combined', 'format: { template: "{method}|{status}|{userAgent}" }'),
  );
  await gateway.admin('/v1/reload', { method: 'POST' });
  await get(web, '/x');
  await eventually('a line of the other format', () => lines()[1] === 'GET|200|a \\x22b\\x22');
  writeFileSync(
    gateway.configPath,
    text.replace('format: combined', 'format: { template: "{x}" }'),
  );
  const refused = await gateway.admin('/v1/reload', { method: 'POST' });
  assert.match(refused.text, /there is no \{x\}; there are: time, listener/);
});

test('sampling leaves good sessions out and keeps the failed', async (t) => {
  const { web, lines } = await setUp(t, 'sample: 0%');
  for (let sent = 0; sent < 5; sent++) await get(web, '/x');
  await get(web, '/gone');
  await eventually('the failed one', () => lines().length === 1);
  assert.equal(JSON.parse(lines()[0] ?? '').route, 'gone');
});

/** What the descriptors of a process stand for. */
function openFiles(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).flatMap((name) => {
    try {
      return [readlinkSync(join(folder, name))];
    } catch {
      // Closed since.
      return [];
    }
  });
}

test('a rotated file is opened anew on SIGUSR1, in every worker', async (t) => {
  const { gateway, web, path, lines } = await setUp(t, 'format: common', 2);
  const some = async () => {
    for (let sent = 0; sent < 20; sent++) await get(web, '/x');
  };
  await some();
  await eventually('all are written', () => lines().length === 20);
  renameSync(path, `${path}.1`);
  gateway.process.kill('SIGUSR1');
  await eventually('there is a new file', () => existsSync(path));
  const workers = await gateway.workers();
  await eventually('every worker has opened it', () =>
    workers.every((pid) => openFiles(pid).includes(path)),
  );
  await some();
  await eventually('all are in the new file', () => lines().length === 20);
  assert.equal(readFileSync(`${path}.1`, 'utf8').split('\n').filter(Boolean).length, 20);
});

/** A daemon whose standard output and error go where the test says. */
async function unheard(t: TestContext, sink: 'pipe' | number) {
  const [web = 0, admin = 0] = await freePorts(2);
  const { directory, path } = scratch(t);
  writeFileSync(
    path,
    `admin: { bind: "127.0.0.1:${admin}" }
workers: 1
shutdown: { timeout: 1s }
log: { access: { format: json } }
listeners:
  web: { bind: "127.0.0.1:${web}", protocol: http, routes: [{ respond: { body: "${'x'.repeat(1000)}" } }] }
`,
  );
  const child = spawn(process.execPath, [SLUICED, '--config', path], {
    cwd: directory,
    stdio: ['ignore', sink, sink],
  });
  t.after(() => ended(child));
  const metric = async () => {
    const answer = await fetch(`http://127.0.0.1:${admin}/metrics`).catch(() => undefined);
    const text = (await answer?.text()) ?? '';
    return Number(/^sluice_access_log_dropped_total (\d+)/m.exec(text)?.[1] ?? -1);
  };
  await eventually('it serves', async () => (await metric()) === 0);
  return { child, web, metric };
}

function scratch(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-log-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return { directory, path: join(directory, 'sluice.yaml') };
}

async function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const last = setTimeout(() => child.kill('SIGKILL'), 30_000);
  const code = await exit;
  clearTimeout(last);
  return code;
}

/** Requests with long paths until lines are dropped; every one has to be answered. */
async function floodUntilDropped(web: number, metric: () => Promise<number>): Promise<void> {
  const path = `/${'p'.repeat(6000)}`;
  for (let round = 0; round < 40; round++) {
    const all = Array.from({ length: 50 }, () => get(web, path));
    for (const text of await Promise.all(all)) assert.equal(text.length, 1000);
    if ((await metric()) > 0) return;
  }
  assert.fail('nothing was dropped');
}

test('a reader of the log that stalls, or goes, costs lines and not requests', async (t) => {
  const { child, web, metric } = await unheard(t, 'pipe');
  // Nobody reads the pipes of the child.
  await floodUntilDropped(web, metric);
  child.stdout?.destroy();
  child.stderr?.destroy();
  const before = await metric();
  await floodUntilDropped(web, async () => (await metric()) - before);
  assert.equal(await ended(child), 0, 'it ends in good order');
});

test('a full disk under the logs costs lines and not requests', {
  skip: existsSync('/dev/full') ? false : 'needs /dev/full',
}, async (t) => {
  const { child, web, metric } = await unheard(t, openSync('/dev/full', 'w'));
  await floodUntilDropped(web, metric);
  assert.equal(await ended(child), 0, 'it ends in good order');
});
