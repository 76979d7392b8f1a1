import type { Server } from 'node:net';
import { errorText, SluiceError } from '../base/errors.ts';
import { type Bind, formatBind } from '../model/address.ts';
import type { NativeHandle } from '../net/handles.ts';

/** A socket that is bound already, and its address. */
export type BoundSocket = { readonly bind: Bind; readonly handle: NativeHandle };

/** Servers of one kind, each at an address of its own, which come and go with reloads. */
export class BoundServers<S extends Server> {
  readonly #servers = new Map<string, S>();

  get addresses(): string[] {
    return [...this.#servers.keys()];
  }

  get all(): Iterable<S> {
    return this.#servers.values();
  }

  /** Lets a server listen on a socket. Throws `E_BIND_FAILED`. */
  async add(server: S, { bind, handle }: BoundSocket): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => {
        const message = `cannot serve on ${formatBind(bind)}: ${errorText(error)}`;
        reject(new SluiceError('E_BIND_FAILED', message));
      });
      server.listen(handle, resolve);
    });
    this.#servers.set(formatBind(bind), server);
  }

  /** Takes no new connections at an address. */
  leave(address: string): void {
    this.#servers.get(address)?.close();
    this.#servers.delete(address);
  }

  /** Takes no new connections anywhere. */
  leaveAll(): void {
    for (const server of this.#servers.values()) server.close();
  }
}
