import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cpSync, renameSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { Example } from '../support/example.ts';
import { eventually } from '../support/gateway.ts';
import { Pki, noOpenssl as skip } from '../support/pki.ts';

const HOST = '127.0.0.1';
const pki = new Pki();
after(() => pki.remove());
if (skip === false) {
  for (const name of ['ca', 'partners-ca', 'upstream-ca']) pki.authority(name);
  pki.certificate('example.com', 'example.com');
  pki.certificate('wild.example.org', '*.example.org');
  pki.certificate('renewed', 'renewed.example.com');
  pki.certificate('partner', 'partner', { authority: 'partners-ca' });
  pki.certificate('web.internal', 'web.internal', { authority: 'upstream-ca' });
}

const pair = (name: string) => ({ cert: pki.read(`${name}.pem`), key: pki.read(`${name}.key`) });

async function listen(t: TestContext, server: net.Server, port: number): Promise<void> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket: net.Socket) => sockets.add(socket));
  server.listen(port, HOST);
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
}

/** A handshake; undefined when it was refused. */
function shake(
  port: number,
  options: tls.ConnectionOptions,
): Promise<tls.TLSSocket | { code: string }> {
  return new Promise((resolve) => {
    const socket = tls.connect({ host: HOST, port, rejectUnauthorized: false, ...options });
    socket.once('secureConnect', () => resolve(socket));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve({ code: error.code ?? '' }));
  });
}

async function shown(port: number, servername: string): Promise<string> {
  const socket = await shake(port, { servername });
  if (!('getPeerCertificate' in socket)) return socket.code;
  const { CN } = socket.getPeerCertificate().subject;
  socket.destroy();
  return String(CN);
}

function get(options: https.RequestOptions): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = https.get({ host: HOST, rejectUnauthorized: false, ...options }, (answer) => {
      let text = '';
      answer.on('data', (data) => {
        text += data;
      });
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }));
    });
    request.on('error', reject);
  });
}

async function terminating(t: TestContext) {
  const example = await Example.read('03-tls-terminate');
  const backend = https.createServer(pair('web.internal'), (_, response) => response.end('web'));
  await listen(t, backend, example.port(9443));
  const database = net.createServer((socket) => socket.pipe(socket));
  await listen(t, database, example.port(5432));
  const gateway = await example.start(t, undefined, {
    prepare: (directory) => cpSync(pki.directory, join(directory, 'certs'), { recursive: true }),
  });
  return { example, certs: join(gateway.directory, 'certs') };
}

test('03-tls-terminate: redirect, SNI, ALPN, client certificates, TLS to the upstream', {
  skip,
}, async (t) => {
  const { example } = await terminating(t);
  const headers = { host: 'www.example.com:8080' };
  const plain = http.get({ host: HOST, port: example.port(8080), path: '/a?b=c', headers });
  const [moved] = await once(plain, 'response');
  moved.resume();
  assert.deepEqual(
    [moved.statusCode, moved.headers.location],
    [301, 'https://www.example.com/a?b=c'],
  );
  const secure = example.port(8443);
  assert.equal(await shown(secure, 'example.com'), 'example.com');
  assert.equal(await shown(secure, 'a.example.org'), '*.example.org');
  assert.deepEqual(
    await get({ port: secure, servername: 'example.com', headers: { host: 'example.com' } }),
    {
      status: 200,
      text: 'web',
    },
  );
  const session = http2.connect(`https://example.com:${secure}`, {
    lookup: (_name, _options, done) => done(null, [{ address: HOST, family: 4 }]),
    ca: pki.read('ca.pem'),
  });
  t.after(() => session.destroy());
  const [head] = await once(session.request({ ':path': '/' }), 'response');
  assert.deepEqual([session.alpnProtocol, head[':status']], ['h2', 200]);

  const partners = example.port(8444);
  await assert.rejects(get({ port: partners }), /certificate required/);
  assert.equal((await get({ port: partners, ...pair('partner') })).text, 'web');
  await assert.rejects(get({ port: partners, ...pair('web.internal') }), /hang up|alert/);

  const inside = await shake(example.port(5433), { servername: 'example.com' });
  assert.ok(inside instanceof tls.TLSSocket);
  inside.write('select 1');
  assert.equal(String((await once(inside, 'data'))[0]), 'select 1');
  inside.destroy();
});

test('03-tls-terminate: certificates are read again, and no connection is dropped', {
  skip,
}, async (t) => {
  const { example, certs } = await terminating(t);
  const port = example.port(5433);
  const before = await shake(port, { servername: 'example.com' });
  assert.ok(before instanceof tls.TLSSocket);
  t.after(() => before.destroy());
  for (const kind of ['key', 'pem']) {
    writeFileSync(join(certs, 'next'), pki.read(`renewed.${kind}`));
    renameSync(join(certs, 'next'), join(certs, `example.com.${kind}`));
  }
  await eventually(
    'the new one is shown',
    async () => (await shown(port, 'example.com')) === 'renewed.example.com',
  );
  before.write('still here');
  assert.equal(String((await once(before, 'data'))[0]), 'still here');
});

test('04-tls-passthrough: by SNI, untouched, to nodes that answer /_ping', {
  skip,
  timeout: 60_000,
}, async (t) => {
  const example = await Example.read('04-tls-passthrough');
  let sick = false;
  for (const written of [9443, 9444, 9445]) {
    const node = https.createServer(pair('web.internal'), (request, response) => {
      const failing = sick && written === 9444 && request.url === '/_ping';
      response.writeHead(failing ? 500 : 200, { connection: 'close' }).end(`${written}`);
    });
    await listen(t, node, example.port(written));
  }
  for (const written of [9446, 9447]) {
    const app = https.createServer(pair('renewed'), (_, response) => response.end(`${written}`));
    await listen(t, app, example.port(written));
  }
  const gateway = await example.start(t, (text) => text.replace('interval: 5s', 'interval: 300ms'));
  const port = example.port(8443);
  const ask = async (servername: string) =>
    (await get({ port, servername, agent: false, headers: { connection: 'close' } })).text;
  assert.equal(await shown(port, 'managers.example.com'), 'web.internal');
  const seen = new Set<string>();
  for (let turn = 0; turn < 6; turn++) seen.add(await ask('managers.example.com'));
  assert.deepEqual([...seen].sort(), ['9443', '9444', '9445']);
  assert.equal(await shown(port, 'shop.apps.example.com'), 'renewed.example.com');
  const apps = new Set<string>();
  for (let turn = 0; turn < 4; turn++) apps.add(await ask('shop.apps.example.com'));
  assert.equal(apps.size, 1, 'a client stays on its endpoint');
  for (const servername of ['elsewhere.test', '']) {
    const refused = await shake(port, { servername });
    assert.ok('code' in refused);
    assert.match(refused.code, /UNRECOGNIZED_NAME/);
  }
  sick = true;
  await eventually('the node is down', async () =>
    (await gateway.admin('/v1/services/managers/endpoints')).text.includes('"check":"down"'),
  );
  seen.clear();
  for (let turn = 0; turn < 6; turn++) seen.add(await ask('managers.example.com'));
  assert.deepEqual([...seen].sort(), ['9443', '9445']);
});
