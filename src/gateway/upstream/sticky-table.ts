import type { Clock } from '../../base/clock.ts';

const MAX_SOURCES = 100_000;

/** Which endpoint a source was sent to, until it has been away for the timeout. */
export class StickyTable {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #entries = new Map<string, { endpoint: string; until: number }>();

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  get(source: string): string | undefined {
    const entry = this.#entries.get(source);
    if (!entry) return undefined;
    if (entry.until > this.#clock.now()) return entry.endpoint;
    this.#entries.delete(source);
    return undefined;
  }

  /** Remembers a source, as the most recent one; the oldest gives way when the table is full. */
  set(source: string, endpoint: string): void {
    this.#entries.delete(source);
    if (this.#entries.size >= MAX_SOURCES) {
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest);
        break;
      }
    }
    this.#entries.set(source, { endpoint, until: this.#clock.now() + this.#timeoutMs });
  }
}
