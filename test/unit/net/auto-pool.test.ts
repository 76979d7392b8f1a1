import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { AutoPool } from '../../../src/net/auto-pool.ts';
import { dial } from '../../../src/net/dial.ts';
import type { OutgoingRequest, ResponseSink } from '../../../src/net/http-exchange.ts';
import { eventually } from '../../support/gateway.ts';

const HOST = '127.0.0.1';
const POST: OutgoingRequest = {
  method: 'POST',
  scheme: 'http',
  authority: 'example.test',
  target: '/',
  headers: [],
  length: 'chunked',
  upgrade: undefined,
};

class Answer implements ResponseSink {
  text = '';
  end_ = false;
  failure = '';

  inform(): void {}
  head(): void {}
  data(chunk: Buffer): boolean {
    this.text += chunk;
    return true;
  }
  end(): void {
    this.end_ = true;
  }
  upgraded(): void {}
  fail(failure: string): void {
    this.failure = failure;
  }
  drain(): void {}
}

test('requests wait until the endpoint has picked a protocol, and may be given up', async (t) => {
  const server = http.createServer((request, response) => request.pipe(response));
  const connections = new Set<object>();
  server.on('connection', (socket) => connections.add(socket));
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const { port } = server.address() as AddressInfo;
  const pool = new AutoPool(
    (connectMs, done) => dial({ address: { host: HOST, port }, connectMs }, done),
    { maxIdle: 8, idleMs: 1000, pipelining: 1 },
  );
  t.after(() => {
    pool.close();
    server.closeAllConnections();
    server.close();
  });
  pool.request(POST, new Answer(), { connectMs: 1000 }).cancel();
  await eventually('connected', () => connections.size === 1);

  const open = () =>
    new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)));
  await eventually('closed', async () => (await open()) === 0);

  const answers = [new Answer(), new Answer()];
  for (const answer of answers) {
    const call = pool.request(POST, answer, { connectMs: 1000 });
    call.write(Buffer.from('early '));
    call.end();
  }
  await eventually('answered', () => answers.every(({ end_ }) => end_));
  assert.deepEqual(
    answers.map(({ text, failure }) => [text, failure]),
    [
      ['early ', ''],
      ['early ', ''],
    ],
  );
});
