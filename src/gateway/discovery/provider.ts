import type { Clock, Timer } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { jitter, systemRng } from '../../base/rng.ts';
import type { EndpointSpec } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { Discover } from '../../model/service.ts';
import { type ClusterBackends, clusterSource } from './cluster-source.ts';
import { consulSource } from './consul-source.ts';
import { dnsSource } from './dns-source.ts';
import { fileSource } from './file-source.ts';
import { forbiddenReason } from './forbidden.ts';
import type { Reading, Source } from './source.ts';
import { tasksSource } from './tasks-source.ts';

const MAX_ENDPOINTS = 10_000;
const EMPTY_AGAIN_MS = 1000;
/** Endpoints that a complaint names. */
const MAX_NAMED = 10;
/** Short enough that a source that came back is heard within 5 s. */
const MAX_BACKOFF_MS = 4000;

/** What a provider is built on. */
export type ProviderDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly consul: GatewayConfig['discovery']['consul'];
  readonly engine: GatewayConfig['discovery']['engine'];
  /** Undefined: this host is of no cluster. */
  readonly cluster: ClusterBackends | undefined;
  readonly emptyAfterMs: number;
  readonly allow: readonly string[];
  /** Told with every reading: how many endpoints were left out. */
  readonly onRefused: (forbidden: number, overLimit: number) => void;
  readonly onEndpoints: (specs: readonly EndpointSpec[]) => void;
};

/**
 * Follows one source. What it last said stays in force while it is away; that it has nothing at all
 * is believed when it has said so, and nothing else, for `emptyAfterMs`.
 */
export class Provider {
  readonly #source: Source;
  readonly #deps: ProviderDeps;
  #timer: Timer | undefined;
  #failures = 0;
  #emptySince: number | undefined;
  #last = '';
  #told = '';
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
    // While it says that there is nothing, it is to say so again at once.
    const delay = await this.#source.read(this.#emptySince !== undefined).then(
      (reading) => this.#take(reading),
      (error: unknown) => this.#failed(error),
    );
    if (this.#closed) return;
    if (delay === 0) void this.#round();
    else this.#timer = this.#deps.clock.after(delay, () => void this.#round());
  }

  #take({ specs, nextMs }: Reading): number {
    const now = this.#deps.clock.now();
    this.#failures = 0;
    this.#answered = true;
    this.#answeredAt = now;
    const allowed = this.#sift(specs);
    if (!this.#source.exact && allowed.length === 0 && this.#last !== '' && this.#last !== '[]') {
      this.#emptySince ??= now;
      if (now - this.#emptySince < this.#deps.emptyAfterMs) return Math.min(nextMs, EMPTY_AGAIN_MS);
    }
    this.#emptySince = undefined;
    const text = JSON.stringify(allowed);
    if (text !== this.#last && !this.#closed) {
      this.#last = text;
      this.#deps.onEndpoints(allowed);
    }
    return nextMs;
  }

  /** Each endpoint once, without those that the source may not name and those beyond the bound. */
  #sift(specs: readonly EndpointSpec[]): EndpointSpec[] {
    const fence = { allow: this.#deps.allow, local: this.#source.local };
    const once = [...new Map(specs.map((spec) => [spec.id, spec])).values()];
    const forbidden = once.flatMap(({ id, address }) => {
      const reason = forbiddenReason(address, fence);
      return reason === undefined ? [] : [`${id} (${reason})`];
    });
    const allowed = once.filter(({ address }) => !forbiddenReason(address, fence));
    const overLimit = Math.max(0, allowed.length - MAX_ENDPOINTS);
    this.#deps.onRefused(forbidden.length, overLimit);
    const complaint = JSON.stringify([forbidden, overLimit]);
    if (complaint !== this.#told && forbidden.length + overLimit > 0) {
      this.#deps.logger.warn('discovery named endpoints that are left out', {
        forbidden: forbidden.slice(0, MAX_NAMED),
        overLimit,
        hint: '`discovery.allow` lets address blocks in',
      });
    }
    this.#told = complaint;
    return allowed.slice(0, MAX_ENDPOINTS);
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
  if ('cluster' in discover)
    return new Provider(clusterSource(discover.cluster, deps.cluster), deps);
  if ('tasks' in discover) return new Provider(tasksSource(discover.tasks, deps.engine), deps);
  return new Provider(consulSource(discover.consul, deps.consul), deps);
}
