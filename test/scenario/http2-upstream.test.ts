import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type net from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { WebSocket } from 'ws';
import { Backend } from '../support/backend.ts';
import { makeCertificates, noCertificates } from '../support/certs.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { failures, pacedLoad } from '../support/paced-load.ts';

const HOST = '127.0.0.1';
type Handler = (request: http2.Http2ServerRequest, response: http2.Http2ServerResponse) => void;

async function listen(t: TestContext, server: net.Server, port = 0): Promise<number> {
  await new Promise<void>((resolve) => server.listen(port, HOST, resolve));
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function start(t: TestContext, service: string, prepare?: (dir: string) => unknown) {
  const [port = 0] = await freePorts(1);
  const config = `listeners:
  web: { bind: "${HOST}:${port}", protocol: http, service: app }
services:
  app: ${service}
`;
  const gateway = await Gateway.start(config, prepare ? { prepare } : {});
  t.after(() => gateway.stop());
  return { gateway, port };
}

function post(port: number, body: string, path = '/'): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: HOST, port, path, method: 'POST' }, (response) => {
      let text = '';
      response.on('data', (data) => {
        text += data;
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

test('over TLS: h2 by ALPN, auto falls back, h2 without agreement is an error', {
  skip: noCertificates(),
}, async (t) => {
  const [both = 0, old = 0] = await freePorts(2);
  const versions: string[] = [];
  const handler: Handler = (request, response) => {
    versions.push(request.httpVersion);
    response.end(`${request.headers['x-from'] ?? ''} over ${request.httpVersion}`);
  };
  const withCertificates = (directory: string) => {
    makeCertificates(join(directory, 'certs'));
    const options = {
      key: readFileSync(join(directory, 'certs/example.com.key')),
      cert: readFileSync(join(directory, 'certs/example.com.pem')),
    };
    return Promise.all([
      listen(t, http2.createSecureServer({ ...options, allowHTTP1: true }, handler), both),
      listen(t, https.createServer(options, handler as unknown as http.RequestListener), old),
    ]);
  };
  const [port = 0] = await freePorts(1);
  const tls = 'tls: { ca: "{DIR}/certs/example.com.pem", serverName: example.com }, health: false';
  const service = (to: number, protocol: string) =>
    `{ endpoints: ["${HOST}:${to}"], protocol: ${protocol}, ${tls} }`;
  const gateway = await Gateway.start(
    `listeners:
  web:
    bind: "${HOST}:${port}"
    protocol: http
    routes:
      - { name: a, match: { path: "/h2" }, service: h2 }
      - { name: b, match: { path: "/auto" }, service: auto }
      - { name: c, match: { path: "/auto-old" }, service: auto-old }
      - { name: d, match: { path: "/h2-old" }, service: h2-old }
services:
  h2: ${service(both, 'h2')}
  auto: ${service(both, 'auto')}
  auto-old: ${service(old, 'auto')}
  h2-old: ${service(old, 'h2')}
`,
    { prepare: withCertificates },
  );
  t.after(() => gateway.stop());
  for (let turn = 0; turn < 3; turn++) {
    assert.equal((await post(port, 'x', '/h2')).text, ' over 2.0');
    assert.equal((await post(port, 'x', '/auto')).text, ' over 2.0');
    assert.equal((await post(port, 'x', '/auto-old')).text, ' over 1.1');
    assert.equal((await post(port, 'x', '/h2-old')).status, 502);
  }
  const at = await Promise.all(Array.from({ length: 30 }, () => post(port, 'y', '/auto')));
  assert.ok(at.every(({ status }) => status === 200));
});

test('an endpoint that drains by GOAWAY costs no POST', async (t) => {
  let served = 0;
  const handler: Handler = (request, response) => {
    let size = 0;
    request.on('data', (data: Buffer) => {
      size += data.length;
    });
    request.on('end', () => {
      served++;
      response.end(String(size));
      // Every few requests the connection is to end, as servers do that limit its age.
      if (served % 7 === 0) request.stream.session?.close();
    });
  };
  const endpoint = await listen(t, http2.createServer(handler));
  const { port } = await start(
    t,
    `{ endpoints: ["${HOST}:${endpoint}"], protocol: h2c, health: false }`,
  );
  for (let round = 0; round < 10; round++) {
    const answers = await Promise.all(Array.from({ length: 20 }, () => post(port, 'abc')));
    for (const { status, text } of answers) assert.deepEqual([status, text], [200, '3']);
  }
  assert.equal(served, 200, 'each was served once');
});

test('one of two h2c endpoints killed costs no request, one frozen at most two', async (t) => {
  const [one = 0, two = 0] = await freePorts(2);
  const backends = [
    new Backend(one, 'one', '', 'h2c'),
    new Backend(two, 'two', '', 'h2c'),
  ] as const;
  await Promise.all(backends.map((backend) => backend.start()));
  t.after(() => Promise.all(backends.map((backend) => backend.kill())));
  const plain = await start(
    t,
    `{ endpoints: ["${HOST}:${one}", "${HOST}:${two}"], protocol: h2c, balance: round-robin }`,
  );
  const killed = pacedLoad(plain.port, { perSecond: 20, seconds: 4 });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await backends[0].kill();
  const shots = await killed;
  assert.ok(shots.some(({ backend }) => backend === 'one'));
  assert.deepEqual(failures(shots), []);
  await backends[0].start();
  await eventually(
    'it is back',
    async () => {
      const { text } = await plain.gateway.admin('/v1/services/app/endpoints');
      return (text.match(/"check":"up"/g) ?? []).length === 2 && !text.includes('"ejected":true');
    },
    40_000,
  );
  const frozen = pacedLoad(plain.port, { perSecond: 20, seconds: 6 });
  await new Promise((resolve) => setTimeout(resolve, 1500));
  backends[0].freeze();
  t.after(() => backends[0].thaw());
  const bad = failures(await frozen);
  assert.ok(bad.length <= 2, JSON.stringify(bad));
});

test('a WebSocket reaches an endpoint that offers extended CONNECT, over either version', async (t) => {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
    stream.on('error', () => {});
    if (headers[':method'] !== 'CONNECT') {
      stream.respond({ ':status': 200 });
      stream.end('ok');
      return;
    }
    stream.respond({ ':status': 200 });
    stream.pipe(stream);
  });
  const endpoint = await listen(t, server);
  const { port } = await start(
    t,
    `{ endpoints: ["${HOST}:${endpoint}"], protocol: h2c, health: false }`,
  );
  // The echo of a client's frames is masked, which a client refuses: only the handshake is ws's.
  const socket = new WebSocket(`ws://${HOST}:${port}/chat`);
  t.after(() => socket.terminate());
  socket.on('error', () => {});
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  const session = http2.connect(`http://${HOST}:${port}`);
  t.after(() => session.destroy());
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  const stream = session.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':path': '/chat',
    ':scheme': 'http',
    ':authority': `${HOST}:${port}`,
    'sec-websocket-version': '13',
  });
  let echoed = '';
  stream.on('data', (data) => {
    echoed += data;
  });
  stream.write('raw');
  await eventually('echo', () => echoed === 'raw');

  const without = await listen(
    t,
    http2.createServer(() => assert.fail('no request is sent')),
  );
  const refused = await start(
    t,
    `{ endpoints: ["${HOST}:${without}"], protocol: h2c, health: false }`,
  );
  const status = await new Promise((resolve) => {
    new WebSocket(`ws://${HOST}:${refused.port}/`)
      .on('unexpected-response', (_, response) => resolve(response.statusCode))
      .on('error', () => {});
  });
  assert.equal(status, 502);
});
