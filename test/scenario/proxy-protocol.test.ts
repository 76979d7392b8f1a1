import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { decodeProxyHeader, encodeProxyHeader } from '../../src/wire/proxy-protocol.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';

const REQUEST = 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';
const CLIENT = { address: '203.0.113.9', port: 4711 };
const PUBLISHED = { address: '198.51.100.1', port: 443 };

/** Sends the parts one after another; everything that came back until the end. */
async function talk(port: number, ...parts: (string | Buffer)[]): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  let received = '';
  socket.on('data', (data) => {
    received += data;
  });
  socket.on('error', () => {});
  socket.setTimeout(30_000, () => socket.destroy());
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  // One that is refused may be reset before it is known to be connected.
  await Promise.race([new Promise((resolve) => socket.once('connect', resolve)), closed]);
  for (const part of parts) {
    if (socket.writable) socket.write(part);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await closed;
  return received;
}

async function listening(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

test('a PROXY header names the client; a connection without one is closed', async (t) => {
  const backend = http.createServer((request, response) => {
    response.end(`for ${request.headers['x-forwarded-for']}`);
  });
  const [web = 0, strict = 0, ruled = 0] = await freePorts(3);
  const gateway = await Gateway.start(`listeners:
  web:
    bind: "127.0.0.1:${web}"
    protocol: http
    acceptProxy: { from: [127.0.0.0/8] }
    timeouts: { handshake: 500ms }
    service: app
  strict: { bind: "127.0.0.1:${strict}", protocol: http, acceptProxy: { from: [10.0.0.0/8] }, service: app }
  ruled:
    bind: "127.0.0.1:${ruled}"
    protocol: http
    acceptProxy: { from: [127.0.0.0/8] }
    access: { deny: [203.0.113.0/24] }
    service: app
services:
  app: { endpoints: ["127.0.0.1:${await listening(backend)}"] }
`);
  t.after(async () => {
    await gateway.stop();
    backend.close();
  });
  for (const version of ['v1', 'v2'] as const) {
    const header = encodeProxyHeader(version, CLIENT, PUBLISHED, []);
    const whole = await talk(web, Buffer.concat([header, Buffer.from(REQUEST)]));
    assert.match(whole, /for 203\.0\.113\.9/);
    const cut = await talk(web, header.subarray(0, 9), header.subarray(9), REQUEST);
    assert.match(cut, /for 203\.0\.113\.9/);
  }
  const header = encodeProxyHeader('v2', CLIENT, PUBLISHED, []);
  assert.equal(await talk(web, REQUEST), '');
  assert.equal(await talk(web), '');
  assert.equal(await talk(strict, header, REQUEST), '');
  assert.equal(await talk(ruled, header, REQUEST), '');
  for (const [listener, reason] of [
    ['web', 'proxy-malformed'],
    ['web', 'proxy-timeout'],
    ['strict', 'proxy-untrusted'],
    ['ruled', 'access'],
  ]) {
    const series = `sluice_listener_refused_total{listener="${listener}",reason="${reason}"}`;
    await eventually(series, async () => (await gateway.metric(series)) === 1);
  }
});

test('an endpoint is told the client, type-length-values included', async (t) => {
  const headers: Buffer[] = [];
  const backend = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (data: Buffer) => {
      headers.push(data);
      socket.end('bye');
    });
  });
  const [port = 0] = await freePorts(1);
  const gateway = await Gateway.start(`listeners:
  mail: { bind: "127.0.0.1:${port}", protocol: tcp, acceptProxy: { from: [127.0.0.1/32] }, service: mail }
services:
  mail: { endpoints: ["127.0.0.1:${await listening(backend)}"], proxyProtocol: v2, health: false }
`);
  t.after(async () => {
    await gateway.stop();
    backend.close();
  });
  const extra = { type: 0xea, value: Buffer.from('vpce') };
  assert.equal(await talk(port, encodeProxyHeader('v2', CLIENT, PUBLISHED, [extra])), 'bye');
  const seen = decodeProxyHeader(headers[0] ?? Buffer.alloc(0));
  assert.ok(seen.kind === 'value');
  assert.deepEqual(seen.header.source, CLIENT);
  assert.deepEqual(seen.header.destination, PUBLISHED);
  assert.deepEqual(
    seen.header.tlvs.find(({ type }) => type === 0xea),
    extra,
  );
});
