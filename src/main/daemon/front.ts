import { once } from 'node:events';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { type NativeHandle, removePath } from '../../net/handles.ts';

type Accept = (socket: Socket) => void;

/** One listening socket of the Engine API, which can pass to another process with its clients. */
export class Front {
  /** Names it towards that process. */
  readonly key: string;
  readonly handle: NativeHandle;
  readonly #server: Server;
  /** Where it is in the file system. */
  readonly #path: string | undefined;
  readonly #held: Socket[] = [];
  readonly #accept: Accept[];

  private constructor(key: string, handle: NativeHandle, server: Server, path?: string) {
    this.key = key;
    this.handle = handle;
    this.#server = server;
    this.#path = path;
    // exempt(as): what listens for connections of a server takes their sockets
    this.#accept = server.listeners('connection') as Accept[];
  }

  /** `server` listens on `handle` when it resolves. */
  static async open(
    key: string,
    handle: NativeHandle,
    server: Server,
    path: string | undefined,
  ): Promise<Front> {
    const front = new Front(key, handle, server, path);
    server.listen(handle);
    await once(server, 'listening');
    return front;
  }

  /** New clients wait, unread. */
  hold(): void {
    // exempt(as): read for each connection, and not in Node's types
    (this.#server as { pauseOnConnect?: boolean }).pauseOnConnect = true;
    this.#server.removeAllListeners('connection');
    this.#server.on('connection', (socket) => this.#held.push(socket));
  }

  /** Serves those that wait, and new ones at once. */
  release(): void {
    // exempt(as): read for each connection, and not in Node's types
    (this.#server as { pauseOnConnect?: boolean }).pauseOnConnect = false;
    this.#server.removeAllListeners('connection');
    for (const accept of this.#accept) this.#server.on('connection', accept);
    for (const socket of this.#held.splice(0)) this.take(socket);
  }

  /** Serves a client that another process has accepted and not read. */
  take(socket: Socket): void {
    // A client that has no more to say still wants its answer.
    socket.allowHalfOpen = true;
    this.#server.emit('connection', socket);
    socket.resume();
  }

  /** Stops listening, and gives those who wait to `send`; resolves when they are gone. */
  async passOn(send: (socket: Socket) => Promise<void>): Promise<void> {
    this.#server.close();
    // What was accepted in the same round of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
    for (const socket of this.#held.splice(0)) await send(socket);
  }

  /** Ends it, here; its path stays for another process that listens there. */
  abandon(): void {
    this.#server.close();
    for (const socket of this.#held.splice(0)) socket.destroy();
  }

  /** Ends it; clients find nothing there any more. */
  close(): void {
    this.abandon();
    if (this.#path !== undefined) removePath(this.#path);
  }
}
