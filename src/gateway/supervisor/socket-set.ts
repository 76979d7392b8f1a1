import type { GatewayConfig } from '../../model/gateway-config.ts';
import { bindDatagram, bindStream, type NativeHandle, removePath } from '../../net/handles.ts';
import { type ListeningSocket, listeningSockets } from '../listening-sockets.ts';

/** One listening address: a group of sockets where the kernel can spread, else a single one. */
export type BoundSocket = ListeningSocket & {
  /** One for each worker slot, or one that all workers share. Never fewer than there were. */
  readonly handles: NativeHandle[];
};

/** Sockets of a predecessor, by key; some places may be empty. */
export type InheritedSockets = ReadonlyMap<string, readonly (NativeHandle | undefined)[]>;

/**
 * The listening sockets of one host. They belong to the supervisor, one for each worker slot in one
 * SO_REUSEPORT group: a worker that dies leaves its accept queue standing for its replacement.
 */
export class SocketSet {
  readonly #descriptors: ReadonlyMap<string, NativeHandle>;
  readonly #inherited: Map<string, NativeHandle[]>;
  readonly #sockets = new Map<string, BoundSocket>();

  constructor(
    descriptors: ReadonlyMap<string, NativeHandle>,
    inherited: InheritedSockets = new Map(),
  ) {
    this.#descriptors = descriptors;
    this.#inherited = new Map(
      [...inherited].map(([key, handles]) => [key, handles.filter((one) => one !== undefined)]),
    );
  }

  get all(): BoundSocket[] {
    return [...this.#sockets.values()];
  }

  /**
   * Binds what the configuration adds, all or nothing, and says what it removes. The removed
   * sockets stay open until closed, and may be bound anew before. More slots get sockets of their
   * own; the sockets of slots that are gone stay, for the others to serve. Throws `E_BIND_*` with
   * nothing changed.
   */
  prepare(config: GatewayConfig, slots: number): { removed: BoundSocket[] } {
    const wanted = wantedSockets(config);
    const added: BoundSocket[] = [];
    const grown: { socket: BoundSocket; handles: NativeHandle[] }[] = [];
    try {
      for (const item of wanted.values()) {
        const known = this.#sockets.get(item.key);
        if (!known) added.push(this.#open(item, slots));
        else grown.push({ socket: known, handles: this.#more(known, known.handles.length, slots) });
      }
    } catch (error) {
      this.close(added);
      for (const { handles } of grown) for (const handle of handles) handle.close();
      throw error;
    }
    const removed = this.all.filter(({ key }) => !wanted.has(key));
    for (const { key } of removed) this.#sockets.delete(key);
    for (const socket of added) this.#sockets.set(socket.key, socket);
    for (const { socket, handles } of grown) socket.handles.push(...handles);
    return { removed };
  }

  /** Closes what a predecessor left and no listener wants. */
  dropInherited(): void {
    for (const handles of this.#inherited.values()) for (const handle of handles) handle.close();
    this.#inherited.clear();
  }

  /**
   * Closes sockets that nobody is to listen on any more. A unix socket's file goes with it, unless
   * another listener has taken its place.
   */
  close(sockets: readonly BoundSocket[]): void {
    closeSockets(sockets);
    const taken = new Set(this.all.filter((one) => !sockets.includes(one)).map(pathOf));
    for (const socket of sockets) {
      const path = pathOf(socket);
      if (path !== undefined && !taken.has(path)) removePath(path);
    }
  }

  #open(item: ListeningSocket, slots: number): BoundSocket {
    const inherited = this.#inherited.get(item.key) ?? [];
    const handles = [...inherited, ...this.#more(item, inherited.length, slots)];
    this.#inherited.delete(item.key);
    return { ...item, handles };
  }

  /** The handles that a socket lacks, when it has `have`. */
  #more({ bind, transport }: ListeningSocket, have: number, slots: number): NativeHandle[] {
    const open = transport === 'datagram' ? bindDatagram : bindStream;
    const handles: NativeHandle[] = [];
    try {
      for (let slot = have; slot < (bind.kind === 'ip' ? slots : 1); slot++) {
        handles.push(open(bind, this.#descriptors));
      }
    } catch (error) {
      for (const handle of handles) handle.close();
      throw error;
    }
    return handles;
  }
}

/** Closes sockets and leaves the files of unix sockets to a successor. */
export function closeSockets(sockets: readonly BoundSocket[]): void {
  for (const { bind, handles } of sockets) {
    // Those of the service manager can be asked for again.
    if (bind.kind !== 'fd') for (const handle of handles) handle.close();
  }
}

function pathOf({ bind }: BoundSocket): string | undefined {
  return bind.kind === 'unix' ? bind.path : undefined;
}

function wantedSockets(config: GatewayConfig): Map<string, ListeningSocket> {
  const sockets = Object.entries(config.listeners).flatMap(([name, listener]) =>
    listeningSockets(name, listener),
  );
  return new Map(sockets.map((socket) => [socket.key, socket]));
}
