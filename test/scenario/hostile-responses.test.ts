import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, beforeEach, test } from 'node:test';
import { exchange, type Reply, statusOf } from '../support/attack.ts';
import { freePorts, Gateway } from '../support/gateway.ts';
import { processTree, usage } from '../support/processes.ts';

let port = 0;
let gateway: Gateway | undefined;
let arrived: string[] = [];
let connections = 0;

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';

/** What the origin says to a request for the path, and how it then ends. */
type Script = { say: string | (() => Iterable<string>); ending?: 'end' | 'reset' };

const GARBAGE: Readonly<Record<string, Script>> = {
  'two lengths': { say: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk' },
  'the same length twice': {
    say: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok',
  },
  'a list of lengths': { say: 'HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok' },
  'a length with a sign': { say: 'HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok' },
  'length and transfer-encoding': {
    say: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  },
  'an unknown coding': { say: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc' },
  'a coding before chunked': {
    say: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
  },
  'chunked on HTTP/1.0': { say: 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' },
  'no HTTP at all': { say: 'SSH-2.0-OpenSSH_9.2\r\n', ending: 'end' },
  zeros: { say: '\0'.repeat(100) },
  'HTTP/2.0': { say: 'HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok' },
  'a status of two digits': { say: 'HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok' },
  'a status of 099': { say: 'HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok' },
  'a space before the colon': { say: 'HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok' },
  'a folded line': { say: 'HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok' },
  'a NUL in a value': { say: 'HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 2\r\n\r\nok' },
  'a bare CR in a value': { say: 'HTTP/1.1 200 OK\r\nX-A: b\rc\r\nContent-Length: 2\r\n\r\nok' },
  'an end before the head': { say: '', ending: 'end' },
  'a reset before the head': { say: '', ending: 'reset' },
  'an end within the head': { say: 'HTTP/1.1 200 OK\r\nContent-Le', ending: 'end' },
  'an upgrade that nobody asked for': {
    say: 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw',
  },
  'interim answers without end': {
    say: function* () {
      for (let count = 0; count < 1000; count++) yield 'HTTP/1.1 103 Early Hints\r\n\r\n';
    },
  },
};

/** Answers that began well and cannot be finished: the client must not take them for whole. */
const CUT: Readonly<Record<string, Script>> = {
  'an end within the length': {
    say: 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc',
    ending: 'end',
  },
  'a reset within the length': {
    say: 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc',
    ending: 'reset',
  },
  'an end between chunks': { say: `${CHUNKED}3\r\nabc\r\n`, ending: 'end' },
  'an end within a chunk': { say: `${CHUNKED}ff\r\nabc`, ending: 'end' },
  'a chunk size that is none': { say: `${CHUNKED}3\r\nabc\r\nzz\r\n` },
  'a chunk without its end': { say: `${CHUNKED}3\r\nabcdef\r\n0\r\n\r\n` },
  'a reset of a body that ends with its connection': {
    say: 'HTTP/1.1 200 OK\r\n\r\nabc',
    ending: 'reset',
  },
};

/** Whole answers; the next request must not be answered with what came too much. */
const SURPLUS: Readonly<Record<string, readonly [string, string]>> = {
  'bytes after the length': ['GET', `${OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`],
  'a body to HEAD': ['HEAD', `${OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`],
  'a body with 204': ['GET', 'HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil'],
  'a body with 304': ['GET', 'HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil'],
};

const scripts = new Map<string, Script>();
for (const [name, script] of Object.entries({ ...GARBAGE, ...CUT })) {
  scripts.set(pathOf(name), script);
}
for (const [name, [, say]] of Object.entries(SURPLUS)) scripts.set(pathOf(name), { say });
scripts.set('/ok', { say: OK });
scripts.set('/early', { say: 'HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig' });
scripts.set('/hints', {
  say: `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n${OK}`,
});
scripts.set('/100-mb-header', {
  say: function* () {
    yield 'HTTP/1.1 200 OK\r\n';
    for (let count = 0; count < 1600; count++) yield `X-${count}: ${'a'.repeat(65_530)}\r\n`;
  },
});

function pathOf(name: string): string {
  return `/${name.replaceAll(/[^a-z0-9]+/gi, '-')}`;
}

async function play(socket: net.Socket, { say, ending }: Script): Promise<void> {
  for (const text of typeof say === 'string' ? [say] : say()) {
    if (socket.destroyed) return;
    if (!socket.write(text, 'latin1')) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  if (ending === 'end') socket.end();
  // The bytes before a reset have to be read first, or the reset takes them away.
  if (ending === 'reset') setTimeout(() => socket.resetAndDestroy(), 50);
}

function serve(socket: net.Socket): void {
  connections++;
  let text = '';
  socket.on('error', () => {});
  socket.on('data', (data) => {
    text += data.toString('latin1');
    const end = text.indexOf('\r\n\r\n');
    if (end < 0) return;
    const path = text.split(' ')[1] ?? '';
    text = text.slice(end + 4);
    if (!path.startsWith('/')) return;
    arrived.push(path);
    const script = scripts.get(path);
    if (script) void play(socket, script);
  });
}

const origin = net.createServer(serve);
const other = net.createServer(serve);
const portOf = (server: net.Server) => (server.address() as net.AddressInfo).port;

before(async () => {
  for (const server of [origin, other]) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  }
  [port = 0] = await freePorts(1);
  gateway = await Gateway.start(`listeners:
  web:
    bind: "127.0.0.1:${port}"
    protocol: http
    service: app
    routes: [{ match: { host: pair }, service: pair }]
services:
  app:
    health: false
    passive: false
    retries: { budget: 100% }
    endpoints: ["127.0.0.1:${portOf(origin)}"]
  pair:
    health: false
    passive: false
    endpoints: ["127.0.0.1:${portOf(origin)}", "127.0.0.1:${portOf(other)}"]
`);
});

after(async () => {
  await gateway?.stop();
  origin.close();
  other.close();
});

beforeEach(() => {
  arrived = [];
  connections = 0;
});

const ask = (path: string, method = 'GET', more = 'Host: a\r\n'): Promise<Reply> =>
  exchange(port, `${method} ${path} HTTP/1.1\r\n${more}Connection: close\r\n\r\n`);

test('an answer that could be read in two ways is a 502, and nothing of it passes', async () => {
  const wrong: string[] = [];
  for (const name of Object.keys(GARBAGE)) {
    const { text, ending } = await ask(pathOf(name));
    const final = text.replace(/^(HTTP\/1\.1 103 [^\r]*\r\n\r\n)+/, '');
    if (statusOf(final) !== 502 || ending !== 'end') {
      wrong.push(`${name}: ${ending} ${text.slice(0, 200)}`);
    }
    if (/okk|raw|SSH/.test(text)) wrong.push(`${name}: leaked ${text}`);
    if (!arrived.includes(pathOf(name))) wrong.push(`${name}: never asked`);
  }
  assert.deepEqual(wrong, []);
});

test('an answer that ends too soon never looks whole', async () => {
  const wrong: string[] = [];
  for (const name of Object.keys(CUT)) {
    const { text, ending } = await ask(pathOf(name));
    const head = text.slice(0, text.indexOf('\r\n\r\n')).toLowerCase();
    const body = text.slice(text.indexOf('\r\n\r\n') + 4);
    const whole = head.includes('chunked')
      ? body.endsWith('0\r\n\r\n')
      : head.includes('content-length: 100')
        ? body.length >= 100
        : ending === 'end';
    if (whole || statusOf(text) !== 200) wrong.push(`${name}: ${ending} ${text}`);
    if (ending === 'open') wrong.push(`${name}: still open`);
  }
  assert.deepEqual(wrong, []);
});

test('what comes after an answer never answers the next request', async () => {
  for (const [name, [method]] of Object.entries(SURPLUS)) {
    const first = await ask(pathOf(name), method);
    assert.ok(statusOf(first.text) >= 200, `${name}: ${first.text}`);
    assert.ok(!first.text.includes('evil'), `${name}: ${first.text}`);
    const second = await ask('/ok');
    assert.match(second.text, /^HTTP\/1.1 200 [\s\S]*ok$/, `${name}: ${second.text}`);
  }
});

test('a header of 100 MB is given up early and costs no memory', async () => {
  const pids = processTree(gateway?.process.pid ?? 0);
  const before = usage(pids).rssBytes;
  const { text, tookMs } = await ask('/100-mb-header');
  assert.equal(statusOf(text), 502);
  assert.ok(usage(pids).rssBytes - before < 30 * 1_048_576);
  assert.ok(tookMs < 3000);
});

test('an endpoint that ends before its head: GET is asked of the other, POST of none', async () => {
  const path = pathOf('a reset before the head');
  const host = 'Host: pair\r\n';
  const post = await ask(path, 'POST', `${host}Content-Length: 0\r\n`);
  assert.equal(statusOf(post.text), 502);
  assert.equal(arrived.length, 1);
  arrived = [];
  assert.equal(statusOf((await ask(path, 'GET', host)).text), 502);
  assert.equal(arrived.length, 2);
});

test('an early 413 reaches the client that still uploads; its connections are not reused', async () => {
  const head = 'POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n';
  const parts = [head, ...Array.from({ length: 100 }, () => 'a'.repeat(1000))];
  const { text, ending } = await exchange(port, parts);
  assert.match(text, /^HTTP\/1.1 413 [\s\S]*big$/);
  assert.notEqual(ending, 'open');
  connections = 0;
  await ask('/ok');
  assert.equal(connections, 1, 'a new connection to the origin');
});

test('interim answers: 103 passes, 100 that nobody waits for does not', async () => {
  const { text } = await ask('/hints');
  assert.match(text, /^HTTP\/1.1 103 [^\r]*\r\nlink: a\r\n\r\nHTTP\/1.1 200 /i);
  assert.ok(!text.includes(' 100 '));
});
