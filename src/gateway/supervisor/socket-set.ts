import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { NativeHandle } from '../../net/handles.ts';
import { bindDatagram, bindStream } from '../../net/handles.ts';

import { type ListeningSocket, listeningSockets } from '../listening-sockets.ts';

/** One listening address, with a socket of its own for each worker where the kernel can spread. */
export type BoundSocket = {
  readonly key: string;
  /** By worker slot. */
  readonly handles: readonly NativeHandle[];
};

/**
 * The listening sockets of one host. They belong to the supervisor, one for each worker slot in one
 * SO_REUSEPORT group: a worker that dies leaves its accept queue standing for its replacement.
 */
export class SocketSet {
  readonly #slots: number;
  readonly #descriptors: ReadonlyMap<string, number>;
  #sockets = new Map<string, BoundSocket>();

  constructor(slots: number, descriptors: ReadonlyMap<string, number>) {
    this.#slots = slots;
    this.#descriptors = descriptors;
  }

  get all(): BoundSocket[] {
    return [...this.#sockets.values()];
  }

  /**
   * Binds what the configuration adds, all or nothing, and says what it removes. The removed
   * sockets stay open until `close`, and may be bound anew before. Throws `E_BIND_*` with nothing changed.
   */
  prepare(config: GatewayConfig): { added: BoundSocket[]; removed: BoundSocket[] } {
    const wanted = wantedSockets(config);
    const added: BoundSocket[] = [];
    try {
      for (const item of wanted.values()) {
        if (!this.#sockets.has(item.key)) added.push(this.#open(item));
      }
    } catch (error) {
      for (const socket of added) closeAll(socket);
      throw error;
    }
    const removed = this.all.filter(({ key }) => !wanted.has(key));
    for (const { key } of removed) this.#sockets.delete(key);
    for (const socket of added) this.#sockets.set(socket.key, socket);
    return { added, removed };
  }

  #open({ key, bind, transport }: ListeningSocket): BoundSocket {
    const handles: NativeHandle[] = [];
    const shared = bind.kind !== 'ip';
    const slots = shared ? 1 : this.#slots;
    try {
      for (let slot = 0; slot < slots; slot++) {
        handles.push(
          transport === 'datagram'
            ? bindDatagram(bind, this.#descriptors)
            : bindStream(bind, this.#descriptors),
        );
      }
    } catch (error) {
      for (const handle of handles) handle.close();
      throw error;
    }
    const only = handles[0];
    return {
      key,
      handles: shared && only ? new Array<NativeHandle>(this.#slots).fill(only) : handles,
    };
  }
}

/** Closes sockets that `prepare` named as removed, or all that are left at the end. */
export function closeSockets(sockets: readonly BoundSocket[]): void {
  for (const socket of sockets) closeAll(socket);
}

function closeAll(socket: BoundSocket): void {
  for (const handle of new Set(socket.handles)) handle.close();
}

function wantedSockets(config: GatewayConfig): Map<string, ListeningSocket> {
  const sockets = Object.entries(config.listeners).flatMap(([name, listener]) =>
    listeningSockets(name, listener),
  );
  return new Map(sockets.map((socket) => [socket.key, socket]));
}
