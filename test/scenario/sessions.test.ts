import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import http2 from 'node:http2';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { WebSocketServer } from 'ws';
import type { SessionInfo } from '../../src/model/session-info.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { askSocket, Haproxy, noHaproxy } from '../support/haproxy.ts';

/** Answers `/slow` never, WebSockets, and anything else at once. */
async function startBackend(t: TestContext): Promise<number> {
  const server = createServer((request, answer) => {
    if (request.url !== '/slow') answer.end('ok');
  });
  const sockets = new WebSocketServer({ server });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const client of sockets.clients) client.terminate();
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** A client that has sent something. */
function client(t: TestContext, port: number, text: string) {
  const seen = { closed: false, text: '', port: 0 };
  const socket: Socket = net.connect(port, '127.0.0.1', () => {
    seen.port = socket.localPort ?? 0;
    socket.write(text);
  });
  socket.on('data', (data) => {
    seen.text += data;
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    seen.closed = true;
  });
  t.after(() => socket.destroy());
  return seen;
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`;
const WEBSOCKET =
  'GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n' +
  'sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
const BAD = `${get('/').trimEnd()}\r\nbad header\x01 and a text that is long enough to go on in the next line: 1\r\n\r\n`;

/** The same clients of one gateway, and what they see. */
function clients(t: TestContext, web: number, tcp: number) {
  return {
    slow: client(t, web, get('/slow')),
    idle: client(t, web, get('/')),
    socket: client(t, web, WEBSOCKET),
    tcp: client(t, tcp, 'GET /'),
    bad: client(t, web, BAD),
  };
}

/** Two workers, so that sessions of both are found. */
async function start(t: TestContext) {
  const [web = 0, tcp = 0] = await freePorts(2);
  const backend = await startBackend(t);
  const gateway = await Gateway.start(
    `listeners:
  web: { bind: "127.0.0.1:${web}", protocol: http, service: app }
  raw: { bind: "127.0.0.1:${tcp}", protocol: tcp, service: raw }
services:
  app: { endpoints: [{ name: s1, address: "127.0.0.1:${backend}" }] }
  raw: { endpoints: [{ name: s1, address: "127.0.0.1:${backend}" }] }
`,
    { workers: 2, runtime: 'admin' },
  );
  t.after(() => gateway.stop());
  return {
    web,
    tcp,
    backend,
    gateway,
    ask: askSocket.bind(null, join(gateway.directory, 'run.sock')),
  };
}

/** Fields of the lines of `show sess` that both programs have, without its own connections. */
function fields(text: string) {
  const lines = text.split('\n').filter((line) => line.startsWith('0x') && !/fe=GLOBAL/.test(line));
  return lines.map((line) => {
    const [, id = '', proto, port, rest] =
      /^(0x[0-9a-f]+): proto=(\S+) src=127\.0\.0\.1:(\d+) (fe=\S+ be=\S+ srv=\S+) /.exec(line) ??
      [];
    assert.match(line, / age=\d+s/);
    return { id, proto, port: Number(port), rest };
  });
}

test('the runtime API shows and ends sessions, and tells what could not be read, as HAProxy does', {
  skip: noHaproxy,
}, async (t) => {
  const { web, tcp, backend, ask } = await start(t);
  const [theirWeb = 0, theirTcp = 0] = await freePorts(2);
  const haproxy = await Haproxy.start(
    t,
    `defaults
  mode http
  timeout connect 1s
  timeout client 50s
  timeout server 50s
frontend web
  bind 127.0.0.1:${theirWeb}
  default_backend app
frontend raw
  mode tcp
  bind 127.0.0.1:${theirTcp}
  default_backend raw
backend app
  server s1 127.0.0.1:${backend}
backend raw
  mode tcp
  server s1 127.0.0.1:${backend}
`,
  );
  const sides = [
    { say: ask, seen: clients(t, web, tcp) },
    { say: (line: string) => haproxy.ask(line), seen: clients(t, theirWeb, theirTcp) },
  ];
  for (const { say, seen } of sides) {
    const { slow, idle, socket, tcp: raw, bad } = seen;
    await eventually('all are answered as far as they will be', () => {
      return [idle, socket, bad].every(({ text }) => text !== '');
    });
    await eventually(
      'three are under way',
      async () => fields(await say('show sess')).length === 3,
    );
    const found = fields(await say('show sess'));
    const whose = new Map([
      [slow.port, 'slow'],
      [socket.port, 'socket'],
      [raw.port, 'raw'],
    ]);
    assert.deepEqual(
      found.map(({ proto, port, rest }) => `${whose.get(port)} ${proto} ${rest}`).sort(),
      [
        'raw tcpv4 fe=raw be=raw srv=s1',
        'slow tcpv4 fe=web be=app srv=s1',
        'socket tcpv4 fe=web be=app srv=s1',
      ],
    );
    const idOf = (name: string) => found.find(({ port }) => whose.get(port) === name)?.id ?? '';
    const one = await say(`show sess ${idOf('slow')}`);
    assert.match(
      one,
      new RegExp(
        `^${idOf('slow')}: \\[\\d\\d/\\w{3}/20\\d\\d:[\\d:.]+\\] .*proto=tcpv4 source=127`,
      ),
    );
    assert.match(one, /\n {2}frontend=web.*\n {2}backend=app.*\n {2}server=s1/);

    assert.equal(await say('show sess 0x1234'), 'Session not found.\n\n');
    assert.equal(await say('shutdown session'), "Session pointer expected (use 'show sess').\n\n");
    assert.equal(await say('shutdown session 0x1234'), "No such session (use 'show sess').\n\n");
    assert.equal(await say('shutdown sessions server'), "Require 'backend/server'.\n\n");
    assert.equal(await say('shutdown sessions server x/s1'), 'No such backend.\n\n');
    assert.equal(await say('shutdown sessions server app/x'), 'No such server.\n\n');

    assert.equal(await say(`shutdown session ${idOf('socket')}`), '\n');
    await eventually('the WebSocket is closed', () => socket.closed);
    assert.deepEqual([slow.text, slow.closed, raw.closed], ['', false, false]);
    assert.equal(await say('shutdown sessions server raw/s1'), '\n');
    await eventually('the TCP session is closed', () => raw.closed);
    assert.equal(await say('shutdown sessions server app/s1'), '\n');
    await eventually(
      'nothing is under way',
      async () => fields(await say('show sess')).length === 0,
    );
    assert.equal(idle.closed, false);

    const errors = await say('show errors');
    assert.match(errors, /^Total events captured on \[\d\d\/\w{3}\/20\d\d:[\d:.]+\] : 1\n \n\[/);
    assert.match(
      errors,
      /\] frontend web \(#\d\): invalid request\n {2}backend <NONE> \(#-1\), server <NONE> /,
    );
    assert.ok(errors.includes(`src 127.0.0.1:${bad.port}\n`));
    const dump = errors.slice(errors.indexOf('  00000  '));
    assert.equal(
      dump,
      [
        String.raw`  00000  GET / HTTP/1.1\r\n`,
        String.raw`  00016  host: a\r\n`,
        String.raw`  00025  bad header\x01 and a text that is long enough to go on in the next lin`,
        String.raw`  00092+ e: 1\r\n`,
        String.raw`  00098  \r\n`,
        '\n',
      ].join('\n'),
    );
    assert.ok((await say('show errors web request')).endsWith(dump));
    assert.doesNotMatch(await say('show errors web response'), /invalid/);
    assert.match(await say('show errors raw'), /^Total[^\n]*: 1\n\n$/);
    assert.equal(await say('show errors nope'), 'No such proxy.\n\n');
  }
});

test('sessions are listed and ended by the admin API, those of HTTP/2 with their connection', async (t) => {
  const { web, gateway } = await start(t);
  const session = http2.connect(`http://127.0.0.1:${web}`);
  let closed = false;
  session.on('error', () => {});
  session.on('close', () => {
    closed = true;
  });
  t.after(() => session.destroy());
  for (const _ of [1, 2]) session.request({ ':path': '/slow' }).on('error', () => {});
  const kept = client(t, web, get('/slow'));
  const list = async (query = '') =>
    JSON.parse((await gateway.admin(`/v1/sessions${query}`)).text) as SessionInfo[];
  await eventually('three are under way', async () => (await list()).length === 3);
  const sessions = await list('?service=app');
  assert.equal(new Set(sessions.map(({ id }) => id)).size, 3);
  assert.ok(sessions.every(({ listener, endpoint }) => listener === 'web' && endpoint === 's1'));
  assert.deepEqual(await list('?service=raw'), []);
  const one = sessions.find(({ client: { port } }) => port === kept.port);
  assert.ok(one && one.ageMs >= 0 && one.local.port === web);

  const ended = await gateway.admin(`/v1/sessions/${one.id}/end`, { method: 'POST' });
  assert.equal(ended.status, 200, ended.text);
  await eventually('it is closed', () => kept.closed);
  assert.equal(closed, false);
  const again = await gateway.admin(`/v1/sessions/${one.id}/end`, { method: 'POST' });
  assert.equal(again.status, 404);
  const [left] = await list();
  assert.ok(left);
  await gateway.admin(`/v1/sessions/${left.id}/end`, { method: 'POST' });
  await eventually('the connection is closed', () => closed);
  await eventually('nothing is under way', async () => (await list()).length === 0);
});
