import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import http2 from 'node:http2';
import net, { type AddressInfo, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { decode, encode } from 'dns-packet';
import { type HealthCheck, healthCheck } from '../../../src/model/health-check.ts';
import { service } from '../../../src/model/service.ts';
import { createProbe, defaultCheck } from '../../../src/net/probes/create-probe.ts';
import type { ProbeResult } from '../../../src/net/probes/probe.ts';

const HOST = '127.0.0.1';
const plain = service.parse({ endpoints: [`${HOST}:1`] });

function probe(check: HealthCheck, port: number, host = HOST): Promise<ProbeResult> {
  return createProbe(check, plain, () => '').run({ host, port });
}

/** A TCP server that treats each connection as told. */
async function serve(t: TestContext, talk: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    talk(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** A server that answers whatever it is sent with one text, in the given pieces. */
function answers(t: TestContext, pieces: string[], pauseMs = 0): Promise<number> {
  return serve(t, (socket) => {
    socket.once('data', async () => {
      for (const piece of pieces) {
        socket.write(piece);
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
      socket.end();
    });
  });
}

async function closedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const tcp = healthCheck.parse({ type: 'tcp', timeout: '500ms' });
const http = healthCheck.parse({ type: 'http', timeout: '300ms' });
const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready';
const status = (code: number) => `HTTP/1.1 ${code} X\r\nContent-Length: 0\r\n\r\n`;

test('tcp: a connection passes, a closed port fails', async (t) => {
  assert.equal((await probe(tcp, await serve(t, () => {}))).ok, true);
  const refused = await probe(tcp, await closedPort());
  assert.deepEqual(refused, { ok: false, reason: 'connection refused', verdict: 'L4CON' });
});

test('a name that does not resolve fails', async () => {
  assert.equal((await probe(tcp, 80, 'no-such-name.invalid')).ok, false);
  const dns = healthCheck.parse({ type: 'dns', name: 'a.test', timeout: '900ms' });
  assert.equal((await probe(dns, 53, 'no-such-name.invalid')).ok, false);
});

test('http: judged by status', async (t) => {
  assert.equal((await probe(http, await answers(t, [ok]))).ok, true);
  for (const code of [404, 500]) {
    const result = await probe(http, await answers(t, [status(code)]));
    const reason = `status ${code}, expected 200-399`;
    assert.deepEqual(result, { ok: false, reason, verdict: 'L7STS', code });
  }
  const any = healthCheck.parse({ type: 'http', expect: { status: '200,404' } });
  assert.equal((await probe(any, await answers(t, [status(404)]))).ok, true);
});

test('http: judged by body, also in pieces', async (t) => {
  const body = (wanted: unknown) => healthCheck.parse({ type: 'http', expect: { body: wanted } });
  assert.equal((await probe(body('ready'), await answers(t, [ok]))).ok, true);
  assert.equal((await probe(body({ regex: '^rea' }), await answers(t, [...ok], 1))).ok, true);
  assert.equal((await probe(body('other'), await answers(t, [ok]))).ok, false);
});

test('http: silence, garbage, an early end and a slow answer fail in time', async (t) => {
  const silent = await probe(http, await serve(t, () => {}));
  assert.deepEqual(silent, { ok: false, reason: 'no answer in time', verdict: 'L7TOUT' });
  const garbage = await probe(http, await answers(t, ['\0\x01 not http at all\r\n\r\n']));
  assert.deepEqual(garbage, { ok: false, reason: 'answer is not HTTP', verdict: 'L7RSP' });
  const ended = await probe(http, await serve(t, (socket) => socket.end()));
  assert.equal(ended.ok, false);
  const slow = await probe(http, await answers(t, [...ok], 50));
  assert.deepEqual(slow, { ok: false, reason: 'no answer in time', verdict: 'L7TOUT' });
});

test('the check of a service without one takes any HTTP answer, but an answer', async (t) => {
  const check = defaultCheck(plain, true);
  assert.equal((await probe(check, await answers(t, [status(404)]))).ok, true);
  assert.equal((await probe(check, await serve(t, (socket) => socket.destroy()))).ok, false);
});

test('the check of an HTTP/2 service without one takes any server that sets HTTP/2 up', async (t) => {
  const check = defaultCheck({ ...plain, protocol: 'h2c' }, true);
  assert.equal(check.type, 'h2');
  const server = http2.createServer();
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  t.after(() => server.close());
  assert.equal((await probe(check, (server.address() as AddressInfo).port)).ok, true);
  const old = await probe(check, await answers(t, [status(404)]));
  assert.equal(old.reason, 'answer is not HTTP/2');
  const silent = await probe({ ...check, timeout: 200 }, await serve(t, () => {}));
  assert.equal(silent.reason, 'no answer in time');
});

test('send-expect: escapes are read, an answer is awaited', async (t) => {
  const port = await serve(t, (socket) => {
    socket.on('data', (data) => socket.write(data.toString() === 'PING\r\n' ? '+PONG\r\n' : '-'));
  });
  const check = (fields: object) =>
    healthCheck.parse({ type: 'send-expect', timeout: '300ms', ...fields });
  assert.equal((await probe(check({ send: 'PING\\r\\n', expect: '+PONG' }), port)).ok, true);
  const regex = check({ send: 'PING\\x0d\\x0a', expect: { regex: '^\\+P' } });
  assert.equal((await probe(regex, port)).ok, true);
  assert.equal((await probe(check({ send: 'x', expect: '+PONG' }), port)).ok, false);
});

test('send-expect: a conversation of several turns, of which each must come', async (t) => {
  const role = { value: 'role:master' };
  const port = await serve(t, (socket) => {
    socket.on('data', (data) =>
      socket.write(data.toString() === 'PING\r\n' ? '+PONG' : role.value),
    );
  });
  const more = [
    { send: 'info\\r\\n', expect: 'role:master' },
    { send: 'x', expect: 'role' },
  ];
  const turns = { send: 'PING\\r\\n', expect: '+PONG', more };
  const check = healthCheck.parse({ type: 'send-expect', timeout: '300ms', ...turns });
  assert.equal((await probe(check, port)).ok, true);
  role.value = 'role:slave';
  assert.equal((await probe(check, port)).reason, 'no answer in time');
});

test('exec: judged by exit status, told the endpoint, ended in time', async () => {
  const check = (script: string) =>
    healthCheck.parse({ type: 'exec', timeout: '300ms', command: ['/bin/sh', '-c', script] });
  assert.equal((await probe(check('test $SLUICE_ENDPOINT_PORT = 42'), 42)).ok, true);
  const failed = { ok: false, reason: 'exit 3', verdict: 'PROCERR', code: 3 };
  assert.deepEqual(await probe(check('exit 3'), 1), failed);
  const late = { ok: false, reason: 'no end in time', verdict: 'PROCTOUT' };
  assert.deepEqual(await probe(check('exec sleep 5'), 1), late);
  const missing = healthCheck.parse({ type: 'exec', command: ['/no/such/program'] });
  assert.equal((await probe(missing, 1)).ok, false);
});

test('dns: NOERROR and NXDOMAIN pass, SERVFAIL and silence fail', async (t) => {
  const server = dgram.createSocket('udp4');
  t.after(() => server.close());
  const codes: Record<string, number> = { 'ok.test': 0, 'none.test': 3, 'broken.test': 2 };
  server.on('message', (data, from) => {
    const { id = 0, questions = [] } = decode(data);
    const code = codes[questions[0]?.name ?? ''];
    if (code === undefined) return;
    server.send(encode({ type: 'response', id, flags: code, questions }), from.port, from.address);
  });
  await new Promise<void>((resolve) => server.bind(0, HOST, resolve));
  const ask = async (name: string) => {
    const check = healthCheck.parse({ type: 'dns', name, timeout: '200ms' });
    return (await probe(check, server.address().port)).ok;
  };
  assert.deepEqual(
    [await ask('ok.test'), await ask('none.test'), await ask('broken.test'), await ask('no.test')],
    [true, true, false, false],
  );
});
