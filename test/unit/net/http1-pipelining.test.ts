import assert from 'node:assert/strict';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { dial } from '../../../src/net/dial.ts';
import type {
  FailureDetail,
  OutgoingRequest,
  ResponseSink,
} from '../../../src/net/http-exchange.ts';
import { Http1Pool } from '../../../src/net/http1-client.ts';
import { eventually } from '../../support/gateway.ts';

const HOST = '127.0.0.1';

function get(target: string, more: Partial<OutgoingRequest> = {}): OutgoingRequest {
  const place = { scheme: 'http', authority: 'example.test', target } as const;
  return { ...place, method: 'GET', headers: [], length: 0, upgrade: undefined, ...more };
}

class Answer implements ResponseSink {
  text = '';
  over = '';
  detail: FailureDetail | undefined;
  room = true;

  inform(): void {}
  head(): void {}
  data(chunk: Buffer): boolean {
    this.text += chunk;
    return this.room;
  }
  end(): void {
    this.over = 'end';
  }
  upgraded(): void {}
  fail(failure: string, detail: FailureDetail): void {
    this.over = failure;
    this.detail = detail;
  }
  drain(): void {}
}

/** What came on one connection; answers go out when the test says so. */
class Served {
  readonly socket: Socket;
  paths: string[] = [];

  constructor(socket: Socket) {
    this.socket = socket;
    let text = '';
    socket.on('error', () => {});
    socket.on('data', (data) => {
      text += data.toString('latin1');
      const found = [...text.matchAll(/^[A-Z]+ (\S+) HTTP\/1\.1\r\n/gm)];
      this.paths = found.map(([, path]) => path as string);
    });
  }

  static answer(body: string, fields = ''): string {
    return `HTTP/1.1 200 OK\r\n${fields}content-length: ${body.length}\r\n\r\n${body}`;
  }
}

/** A pool towards a server that keeps its first connection after one answer. */
async function pooled(t: TestContext, pipelining: number) {
  const served: Served[] = [];
  const server = createServer((socket) => served.push(new Served(socket)));
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const { port } = server.address() as AddressInfo;
  const pool = new Http1Pool(
    (connectMs, done) => dial({ address: { host: HOST, port }, connectMs }, done),
    { maxIdle: 8, idleMs: 60_000, pipelining },
  );
  t.after(() => {
    pool.close();
    for (const { socket } of served) socket.destroy();
    server.close();
  });
  const ask = (request: OutgoingRequest) => {
    const answer = new Answer();
    return { answer, call: pool.request(request, answer, { connectMs: 5000 }) };
  };
  const first = ask(get('/first'));
  await eventually('asked', () => served[0]?.paths.length === 1);
  served[0]?.socket.write(Served.answer('first'));
  await eventually('kept', () => pool.idle === 1);
  assert.equal(first.answer.text, 'first');
  return { pool, served, ask, kept: served[0] as Served };
}

test('requests of one moment share a connection, and each gets its own answer, however cut', async (t) => {
  const { pool, served, ask, kept } = await pooled(t, 8);
  const asked = ['/a', '/bb', '/ccc'].map((path) => ask(get(path)));
  await eventually('sent', () => kept.paths.length === 4);
  const bytes = ['/a', '/bb', '/ccc'].map((path) => Served.answer(path)).join('');
  for (let at = 0; at < bytes.length; at += 7) {
    kept.socket.write(bytes.slice(at, at + 7));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await eventually('answered', () => asked.every(({ answer }) => answer.over === 'end'));
  assert.deepEqual(
    asked.map(({ answer }) => answer.text),
    ['/a', '/bb', '/ccc'],
  );
  assert.equal(served.length, 1);
  assert.equal(pool.idle, 1);
});

test('a connection takes no more than was allowed, and nothing that must not be sent twice', async (t) => {
  const { served, ask, kept } = await pooled(t, 2);
  ask(get('/a'));
  ask(get('/post', { method: 'POST' }));
  ask(get('/body', { method: 'PUT', length: 3 }));
  ask(get('/b'));
  ask(get('/c'));
  await eventually('sent', () => served.flatMap(({ paths }) => paths).length === 6);
  assert.deepEqual(kept.paths, ['/first', '/a', '/b']);
  assert.deepEqual(
    served.map(({ paths }) => paths.length),
    [3, 1, 1, 1],
  );
});

test('without pipelining no request is sent behind another', async (t) => {
  const { served, ask } = await pooled(t, 1);
  ask(get('/a'));
  ask(get('/b'));
  await eventually('sent', () => served.flatMap(({ paths }) => paths).length === 3);
  assert.deepEqual(
    served.map(({ paths }) => paths.length),
    [2, 1],
  );
});

test('one that is given up does not take those around it along', async (t) => {
  const { pool, served, ask, kept } = await pooled(t, 8);
  const [before, gone, behind] = ['/before', '/gone', '/behind'].map((path) => ask(get(path)));
  gone?.call.cancel();
  await eventually('sent', () => kept.paths.length === 4);
  kept.socket.write(['/before', '/gone', '/behind'].map((path) => Served.answer(path)).join(''));
  await eventually('answered', () => behind?.answer.over === 'end');
  assert.equal(before?.answer.text, '/before');
  assert.equal(behind?.answer.text, '/behind');
  assert.deepEqual([gone?.answer.text, gone?.answer.over], ['', '']);
  assert.deepEqual([served.length, pool.idle], [1, 1]);
});

test('an unwanted answer that does not end costs the connection, and those behind may be sent again', async (t) => {
  const { ask, kept } = await pooled(t, 8);
  const [gone, behind] = ['/gone', '/behind'].map((path) => ask(get(path)));
  gone?.call.cancel();
  await eventually('sent', () => kept.paths.length === 3);
  kept.socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n${'x'.repeat(100_000)}`);
  await eventually('told', () => behind?.answer.over === 'reset');
  assert.deepEqual(behind?.answer.detail, { reused: true, bytesReceived: 0 });
});

test('what waits behind an answer that closes the connection may be sent again', async (t) => {
  const { ask, kept } = await pooled(t, 8);
  const [last, behind] = ['/last', '/behind'].map((path) => ask(get(path)));
  await eventually('sent', () => kept.paths.length === 3);
  kept.socket.write(Served.answer('last', 'connection: close\r\n'));
  await eventually('told', () => behind?.answer.over === 'reset');
  assert.deepEqual(behind?.answer.detail, { reused: true, bytesReceived: 0 });
  assert.deepEqual([last?.answer.text, last?.answer.over], ['last', 'end']);
});

test('an answer that is late gets no further request behind it', async (t) => {
  const { served, ask, kept } = await pooled(t, 8);
  ask(get('/slow'));
  await delay(100);
  ask(get('/next'));
  await eventually('sent elsewhere', () => served[1]?.paths[0] === '/next');
  assert.deepEqual(kept.paths, ['/first', '/slow']);
});

test('a client that has no room holds up what is behind it until it has', async (t) => {
  const { ask, kept } = await pooled(t, 8);
  const [slow, behind] = ['/slow', '/behind'].map((path) => ask(get(path)));
  if (slow) slow.answer.room = false;
  await eventually('sent', () => kept.paths.length === 3);
  kept.socket.write(Served.answer('slow') + Served.answer('behind'));
  await eventually('begun', () => slow?.answer.text === 'slow');
  assert.equal(behind?.answer.text, '');
  slow?.call.resumeBody();
  await eventually('answered', () => behind?.answer.over === 'end');
  assert.equal(behind?.answer.text, 'behind');
  assert.equal(slow?.answer.over, 'end');
});
