import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { copyFileSync, readFileSync, renameSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { noOpenssl, Pki } from '../support/pki.ts';

const skip = noOpenssl;
const HOST = '127.0.0.1';
const pki = new Pki();
const certs = pki.directory;
after(() => pki.remove());

if (skip === false) {
  pki.authority('ca');
  pki.authority('other-ca');
  pki.certificate('a', 'a.example.com');
  pki.certificate('a2', 'a.example.com');
  pki.certificate('wild', '*.example.org');
  pki.certificate('internal', 'web.internal');
  pki.certificate('client', 'partner');
  pki.certificate('stranger', 'stranger', { authority: 'other-ca' });
}

const pem = (file: string) => readFileSync(join(certs, file), 'utf8');

function prepare(directory: string): void {
  for (const name of ['a', 'wild', 'internal', 'client', 'ca']) {
    for (const end of ['pem', 'key']) {
      copyFileSync(join(certs, `${name}.${end}`), join(directory, `${name}.${end}`));
    }
  }
}

/** Starts a server on a free port and closes it, with its connections, after the test. */
async function listen(t: TestContext, server: net.Server): Promise<number> {
  const open = new Set<net.Socket>();
  server.on('connection', (socket: net.Socket) => {
    open.add(socket);
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function start(t: TestContext, config: string): Promise<Gateway> {
  const gateway = await Gateway.start(config, { prepare });
  t.after(() => gateway.stop());
  return gateway;
}

type Answer = { status: number; text: string; fingerprint: string };

function get(port: number, servername: string, options: https.RequestOptions = {}) {
  return new Promise<Answer>((resolve, reject) => {
    const all = { host: HOST, port, servername, ca: pem('ca.pem'), agent: false, ...options };
    const request = https.get(all, (response) => {
      const socket = response.socket as tls.TLSSocket;
      const fingerprint = socket.getPeerX509Certificate()?.fingerprint256 ?? '';
      let text = '';
      response.on('data', (data) => {
        text += data;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text, fingerprint }));
    });
    request.setTimeout(5000, () => request.destroy(new Error('timeout')));
    request.on('error', reject);
  });
}

/** Everything that a plain connection receives after it has sent `bytes`. */
function exchange(port: number, bytes: Buffer | string): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = net.connect(port, HOST, () => socket.write(bytes));
    const parts: Buffer[] = [];
    socket.setTimeout(5000, () => socket.destroy());
    socket.on('data', (data: Buffer) => parts.push(data));
    socket.on('error', () => {});
    socket.on('close', () => resolve(Buffer.concat(parts)));
  });
}

/** One TLS handshake and what the other end then says first. */
function hear(options: tls.ConnectionOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ ca: pem('ca.pem'), ...options }, () => socket.write('hello'));
    socket.setTimeout(5000, () => socket.destroy(new Error('timeout')));
    socket.once('data', (data) => {
      resolve(data.toString());
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

const fingerprintOf = (file: string) => new X509Certificate(pem(file)).fingerprint256;

test('https: certificates by SNI, swapped under an open connection', { skip }, async (t) => {
  const backend = await listen(
    t,
    http.createServer((_, response) => response.end('plain')),
  );
  const [port = 0] = await freePorts(1);
  const gateway = await start(
    t,
    `listeners:
  web:
    bind: "${HOST}:${port}"
    protocol: https
    tls:
      certificates:
        - { cert: "{DIR}/a.pem", key: "{DIR}/a.key" }
        - { cert: "{DIR}/wild.pem", key: "{DIR}/wild.key" }
    service: app
services:
  app: { endpoints: ["${HOST}:${backend}"] }
`,
  );
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const first = await get(port, 'a.example.com', { agent });
  assert.equal(first.status, 200);
  assert.equal(first.text, 'plain');
  assert.equal(first.fingerprint, fingerprintOf('a.pem'));
  const wild = await get(port, 'any.example.org');
  assert.equal(wild.fingerprint, fingerprintOf('wild.pem'));
  await assert.rejects(get(port, 'unknown.example.net'), /altnames/);

  for (const end of ['key', 'pem']) {
    copyFileSync(join(certs, `a2.${end}`), join(gateway.directory, `new.${end}`));
    renameSync(join(gateway.directory, `new.${end}`), join(gateway.directory, `a.${end}`));
  }
  await eventually('the new certificate is presented', async () => {
    const { fingerprint } = await get(port, 'a.example.com');
    return fingerprint === fingerprintOf('a2.pem');
  });
  const kept = await get(port, 'a.example.com', { agent });
  assert.equal(kept.fingerprint, fingerprintOf('a.pem'), 'the open connection is the old one');
  assert.match(
    (await exchange(port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')).toString(),
    /^HTTP\/1.1 400 /,
  );
});

test('https: strictSni answers an unknown name with an alert', { skip }, async (t) => {
  const backend = await listen(
    t,
    http.createServer((_, response) => response.end('plain')),
  );
  const [port = 0] = await freePorts(1);
  await start(
    t,
    `listeners:
  web:
    bind: "${HOST}:${port}"
    protocol: https
    tls:
      certificates: [{ cert: "{DIR}/a.pem", key: "{DIR}/a.key" }]
      strictSni: true
    service: app
services:
  app: { endpoints: ["${HOST}:${backend}"] }
`,
  );
  await assert.rejects(get(port, 'b.example.com'), /unrecognized.name/i);
  await assert.rejects(get(port, ''), /unrecognized.name/i);
  assert.equal((await get(port, 'a.example.com')).text, 'plain');
});

test('https: a client certificate is demanded and told to the backend', { skip }, async (t) => {
  const server = http.createServer(({ headers }, response) =>
    response.end(`${headers['x-client-cert-subject']} ${headers['x-client-cert-verified']}`),
  );
  const backend = await listen(t, server);
  const [port = 0] = await freePorts(1);
  await start(
    t,
    `listeners:
  web:
    bind: "${HOST}:${port}"
    protocol: https
    tls:
      certificates: [{ cert: "{DIR}/a.pem", key: "{DIR}/a.key" }]
      clientAuth: { ca: "{DIR}/ca.pem", mode: require }
    service: app
services:
  app: { endpoints: ["${HOST}:${backend}"] }
`,
  );
  await assert.rejects(get(port, 'a.example.com'));
  const stranger = { cert: pem('stranger.pem'), key: pem('stranger.key') };
  await assert.rejects(get(port, 'a.example.com', stranger));
  const partner = { cert: pem('client.pem'), key: pem('client.key') };
  const headers = { 'x-client-cert-subject': 'CN=forged' };
  const answer = await get(port, 'a.example.com', { ...partner, headers });
  assert.equal(answer.text, 'CN=partner yes');
});

test('TLS to the backend is verified by CA and server name', { skip }, async (t) => {
  const pair = { cert: pem('internal.pem'), key: pem('internal.key') };
  const server = https.createServer(pair, (_, response) => response.end('encrypted'));
  const backend = await listen(t, server);
  const [port = 0] = await freePorts(1);
  await start(
    t,
    `listeners:
  web:
    bind: "${HOST}:${port}"
    protocol: https
    tls: { certificates: [{ cert: "{DIR}/a.pem", key: "{DIR}/a.key" }] }
    service: good
    routes:
      - { match: { path: /bad }, service: bad }
services:
  good:
    endpoints: ["${HOST}:${backend}"]
    tls: { ca: "{DIR}/ca.pem", serverName: web.internal }
  bad:
    endpoints: ["${HOST}:${backend}"]
    health: false
    retries: false
    tls: { ca: "{DIR}/ca.pem", serverName: other.internal }
`,
  );
  const good = await get(port, 'a.example.com');
  assert.deepEqual([good.status, good.text], [200, 'encrypted']);
  const bad = await get(port, 'a.example.com', { path: '/bad' });
  assert.ok(bad.status >= 502, String(bad.status));
});

test('tls: what is inside goes to a TCP backend', { skip }, async (t) => {
  const server = net.createServer((socket) => socket.on('data', (data) => socket.write(data)));
  const backend = await listen(t, server);
  const [port = 0] = await freePorts(1);
  await start(
    t,
    `listeners:
  database:
    bind: "${HOST}:${port}"
    protocol: tls
    tls: { certificates: [{ cert: "{DIR}/a.pem", key: "{DIR}/a.key" }] }
    service: db
services:
  db: { endpoints: ["${HOST}:${backend}"] }
`,
  );
  assert.equal(await hear({ host: HOST, port, servername: 'a.example.com' }), 'hello');
});

/** A relay that passes the client's bytes on one at a time. */
function byteByByte(port: number): net.Server {
  return net.createServer((client) => {
    const onward = net.connect({ port, host: HOST, noDelay: true });
    let last = Promise.resolve();
    client.on('data', (data: Buffer) => {
      for (const byte of data) {
        last = last.then(
          () =>
            new Promise((resolve) => {
              onward.write(Buffer.from([byte]));
              setImmediate(resolve);
            }),
        );
      }
    });
    onward.on('data', (data) => client.write(data));
    for (const [one, other] of [
      [client, onward],
      [onward, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
}

test('tls-passthrough: routed by SNI, byte by byte too; unknown gets alert 112', {
  skip,
}, async (t) => {
  const endpoint = (file: string) => {
    const pair = { cert: pem(`${file}.pem`), key: pem(`${file}.key`) };
    return listen(
      t,
      tls.createServer(pair, (socket) => {
        socket.on('error', () => {});
        socket.once('data', () => socket.write(file));
      }),
    );
  };
  const [a, wild] = await Promise.all([endpoint('a'), endpoint('wild')]);
  const [port = 0] = await freePorts(1);
  const gateway = await start(
    t,
    `listeners:
  edge:
    bind: "${HOST}:${port}"
    protocol: tls-passthrough
    routes:
      - { match: { sni: "*.example.org" }, service: wild }
      - { match: { sni: [a.example.com, x.deep.example.org] }, service: a }
      - { match: { sni: denied.example.org }, service: a, access: { deny: ["127.0.0.0/8"] } }
services:
  a: { endpoints: ["${HOST}:${a}"] }
  wild: { endpoints: ["${HOST}:${wild}"] }
`,
  );
  assert.equal(await hear({ host: HOST, port, servername: 'A.example.com' }), 'a');
  assert.equal(await hear({ host: HOST, port, servername: 'x.example.org' }), 'wild');
  // An exact name stands before a wildcard above it, which takes every depth.
  const other = { host: HOST, port, checkServerIdentity: () => undefined };
  assert.equal(await hear({ ...other, servername: 'x.deep.example.org' }), 'a');
  assert.equal(await hear({ ...other, servername: 'y.deep.example.org' }), 'wild');
  await assert.rejects(hear({ ...other, servername: 'denied.example.org' }), /ECONNRESET/);
  const slow = await listen(t, byteByByte(port));
  assert.equal(await hear({ host: HOST, port: slow, servername: 'a.example.com' }), 'a');
  const unknown = hear({ host: HOST, port, servername: 'a.example.net' });
  await assert.rejects(unknown, /unrecognized.name/i);
  assert.equal((await exchange(port, 'GET / HTTP/1.1\r\n\r\n')).length, 0);
  const series = 'sluice_listener_refused_total{listener="edge",reason="unrecognized-name"}';
  await eventually('the refusal is counted', async () => (await gateway.metric(series)) === 1);
});

test('https: unusable settings are refused; client certificates can be added', {
  skip,
}, async (t) => {
  const backend = await listen(
    t,
    http.createServer((_, response) => response.end('plain')),
  );
  const [port = 0] = await freePorts(1);
  const config = (more: string) => `listeners:
  web:
    bind: "${HOST}:${port}"
    protocol: https
    tls:
      certificates: [{ cert: "{DIR}/a.pem", key: "{DIR}/a.key" }]
${more}
    service: app
services:
  app: { endpoints: ["${HOST}:${backend}"] }
`;
  const gateway = await start(t, config(''));
  const bad: [string, RegExp][] = [
    ['      ciphers: NO-SUCH-CIPHER', /no cipher that is known/],
    ['      minVersion: TLSv1.3\n      maxVersion: TLSv1.2', /above maxVersion/],
    ['      clientAuth: { ca: "{DIR}/a.key" }', /no PEM file with certificates/],
    ['      clientAuth: { ca: "{DIR}/ca.pem", crl: "{DIR}/a.key" }', /revocation list/],
  ];
  for (const [more, why] of bad) {
    gateway.write(config(more));
    const refused = await gateway.admin('/v1/reload', { method: 'POST' });
    assert.equal(refused.status, 400);
    assert.match(refused.text, why);
  }
  const works = () =>
    get(port, 'a.example.com').then(
      () => true,
      () => false,
    );
  assert.ok(await works(), 'the good settings stay in force');
  gateway.write(config('      clientAuth: { ca: "{DIR}/ca.pem", mode: require }'));
  await gateway.admin('/v1/reload', { method: 'POST' });
  await eventually('a client certificate is demanded', async () => !(await works()));
  const partner = { cert: pem('client.pem'), key: pem('client.key') };
  assert.equal((await get(port, 'a.example.com', partner)).text, 'plain');
});
