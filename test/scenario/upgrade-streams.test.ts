import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { type TestContext, test } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import { eventually, freePorts, Gateway } from '../support/gateway.ts';
import { EchoClient, startGrpcServer } from '../support/grpc-service.ts';
import { isAlive } from '../support/processes.ts';

const STREAMS = 10;
const SAY_MS = 20;

function config(port: number, backend: number, more = ''): string {
  return `shutdown: { timeout: 20s }
listeners:
  rpc: { bind: "127.0.0.1:${port}", protocol: http, service: echo${more} }
services:
  echo: { endpoints: ["127.0.0.1:${backend}"], protocol: h2c }
`;
}

async function setUp(t: TestContext) {
  const [port = 0, backend = 0] = await freePorts(2);
  const server = await startGrpcServer(backend, 'one');
  t.after(server.stop);
  const gateway = await Gateway.start(config(port, backend), { workers: 2 });
  t.after(() => gateway.stop());
  return { port, backend, gateway };
}

/** A call that both sides talk on until it is finished, and what became of it. */
class Talk {
  readonly #client: EchoClient;
  readonly #call: ReturnType<EchoClient['both']>;
  readonly #timer: NodeJS.Timeout;
  sent = 0;
  /** Echoes in the order in which they were said; -1 stands for another text. */
  heard = 0;
  status: grpc.status | undefined;

  constructor(t: TestContext, port: number) {
    this.#client = new EchoClient(port);
    t.after(() => this.#client.close());
    this.#call = this.#client.both();
    this.#call.on('error', () => {});
    this.#call.on('status', ({ code }: grpc.StatusObject) => {
      this.status = code;
    });
    this.#call.on('data', (data) => {
      this.heard = String(data) === String(this.heard) ? this.heard + 1 : -1;
    });
    this.#timer = setInterval(() => this.#call.write(Buffer.from(String(this.sent++))), SAY_MS);
    t.after(() => clearInterval(this.#timer));
  }

  finish(): void {
    clearInterval(this.#timer);
    this.#call.end();
  }
}

/** Unary calls of one client, each after the one before, until told to stop: how many failed. */
function keepAsking(t: TestContext, port: number) {
  const client = new EchoClient(port);
  t.after(() => client.close());
  const errors: unknown[] = [];
  let asked = 0;
  let going = true;
  t.after(() => {
    going = false;
  });
  const done = (async () => {
    while (going) {
      asked++;
      await client.unary(`${asked}`).catch((error: unknown) => errors.push(error));
    }
  })();
  return {
    errors,
    asked: () => asked,
    stop: () => {
      going = false;
      return done;
    },
  };
}

/** A connection of its own with a stream on it: told of every GOAWAY. */
async function watchedSession(t: TestContext, port: number) {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  t.after(() => session.destroy());
  const goaways: { code: number; last: number; streamOpen: boolean }[] = [];
  const stream = session.request({
    ':method': 'POST',
    ':path': '/test.Echo/Both',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('error', () => {});
  session.on('error', () => {});
  session.on('goaway', (code, last) => goaways.push({ code, last, streamOpen: !stream.closed }));
  let ended: number | undefined;
  stream.on('trailers', (fields) => {
    ended = Number(fields['grpc-status']);
  });
  stream.resume();
  // An empty message: its echo shows that the stream has reached the service.
  stream.write(Buffer.alloc(5));
  await new Promise((resolve) => stream.once('response', resolve));
  return { session, stream, goaways, grpcStatus: () => ended };
}

async function allTalk(talks: readonly Talk[], more: number): Promise<void> {
  const before = talks.map(({ heard }) => heard);
  await eventually(`each stream carries ${more} more messages`, () =>
    talks.every(({ heard }, at) => heard >= (before[at] ?? 0) + more),
  );
}

async function allFinished(talks: readonly Talk[]): Promise<void> {
  for (const talk of talks) talk.finish();
  await eventually('all end', () => talks.every(({ status }) => status !== undefined));
  for (const { status, sent, heard } of talks) {
    assert.equal(status, grpc.status.OK);
    assert.equal(heard, sent, 'every message came back, in order');
  }
}

test('an upgrade lets streams finish, sends GOAWAY, and fails no call', async (t) => {
  const { port, gateway } = await setUp(t);
  const old = gateway.pid;
  const talks = Array.from({ length: STREAMS }, () => new Talk(t, port));
  const watched = await watchedSession(t, port);
  const asking = keepAsking(t, port);
  await allTalk(talks, 5);
  const { status, text } = await gateway.upgrade();
  assert.equal(status, 200, text);
  await eventually('GOAWAY is sent', () => watched.goaways.length > 0);
  assert.ok(watched.goaways.every(({ code, streamOpen }) => code === 0 && streamOpen));
  // The old daemon carries what was open, the new one what comes.
  await allTalk(talks, 20);
  const late = new Talk(t, port);
  await allTalk([late], 5);
  assert.ok(isAlive(old), 'the old daemon waits for its streams');
  watched.stream.end();
  await eventually('the stream ends', () => watched.grpcStatus() === 0);
  await eventually('its connection is closed', () => watched.session.closed);
  await allFinished([...talks, late]);
  await asking.stop();
  assert.deepEqual(asking.errors, []);
  assert.ok(asking.asked() > 20, `${asking.asked()} calls`);
  await eventually('the old daemon ends', () => !isAlive(old));
});

test('a reload leaves streams alone; one that takes their listener away lets them finish', async (t) => {
  const { port, backend, gateway } = await setUp(t);
  const talks = Array.from({ length: STREAMS }, () => new Talk(t, port));
  const watched = await watchedSession(t, port);
  const asking = keepAsking(t, port);
  await allTalk(talks, 5);
  for (const field of ['a', 'b', 'c', 'd', 'e']) {
    gateway.write(config(port, backend, `, http: { serverHeader: ${field} }`), 2);
    const { status, text } = await gateway.admin('/v1/reload', { method: 'POST' });
    assert.equal(status, 200, text);
    await allTalk(talks, 3);
  }
  assert.deepEqual(watched.goaways, []);
  await asking.stop();
  assert.deepEqual(asking.errors, []);

  const [other = 0] = await freePorts(1);
  gateway.write(config(other, backend).replace('rpc:', 'other:'), 2);
  assert.equal((await gateway.admin('/v1/reload', { method: 'POST' })).status, 200);
  await eventually('GOAWAY is sent', () => watched.goaways.length > 0);
  await allTalk(talks, 10);
  watched.stream.end();
  await eventually('the stream ends', () => watched.grpcStatus() === 0);
  await allFinished(talks);
});
