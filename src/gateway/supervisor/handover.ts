import type { NativeHandle } from '../../net/handles.ts';
import type { BoardSnapshot } from '../health/health-board.ts';
import type { InheritedSockets } from './socket-set.ts';

/** What is known of the world and must survive a change of supervisor. */
export type Knowledge = {
  readonly health: BoardSnapshot;
  /** TLS session ticket keys, newest first, base64. */
  readonly ticketKeys: readonly string[];
  readonly cookieKey: string;
};

/** What a supervisor takes over from its predecessor, or from the workers that one left behind. */
export type Inheritance = {
  readonly sockets: InheritedSockets;
  /** Sockets of the service manager, by name. */
  readonly descriptors: ReadonlyMap<string, NativeHandle>;
  /** Listening sockets of the supervisor's process itself (admin, demo), by address. */
  readonly own: ReadonlyMap<string, NativeHandle>;
  readonly knowledge: Knowledge | undefined;
  /** Processes of workers without a supervisor, which serve until they are told to leave. */
  readonly orphans: readonly number[];
};

/**
 * One message of a handover; `socket`, `descriptor` and `own` carry a socket each. Sent by a supervisor to the
 * successor that it has started, or by a worker without a supervisor to the one that adopts it.
 */
export type HandoverMessage =
  | { type: 'socket'; key: string; index: number }
  | { type: 'descriptor'; name: string }
  | { type: 'own'; address: string }
  | { type: 'orphan'; pid: number }
  | { type: 'knowledge'; knowledge: Knowledge };

/** Gathers the messages of one or more handovers. */
export class InheritanceBuilder {
  readonly #sockets = new Map<string, (NativeHandle | undefined)[]>();
  readonly #descriptors = new Map<string, NativeHandle>();
  readonly #own = new Map<string, NativeHandle>();
  readonly #orphans: number[] = [];
  #knowledge: Knowledge | undefined;

  /** Takes one message with its socket; true when it was the last of its handover. */
  add(message: HandoverMessage, handle: NativeHandle | undefined): boolean {
    if (message.type === 'knowledge') {
      this.#knowledge ??= message.knowledge;
      return true;
    }
    if (message.type === 'orphan') this.#orphans.push(message.pid);
    if (!handle) return false;
    if (message.type === 'socket') this.#addSocket(message.key, message.index, handle);
    else if (message.type === 'descriptor') this.#descriptors.set(message.name, handle);
    else if (message.type === 'own') this.#own.set(message.address, handle);
    return false;
  }

  get result(): Inheritance {
    return {
      sockets: this.#sockets,
      descriptors: this.#descriptors,
      own: this.#own,
      knowledge: this.#knowledge,
      orphans: this.#orphans,
    };
  }

  #addSocket(key: string, index: number, handle: NativeHandle): void {
    const handles = this.#sockets.get(key) ?? [];
    this.#sockets.set(key, handles);
    // Workers that share a socket each hand over the same one.
    if (handles[index]) handle.close();
    else handles[index] = handle;
  }
}
