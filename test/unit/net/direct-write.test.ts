import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { hasGoneOut, writeDirectly } from '../../../src/net/direct-write.ts';
import { eventually } from '../../support/gateway.ts';

/** Two ends of a connection; the far one does not read until it is told to. */
async function pair(t: TestContext, path?: string): Promise<{ near: Socket; far: Socket }> {
  const server = createServer({ pauseOnConnect: true });
  server.listen(path ?? { port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  const near = connect(
    path === undefined ? { port: (server.address() as AddressInfo).port } : { path },
  );
  const [[far]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as [
    [Socket],
    [],
  ];
  t.after(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { near, far };
}

function collect(far: Socket): () => string {
  const parts: Buffer[] = [];
  far.on('data', (data: Buffer) => parts.push(data));
  far.resume();
  return () => Buffer.concat(parts).toString('latin1');
}

test('what is written arrives in order, whichever way it is written', async (t) => {
  const { near, far } = await pair(t);
  const got = collect(far);
  assert.equal(writeDirectly(near, 'é1 '), true);
  near.cork();
  near.write('2 ');
  assert.equal(writeDirectly(near, Buffer.from('3 ')), true);
  near.uncork();
  assert.equal(writeDirectly(near, Buffer.from('4 ')), true);
  near.end('5');
  await once(far, 'end');
  assert.equal(got(), 'é1 2 3 4 5');
});

test('what the kernel does not take waits, and drain tells when it has gone', async (t) => {
  const { near, far } = await pair(t);
  const piece = 'x'.repeat(60_000);
  const bytes = Buffer.from(piece);
  let sent = 0;
  let room = true;
  while (room && sent < 1000) {
    room = writeDirectly(near, sent % 2 === 0 ? piece : bytes);
    sent++;
  }
  assert.equal(room, false);
  assert.equal(hasGoneOut(near), false);
  writeDirectly(near, 'last');
  const drained = once(near, 'drain');
  const got = collect(far);
  await drained;
  near.end();
  await once(far, 'end');
  assert.equal(got(), `${piece.repeat(sent)}last`);
});

test('a peer that is gone is an error of the socket, with its code', async (t) => {
  const { near, far } = await pair(t);
  far.resetAndDestroy();
  const failed = once(near, 'error');
  await eventually('written in vain', () => {
    if (!near.destroyed) writeDirectly(near, 'x');
    return near.destroyed;
  });
  const [error] = await failed;
  assert.match(String(error.code), /^(EPIPE|ECONNRESET)$/);
});

test('sockets in the file system are written directly; what is no socket gets its bytes', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-test-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const { near, far } = await pair(t, join(folder, 'socket'));
  const got = collect(far);
  writeDirectly(near, 'text');
  assert.equal(hasGoneOut(near), true);
  await eventually('arrived', () => got() === 'text');
  const stream = new PassThrough();
  writeDirectly(stream, 'é');
  assert.deepEqual(stream.read(), Buffer.from('é', 'latin1'));
  assert.equal(hasGoneOut(stream), false);
});
