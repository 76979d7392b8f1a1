import { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { Duplex } from 'node:stream';
import { systemCode } from '../base/errors.ts';
import { deadlines, type Timed } from './deadlines.ts';
import { readDirectly } from './direct-read.ts';
import { writeDirectly } from './direct-write.ts';

/** What bounds a tunnel. */
export type SpliceOptions = { readonly idleMs: number; readonly halfCloseMs: number };

/** How a tunnel went. */
export type SpliceResult = {
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** `closed`, `idle`, `half-close`; or `client-` or `endpoint-` with `reset` or `vanished`. */
  readonly reason: string;
};

function brokenBy(error: Error): 'reset' | 'vanished' {
  return systemCode(error) === 'ETIMEDOUT' ? 'vanished' : 'reset';
}

/**
 * Copies bytes both ways between a client and an endpoint, each at the other's pace, and passes half
 * closes on. Both are destroyed at the end.
 */
export class Splice implements Timed {
  place = -1;
  deadline: number;
  #up = 0;
  #down = 0;
  #finished = 0;
  #over = false;
  readonly #client: Duplex;
  readonly #endpoint: Duplex;
  readonly #options: SpliceOptions;
  readonly #done: (result: SpliceResult) => void;

  constructor(
    client: Duplex,
    endpoint: Duplex,
    options: SpliceOptions,
    done: (result: SpliceResult) => void,
  ) {
    this.#client = client;
    this.#endpoint = endpoint;
    this.#options = options;
    this.#done = done;
    this.deadline = performance.now() + options.idleMs;
    deadlines.add(this);
    this.#copy(client, endpoint, (size) => {
      this.#up += size;
    });
    this.#copy(endpoint, client, (size) => {
      this.#down += size;
    });
    client.on('error', (error) => this.end(`client-${brokenBy(error)}`));
    endpoint.on('error', (error) => this.end(`endpoint-${brokenBy(error)}`));
    client.on('close', () => this.end('closed'));
    endpoint.on('close', () => this.end('closed'));
  }

  expire(): void {
    this.end(this.#finished > 0 ? 'half-close' : 'idle');
  }

  /** Ends both sides now. */
  end(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    deadlines.delete(this);
    const abrupt = /-(reset|vanished)$/.test(reason);
    for (const side of [this.#client, this.#endpoint]) {
      // One that is gone makes an error of it, with a stack, which nobody hears of.
      if (abrupt && !side.destroyed && 'resetAndDestroy' in side)
        (side as { resetAndDestroy(): void }).resetAndDestroy();
      else side.destroy();
    }
    this.#done({ bytesUp: this.#up, bytesDown: this.#down, reason });
  }

  #copy(from: Duplex, to: Duplex, count: (size: number) => void): void {
    let taken = false;
    const pass = (data: Buffer) => {
      count(data.length);
      if (this.#finished === 0) this.deadline = performance.now() + this.#options.idleMs;
      taken = writeDirectly(to, data);
      if (!taken) from.pause();
    };
    // The kernel, or TLS, has copied what a socket counts as written.
    readDirectly(from, pass, () => taken && to instanceof Socket && to.writableLength === 0);
    to.on('drain', () => from.resume());
    from.on('end', () => {
      this.#finished++;
      if (this.#finished === 2) to.end(() => this.end('closed'));
      else {
        to.end();
        this.deadline = performance.now() + this.#options.halfCloseMs;
      }
    });
    from.resume();
  }
}
