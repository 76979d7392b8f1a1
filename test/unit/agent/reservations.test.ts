import assert from 'node:assert/strict';
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

test('a held port refuses until it is served, and follows its target', async (t) => {
  const [port = 0, one = 0, two = 0] = await freePorts(3);
  for (const target of [one, two]) {
    const server = createServer((socket) => socket.end(`from ${target}`));
    await new Promise<void>((resolve) => server.listen(target, '127.0.0.1', resolve));
    t.after(() => server.close());
  }
  const reservations = new Reservations(execCommand);
  t.after(() => reservations.close());
  const wanted = (target: number) => {
    const targets = [{ address: '127.0.0.1', port: target }];
    const forward = { id: 'f', kind: 'published', transport: 'tcp', address: '127.0.0.1', port };
    // exempt(as): the rest of a forward is of no interest to its socket
    return new Map([['f', { ...forward, targets } as unknown as ForwardIntent]]);
  };
  assert.equal((await reservations.update(wanted(one))).size, 0);
  assert.equal(await ask(port), 'ECONNRESET');
  reservations.serve();
  assert.equal(await ask(port), `from ${one}`);
  await reservations.update(wanted(two));
  assert.equal(await ask(port), `from ${one}`);
  reservations.serve();
  assert.equal(await ask(port), `from ${two}`);
});
