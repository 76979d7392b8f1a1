import assert from 'node:assert/strict';
import http2 from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { dial } from '../../../src/net/dial.ts';
import type {
  ExchangeFailure,
  FailureDetail,
  OutgoingRequest,
  RawHeaders,
  ResponseHead,
  ResponseSink,
} from '../../../src/net/http-exchange.ts';
import { Http2Pool } from '../../../src/net/http2-client.ts';
import { eventually } from '../../support/gateway.ts';

const HOST = '127.0.0.1';

/** A real HTTP/2 server without TLS, and a pool towards it. */
async function setUp(
  t: TestContext,
  onStream: (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void,
  options: http2.ServerOptions & { idleMs?: number } = {},
) {
  const server = http2.createServer(options);
  const sessions = new Set<http2.ServerHttp2Session>();
  let opened = 0;
  server.on('session', (session) => {
    opened++;
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => {});
  });
  server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
    stream.on('error', () => {});
    onStream(stream, headers);
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const { port } = server.address() as AddressInfo;
  const pool = poolTo(port, options.idleMs);
  t.after(() => {
    pool.close();
    for (const session of sessions) session.destroy();
    server.close();
  });
  return { pool, sessions, server, port, opened: () => opened };
}

function poolTo(port: number, idleMs = 5000): Http2Pool {
  return new Http2Pool(
    (connectMs, done) => dial({ address: { host: HOST, port }, connectMs }, done),
    { idleMs },
  );
}

const GET: OutgoingRequest = {
  method: 'GET',
  scheme: 'http',
  authority: 'example.test',
  target: '/a?b=1',
  headers: ['X-Mixed', 'one', 'connection', 'x'],
  length: 0,
  upgrade: undefined,
};

/** What came back for one request. */
class Answer implements ResponseSink {
  status = 0;
  headers: RawHeaders = [];
  length: ResponseHead['length'] | undefined;
  interims: number[] = [];
  text = '';
  bytes = 0;
  trailers: RawHeaders | undefined;
  failure: ExchangeFailure | undefined;
  detail: FailureDetail | undefined;
  tunnel: Duplex | undefined;
  drained = 0;
  pauseAfter = Number.POSITIVE_INFINITY;

  get over(): boolean {
    return this.trailers !== undefined || this.failure !== undefined;
  }

  inform(status: number): void {
    this.interims.push(status);
  }
  head({ status, headers, length }: ResponseHead): void {
    this.status = status;
    this.headers = headers;
    this.length = length;
  }
  data(chunk: Buffer): boolean {
    this.bytes += chunk.length;
    if (this.bytes < 1000) this.text += chunk;
    return this.bytes < this.pauseAfter;
  }
  end(trailers: RawHeaders): void {
    this.trailers = trailers;
  }
  upgraded(_headers: RawHeaders, tunnel: Duplex): void {
    this.tunnel = tunnel;
  }
  fail(failure: ExchangeFailure, detail: FailureDetail): void {
    this.failure = failure;
    this.detail = detail;
  }
  drain(): void {
    this.drained++;
  }
}

function ask(pool: Http2Pool, fields: Partial<OutgoingRequest> = {}, fresh = false) {
  const answer = new Answer();
  const call = pool.request({ ...GET, ...fields }, answer, { connectMs: 1000, fresh });
  return { answer, call };
}

test('a request and its answer, with interim heads and trailers both ways', async (t) => {
  let seen: http2.IncomingHttpHeaders = {};
  let trailers: http2.IncomingHttpHeaders = {};
  let body = '';
  const { pool } = await setUp(t, (stream, headers) => {
    seen = headers;
    stream.on('trailers', (fields) => {
      trailers = fields;
    });
    stream.on('data', (data) => {
      body += data;
    });
    stream.additionalHeaders({ ':status': 103, link: '</a.css>' });
    stream.respond({ ':status': 201, 'x-answer': 'yes' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end('hello');
  });
  const { answer, call } = ask(pool, { method: 'POST', length: 'chunked' });
  call.write(Buffer.from('ping'));
  call.end(['X-Checksum', 'abc']);
  await eventually('over', () => answer.over);
  assert.equal(answer.failure, undefined);
  assert.deepEqual(answer.interims, [103]);
  assert.equal(answer.status, 201);
  assert.equal(answer.text, 'hello');
  assert.deepEqual(answer.trailers, ['grpc-status', '0']);
  assert.equal(seen[':method'], 'POST');
  assert.equal(seen[':authority'], 'example.test');
  assert.equal(seen[':path'], '/a?b=1');
  assert.equal(seen['x-mixed'], 'one');
  assert.equal(seen['connection'], undefined);
  assert.equal(body, 'ping');
  assert.equal(trailers['x-checksum'], 'abc');
});

test('many requests share one connection, each with its own answer', async (t) => {
  const { pool, opened } = await setUp(t, (stream, headers) => {
    setTimeout(() => {
      stream.respond({ ':status': 200 });
      stream.end(String(headers[':path']));
    }, 5);
  });
  const all = Array.from({ length: 80 }, (_, at) => ask(pool, { target: `/${at}` }).answer);
  await eventually('all over', () => all.every(({ over }) => over));
  for (const [at, { text }] of all.entries()) assert.equal(text, `/${at}`);
  assert.equal(opened(), 1);
});

test('the endpoint says how many at a time, and more connections are opened', async (t) => {
  let now = 0;
  let most = 0;
  const { pool, opened } = await setUp(
    t,
    (stream) => {
      most = Math.max(most, ++now);
      setTimeout(() => {
        now--;
        stream.respond({ ':status': 200 });
        stream.end('x');
      }, 20);
    },
    { settings: { maxConcurrentStreams: 4 } },
  );
  const first = ask(pool).answer;
  await eventually('first', () => first.over);
  const all = Array.from({ length: 40 }, () => ask(pool).answer);
  await eventually('all over', () => all.every(({ over }) => over));
  assert.deepEqual(all.map(({ failure }) => failure).filter(Boolean), []);
  assert.ok(opened() >= 5 && opened() <= 12, `${opened()} connections`);
  assert.ok(most > 4);
});

test('a refused stream and one above a GOAWAY were not looked at', async (t) => {
  let turn = 0;
  const { pool, server, opened } = await setUp(t, (stream) => {
    if (turn++ === 0) stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    else if (turn === 2) {
      stream.session?.close();
      setTimeout(() => {
        stream.respond({ ':status': 200 });
        stream.end('late');
      }, 50);
    } else {
      stream.respond({ ':status': 200 });
      stream.end('new');
    }
  });
  const refused = ask(pool).answer;
  await eventually('refused', () => refused.over);
  assert.equal(refused.failure, 'reset');
  assert.equal(refused.detail?.unprocessed, true);
  const leaving = ask(pool).answer;
  await eventually('goaway', () => opened() === 1 && turn === 2);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const other = ask(pool).answer;
  await eventually('both', () => leaving.over && other.over);
  assert.equal(leaving.text, 'late', 'what was open is finished');
  assert.equal(other.text, 'new');
  assert.equal(opened(), 2);
  const count = () =>
    new Promise<number>((resolve) => server.getConnections((_, found) => resolve(found)));
  await eventually('the old connection closes', async () => (await count()) === 1);
});

test('a reset, a cut connection and a foreign protocol each fail in their own way', async (t) => {
  const { pool, sessions } = await setUp(t, (stream, headers) => {
    if (headers[':path'] === '/reset') stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    else if (headers[':path'] === '/half') {
      stream.respond({ ':status': 200 });
      stream.write('some', () => stream.destroy(new Error('broken')));
    } else for (const session of sessions) session.destroy();
  });
  const reset = ask(pool, { target: '/reset' }).answer;
  await eventually('reset', () => reset.over);
  assert.deepEqual([reset.failure, reset.detail?.reused], ['reset', false]);
  assert.equal(reset.detail?.unprocessed, false);
  const half = ask(pool, { target: '/half' }).answer;
  await eventually('half', () => half.over);
  assert.equal(half.failure, 'reset');
  assert.ok((half.detail?.bytesReceived ?? 0) > 0);
  const cut = ask(pool, { target: '/cut' }).answer;
  await eventually('cut', () => cut.over);
  assert.deepEqual([cut.failure, cut.detail?.reused], ['reset', true]);

  const foreign = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n');
  });
  await new Promise<void>((resolve) => foreign.listen(0, HOST, resolve));
  t.after(() => foreign.close());
  const wrong = ask(poolTo((foreign.address() as AddressInfo).port)).answer;
  await eventually('foreign', () => wrong.over);
  assert.equal(wrong.failure, 'protocol');
});

test('nobody listens: all who wait are told', async () => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const pool = poolTo(port);
  const all = [ask(pool).answer, ask(pool).answer];
  await eventually('refused', () => all.every(({ failure }) => failure === 'refused'));
});

test('a cancelled request resets its stream alone', async (t) => {
  const codes: number[] = [];
  const { pool, opened } = await setUp(t, (stream, headers) => {
    stream.on('close', () => codes.push(stream.rstCode ?? -1));
    if (headers[':path'] === '/quick') {
      stream.respond({ ':status': 200 });
      stream.end('ok');
    }
  });
  const { answer, call } = ask(pool);
  await new Promise((resolve) => setTimeout(resolve, 50));
  call.cancel();
  await eventually('reset', () => codes.length === 1);
  assert.deepEqual(codes, [http2.constants.NGHTTP2_CANCEL]);
  assert.equal(answer.over, false, 'no callback follows');
  const quick = ask(pool, { target: '/quick' }).answer;
  await eventually('quick', () => quick.over);
  assert.equal(opened(), 1);
});

test('flow control holds a fast endpoint and a fast client', async (t) => {
  const size = 3_000_000;
  let taken = 0;
  const { pool } = await setUp(t, (stream, headers) => {
    stream.respond({ ':status': 200 });
    if (headers[':path'] === '/down') stream.end(Buffer.alloc(size, 'd'));
    else {
      stream.pause();
      setTimeout(() => stream.resume(), 100);
      stream.on('data', (data: Buffer) => {
        taken += data.length;
      });
      stream.on('end', () => stream.end('done'));
    }
  });
  const down = ask(pool, { target: '/down' });
  down.answer.pauseAfter = 1;
  await eventually('paused', () => down.answer.bytes > 0);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(down.answer.bytes <= 65_536, 'nothing more while paused');
  const other = ask(pool, { target: '/down' }).answer;
  await eventually('another one passes', () => other.over);
  assert.equal(other.bytes, size);
  down.answer.pauseAfter = Number.POSITIVE_INFINITY;
  down.call.resumeBody();
  await eventually('down', () => down.answer.over);
  assert.equal(down.answer.bytes, size);

  const up = ask(pool, { method: 'PUT', target: '/up', length: size });
  let room = true;
  let sent = 0;
  let held = 0;
  while (sent < size) {
    room = up.call.write(Buffer.alloc(50_000, 'u'));
    sent += 50_000;
    if (room) continue;
    held++;
    const before = up.answer.drained;
    await eventually('drain', () => up.answer.drained > before);
  }
  up.call.end();
  await eventually('up', () => up.answer.over);
  assert.equal(taken, size);
  assert.ok(held > 0);
});

test('an answer before the end of the request stops the upload', async (t) => {
  let code: number | undefined;
  const { pool } = await setUp(t, (stream) => {
    stream.on('close', () => {
      code = stream.rstCode;
    });
    stream.respond({ ':status': 413 });
    stream.end();
  });
  const { answer, call } = ask(pool, { method: 'POST', length: 'chunked' });
  call.write(Buffer.alloc(1000));
  await eventually('answered', () => answer.over);
  assert.equal(answer.status, 413);
  assert.equal(call.write(Buffer.alloc(1000)), true);
  await eventually('reset', () => code !== undefined);
});

test('HEAD keeps the stated length, 204 has none', async (t) => {
  const { pool } = await setUp(t, (stream, headers) => {
    const head = headers[':method'] === 'HEAD';
    stream.respond(head ? { ':status': 200, 'content-length': 1234 } : { ':status': 204 }, {
      endStream: true,
    });
  });
  const head = ask(pool, { method: 'HEAD' }).answer;
  const none = ask(pool).answer;
  await eventually('both', () => head.over && none.over);
  assert.deepEqual([head.length, head.failure], [1234, undefined]);
  assert.deepEqual([none.status, none.length], [204, 0]);
});

test('a WebSocket is a tunnel where the endpoint offers it, else a failure', async (t) => {
  const handler = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
    assert.equal(headers[':protocol'], 'websocket');
    stream.respond({ ':status': 200 });
    stream.pipe(stream);
  };
  const offers = await setUp(t, handler, { settings: { enableConnectProtocol: true } });
  const wanted = {
    upgrade: 'websocket',
    headers: ['sec-websocket-key', 'dGhlIHNhbXBsZSBub25jZQ=='],
  };
  const { answer } = ask(offers.pool, wanted);
  await eventually('tunnel', () => answer.tunnel !== undefined);
  let echoed = '';
  answer.tunnel?.on('data', (data) => {
    echoed += data;
  });
  answer.tunnel?.write('frames');
  await eventually('echo', () => echoed === 'frames');
  answer.tunnel?.destroy();
  const not = await setUp(t, handler);
  const refused = ask(not.pool, wanted).answer;
  await eventually('refused', () => refused.over);
  assert.equal(refused.failure, 'protocol');
});

test('idle connections close after their time, and with the pool', async (t) => {
  const answerAll = (stream: http2.ServerHttp2Stream) => {
    stream.respond({ ':status': 200 });
    stream.end('ok');
  };
  const short = await setUp(t, answerAll, { idleMs: 100 });
  const one = ask(short.pool).answer;
  await eventually('one', () => one.over);
  await eventually('closed', () => short.sessions.size === 0);
  await eventually('forgotten', () => short.pool.idle === 0);
  const kept = await setUp(t, answerAll);
  const two = ask(kept.pool).answer;
  await eventually('two', () => two.over);
  await eventually('idle', () => kept.pool.idle === 1);
  kept.pool.close();
  await eventually('closed', () => kept.sessions.size === 0);
});
