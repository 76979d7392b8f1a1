import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { exchange } from '../support/attack.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { Pki, noOpenssl as skip } from '../support/pki.ts';

const HOST = '127.0.0.1';
const FILES = ['ca.pem', 'web.pem', 'web.key', 'none.crl', 'some.crl'];
const pki = new Pki();
after(() => pki.remove());
if (skip === false) {
  pki.authority('ca');
  pki.authority('other-ca');
  pki.certificate('web', 'web.example.com');
  pki.certificate('good', 'good');
  pki.certificate('revoked', 'revoked');
  pki.certificate('past', 'past', { days: '-1' });
  pki.certificate('server-only', 'server-only', { extensions: 'extendedKeyUsage=serverAuth' });
  pki.certificate('stranger', 'stranger', { authority: 'other-ca' });
  pki.revocationList('none', []);
  pki.revocationList('some', ['revoked']);
}

/** Runs `openssl s_client`, sends a text, and yields all that it said and was told. */
function client(port: number, args: readonly string[], text: string): Promise<string> {
  const all = [
    's_client',
    '-connect',
    `${HOST}:${port}`,
    '-servername',
    'web.example.com',
    ...args,
  ];
  const child = spawn('openssl', all, { cwd: pki.directory });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      said += data.toString();
    });
  }
  child.stdin.on('error', () => {});
  child.stdin.write(text);
  const timer = setTimeout(() => child.kill('SIGTERM'), 30_000);
  return new Promise((resolve) =>
    child.on('close', () => {
      clearTimeout(timer);
      resolve(said);
    }),
  );
}

const GET =
  'GET / HTTP/1.1\r\nhost: web.example.com\r\nx-client-cert-subject: CN=forged\r\nconnection: close\r\n\r\n';

async function setUp(t: TestContext, settings: string, workers = 1) {
  const server = http.createServer(({ headers }, response) => {
    const { 'x-client-cert-subject': subject, 'x-client-cert-verified': verified } = headers;
    response.end(`subject ${subject} verified ${verified}`);
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const backend = (server.address() as AddressInfo).port;
  const [port = 0] = await freePorts(1);
  const gateway = await Gateway.start(
    `listeners:
  web:
    bind: "${HOST}:${port}"
    protocol: https
    tls: { certificates: [{ cert: "{DIR}/web.pem", key: "{DIR}/web.key" }], ${settings} }
    service: app
services:
  app: { endpoints: ["${HOST}:${backend}"] }
`,
    {
      workers,
      prepare: (directory) => {
        for (const file of FILES) copyFileSync(join(pki.directory, file), join(directory, file));
      },
    },
  );
  t.after(async () => {
    await gateway.stop();
    server.closeAllConnections();
    server.close();
  });
  return { port, gateway };
}

const identity = (name: string) => ['-cert', `${name}.pem`, '-key', `${name}.key`];

test('client certificates: only good ones pass, a revocation list is followed', {
  skip,
}, async (t) => {
  const { port, gateway } = await setUp(
    t,
    'clientAuth: { ca: "{DIR}/ca.pem", crl: "{DIR}/none.crl" }',
  );
  const asked = (name: string) => client(port, identity(name), GET);
  assert.match(await asked('good'), /subject CN=good verified yes/);
  assert.match(await asked('revoked'), /subject CN=revoked verified yes/);
  for (const name of ['past', 'server-only', 'stranger']) {
    assert.doesNotMatch(await asked(name), /subject CN/, name);
  }
  assert.match(await client(port, ['-tls1_3'], GET), /alert number 116/);
  const failed = 'sluice_tls_failures_total{listener="web",reason="bad-client-certificate"}';
  assert.equal(await gateway.metric(failed), 3);
  const missing = 'sluice_tls_failures_total{listener="web",reason="no-client-certificate"}';
  assert.equal(await gateway.metric(missing), 1);

  writeFileSync(join(gateway.directory, 'none.crl'), pki.read('some.crl'));
  await eventually(
    'the revoked one is refused',
    async () => !/subject CN/.test(await asked('revoked')),
  );
  assert.match(await asked('good'), /subject CN=good verified yes/);
});

test('optional client certificates are told with whether they hold', { skip }, async (t) => {
  const { port } = await setUp(t, 'clientAuth: { ca: "{DIR}/ca.pem", mode: optional }');
  assert.match(await client(port, [], GET), /subject undefined verified undefined/);
  assert.match(await client(port, identity('good'), GET), /subject CN=good verified yes/);
  assert.match(await client(port, identity('stranger'), GET), /subject CN=stranger verified no/);
});

test('what is not spoken gets its alert: versions 70, ALPN 120, renegotiation', {
  skip,
}, async (t) => {
  const { port, gateway } = await setUp(t, 'alpn: [http/1.1]');
  const old = await client(port, ['-tls1_1', '-cipher', 'ALL:@SECLEVEL=0'], GET);
  assert.match(old, /alert number 70/);
  assert.match(await client(port, ['-alpn', 'http/0.9'], GET), /alert number 120/);
  assert.match(await client(port, ['-alpn', 'http/1.1'], GET), /ALPN protocol: http\/1\.1/);
  const again = await client(port, ['-tls1_2', '-legacy_renegotiation'], 'R\n');
  assert.match(again, /no renegotiation|alert number 100/i);
  const version = 'sluice_tls_failures_total{listener="web",reason="version"}';
  const alpn = 'sluice_tls_failures_total{listener="web",reason="no-shared-protocol"}';
  assert.equal(await gateway.metric(version), 1);
  assert.equal(await gateway.metric(alpn), 1);
});

test('plain HTTP on a TLS port is told so', { skip }, async (t) => {
  const { port, gateway } = await setUp(t, 'minVersion: TLSv1.2');
  const answer = await new Promise<string>((resolve) => {
    const socket = net.connect(port, HOST, () => socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n'));
    let text = '';
    socket.on('data', (data) => {
      text += data.toString();
    });
    socket.on('close', () => resolve(text));
  });
  assert.match(answer, /^HTTP\/1\.1 400 .*speaks TLS/s);
  const plain = 'sluice_tls_failures_total{listener="web",reason="plain-http"}';
  assert.equal(await gateway.metric(plain), 1);
});

test('who ends within a handshake is gone; who ends after a request is answered', {
  skip,
}, async (t) => {
  const { port, gateway } = await setUp(t, 'minVersion: TLSv1.2');
  for (const begin of ['', '\x16\x03\x01\x01\x00\x01\x00']) {
    assert.notEqual((await exchange(port, begin, { half: true })).ending, 'open');
  }
  const failures = 'sluice_tls_failures_total{listener="web"';
  await eventually(
    'both are counted',
    async () => (await gateway.metric(`${failures},reason="reset"}`)) === 2,
  );
  assert.equal(await gateway.metric(`${failures},reason="timeout"}`), undefined);
  const raw = net.connect({ port, host: HOST, allowHalfOpen: true });
  const socket = tls.connect({ socket: raw, rejectUnauthorized: false });
  socket.end('GET / HTTP/1.1\r\nhost: web.example.com\r\n\r\n');
  let text = '';
  for await (const data of socket) text += data.toString();
  assert.match(text, /^HTTP\/1\.1 200 /);
});

test('sessions are resumed by every worker', { skip }, async (t) => {
  const { port, gateway } = await setUp(t, 'minVersion: TLSv1.2', 2);
  const first = await client(port, ['-tls1_2', '-sess_out', 'session'], GET);
  assert.match(first, /New, TLSv1\.2/);
  for (let round = 0; round < 10; round++) {
    assert.match(await client(port, ['-tls1_2', '-sess_in', 'session'], GET), /Reused, TLSv1\.2/);
  }
  const resumed = 'sluice_tls_handshakes_total{listener="web",version="TLSv1.2",resumed="yes"}';
  assert.equal(await gateway.metric(resumed), 10);
});
