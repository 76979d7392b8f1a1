import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { type TestContext, test } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import { Example } from '../support/example.ts';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { EchoClient, startGrpcServer } from '../support/grpc-service.ts';

async function setUp(t: TestContext, { servers = 1, service = '', listener = '' } = {}) {
  const [port = 0, ...ports] = await freePorts(3);
  const started = await Promise.all(
    ports.slice(0, servers).map((one, at) => startGrpcServer(one, `s${at}`)),
  );
  for (const { stop } of started) t.after(stop);
  const gateway = await Gateway.start(`listeners:
  rpc:
    bind: "127.0.0.1:${port}"
    protocol: http
    ${listener}
    routes: [ { name: echo, match: { path: "/test.Echo/*" }, service: echo } ]
services:
  echo:
    endpoints: [${ports.map((one) => `"127.0.0.1:${one}"`).join(', ')}]
    protocol: h2c
    balance: round-robin
    ${service}
`);
  t.after(() => gateway.stop());
  const client = new EchoClient(port);
  t.after(() => client.close());
  return { port, ports, gateway, client, servers: started };
}

const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    () => assert.fail('it should fail'),
    (error: grpc.ServiceError) => error,
  );

test('all four kinds of calls, with metadata and trailers', async (t) => {
  const { client, servers } = await setUp(t, { service: 'health: false' });
  const metadata = new grpc.Metadata();
  metadata.set('x-ask', 'one');
  metadata.set('x-ask-bin', Buffer.from([255, 0, 128, 10]));
  const answer = await client.unary('hello', {}, metadata);
  assert.equal(answer.text, 's0:hello');
  assert.deepEqual(answer.trailers.get('x-served-by'), ['s0']);
  assert.deepEqual(answer.trailers.get('x-raw-bin'), [Buffer.from([0, 255, 10, 13, 37])]);
  const seen = servers[0]?.observed.metadata[0];
  assert.deepEqual(seen?.get('x-ask'), ['one']);
  assert.deepEqual(seen?.get('x-ask-bin'), [Buffer.from([255, 0, 128, 10])]);

  const big = 'd'.repeat(20_000);
  let received = 0;
  for await (const data of client.down(big)) received += (data as Buffer).length;
  assert.equal(received, 100 * 20_000);

  const counted = await new Promise<string>((resolve, reject) => {
    const call = client.up((error, data) => (error ? reject(error) : resolve(String(data))));
    for (let at = 0; at < 50; at++) call.write(Buffer.alloc(10_000));
    call.end();
  });
  assert.equal(counted, '500000');

  const both = client.both();
  const echoed: string[] = [];
  const ended = new Promise<void>((resolve) => both.on('end', resolve));
  both.on('data', (data) => echoed.push(String(data)));
  for (const word of ['a', 'b', 'c']) {
    both.write(Buffer.from(word));
    await eventually(word, () => echoed.at(-1) === word);
  }
  both.end();
  await ended;
  assert.deepEqual(echoed, ['a', 'b', 'c']);
});

test('a status of the server travels with its message and metadata', async (t) => {
  const { client } = await setUp(t, { service: 'health: false' });
  const error = await failureOf(client.unary('fail:9'));
  assert.equal(error.code, grpc.status.FAILED_PRECONDITION);
  assert.equal(error.details, 'nö: 100 % \n');
  assert.deepEqual(error.metadata.get('x-served-by'), ['s0']);
});

test('what the gateway refuses is a gRPC status in an answer without body', async (t) => {
  const { client, port, gateway } = await setUp(t, {
    servers: 0,
    listener: 'limits: { maxBodyBytes: 1000 }',
  });
  const down = await failureOf(client.unary('hello'));
  assert.equal(down.code, grpc.status.UNAVAILABLE);
  assert.match(down.details, /gateway: /);
  const unknown = await client.unknown('/nobody.Knows/This');
  assert.equal(unknown?.code, grpc.status.UNIMPLEMENTED);
  const session = http2.connect(`http://127.0.0.1:${port}`);
  t.after(() => session.destroy());
  const stream = session.request(
    { ':method': 'POST', ':path': '/test.Echo/Unary', 'content-type': 'application/grpc+proto' },
    { endStream: true },
  );
  const [headers, flags] = await new Promise<[http2.IncomingHttpHeaders, number]>((resolve) => {
    stream.on('response', (fields, bits) => resolve([fields, bits]));
  });
  assert.equal(headers[':status'], 200);
  assert.equal(headers['content-type'], 'application/grpc');
  assert.equal(headers['grpc-status'], '14');
  assert.equal(flags & http2.constants.NGHTTP2_FLAG_END_STREAM, 1);
  assert.ok(gateway.process.exitCode === null);
});

test('a message above the limit is refused as a lack of resources', async (t) => {
  const { client } = await setUp(t, {
    service: 'health: false',
    listener: 'limits: { maxBodyBytes: 1000 }',
  });
  const error = await failureOf(client.unary('x'.repeat(5000)));
  assert.equal(error.code, grpc.status.RESOURCE_EXHAUSTED);
});

test('a deadline cancels upstream, and so does a client that cancels', async (t) => {
  const { port, client, servers } = await setUp(t, { service: 'health: false' });
  const observed = servers[0]?.observed;
  assert.ok(observed);
  const session = http2.connect(`http://127.0.0.1:${port}`);
  t.after(() => session.destroy());
  const frame = Buffer.concat([Buffer.from([0, 0, 0, 0, 4]), Buffer.from('hang')]);
  const startedAt = performance.now();
  // A client that does not keep its own deadline.
  const stream = session.request({
    ':method': 'POST',
    ':path': '/test.Echo/Unary',
    'content-type': 'application/grpc',
    'grpc-timeout': '400m',
    te: 'trailers',
  });
  stream.end(frame);
  const headers = await new Promise<http2.IncomingHttpHeaders>((resolve) => {
    stream.on('response', resolve);
  });
  assert.equal(headers['grpc-status'], '4');
  await eventually('cancelled', () => observed.cancelledAt.length === 1);
  const late = (observed.cancelledAt[0] ?? 0) - startedAt - 400;
  assert.ok(late > -50, `cancelled ${Math.round(-late)} ms before the deadline`);
  t.diagnostic(`cancelled ${Math.round(late)} ms after the deadline`);

  const call = client.down('hang');
  call.on('error', () => {});
  await new Promise((resolve) => call.once('data', resolve));
  call.cancel();
  await eventually('cancelled', () => observed.cancelledAt.length === 2);
});

test('a call whose connection was refused goes to another endpoint', async (t) => {
  const { client } = await setUp(t, { servers: 1, service: 'health: false' });
  for (let at = 0; at < 6; at++) assert.equal((await client.unary('x')).text, 's0:x');
});

test('a call that was sent is not sent again', async (t) => {
  const { client, servers } = await setUp(t, { servers: 2, service: 'health: false' });
  const error = await failureOf(client.unary('fail:14'));
  assert.equal(error.code, grpc.status.UNAVAILABLE);
  const calls = servers.reduce((sum, { observed }) => sum + observed.calls, 0);
  assert.equal(calls, 1);
});

test('statuses of a failing server put it aside, those of a wrong caller do not', async (t) => {
  const { client, gateway } = await setUp(t, { servers: 2, service: 'health: false' });
  const ejected = async () => {
    const { text } = await gateway.admin('/v1/services/echo/endpoints');
    return (JSON.parse(text) as { id: string; ejected: boolean }[]).filter((one) => one.ejected);
  };
  for (let at = 0; at < 20; at++) await failureOf(client.unary('fail:3'));
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual(await ejected(), []);
  const wrong = 'sluice_service_grpc_calls_total{service="echo",grpc_status="INVALID_ARGUMENT"}';
  assert.equal(await gateway.metric(wrong), 20);
  // Where all fail alike, nobody is put aside.
  for (let at = 0; at < 30; at++) await client.unary('fail:13:s1').catch(() => {});
  await eventually('one is put aside', async () => (await ejected()).length === 1);
});

test('09-grpc: a server that says it is not serving gets no calls', async (t) => {
  const example = await Example.read('09-grpc');
  const one = await startGrpcServer(example.port(50061), 'one');
  const two = await startGrpcServer(example.port(50062), 'two');
  t.after(one.stop);
  t.after(two.stop);
  const gateway = await example.start(t);
  const client = new EchoClient(example.port(50051));
  t.after(() => client.close());
  const answers = async () => {
    const texts = new Set<string>();
    for (let at = 0; at < 20; at++) texts.add((await client.unary('x')).text);
    return [...texts].sort().join();
  };
  assert.equal(await answers(), 'one:x,two:x');
  one.health.setStatus('', 'NOT_SERVING');
  await eventually('one is out', async () => (await answers()) === 'two:x');
  const { text } = await gateway.admin('/v1/services/backend/endpoints');
  assert.match(text, /"reason":"check: NOT_SERVING"/);
  one.health.setStatus('', 'SERVING');
  await eventually('one is back', async () => (await answers()) === 'one:x,two:x');
});

test('a stream on which the client has nothing to say yet stays open', async (t) => {
  const { client } = await setUp(t, { service: 'health: false' });
  const call = client.both();
  t.after(() => call.cancel());
  let status: number | undefined;
  call.on('error', () => {});
  call.on('status', ({ code }) => {
    status = code;
  });
  // Longer than the window over which the rate of other bodies is judged.
  await new Promise((resolve) => setTimeout(resolve, 11_500));
  assert.equal(status, undefined);
  const heard = new Promise((resolve) => call.once('data', (data) => resolve(String(data))));
  call.write(Buffer.from('at last'));
  assert.equal(await heard, 'at last');
});
