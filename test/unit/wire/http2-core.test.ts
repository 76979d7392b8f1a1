import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Http2ClientCore } from '../../../src/wire/http2-client-core.ts';
import { FLAG, FRAME, H2_ERROR } from '../../../src/wire/http2-frames.ts';
import type { RequestMessage, ResponseMessage } from '../../../src/wire/http2-message.ts';
import { Http2ServerCore, type RefusedRequest } from '../../../src/wire/http2-server-core.ts';
import type { Http2Stream, StreamEndCause, StreamEvents } from '../../../src/wire/http2-stream.ts';

const LIMITS = {
  maxHeaderBytes: 16_384,
  maxHeaders: 100,
  maxUriBytes: 8192,
  underscoreHeaders: 'drop',
} as const;
const OPTIONS = {
  maxConcurrentStreams: 100,
  streamWindowBytes: 65_536,
  connectionWindowBytes: 1_048_576,
  maxHeaderListBytes: 65_536,
};
const GET = [':method', 'GET', ':scheme', 'http', ':authority', 'a.test', ':path', '/x'];

/** One side's stream as its owner saw it. */
class Seen implements StreamEvents {
  stream: Http2Stream | undefined;
  request: RequestMessage | RefusedRequest | undefined;
  responses: ResponseMessage[] = [];
  chunks: Buffer[] = [];
  trailers: string[] | undefined;
  cut: [number, StreamEndCause] | undefined;
  drains = 0;
  flows = true;
  response(message: ResponseMessage): void {
    this.responses.push(message);
  }
  data(chunk: Buffer): boolean {
    this.chunks.push(chunk);
    return this.flows;
  }
  ended(trailers: string[]): void {
    this.trailers = trailers;
  }
  reset(code: number, cause: StreamEndCause): void {
    this.cut = [code, cause];
  }
  drain(): void {
    this.drains++;
  }
  get body(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

/** A client and a server that are joined without a network. */
class Pair {
  readonly served: Seen[] = [];
  readonly words: string[] = [];
  readonly failures: [number, string][] = [];
  readonly left: number[] = [];
  readonly pongs: string[] = [];
  readonly client: Http2ClientCore;
  readonly server: Http2ServerCore;
  /** Cuts what passes into pieces of this many bytes. */
  piece = Number.POSITIVE_INFINITY;
  onRequest: (seen: Seen) => void = () => {};

  constructor(options = OPTIONS) {
    const events = {
      output: () => {},
      refused: (word: string) => this.words.push(word),
      goaway: (last: number) => this.left.push(last),
      failed: (code: number, reason: string) => this.failures.push([code, reason]),
      settled: () => {},
      pong: (payload: Buffer) => this.pongs.push(payload.toString()),
    };
    this.client = new Http2ClientCore(OPTIONS, events);
    this.server = new Http2ServerCore(options, LIMITS, {
      ...events,
      request: (stream, request) => {
        const seen = new Seen();
        seen.stream = stream;
        seen.request = request;
        stream.events = seen;
        this.served.push(seen);
        this.onRequest(seen);
      },
    });
    this.run();
  }

  open(fields: string[], end: boolean, bodiless = false): Seen {
    const seen = new Seen();
    seen.stream = this.client.open(fields, seen, { end, bodiless });
    return seen;
  }

  /** Lets everything pass until both sides are quiet. */
  run(): void {
    for (;;) {
      const up = Buffer.concat(this.client.takeOutput());
      this.client.flushed(false);
      this.#feed(this.server, up);
      const down = Buffer.concat(this.server.takeOutput());
      this.server.flushed(false);
      this.#feed(this.client, down);
      if (up.length + down.length === 0) return;
    }
  }

  #feed(side: Http2ClientCore | Http2ServerCore, bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += this.piece) {
      side.receive(bytes.subarray(at, Math.min(bytes.length, at + this.piece)), 1);
    }
  }
}

/** A raw frame. */
function frame(type: number, flags: number, id: number, payload: Buffer | string = ''): Buffer {
  const body = Buffer.from(payload);
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, body]);
}

for (const piece of [1, 7, 4096, Number.POSITIVE_INFINITY]) {
  test(`a request and its answer, with bodies and trailers, in pieces of ${piece}`, () => {
    const pair = new Pair();
    pair.piece = piece;
    const body = Buffer.alloc(200_000, 'abc');
    pair.onRequest = ({ stream }) => {
      stream?.resume();
      stream?.sendHead([':status', '103', 'link', '</a>'], false, true);
      stream?.sendHead([':status', '200', 'content-type', 'text/plain'], false);
      stream?.write(body);
      stream?.end(['grpc-status', '0']);
    };
    const asked = pair.open([...GET, 'cookie', 'a=1', 'te', 'trailers', 'cookie', 'b=2'], false);
    asked.stream?.write(body);
    asked.stream?.end(['x-sum', '1']);
    pair.run();
    const [served] = pair.served;
    assert.ok(served?.request && 'headers' in served.request);
    assert.deepEqual(served.request.headers, ['cookie', 'a=1; b=2', 'te', 'trailers']);
    assert.equal(served.request.target, '/x');
    assert.ok(served.body.equals(body));
    assert.deepEqual(served.trailers, ['x-sum', '1']);
    assert.deepEqual(
      asked.responses.map(({ status }) => status),
      [103, 200],
    );
    assert.ok(asked.body.equals(body));
    assert.deepEqual(asked.trailers, ['grpc-status', '0']);
    assert.equal(pair.client.streams.size + pair.server.streams.size, 0);
    assert.deepEqual([pair.words, pair.failures], [[], []]);
  });
}

test('many streams share a connection and end; windows come back', () => {
  const pair = new Pair();
  pair.onRequest = (seen) => {
    seen.stream?.resume();
    seen.stream?.sendHead([':status', '200'], false);
    seen.stream?.write(Buffer.alloc(30_000, 'x'));
    seen.stream?.end();
  };
  for (let turn = 0; turn < 40; turn++) {
    const asked = Array.from({ length: 50 }, () => pair.open(GET, true));
    pair.run();
    for (const one of asked) assert.equal(one.body.length, 30_000);
  }
  assert.deepEqual([pair.words, pair.failures], [[], []]);
});

test('a stream that is not read holds back its peer, and no other', () => {
  const pair = new Pair();
  pair.onRequest = ({ stream }) => stream?.resume();
  const slow = pair.open(GET, false);
  pair.run();
  const [served] = pair.served;
  if (served) served.flows = false;
  let room = slow.stream?.write(Buffer.alloc(16_384));
  pair.run();
  for (let turn = 0; room && turn < 10; turn++) {
    room = slow.stream?.write(Buffer.alloc(16_384));
    pair.run();
  }
  assert.equal(room, false);
  assert.equal(served?.body.length, 16_384);
  const quick = pair.open(GET, false);
  quick.stream?.write(Buffer.alloc(60_000));
  quick.stream?.end();
  pair.run();
  assert.equal(pair.served[1]?.body.length, 60_000);
  if (served) served.flows = true;
  served?.stream?.resume();
  pair.run();
  assert.ok(slow.drains > 0);
  slow.stream?.end();
  pair.run();
  assert.deepEqual(served?.trailers, []);
});

test('a stream whose owner keeps up gets a wider window, up to a quarter of the connection', () => {
  const pair = new Pair();
  pair.onRequest = ({ stream }) => stream?.resume();
  const asked = pair.open(GET, false);
  for (let turn = 0; turn < 20; turn++) {
    asked.stream?.write(Buffer.alloc(100_000));
    pair.run();
  }
  assert.equal(pair.served[0]?.stream?.windowBytes, 262_144);
  assert.ok((asked.stream?.sendWindow ?? 0) > 100_000);
  assert.equal(pair.served[0]?.body.length, 2_000_000);
});

test('a field list over one frame goes out with CONTINUATION', () => {
  const pair = new Pair();
  const long = ['x-a', 'a~'.repeat(12_000), 'x-b', 'b~'.repeat(8000)];
  pair.onRequest = ({ stream }) => {
    stream?.sendHead([':status', '200', ...long], false);
    stream?.end(long);
  };
  const asked = pair.open(GET, true);
  pair.run();
  assert.deepEqual(asked.responses[0]?.headers, long);
  assert.deepEqual(asked.trailers, long);
  assert.deepEqual(pair.failures, []);
});

test('what is sent into closed windows is at most what was written before they closed', () => {
  const pair = new Pair();
  pair.client.receive(frame(FRAME.settings, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])), 1);
  const asked = pair.open(GET, false);
  assert.equal(asked.stream?.write(Buffer.alloc(10)), false);
  assert.equal(asked.stream?.sendWindow, 0);
  assert.equal(pair.client.queuedBytes, 10);
  asked.stream?.reset();
  assert.equal(pair.client.queuedBytes, 0);
});

test('a stream over the limit is refused, and the client hears that it may try again', () => {
  const pair = new Pair({ ...OPTIONS, maxConcurrentStreams: 2 });
  const asked = [pair.open(GET, true), pair.open(GET, true), pair.open(GET, true)];
  assert.equal(pair.client.room, 0);
  pair.run();
  assert.deepEqual(asked[2]?.cut, [H2_ERROR.refusedStream, 'peer']);
  assert.equal(pair.served.length, 2);
  assert.deepEqual(pair.words, ['stream-limit']);
});

test('a drain serves what has come and drops what comes later as not looked at', () => {
  const pair = new Pair();
  const first = pair.open(GET, true);
  pair.run();
  pair.server.announceDrain();
  pair.server.finishDrain();
  const late = pair.open(GET, true);
  pair.run();
  assert.deepEqual(late.cut, [H2_ERROR.none, 'unprocessed']);
  assert.equal(pair.client.room, 0);
  pair.served[0]?.stream?.sendHead([':status', '204'], true);
  pair.run();
  assert.deepEqual(first.trailers, []);
  assert.deepEqual(pair.left, [0x7fffffff, 1]);
});

test('a request that is reset in the same piece is never heard of', () => {
  const pair = new Pair();
  for (let turn = 0; turn < 50; turn++) {
    pair.open(GET, true).stream?.reset();
    pair.run();
  }
  assert.equal(pair.served.length, 0);
  assert.deepEqual(pair.failures, []);
});

test('resets of requests at work end the connection after 100, others after 1 000', () => {
  const pair = new Pair();
  let asked = 0;
  while (pair.failures.length === 0 && asked < 5000) {
    const one = pair.open(GET, true);
    pair.run();
    one.stream?.reset();
    pair.run();
    asked++;
  }
  assert.ok(asked > 90 && asked < 110, `${asked}`);
  assert.deepEqual(pair.failures[0], [H2_ERROR.enhanceYourCalm, 'rapid-reset']);
});

test('body that was under way when its stream was reset costs the peer nothing', () => {
  const pair = new Pair();
  const late = frame(FRAME.data, 0, 1, Buffer.alloc(1000));
  pair.open(GET, false);
  pair.run();
  pair.served[0]?.stream?.reset();
  for (let turn = 0; turn < 3000; turn++) {
    pair.server.receive(late, 1);
    pair.run();
  }
  assert.deepEqual(pair.failures, []);
});

test('a ping is answered', () => {
  const pair = new Pair();
  pair.client.ping(Buffer.from('12345678'));
  pair.run();
  assert.deepEqual(pair.pongs, ['12345678']);
});

test('an answer whose length is not what it said is malformed', () => {
  const pair = new Pair();
  pair.onRequest = ({ stream }) => {
    stream?.sendHead([':status', '200', 'content-length', '5'], false);
    stream?.write(Buffer.from('abc'));
    stream?.end();
  };
  const asked = pair.open(GET, true);
  pair.run();
  assert.deepEqual(asked.cut, [H2_ERROR.protocol, 'malformed']);
  pair.onRequest = ({ stream }) =>
    stream?.sendHead([':status', '200', 'content-length', '5'], true);
  const head = pair.open(GET, true, true);
  pair.run();
  assert.equal(head.cut, undefined);
  assert.deepEqual(head.trailers, []);
});

test('tiny pieces that nobody takes do not multiply in memory', () => {
  const pair = new Pair();
  pair.open(GET, false);
  pair.run();
  const before = process.memoryUsage().arrayBuffers;
  const tiny = frame(FRAME.data, 0, 1, 'x');
  for (let turn = 0; turn < 60_000; turn++) pair.server.receive(tiny, 1);
  assert.ok(process.memoryUsage().arrayBuffers - before < 8_000_000);
  pair.served[0]?.stream?.resume();
  assert.equal(pair.served[0]?.body.length, 60_000);
});

test('an even id, a push and a frame in the middle of a field block end the connection', () => {
  for (const bytes of [
    frame(FRAME.headers, FLAG.endHeaders, 2),
    frame(FRAME.pushPromise, FLAG.endHeaders, 1, '\0\0\0\x02'),
    Buffer.concat([frame(FRAME.headers, 0, 1), frame(FRAME.ping, 0, 0, '12345678')]),
  ]) {
    const pair = new Pair();
    pair.server.receive(bytes, 1);
    assert.equal(pair.failures[0]?.[0], H2_ERROR.protocol);
  }
});
