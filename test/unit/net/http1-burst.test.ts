import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { dial } from '../../../src/net/dial.ts';
import type { OutgoingRequest, ResponseSink } from '../../../src/net/http-exchange.ts';
import { Http1Pool } from '../../../src/net/http1-client.ts';
import { eventually } from '../../support/gateway.ts';

const HOST = '127.0.0.1';
const BURST = 1000;
const GET: OutgoingRequest = {
  ...{ scheme: 'http', authority: 'a', target: '/', method: 'GET', headers: [], length: 0 },
  upgrade: undefined,
};

class Outcome implements ResponseSink {
  over = '';
  inform(): void {}
  head(): void {}
  data(): boolean {
    return true;
  }
  end(): void {
    this.over = 'end';
  }
  upgraded(): void {}
  fail(failure: string): void {
    this.over = failure;
  }
  drain(): void {}
}

/** A server that answers each request, and what a pool has opened to it. */
async function burst(t: TestContext) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'));
  });
  server.listen(0, HOST);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const seen = { dialing: 0, most: 0 };
  const pool = new Http1Pool(
    (connectMs, done) => {
      seen.most = Math.max(seen.most, ++seen.dialing);
      const dialing = dial({ address: { host: HOST, port }, connectMs }, (result) => {
        seen.dialing--;
        done(result);
      });
      return {
        cancel: () => {
          seen.dialing--;
          dialing.cancel();
        },
      };
    },
    { maxIdle: BURST, idleMs: 60_000, pipelining: 1 },
  );
  t.after(() => {
    pool.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const ask = () => {
    const outcome = new Outcome();
    return { outcome, call: pool.request(GET, outcome, { connectMs: 5000 }) };
  };
  return { server, sockets, seen, pool, asked: Array.from({ length: BURST }, ask) };
}

test('a burst opens a bounded number of connections at a time, and is served by those', async (t) => {
  const { asked, seen, sockets, pool } = await burst(t);
  await eventually('all are answered', () => asked.every(({ outcome }) => outcome.over === 'end'));
  assert.equal(seen.most, 128);
  await eventually('all are kept', () => seen.dialing === 0 && pool.idle === sockets.length);
  assert.ok(sockets.length < BURST, `${sockets.length}`);
});

test('calls that are cancelled make room for those that wait', async (t) => {
  const { asked, seen } = await burst(t);
  const [given, left] = [asked.slice(0, 900), asked.slice(900)];
  for (const { call } of given) call.cancel();
  await eventually('answered', () => left.every(({ outcome }) => outcome.over === 'end'));
  assert.deepEqual([...new Set(given.map(({ outcome }) => outcome.over))], ['']);
  await eventually('none is opened any more', () => seen.dialing === 0);
});

test('nobody waits for an endpoint that refuses', async (t) => {
  const { asked, seen, server } = await burst(t);
  server.close();
  // Those in the backlog are reset, those that come later are refused.
  await eventually('all have failed', () => asked.every(({ outcome }) => outcome.over !== ''));
  assert.ok(asked.every(({ outcome }) => /reset|refused/.test(outcome.over)));
  assert.ok(seen.most <= 128);
  assert.equal(seen.dialing, 0);
});
