import assert from 'node:assert/strict';
import { Agent, createServer, request } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import { CallsUnderWay } from '../../../src/api/engine/calls.ts';

test('a connection that is kept costs no more with each call', async (t) => {
  const calls = new CallsUnderWay();
  const sockets = new Set<Socket>();
  const server = createServer((_, response) => {
    calls.begin('GET /', response, undefined).answered();
    response.end();
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    calls.connected(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => {
    agent.destroy();
    server.close();
  });
  // exempt(as): it listens on a port
  const { port } = server.address() as AddressInfo;
  const counts = new Set<number>();
  for (let call = 0; call < 5; call++) {
    await new Promise<void>((resolve, reject) => {
      const one = request({ host: '127.0.0.1', port, agent }, (answer) => {
        answer.on('end', resolve).resume();
      });
      one.on('error', reject).end();
    });
    for (const socket of sockets) counts.add(socket.listenerCount('close'));
  }
  assert.equal(sockets.size, 1);
  assert.equal(counts.size, 1, [...counts].join());
});
