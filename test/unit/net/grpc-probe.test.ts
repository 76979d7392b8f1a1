import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { healthCheck } from '../../../src/model/health-check.ts';
import { service } from '../../../src/model/service.ts';
import { createProbe } from '../../../src/net/probes/create-probe.ts';

const HOST = '127.0.0.1';

function probe(port: number, name = '', timeout = '2s') {
  const check = healthCheck.parse({ type: 'grpc', service: name, timeout });
  const config = service.parse({ endpoints: [`${HOST}:${port}`], protocol: 'h2c' });
  return createProbe(check, config, () => '').run({ host: HOST, port });
}

async function serve(t: TestContext, server: grpc.Server): Promise<number> {
  t.after(() => server.forceShutdown());
  return new Promise((resolve, reject) => {
    const credentials = grpc.ServerCredentials.createInsecure();
    server.bindAsync(`${HOST}:0`, credentials, (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
}

test('a server tells of itself and its services', async (t) => {
  const health = new HealthImplementation({
    '': 'SERVING',
    'shop.Cart': 'SERVING',
    'shop.Old': 'NOT_SERVING',
    'shop.New': 'UNKNOWN',
  });
  const server = new grpc.Server();
  health.addToServer(server);
  const port = await serve(t, server);
  assert.deepEqual(await probe(port), { ok: true, reason: '', verdict: 'L7OK' });
  assert.deepEqual(await probe(port, 'shop.Cart'), { ok: true, reason: '', verdict: 'L7OK' });
  const bad = { ok: false, verdict: 'L7STS' };
  assert.deepEqual(await probe(port, 'shop.Old'), { ...bad, reason: 'NOT_SERVING' });
  assert.deepEqual(await probe(port, 'shop.New'), { ...bad, reason: 'UNKNOWN' });
  const unknown = await probe(port, 'nobody.Knows');
  assert.equal(unknown.reason, 'the server does not know the service');
  health.setStatus('shop.Old', 'SERVING');
  assert.equal((await probe(port, 'shop.Old')).ok, true);
});

test('what is no health service fails with its reason', async (t) => {
  const bare = await serve(t, new grpc.Server());
  assert.equal((await probe(bare)).reason, 'the server has no health service');

  const plain = http2.createServer();
  plain.on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.respond({ ':status': 404 });
    stream.end('not here');
  });
  await new Promise<void>((resolve) => plain.listen(0, HOST, resolve));
  t.after(() => plain.close());
  assert.equal((await probe((plain.address() as AddressInfo).port)).reason, 'HTTP status 404');

  const silent = net.createServer((socket) => {
    socket.on('error', () => {});
    t.after(() => socket.destroy());
  });
  await new Promise<void>((resolve) => silent.listen(0, HOST, resolve));
  const { port } = silent.address() as AddressInfo;
  assert.equal((await probe(port, '', '200ms')).reason, 'no answer in time');
  silent.close();
  assert.equal((await probe(port)).reason, 'connection refused');
});
