import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { Reservations } from '../../../src/agent/plane/reservations.ts';
import { execCommand } from '../../../src/kernel/exec.ts';
import type { ForwardIntent } from '../../../src/model/host-intent.ts';
import { freePorts } from '../../support/gateway.ts';

/** What a client hears: the first bytes, or the code of its error. */
function ask(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('data', (data) => {
      resolve(data.toString());
      socket.destroy();
    });
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? ''));
  });
}

function wanted(transport: 'tcp' | 'udp', port: number, target: number) {
  const targets = [{ address: '127.0.0.1', port: target }];
  const forward = { id: 'f', kind: 'published', transport, address: '127.0.0.1', port };
  // exempt(as): the rest of a forward is of no interest to its socket
  return new Map([['f', { ...forward, targets } as unknown as ForwardIntent]]);
}

test('a held port refuses until it is served, and follows its target', async (t) => {
  const [port = 0, one = 0, two = 0] = await freePorts(3);
  for (const target of [one, two]) {
    const server = createServer((socket) => socket.end(`from ${target}`));
    await new Promise<void>((resolve) => server.listen(target, '127.0.0.1', resolve));
    t.after(() => server.close());
  }
  const reservations = new Reservations(execCommand);
  t.after(() => reservations.close());
  assert.equal((await reservations.update(wanted('tcp', port, one))).size, 0);
  assert.equal(await ask(port), 'ECONNRESET');
  reservations.serve();
  assert.equal(await ask(port), `from ${one}`);
  await reservations.update(wanted('tcp', port, two));
  assert.equal(await ask(port), `from ${one}`);
  reservations.serve();
  assert.equal(await ask(port), `from ${two}`);
});

test('datagrams that come before a held port is served go nowhere', async (t) => {
  const [port = 0] = await freePorts(1);
  const [client, target, witness] = [
    createSocket('udp4'),
    createSocket('udp4'),
    createSocket('udp4'),
  ];
  for (const socket of [client, target, witness]) {
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    t.after(() => socket.close());
  }
  const reservations = new Reservations(execCommand);
  t.after(() => reservations.close());
  const forwards = wanted('udp', port, target.address().port);
  assert.equal((await reservations.update(forwards)).size, 0);
  const heard: string[] = [];
  target.on('message', (data) => heard.push(data.toString()));
  client.send('early', port, '127.0.0.1');
  // Both have arrived before either is read, and are read in one round of the event loop.
  client.send('', witness.address().port, '127.0.0.1');
  await once(witness, 'message');
  await new Promise((resolve) => setImmediate(resolve));
  reservations.serve();
  client.send('late', port, '127.0.0.1');
  await once(target, 'message');
  assert.deepEqual(heard, ['late']);
});
