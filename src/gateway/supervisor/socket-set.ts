import { type Bind, formatBind } from '../../model/address.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { NativeHandle } from '../../net/handles.ts';
import { bindDatagram, bindStream } from '../../net/handles.ts';

/** One listening address, with a socket of its own for each worker where the kernel can spread. */
export type BoundSocket = {
  readonly bind: string;
  readonly transport: 'stream' | 'datagram';
  /** By worker slot. */
  readonly handles: readonly NativeHandle[];
};

type Wanted = { key: string; bind: Bind; transport: BoundSocket['transport'] };

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
   * sockets stay open until `release`. Throws `E_BIND_*` with nothing changed.
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
    for (const socket of added) this.#sockets.set(keyOf(socket.bind, socket.transport), socket);
    const removed = [...this.#sockets]
      .filter(([key]) => !wanted.has(key))
      .map(([, socket]) => socket);
    return { added, removed };
  }

  /** Closes sockets that `prepare` named as removed, or that are to be taken back. */
  release(sockets: readonly BoundSocket[]): void {
    for (const socket of sockets) {
      this.#sockets.delete(keyOf(socket.bind, socket.transport));
      closeAll(socket);
    }
  }

  #open({ bind, transport }: Wanted): BoundSocket {
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
      bind: formatBind(bind),
      transport,
      handles: shared && only ? new Array<NativeHandle>(this.#slots).fill(only) : handles,
    };
  }
}

function keyOf(bind: string, transport: string): string {
  return `${transport} ${bind}`;
}

function closeAll(socket: BoundSocket): void {
  for (const handle of new Set(socket.handles)) handle.close();
}

function wantedSockets(config: GatewayConfig): Map<string, Wanted> {
  const wanted = new Map<string, Wanted>();
  for (const listener of Object.values(config.listeners)) {
    const transport = listener.protocol === 'udp' ? 'datagram' : 'stream';
    for (const bind of listener.bind) {
      const key = keyOf(formatBind(bind), transport);
      wanted.set(key, { key, bind, transport });
    }
  }
  return wanted;
}
