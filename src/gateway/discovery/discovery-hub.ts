import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { MetricRegistry } from '../../base/metrics.ts';
import { formatEndpointAddress } from '../../model/address.ts';
import type { EndpointSpec } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { Service } from '../../model/service.ts';
import type { ClusterBackends } from './cluster-source.ts';
import { createProvider, type Provider } from './provider.ts';

/** What the hub is built on. */
export type DiscoveryDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  readonly cluster: ClusterBackends | undefined;
  readonly onEndpoints: (service: string, specs: readonly EndpointSpec[]) => void;
};

/** Endpoints as a configuration writes them out. */
function staticSpecs({ endpoints }: Service): EndpointSpec[] {
  return endpoints.map((endpoint) => ({
    id: formatEndpointAddress(endpoint.address),
    address: endpoint.address,
    weight: endpoint.weight,
    backup: endpoint.backup,
    ...('maxConnections' in endpoint ? { maxConnections: endpoint.maxConnections } : {}),
    ...('name' in endpoint ? { name: endpoint.name } : {}),
  }));
}

/** Follows the sources of every service's endpoints; a source that did not change is left alone. */
export class DiscoveryHub {
  readonly #deps: DiscoveryDeps;
  readonly #running = new Map<string, { key: string; provider: Provider | undefined }>();

  constructor(deps: DiscoveryDeps) {
    this.#deps = deps;
  }

  configure(config: GatewayConfig): void {
    for (const [name, { provider }] of this.#running) {
      if (name in config.services) continue;
      provider?.close();
      this.#running.delete(name);
    }
    for (const [name, service] of Object.entries(config.services)) {
      const key = JSON.stringify([service.endpoints, service.discover, config.discovery]);
      if (this.#running.get(name)?.key === key) continue;
      this.#running.get(name)?.provider?.close();
      this.#running.set(name, { key, provider: this.#start(name, service, config) });
    }
  }

  /** Seconds since the source of a service's endpoints last answered; 0 for a list. */
  staleSeconds(service: string): number {
    const provider = this.#running.get(service)?.provider;
    if (!provider) return 0;
    return Math.max(0, (this.#deps.clock.now() - provider.lastGoodAt) / 1000);
  }

  close(): void {
    for (const { provider } of this.#running.values()) provider?.close();
    this.#running.clear();
  }

  #start(name: string, service: Service, config: GatewayConfig): Provider | undefined {
    if (!service.discover) {
      this.#deps.onEndpoints(name, staticSpecs(service));
      return undefined;
    }
    return createProvider(service.discover, {
      clock: this.#deps.clock,
      logger: this.#deps.logger.child({ service: name }),
      consul: config.discovery.consul,
      engine: config.discovery.engine,
      cluster: this.#deps.cluster,
      allow: config.discovery.allow,
      emptyAfterMs: config.discovery.emptyAfter,
      onRefused: (forbidden, overLimit) => {
        const family = 'sluice_discovery_refused_endpoints';
        this.#deps.metrics.cell(family, name, 'forbidden').value = forbidden;
        this.#deps.metrics.cell(family, name, 'over-limit').value = overLimit;
      },
      onEndpoints: (specs) => this.#deps.onEndpoints(name, specs),
    });
  }
}
