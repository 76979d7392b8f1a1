import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { freePorts, Gateway } from '../support/gateway.ts';

const CLIENTS = 40;
const EACH = 50;

/** One answer, by a client's own kept connection. */
function ask(agent: http.Agent, port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.get({ agent, host: '127.0.0.1', port, path }, (response) => {
      let text = `${response.statusCode} `;
      response.setEncoding('latin1');
      response.on('data', (data) => {
        text += data;
      });
      response.on('end', () => resolve(text));
      response.on('error', reject);
    });
    request.on('error', reject);
  });
}

test('with pipelining every client gets its own answer, though the endpoint closes its connections again and again', async (t) => {
  const [port = 0, backendPort = 0] = await freePorts(2);
  const sockets = new Set<object>();
  const underWay = new Map<object, number>();
  let behind = 0;
  const backend = http.createServer((request, response) => {
    const open = underWay.get(request.socket) ?? 0;
    if (open > 0) behind++;
    underWay.set(request.socket, open + 1);
    response.on('close', () =>
      underWay.set(request.socket, (underWay.get(request.socket) ?? 1) - 1),
    );
    const size = Number(request.url?.split('/')[2]);
    setTimeout(() => response.end(`${request.url} ${'x'.repeat(size)}`), 2);
  });
  backend.maxRequestsPerSocket = 23;
  backend.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => backend.listen(backendPort, '127.0.0.1', resolve));
  const gateway = await Gateway.start(
    `listeners: { web: { bind: "127.0.0.1:${port}", protocol: http, service: app } }
services: { app: { endpoints: ["127.0.0.1:${backendPort}"], http: { pipelining: 8 } } }
`,
    { workers: 1 },
  );
  t.after(async () => {
    await gateway.stop();
    backend.closeAllConnections();
    backend.close();
  });
  const client = async (name: number) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let at = 0; at < EACH; at++) {
      const size = at % 10 === 0 ? 70_000 : at;
      const path = `/${name}-${at}/${size}`;
      assert.equal(await ask(agent, port, path), `200 ${path} ${'x'.repeat(size)}`);
    }
    agent.destroy();
  };
  await Promise.all(Array.from({ length: CLIENTS }, (_, name) => client(name)));
  assert.ok(behind > 0, 'requests were sent behind others');
  assert.ok(sockets.size >= (CLIENTS * EACH) / 23, `${sockets.size} connections`);
});
