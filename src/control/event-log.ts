import type { Clock } from '../base/clock.ts';

type LocalType = 'container' | 'network' | 'daemon' | 'image' | 'volume';
type ClusterType = 'service' | 'node' | 'secret' | 'config';

/** One thing that happened. */
export type EngineEvent = {
  readonly type: LocalType | ClusterType;
  readonly action: string;
  readonly id: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly scope: 'local' | 'swarm';
  /** Since 1970; strictly growing. */
  readonly timeNs: bigint;
};

const KEPT = 256;
const NS_PER_MS = 1_000_000n;

/** The latest events, and those who listen for the next. */
export class EventLog {
  readonly #clock: Clock;
  readonly #kept: EngineEvent[] = [];
  readonly #listeners = new Set<(event: EngineEvent) => void>();
  #last = 0n;
  #count = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get recent(): readonly EngineEvent[] {
    return this.#kept;
  }

  /** Events since the beginning. */
  get count(): number {
    return this.#count;
  }

  emit(
    type: EngineEvent['type'],
    action: string,
    id: string,
    attributes: Readonly<Record<string, string>>,
    scope: EngineEvent['scope'] = 'local',
  ): void {
    const now = BigInt(Math.trunc(this.#clock.wall())) * NS_PER_MS;
    this.#last = now > this.#last ? now : this.#last + 1n;
    const event = { type, action, id, attributes, scope, timeNs: this.#last };
    this.#count++;
    this.#kept.push(event);
    if (this.#kept.length > KEPT) this.#kept.shift();
    for (const listener of this.#listeners) listener(event);
  }

  /** Returns what ends it. */
  subscribe(listener: (event: EngineEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
