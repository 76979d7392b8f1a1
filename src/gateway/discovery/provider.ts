import { Resolver } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import Consul from 'consul';
import { parse } from 'yaml';
import type { Clock, Timer } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { jitter, systemRng } from '../../base/rng.ts';
import { formatEndpointAddress, parseEndpointAddress } from '../../model/address.ts';
import type { EndpointSpec } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { Discover } from '../../model/service.ts';
import { isForbidden } from './forbidden.ts';

const MAX_ENDPOINTS = 10_000;
const MIN_TTL_MS = 1000;
const MAX_TTL_MS = 60_000;
const SRV_REFRESH_MS = 10_000;
const FILE_LOOK_MS = 1000;
const MAX_BACKOFF_MS = 30_000;
const CONSUL_MIN_PAUSE_MS = 50;

/** What a provider is built on. */
export type ProviderDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly consul: GatewayConfig['discovery']['consul'];
  readonly onEndpoints: (specs: readonly EndpointSpec[]) => void;
};

/** One reading of a source: its endpoints, and how long until it is worth asking again. */
type Reading = { specs: EndpointSpec[]; nextMs: number };

/**
 * Follows one source. What it last said stays in force while it is away; that it has nothing at all
 * is believed when it says so twice.
 */
export class Provider {
  /** Monotonic ms of the last answer. */
  lastGoodAt: number;
  readonly #read: () => Promise<Reading>;
  readonly #deps: ProviderDeps;
  #timer: Timer | undefined;
  #failures = 0;
  #empties = 0;
  #last = '';
  #closed = false;

  constructor(read: () => Promise<Reading>, deps: ProviderDeps) {
    this.#read = read;
    this.#deps = deps;
    this.lastGoodAt = deps.clock.now();
    void this.#round();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  async #round(): Promise<void> {
    const delay = await this.#read().then(
      (reading) => this.#take(reading),
      (error: unknown) => this.#failed(error),
    );
    if (!this.#closed) this.#timer = this.#deps.clock.after(delay, () => void this.#round());
  }

  #take({ specs, nextMs }: Reading): number {
    this.#failures = 0;
    this.lastGoodAt = this.#deps.clock.now();
    const allowed = specs.filter(({ address }) => !isForbidden(address)).slice(0, MAX_ENDPOINTS);
    this.#empties = allowed.length === 0 ? this.#empties + 1 : 0;
    if (this.#empties === 1 && this.#last !== '') return Math.min(nextMs, MIN_TTL_MS);
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
  if ('dns' in discover) return new Provider(dnsReader(discover.dns), deps);
  if ('file' in discover) return new Provider(() => readList(discover.file.path), deps);
  return new Provider(consulReader(discover.consul, deps), deps);
}

function spec(host: string, port: number, weight = 1): EndpointSpec {
  const address = { host, port };
  return { id: formatEndpointAddress(address), address, weight, backup: false };
}

function dnsReader(dns: Extract<Discover, { dns: unknown }>['dns']): () => Promise<Reading> {
  const resolver = new Resolver({ timeout: 1000, tries: 3 });
  if (dns.server && 'host' in dns.server) {
    resolver.setServers([formatEndpointAddress(dns.server)]);
  }
  const addresses = async (name: string): Promise<{ address: string; ttl: number }[]> => {
    if (dns.type === 'AAAA') return resolver.resolve6(name, { ttl: true });
    return resolver.resolve4(name, { ttl: true });
  };
  return async () => {
    if (dns.type !== 'SRV') {
      const found = await addresses(dns.name);
      const ttlMs = Math.min(...found.map(({ ttl }) => ttl * 1000), MAX_TTL_MS);
      return {
        specs: found.map(({ address }) => spec(address, dns.port ?? 80)),
        nextMs: dns.refresh ?? Math.max(MIN_TTL_MS, ttlMs),
      };
    }
    const records = await resolver.resolveSrv(dns.name);
    const first = Math.min(...records.map(({ priority }) => priority));
    const specs = await Promise.all(
      records.map(async ({ name, port, weight, priority }) => {
        const found = await addresses(name);
        return found.map(({ address }) => ({
          ...spec(address, port, Math.min(256, Math.max(1, weight))),
          backup: priority > first,
        }));
      }),
    );
    return { specs: specs.flat(), nextMs: dns.refresh ?? SRV_REFRESH_MS };
  };
}

/** A file with one address a line, or a YAML or JSON list of addresses or endpoint objects. */
async function readList(path: string): Promise<Reading> {
  const text = await readFile(path, 'utf8');
  const value: unknown = parse(text);
  const items: unknown[] = Array.isArray(value) ? value : text.split(/\s+/).filter(Boolean);
  const specs = items.map((item) => {
    const entry = typeof item === 'string' ? { address: item } : (item as Record<string, unknown>);
    const address = parseEndpointAddress(String(entry['address']));
    if (!address) throw new Error(`${path}: ${JSON.stringify(item)} is not an endpoint`);
    const weight = typeof entry['weight'] === 'number' ? entry['weight'] : 1;
    return {
      id: formatEndpointAddress(address),
      address,
      weight,
      backup: entry['backup'] === true,
    };
  });
  return { specs, nextMs: FILE_LOOK_MS };
}

type ConsulEntry = {
  Node: { Address: string };
  Service: {
    Address: string;
    Port: number;
    Weights?: { Passing: number };
    Meta?: Record<string, string>;
  };
};

function consulReader(
  query: Extract<Discover, { consul: unknown }>['consul'],
  deps: ProviderDeps,
): () => Promise<Reading> {
  const url = new URL(deps.consul?.address ?? 'http://127.0.0.1:8500');
  const token = typeof deps.consul?.token === 'string' ? deps.consul.token : '';
  const datacenter = query.datacenter ?? deps.consul?.datacenter;
  const client = new Consul({
    host: url.hostname,
    port: Number(url.port || (url.protocol === 'https:' ? 443 : 80)),
    secure: url.protocol === 'https:',
    defaults: token ? { token } : {},
  });
  let index = '0';
  return async () => {
    const [entries, answer] = (await client.health.service({
      service: query.service,
      passing: query.passingOnly,
      index,
      wait: '60s',
      timeout: 75_000,
      withResponse: true,
      ...(query.tag ? { tag: query.tag } : {}),
      ...(datacenter ? { dc: datacenter } : {}),
    } as never)) as unknown as [ConsulEntry[], { headers: Record<string, string> }];
    if (!Array.isArray(entries)) throw new Error('Consul answered with no list');
    const next = Number(answer.headers['x-consul-index'] ?? 0);
    // An index that goes back tells of a restored server: read anew. Source: Consul, blocking queries.
    index = next > 0 && next >= Number(index) ? String(next) : '0';
    return {
      specs: entries.map(({ Node, Service }) => ({
        ...spec(
          Service.Address || Node.Address,
          Service.Port,
          Math.min(256, Service.Weights?.Passing ?? 1),
        ),
        metadata: Service.Meta ?? {},
      })),
      nextMs: jitter(systemRng, CONSUL_MIN_PAUSE_MS, 0.5),
    };
  };
}
