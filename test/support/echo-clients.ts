import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { eventually } from './gateway.ts';

/** A WebSocket server that sends every message back, on a free port of 127.0.0.1. */
export async function echoServer(): Promise<{ port: number; close(): void }> {
  const server = createServer((_, response) => response.end('ok'));
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(String(data))));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      for (const client of sockets.clients) client.terminate();
      server.close();
    },
  };
}

/** WebSocket clients that each send numbered messages and compare what comes back. */
export class EchoClients {
  readonly #sockets: WebSocket[] = [];
  readonly #timers: NodeJS.Timeout[] = [];
  #closing = false;
  /** Connections that ended without being asked to. */
  closed = 0;
  sent = 0;
  received = 0;
  wrong = 0;

  /** Opens `count` connections; each sends a message every `everyMs`. */
  async open(port: number, count: number, everyMs: number): Promise<void> {
    const opening = Array.from({ length: count }, async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/echo`);
      this.#sockets.push(socket);
      socket.on('error', () => {});
      await once(socket, 'open');
      socket.on('close', () => {
        if (!this.#closing) this.closed++;
      });
      let next = 0;
      let expected = 0;
      socket.on('message', (data) => {
        this.received++;
        if (Number(String(data)) !== expected++) this.wrong++;
      });
      const timer = setInterval(() => {
        if (socket.readyState !== WebSocket.OPEN) return;
        this.sent++;
        socket.send(String(next++));
      }, everyMs);
      this.#timers.push(timer);
    });
    await Promise.all(opening);
  }

  /** Stops sending, waits for what is still to come back, and closes. */
  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    const back = () => this.received >= this.sent;
    // What does not come back is for the test to find in the counts.
    await eventually('all have come back', back).catch(() => {});
    this.#closing = true;
    for (const socket of this.#sockets) socket.terminate();
  }
}
