import type { MetricFamily, SeriesSample } from '../../base/metrics.ts';
import type { EndpointState, ServiceState } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';

/** Why an endpoint takes no traffic, in the words of a label; `ok` when it does. */
export function reasonWord({ admin, agent, ejected, check }: EndpointState): string {
  if (admin !== 'ready') return admin;
  if (agent && agent !== 'ready') return 'agent';
  if (ejected) return 'ejected';
  return { up: 'ok', down: 'check', unknown: 'unchecked' }[check];
}

function keyOf(service: string | undefined, endpoint: string | undefined): string {
  return `${service}\u0000${endpoint}`;
}

/**
 * What the endpoints of a host add to its series. Series of single endpoints are kept for those
 * that there are, at most `metrics.maxEndpoints` in the order of the services.
 */
export class EndpointSeries {
  readonly #ofEndpoints: ReadonlySet<string>;
  /** What the first label of a family names. */
  readonly #subject: ReadonlyMap<string, string | undefined>;
  #config: Pick<GatewayConfig, 'listeners' | 'services'> = { listeners: {}, services: {} };
  #shown: ReadonlySet<string> = new Set();
  #known: ReadonlySet<string> = new Set();

  constructor(catalog: readonly MetricFamily[]) {
    const single = catalog.filter(({ labels }) => labels[1] === 'endpoint');
    this.#ofEndpoints = new Set(single.map(({ name }) => name));
    this.#subject = new Map(catalog.map(({ name, labels }) => [name, labels[0]]));
  }

  /** Takes the endpoints as they are now; yields the series that follow from them alone. */
  update(states: readonly ServiceState[], config: GatewayConfig): SeriesSample[] {
    this.#config = config;
    const { perEndpoint, maxEndpoints } = config.metrics;
    const all = states.flatMap(({ service, endpoints }) =>
      endpoints.map((endpoint) => ({ service, endpoint })),
    );
    const shown = all.slice(0, perEndpoint ? maxEndpoints : 0);
    const keys = (of: typeof all) =>
      new Set(of.map(({ service, endpoint }) => keyOf(service, endpoint.id)));
    this.#known = keys(all);
    this.#shown = keys(shown);
    return [
      ...states.flatMap(ofService),
      ...shown.map(({ service, endpoint }) => {
        const reason = reasonWord(endpoint);
        const labels = [service, endpoint.id, reason];
        return { family: 'sluice_endpoint_up', labels, value: reason === 'ok' ? 1 : 0 };
      }),
      {
        family: 'sluice_metrics_endpoints_omitted',
        labels: [],
        value: all.length - shown.length,
      },
    ];
  }

  /** Whether a series is not of a listener, service or endpoint that is gone. */
  isCurrent({ family, labels }: Pick<SeriesSample, 'family' | 'labels'>): boolean {
    const subject = this.#subject.get(family);
    const [name = ''] = labels;
    if (subject === 'listener' && !Object.hasOwn(this.#config.listeners, name)) return false;
    if (subject === 'service' && !Object.hasOwn(this.#config.services, name)) return false;
    return !this.#ofEndpoints.has(family) || this.#known.has(keyOf(labels[0], labels[1]));
  }

  /** Whether a series is to be told. */
  isShown({ family, labels }: SeriesSample): boolean {
    return !this.#ofEndpoints.has(family) || this.#shown.has(keyOf(labels[0], labels[1]));
  }
}

function ofService({ service, endpoints, staleSeconds }: ServiceState): SeriesSample[] {
  const up = endpoints.filter((endpoint) => reasonWord(endpoint) === 'ok').length;
  return [
    { family: 'sluice_service_endpoints', labels: [service, 'up'], value: up },
    { family: 'sluice_service_endpoints', labels: [service, 'down'], value: endpoints.length - up },
    { family: 'sluice_discovery_age_seconds', labels: [service], value: staleSeconds },
  ];
}
