import type { Clock, Timer } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { jitter, systemRng } from '../../base/rng.ts';
import type { EndpointSpec } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { Discover } from '../../model/service.ts';
import { consulSource } from './consul-source.ts';
import { dnsSource } from './dns-source.ts';
import { fileSource } from './file-source.ts';
import { isForbidden } from './forbidden.ts';
import type { Reading, Source } from './source.ts';

const MAX_ENDPOINTS = 10_000;
const EMPTY_AGAIN_MS = 1000;
/** Short enough that a source that came back is heard within 5 s. */
const MAX_BACKOFF_MS = 4000;

/** What a provider is built on. */
export type ProviderDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly consul: GatewayConfig['discovery']['consul'];
  readonly onEndpoints: (specs: readonly EndpointSpec[]) => void;
};

/**
 * Follows one source. What it last said stays in force while it is away; that it has nothing at all
 * is believed when it says so twice.
 */
export class Provider {
  readonly #source: Source;
  readonly #deps: ProviderDeps;
  #timer: Timer | undefined;
  #failures = 0;
  #empties = 0;
  #last = '';
  #closed = false;
  #answeredAt: number;
  #answered = false;

  constructor(source: Source, deps: ProviderDeps) {
    this.#source = source;
    this.#deps = deps;
    this.#answeredAt = deps.clock.now();
    void this.#round();
  }

  /** Monotonic ms of the last answer; a source that is to tell of changes is good while silent. */
  get lastGoodAt(): number {
    const listening = this.#source.tellsChanges && this.#answered && this.#failures === 0;
    return listening ? this.#deps.clock.now() : this.#answeredAt;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#source.close();
  }

  async #round(): Promise<void> {
    const delay = await this.#source.read().then(
      (reading) => this.#take(reading),
      (error: unknown) => this.#failed(error),
    );
    if (!this.#closed) this.#timer = this.#deps.clock.after(delay, () => void this.#round());
  }

  #take({ specs, nextMs }: Reading): number {
    this.#failures = 0;
    this.#answered = true;
    this.#answeredAt = this.#deps.clock.now();
    const allowed = specs.filter(({ address }) => !isForbidden(address)).slice(0, MAX_ENDPOINTS);
    this.#empties = allowed.length === 0 ? this.#empties + 1 : 0;
    if (this.#empties === 1 && this.#last !== '') return Math.min(nextMs, EMPTY_AGAIN_MS);
    const text = JSON.stringify(allowed);
    if (text !== this.#last && !this.#closed) {
      this.#last = text;
      this.#deps.onEndpoints(allowed);
    }
    return nextMs;
  }

  #failed(error: unknown): number {
    if (this.#failures === 0 && !this.#closed) {
      this.#deps.logger.warn('discovery failed; the last endpoints serve on', {
        why: errorText(error),
      });
    }
    this.#failures++;
    return jitter(systemRng, Math.min(MAX_BACKOFF_MS, 500 * 2 ** Math.min(6, this.#failures)), 0.2);
  }
}

/** Starts following the source that a service names. */
export function createProvider(discover: Discover, deps: ProviderDeps): Provider {
  if ('dns' in discover) return new Provider(dnsSource(discover.dns), deps);
  if ('file' in discover) return new Provider(fileSource(discover.file.path), deps);
  return new Provider(consulSource(discover.consul, deps.consul), deps);
}
