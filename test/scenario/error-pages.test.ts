import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { freePorts, Gateway } from '../support/gateway.ts';

const SORRY = '<h1>Tut uns leid — später</h1>';

async function setUp(t: TestContext): Promise<number> {
  const [web = 0, dead = 0] = await freePorts(2);
  const gateway = await Gateway.start(
    `listeners:
  web:
    bind: "127.0.0.1:${web}"
    protocol: http
    timeouts: { header: 500ms }
    errorPages:
      "400": { body: "not like this", contentType: text/plain }
      "502": { body: "of the listener" }
      "4xx": { file: "{DIR}/sorry.html" }
    routes:
      - match: { path: /own }
        errorPages: { "5xx": { body: "of the route" } }
        service: gone
      - match: { path: /gone }
        service: gone
services:
  gone: { endpoints: ["127.0.0.1:${dead}"], health: false, passive: false }
`,
    { prepare: (directory) => writeFileSync(join(directory, 'sorry.html'), SORRY) },
  );
  t.after(() => gateway.stop());
  return web;
}

/** Sends bytes and collects what comes until the end. */
async function talk(port: number, text: string): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (data: Buffer) => chunks.push(data));
  socket.write(text);
  await once(socket, 'close', { signal: AbortSignal.timeout(30_000) });
  return Buffer.concat(chunks).toString();
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`;

test('own pages: by code before class, of the route before the listener', async (t) => {
  const port = await setUp(t);
  assert.match(await talk(port, get('/own')), /^HTTP\/1\.1 502 [\s\S]*\r\n\r\nof the route$/);
  const gone = await talk(port, get('/gone'));
  assert.match(gone, /^HTTP\/1\.1 502 [\s\S]*\r\n\r\nof the listener$/);
  const none = await talk(port, get('/elsewhere'));
  assert.match(none, /^HTTP\/1\.1 404 .*\r\ncontent-type: text\/html; charset=utf-8\r\n/i);
  assert.ok(
    none.endsWith(
      `content-length: ${Buffer.byteLength(SORRY)}\r\nconnection: close\r\n\r\n${SORRY}`,
    ),
  );
});

test('own pages are for what is refused before it is a request, too', async (t) => {
  const port = await setUp(t);
  const malformed = await talk(port, 'GET / HTTP/1.1\r\nhost: a\r\nbad header: 1\r\n\r\n');
  assert.match(
    malformed,
    /^HTTP\/1\.1 400 [\s\S]*content-type: text\/plain\r\n[\s\S]*content-length: 13\r\n[\s\S]*\r\n\r\nnot like this$/i,
  );
  const large = await talk(port, `GET / HTTP/1.1\r\nhost: a\r\nx: ${'a'.repeat(40_000)}\r\n\r\n`);
  assert.match(large, /^HTTP\/1\.1 431 /);
  assert.ok(large.endsWith(`\r\n\r\n${SORRY}`));
  const slow = await talk(port, 'GET / HTTP/1.1\r\nhost: a\r\n');
  assert.match(slow, /^HTTP\/1\.1 408 /);
  assert.ok(slow.endsWith(`\r\n\r\n${SORRY}`));
});

test('own pages over HTTP/2, and none where the answer has no body', async (t) => {
  const session = http2.connect(`http://127.0.0.1:${await setUp(t)}`);
  t.after(() => session.destroy());
  const ask = async (method: string, path: string) => {
    const stream = session.request({ ':method': method, ':path': path });
    const [headers] = await once(stream, 'response', { signal: AbortSignal.timeout(30_000) });
    let text = '';
    for await (const chunk of stream) text += chunk;
    return [headers[':status'], headers['content-type'], text];
  };
  assert.deepEqual(await ask('GET', '/a%2fb'), [400, 'text/plain', 'not like this']);
  assert.deepEqual(await ask('HEAD', '/a%2fb'), [400, undefined, '']);
  assert.deepEqual(await ask('GET', '/elsewhere'), [404, 'text/html; charset=utf-8', SORRY]);
});
