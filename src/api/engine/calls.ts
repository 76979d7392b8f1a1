import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

type Entry = {
  readonly what: string;
  readonly response: ServerResponse;
  /** The answer takes as long as the client wants. */
  lasting: boolean;
  /** Ends a lasting answer in order. */
  end: (() => void) | undefined;
  answered: boolean;
  closed: boolean;
};

/** One call, from its head to the end of its answer. */
export type CallUnderWay = {
  /** The answer takes as long as the client wants; without `end` only client or task end it. */
  readonly lasts: (end?: () => void) => void;
  /** The handler is done. */
  readonly answered: () => void;
};

/** For how long a client may think between two calls on one connection while a daemon leaves. */
export const LINGER_MS = 1000;
const LOOK_EVERY_MS = 10;

/** The calls under way and to come, so that a daemon can leave when they are over. */
export class CallsUnderWay {
  readonly #entries = new Set<Entry>();
  /** Connections without a call, and since when. */
  readonly #quiet = new Map<Socket, number>();
  #waiting: (() => void)[] = [];

  /** A client may call on this connection. */
  connected(socket: Socket): void {
    socket.once('close', () => this.#quiet.delete(socket));
    this.#quiet.set(socket, performance.now());
  }

  /** `what` names it; `connection` has left HTTP. */
  begin(what: string, response: ServerResponse, connection: Duplex | undefined): CallUnderWay {
    const entry: Entry = {
      ...{ what, response, lasting: false, end: undefined, answered: false, closed: false },
    };
    const { socket } = response.req;
    this.#quiet.delete(socket);
    this.#entries.add(entry);
    const changed = () => {
      // A handler whose client has gone may go on; that of a lasting answer does nothing more.
      if (entry.closed && (entry.answered || entry.lasting)) this.#entries.delete(entry);
      for (const wake of this.#waiting.splice(0)) wake();
    };
    (connection ?? response).once('close', () => {
      entry.closed = true;
      if (!connection && !socket.destroyed) this.#quiet.set(socket, performance.now());
      changed();
    });
    return {
      lasts: (end) => {
        entry.lasting = true;
        entry.end = end;
        changed();
      },
      answered: () => {
        entry.answered = true;
        changed();
      },
    };
  }

  /** Answers that are yet to begin say that their connection ends with them. */
  closeConnections(): void {
    for (const { response } of this.#entries) response.shouldKeepAlive = false;
  }

  /** Ends the lasting answers that can be ended in order. */
  endLasting(): void {
    for (const { response, end } of this.#entries) {
      const { socket } = response;
      // Its head has promised more on this connection.
      if (end) response.once('finish', () => socket?.destroySoon());
      end?.();
    }
  }

  /**
   * Resolves when only lasting answers are left and no client has been quiet for a short while alone;
   * or with what is in the way at the deadline.
   */
  async brief(deadlineMs: number): Promise<string[]> {
    const end = performance.now() + deadlineMs;
    for (;;) {
      const left = await this.#until(({ lasting }) => !lasting, end - performance.now());
      const since = Math.max(...this.#quiet.values());
      if (left.length > 0 || since < performance.now() - LINGER_MS) return left;
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }

  /** Resolves when nothing is left. */
  async none(): Promise<void> {
    await this.#until(() => true, undefined);
  }

  async #until(counts: (entry: Entry) => boolean, deadlineMs: number | undefined) {
    const late = Promise.withResolvers<'late'>();
    const timer =
      deadlineMs === undefined ? undefined : setTimeout(() => late.resolve('late'), deadlineMs);
    try {
      for (;;) {
        const left = [...this.#entries].filter(counts);
        if (left.length === 0) return [];
        const change = new Promise<void>((resolve) => this.#waiting.push(resolve));
        if ((await Promise.race([change, late.promise])) === 'late') {
          return left.map(({ what }) => what);
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }
}
