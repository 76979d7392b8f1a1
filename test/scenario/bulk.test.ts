import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import http, { type IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { freePorts, Gateway } from '../support/gateway.ts';

const CLIENTS = 12;
const EACH = 4;
const SOURCE = randomBytes(16_000_000);

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Reads a body to its end; a slow reader stops again and again, so that all before it has to wait. */
async function read(message: IncomingMessage, slow: boolean): Promise<Buffer> {
  const parts: Buffer[] = [];
  // Longer than the buffers of both kernels last.
  if (slow) await delay(200);
  for await (const part of message) {
    parts.push(part);
    if (slow && Math.random() < 0.3) await delay(2);
  }
  return Buffer.concat(parts);
}

/** A part of the source that begins and ends anywhere. */
function piece(): Buffer {
  const from = Math.floor(Math.random() * SOURCE.length);
  const size = Math.random() < 0.3 ? 90_000 : SOURCE.length;
  return SOURCE.subarray(from, Math.min(SOURCE.length, from + Math.floor(Math.random() * size)));
}

/** Sends a body, with its length or in chunks, and checks the one that comes back. */
async function exchange(agent: http.Agent, port: number, slow: boolean): Promise<void> {
  const sent = piece();
  const headers = Math.random() < 0.5 ? { 'content-length': sent.length } : {};
  const request = http.request({ agent, host: '127.0.0.1', port, method: 'POST', headers });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    request.on('response', resolve);
    request.on('error', reject);
  });
  for (let at = 0; at < sent.length; at += 100_000) request.write(sent.subarray(at, at + 100_000));
  request.end();
  const response = await answered;
  const got = await read(response, slow);
  assert.equal(response.statusCode, 200);
  assert.equal(response.headers['x-got'], digest(sent));
  assert.equal(response.headers['x-sent'], digest(got));
}

test('large bodies arrive as they were sent, both ways at once, however slowly they are read', async (t) => {
  const [port = 0, backendPort = 0] = await freePorts(2);
  const backend = http.createServer(async (request, response) => {
    const got = await read(request, Math.random() < 0.5);
    const sent = piece();
    response.setHeader('x-got', digest(got));
    response.setHeader('x-sent', digest(sent));
    if (Math.random() < 0.5) response.setHeader('content-length', sent.length);
    response.end(sent);
  });
  await new Promise<void>((resolve) => backend.listen(backendPort, '127.0.0.1', resolve));
  const gateway = await Gateway.start(
    `listeners: { web: { bind: "127.0.0.1:${port}", protocol: http, service: app } }
services: { app: { endpoints: ["127.0.0.1:${backendPort}"] } }
`,
    { workers: 1 },
  );
  t.after(async () => {
    await gateway.stop();
    backend.closeAllConnections();
    backend.close();
  });
  const client = async (number: number) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let at = 0; at < EACH; at++) await exchange(agent, port, number % 2 === 0);
    agent.destroy();
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, number) => client(number)));
});
