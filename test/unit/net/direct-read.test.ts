import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { readDirectly } from '../../../src/net/direct-read.ts';
import { Splice, type SpliceResult } from '../../../src/net/splice.ts';

/** Both ends of a connection over loopback, the accepted one paused. */
async function pair(t: TestContext): Promise<{ near: Socket; far: Socket }> {
  const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const far = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [near] = (await once(server, 'connection')) as [Socket];
  t.after(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { near, far };
}

/** Numbered bytes, so that a piece that was overwritten shows. */
function pattern(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at + 4 <= size; at += 4) bytes.writeUInt32BE(at, at);
  return bytes;
}

function digest(...pieces: readonly Buffer[]): string {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}

test('what was read stays as it was while much more is read, small and in bulk', async (t) => {
  const { near, far } = await pair(t);
  const sent = pattern(8 * 1024 * 1024);
  const pieces: Buffer[] = [];
  readDirectly(near, (data) => pieces.push(data));
  near.resume();
  let at = 0;
  for (let turn = 0; at < sent.length; turn++) {
    const size = turn % 3 === 0 ? 100 : turn % 3 === 1 ? 5000 : 200_000;
    if (!far.write(sent.subarray(at, at + size))) await once(far, 'drain');
    at += size;
  }
  far.end();
  await once(near, 'end');
  assert.ok(pieces.length > 20);
  assert.equal(digest(...pieces), digest(sent));
});

test('a writer that cannot keep up with the reader loses nothing', async (t) => {
  const one = await pair(t);
  const two = await pair(t);
  const sent = pattern(4 * 1024 * 1024);
  readDirectly(one.near, (data) => {
    if (!two.far.write(data)) one.near.pause();
  });
  two.far.on('drain', () => one.near.resume());
  one.near.on('end', () => two.far.end());
  one.near.resume();
  one.far.end(sent);
  const received: Buffer[] = [];
  two.near.on('data', (data: Buffer) => {
    received.push(data);
    two.near.pause();
    setTimeout(() => two.near.resume(), 1);
  });
  two.near.resume();
  await once(two.near, 'end');
  assert.equal(digest(...received), digest(sent));
});

test('data that was put back comes first, and what follows a release goes to other listeners', async (t) => {
  const { near, far } = await pair(t);
  near.unshift(Buffer.from('put back,'));
  let text = '';
  const stop = readDirectly(near, (data) => {
    text += data.toString();
  });
  near.resume();
  far.write('direct');
  while (!text.endsWith('direct')) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(text, 'put back,direct');
  stop();
  far.write('later');
  const [later] = (await once(near, 'data')) as [Buffer];
  assert.equal(later.toString(), 'later');
  assert.equal(text, 'put back,direct');
});

test('a splice passes bulk on unchanged, also to a reader that stops now and then', async (t) => {
  const [client, endpoint] = [await pair(t), await pair(t)];
  const sent = pattern(16 * 1024 * 1024);
  const over = new Promise<SpliceResult>((resolve) => {
    const options = { idleMs: 60_000, halfCloseMs: 60_000 };
    new Splice(client.near, endpoint.far, options, resolve);
  });
  const hash = createHash('sha256');
  client.far.on('data', (data: Buffer) => hash.update(data));
  client.far.pause();
  endpoint.near.resume();
  // Reads of bulk that are smaller than what a socket holds back before it says stop; the reader
  // goes on only when everything on the way is full.
  for (let at = 0; at < sent.length; at += 30_000) {
    if (!endpoint.near.write(sent.subarray(at, at + 30_000))) {
      client.far.resume();
      await once(endpoint.near, 'drain');
      client.far.pause();
    }
    await delay(0);
  }
  client.far.resume();
  endpoint.near.end();
  assert.deepEqual(await over, { bytesUp: 0, bytesDown: sent.length, reason: 'closed' });
  if (!client.far.readableEnded) await once(client.far, 'end');
  assert.equal(hash.digest('hex'), digest(sent));
});
