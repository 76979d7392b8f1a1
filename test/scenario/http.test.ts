import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { freePorts, Gateway } from '../support/gateway.ts';

type Answer = { status: number; headers: http.IncomingHttpHeaders; text: string };

let port = 0;
let gateway: Gateway | undefined;
const servers: http.Server[] = [];
let posts = 0;

/** Answers with its name and what it was asked; paths that start with `/fail` depend on the name. */
async function backend(name: string): Promise<number> {
  const server = http.createServer((request, response) => {
    const url = request.url ?? '';
    if (url.startsWith('/early')) {
      response.writeHead(403).end('early');
      return;
    }
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (request.method === 'POST' && url === '/fail-post') posts++;
      const fails = url === '/fail-post' || (url === '/fail-one' && name === 'A');
      response.statusCode = fails ? 503 : 200;
      response.setHeader('x-backend', name);
      response.setHeader('x-secret', 'inside');
      if (url === '/trailers') response.setHeader('trailer', 'x-sum');
      const body = Buffer.concat(chunks).toString();
      response.write(JSON.stringify({ name, url, headers: request.headers, body }));
      if (url === '/trailers') response.addTrailers({ 'x-sum': 'abc' });
      response.end();
    });
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(String(data))));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as net.AddressInfo).port;
}

function ask(path: string, options: http.RequestOptions = {}, body = ''): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host: '127.0.0.1', port, path, agent: false, timeout: 5000, ...options },
      (response) => {
        let text = '';
        response.on('data', (data) => {
          text += data;
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
        );
      },
    );
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', reject);
    request.end(body);
  });
}

/** Sends bytes and collects what comes until the end, or until `enough` is in it. */
function raw(text: string, enough?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(text));
    let got = '';
    socket.setTimeout(5000, () => socket.destroy(new Error(`only got ${got}`)));
    socket.on('data', (data) => {
      got += data.toString('latin1');
      if (enough !== undefined && got.includes(enough)) socket.destroy();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(got));
  });
}

before(async () => {
  const [a, b] = [await backend('A'), await backend('B')];
  [port = 0] = await freePorts(1);
  gateway = await Gateway.start(
    `listeners:
  web:
    bind: "127.0.0.1:${port}"
    protocol: http
    limits: { maxBodyBytes: 100KiB }
    http: { serverHeader: edge }
    routes:
      - { match: { host: "*.wild.example" }, respond: { status: 200, body: wild } }
      - { match: { path: /m, method: DELETE }, respond: { status: 200, body: deleted } }
      - { match: { path: /h, header: { x-v: "2" } }, respond: { status: 200, body: second } }
      - { match: { path: "/old/*" }, redirect: { to: "https://new.example{uri}", status: 308 } }
      - { match: { path: "/api/*" }, service: both, rewrite: { stripPrefix: /api },
          headers: { request: { set: { x-from: edge } }, response: { remove: [x-secret] } } }
      - { match: { path: "/moved/*" }, redirect: { regex: "^/moved/([^/]*)/?(.*)$", to: "/$2/$1{search}" } }
      - { match: { path: "/tem*" }, service: both, maxBodyBytes: 5, rewrite: { host: "{host}" },
          headers: { request: { set: { x-to: "{scheme}://{authority}{uri}", x-by: "{client}", x-json: '{"a":1}' },
                                remove: [x-old], add: { x-new: "{header.x-old}" } },
                     response: { set: { x-at: "{method} {path}" } } } }
      - { match: { path: /limited }, service: both, rateLimit: { requests: 1, per: 1m } }
      - { match: { path: /denied }, service: both, access: { deny: ["127.0.0.0/8"] } }
      - { match: { path: /auth }, service: both, basicAuth: { realm: r, users: { u: pw } } }
      - { match: { path: /sticky }, service: sticky }
      - { match: { path: /down, not: { cookie: { team: inside } } },
          respond: { status: 503, file: "{DIR}/down.html", headers: { content-type: text/html } } }
      - { match: { path: "/split/*", cookie: { beta: "1" } }, service: second }
      - { match: { path: "/split/*" }, split: { services: { first: 3, second: 1 }, by: { header: x-user } } }
      - { match: { path: "/*" }, service: both }
services:
  both: { endpoints: ["127.0.0.1:${a}", "127.0.0.1:${b}"] }
  sticky: { sticky: { cookie: {} }, endpoints: ["127.0.0.1:${a}", "127.0.0.1:${b}"] }
  first: { endpoints: ["127.0.0.1:${a}"] }
  second: { endpoints: ["127.0.0.1:${b}"] }
`,
    { prepare: (directory) => writeFileSync(join(directory, 'down.html'), '<h1>Back soon</h1>') },
  );
});

after(async () => {
  await gateway?.stop();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

test('routes by host, path, method and header', async () => {
  assert.equal((await ask('/', { headers: { host: 'a.wild.example' } })).text, 'wild');
  assert.notEqual((await ask('/', { headers: { host: 'wild.example' } })).text, 'wild');
  assert.equal((await ask('/m', { method: 'DELETE' })).text, 'deleted');
  assert.notEqual((await ask('/m')).text, 'deleted');
  assert.equal((await ask('/h', { headers: { 'x-v': '2' } })).text, 'second');
  assert.notEqual((await ask('/h', { headers: { 'x-v': '1' } })).text, 'second');
});

test('redirects, strips a prefix and edits headers', async () => {
  const moved = await ask('/old/a?b=c');
  assert.ok(Math.abs(Date.parse(moved.headers.date ?? '') - Date.now()) < 5000, 'it has a date');
  assert.equal(moved.headers.server, 'edge');
  assert.equal(moved.status, 308);
  assert.equal(moved.headers.location, 'https://new.example/old/a?b=c');
  const answer = await ask('/api/x?y');
  const seen = JSON.parse(answer.text);
  assert.equal(seen.url, '/x?y');
  assert.equal(seen.headers['x-from'], 'edge');
  assert.equal(answer.headers['x-secret'], undefined);
});

test('templates are filled from the request, and only by what the configuration names', async () => {
  const host = `www.example:${port}`;
  const answer = await ask('/template?q={client}', { headers: { host, 'x-old': '{client}$1' } });
  assert.equal(answer.headers['x-at'], 'GET /template');
  const { headers } = JSON.parse(answer.text);
  assert.equal(headers.host, 'www.example');
  assert.equal(headers['x-to'], `http://${host}/template?q={client}`);
  assert.equal(headers['x-by'], '127.0.0.1');
  assert.equal(headers['x-json'], '{"a":1}');
  assert.equal(headers['x-old'], undefined);
  assert.equal(headers['x-new'], '{client}$1');
  const location = async (path: string) => (await ask(path)).headers.location;
  assert.equal(await location('/moved/a/b/c?d=$1'), '/b/c/a?d=$1');
  assert.equal(await location('/moved/{host}/'), '/{host}');
  assert.equal(await location('/moved/a//evil.example'), '/evil.example/a');
});

test('a route bounds its bodies otherwise than the listener', async () => {
  const post = (body: string) => ask('/template', { method: 'POST' }, body);
  assert.equal((await post('12345')).status, 200);
  assert.equal((await post('123456')).status, 413);
});

test('splits over services by a key, which a cookie overrides', async () => {
  const counts: Record<string, number> = {};
  for (let user = 0; user < 80; user++) {
    const headers = { 'x-user': `user-${user}` };
    const { name } = JSON.parse((await ask('/split/x', { headers })).text);
    assert.equal(JSON.parse((await ask('/split/y', { headers })).text).name, name);
    counts[name] = (counts[name] ?? 0) + 1;
    const beta = await ask('/split/x', { headers: { ...headers, cookie: 'a=b; beta=1' } });
    assert.equal(JSON.parse(beta.text).name, 'B');
  }
  assert.ok((counts['A'] ?? 0) > 45 && (counts['B'] ?? 0) > 5, JSON.stringify(counts));
  const series = 'sluice_service_requests_total{service="second",outcome="ok"}';
  assert.equal(await gateway?.metric(series), 80 + 2 * (counts['B'] ?? 0));
  const { text } = await (gateway as Gateway).admin(
    `/v1/explain?listen=127.0.0.1:${port}&path=/split/x`,
  );
  assert.match(text, /splits by weight: first 3, second 1/);
});

test('a maintenance page from a file, not for the team', async () => {
  const page = await ask('/down');
  assert.deepEqual([page.status, page.text], [503, '<h1>Back soon</h1>']);
  assert.equal(page.headers['content-type'], 'text/html');
  assert.equal((await ask('/down', { headers: { cookie: 'team=inside' } })).status, 200);
});

test('limits the rate, denies an address, asks for a password', async () => {
  assert.equal((await ask('/limited')).status, 200);
  const limited = await ask('/limited');
  assert.equal(limited.status, 429);
  assert.ok(Number(limited.headers['retry-after']) >= 1);
  assert.equal((await ask('/denied')).status, 403);
  const asked = await ask('/auth');
  assert.equal(asked.status, 401);
  assert.equal(asked.headers['www-authenticate'], 'Basic realm="r"');
  assert.equal((await ask('/auth', { auth: 'u:pw' })).status, 200);
});

test('a sticky cookie is set once, kept, hidden from endpoints, and cannot be forged', async () => {
  const first = await ask('/sticky');
  const cookie = first.headers['set-cookie']?.[0]?.split(';')[0] ?? '';
  for (let turn = 0; turn < 6; turn++) {
    const next = await ask('/sticky', { headers: { cookie: `a=1; ${cookie}` } });
    assert.equal(next.headers['x-backend'], first.headers['x-backend']);
    assert.equal(next.headers['set-cookie'], undefined);
    assert.equal(JSON.parse(next.text).headers.cookie, 'a=1');
  }
  const forged = await ask('/sticky', { headers: { cookie: `${cookie.split('=')[0]}=forged` } });
  assert.equal(forged.status, 200);
  assert.equal(forged.headers['set-cookie']?.length, 1);
});

test('a body over the limit is 413 and closes', async () => {
  const head = 'POST / HTTP/1.1\r\nhost: x\r\n';
  assert.match(await raw(`${head}content-length: 200000\r\n\r\nabc`), /^HTTP\/1.1 413 /);
  const chunk = `fa00\r\n${'a'.repeat(64_000)}\r\n`;
  const chunked = await raw(`${head}transfer-encoding: chunked\r\n\r\n${chunk}${chunk}`);
  assert.match(chunked, /^HTTP\/1.1 413 [\s\S]*connection: close/);
});

test('a 503 is had better elsewhere, a POST is not sent twice', async () => {
  for (let turn = 0; turn < 4; turn++) assert.equal((await ask('/fail-one')).status, 200);
  assert.equal((await ask('/fail-post', { method: 'POST' }, 'x')).status, 503);
  assert.equal(posts, 1);
});

test('WebSocket messages pass', async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`);
  const echoed = await new Promise((resolve, reject) => {
    socket.on('open', () => socket.send('hello'));
    socket.on('message', (data) => resolve(String(data)));
    socket.on('error', reject);
  });
  socket.terminate();
  assert.equal(echoed, 'hello');
});

test('trailers, HEAD, 100-continue and an early answer', async () => {
  const close = 'host: x\r\nconnection: close\r\n';
  const trailers = await raw(`GET /trailers HTTP/1.1\r\n${close}te: trailers\r\n\r\n`);
  assert.match(trailers, /\r\n0\r\nx-sum: abc\r\n\r\n$/i);
  const head = await ask('/', { method: 'HEAD' });
  assert.deepEqual([head.status, head.text], [200, '']);
  const expecting = 'expect: 100-continue\r\ncontent-length: 2\r\n\r\n';
  assert.match(
    await raw(`POST / HTTP/1.1\r\n${close}${expecting}`, '100 Continue'),
    /^HTTP\/1.1 100 Continue/,
  );
  const early = await raw('POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 50000\r\n\r\nabc');
  assert.match(early, /^HTTP\/1.1 403 [\s\S]*early/);
});
