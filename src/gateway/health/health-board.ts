import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { MetricRegistry } from '../../base/metrics.ts';
import { systemRng } from '../../base/rng.ts';
import { OutlierTracker } from '../../health/outlier.ts';
import { type EndpointAddress, formatEndpointAddress } from '../../model/address.ts';
import type { AdminState, EndpointSpec, ServiceState } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { HealthCheck } from '../../model/health-check.ts';
import { servicesOf } from '../../model/route.ts';
import type { Service } from '../../model/service.ts';
import { createProbe, defaultCheck } from '../../net/probes/create-probe.ts';
import type { ConfigMaterial, OutcomeBatch } from '../ipc.ts';
import type { CheckReport } from './check-log.ts';
import { EndpointOverlay, type OverlaySnapshot, operatorName } from './endpoint-overlay.ts';
import { WatchedEndpoint } from './watched-endpoint.ts';

const MAX_EVENTS = 1000;
const EJECTION_SWEEP_MS = 1000;

/** A change of what is known of an endpoint. */
export type HealthEvent = {
  readonly at: number;
  readonly service: string;
  readonly endpoint: string;
  readonly to: 'up' | 'down';
  readonly reason: string;
};

/** What one board tells another, in another process, of the same services. */
export type BoardSnapshot = {
  readonly services: readonly ServiceState[];
  /** For how long endpoints are put aside yet, and how often they were before. */
  readonly ejections: readonly {
    service: string;
    endpoint: string;
    leftMs: number;
    count: number;
  }[];
  /** An operator's overrides. */
  readonly weights: readonly { service: string; endpoint: string; weight: number }[];
  /** Endpoints that operators added, removed and moved, by service. */
  readonly overlays: readonly (readonly [string, OverlaySnapshot])[];
};

/** What a board is built on. */
export type HealthBoardDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  /** Takes every endpoint of a service whenever anything of it changes. */
  readonly onChange: (state: ServiceState) => void;
};

type Watched = {
  config: Service;
  check: HealthCheck | undefined;
  endpoints: Map<string, WatchedEndpoint>;
  /** What the source told last, and what operators made of it. */
  told: readonly EndpointSpec[];
  overlay: EndpointOverlay;
  outliers: OutlierTracker | undefined;
};

/** What one host knows of its endpoints: active checks once for all workers, ejections, orders. */
export class HealthBoard {
  readonly #deps: HealthBoardDeps;
  readonly #services = new Map<string, Watched>();
  readonly #dirty = new Set<string>();
  readonly #events: HealthEvent[] = [];
  readonly #followers = new Set<(event: HealthEvent) => void>();
  #material: ConfigMaterial = { files: {} };
  #closed = false;

  constructor(deps: HealthBoardDeps) {
    this.#deps = deps;
    this.#sweep();
  }

  /** The latest changes, oldest first, at most 1000. */
  get events(): readonly HealthEvent[] {
    return this.#events;
  }

  /** Tells of every change from now on, until the returned function is called. */
  follow(next: (event: HealthEvent) => void): () => void {
    this.#followers.add(next);
    return () => this.#followers.delete(next);
  }

  /** Takes a configuration; what is known of endpoints that stay is kept. */
  configure(config: GatewayConfig, material: ConfigMaterial): void {
    this.#material = material;
    const http = httpServices(config);
    for (const name of this.#services.keys()) {
      if (name in config.services) continue;
      this.#stop(name);
      this.#services.delete(name);
    }
    for (const [name, service] of Object.entries(config.services)) {
      const check =
        service.health === false
          ? undefined
          : (service.health ?? defaultCheck(service, http.has(name)));
      this.#configureService(name, service, check);
    }
  }

  /** Everything that is known now. */
  snapshot(): BoardSnapshot {
    const now = this.#deps.clock.now();
    const services = [...this.#services].map(([service, { endpoints }]) => ({
      service,
      endpoints: [...endpoints.values()].map(({ state }) => state),
      staleSeconds: 0,
    }));
    const ejections = [...this.#services].flatMap(([service, { outliers }]) =>
      (outliers?.ejections(now) ?? []).map((ejection) => ({ service, ...ejection })),
    );
    const weights = [...this.#services].flatMap(([service, { endpoints }]) =>
      [...endpoints].flatMap(([endpoint, { weight }]) =>
        weight === undefined ? [] : [{ service, endpoint, weight }],
      ),
    );
    const overlays = [...this.#services].map(
      ([service, { overlay }]) => [service, overlay.snapshot] as const,
    );
    return { services, ejections, weights, overlays };
  }

  /**
   * Takes what another board knew, of services that are configured: their endpoints, orders and
   * health. Discovery and checks go on from there.
   */
  restore({ services, ejections, weights, overlays }: BoardSnapshot): void {
    for (const [service, overlay] of overlays) {
      const watched = this.#services.get(service);
      watched?.overlay.restore(overlay);
      if (watched) this.setEndpoints(service, watched.told);
    }
    for (const { service, endpoints } of services) {
      const watched = this.#services.get(service);
      if (!watched) continue;
      // Of a written list only what it names; of discovery the last that was good.
      if (watched.config.discover && watched.endpoints.size === 0) {
        this.setEndpoints(service, endpoints);
      }
      for (const state of endpoints) {
        watched.endpoints.get(state.id)?.restore(state, watched.outliers !== undefined);
        if (state.ejected) this.#restoreEjection(watched, service, state.id, ejections);
      }
      this.#changed(service);
    }
    for (const { service, endpoint, weight } of weights) this.setWeight(service, endpoint, weight);
  }

  #restoreEjection(
    { outliers, config }: Watched,
    service: string,
    endpoint: string,
    ejections: BoardSnapshot['ejections'],
  ): void {
    const known = ejections.find((one) => one.service === service && one.endpoint === endpoint);
    const fallback = config.passive === false ? 0 : config.passive.ejectFor;
    const { leftMs, count } = known ?? { leftMs: fallback, count: 1 };
    outliers?.restore(endpoint, leftMs, count, this.#deps.clock.now());
  }

  /** Takes the endpoints of a service, from its list or from discovery. */
  setEndpoints(service: string, specs: readonly EndpointSpec[]): void {
    const watched = this.#services.get(service);
    if (!watched) return;
    watched.told = specs;
    const wanted = watched.overlay.apply(specs);
    const gone = new Set(watched.endpoints.keys());
    for (const spec of wanted) {
      gone.delete(spec.id);
      const known = watched.endpoints.get(spec.id);
      if (known) known.spec = spec;
      else watched.endpoints.set(spec.id, this.#watch(service, watched, spec));
    }
    for (const id of gone) {
      watched.endpoints.get(id)?.close();
      watched.endpoints.delete(id);
    }
    watched.outliers?.update(wanted.map(({ id }) => id));
    this.#changed(service);
  }

  /** Adds an endpoint in state maint; why not, in HAProxy's words. */
  addEndpoint(service: string, spec: EndpointSpec): string | undefined {
    const watched = this.#services.get(service);
    if (!watched) return 'No such backend.';
    const all = [...watched.endpoints.values()].map((endpoint) => endpoint.spec);
    if (all.some((one) => operatorName(one) === operatorName(spec))) {
      return 'Already exists a server with the same name in backend.';
    }
    if (watched.endpoints.has(spec.id)) return `Already exists a server at ${spec.id} in backend.`;
    watched.overlay.add(spec);
    this.setEndpoints(service, watched.told);
    this.setAdmin(service, spec.id, 'maint');
    return undefined;
  }

  /** Takes an endpoint away, which must be in state maint; why not, in HAProxy's words. */
  removeEndpoint(service: string, endpoint: string): string | undefined {
    const watched = this.#services.get(service);
    const known = watched?.endpoints.get(endpoint);
    if (!watched || !known) return 'No such server.';
    if (known.admin !== 'maint') return 'Only servers in maintenance mode can be deleted.';
    watched.overlay.remove(operatorName(known.spec));
    this.setEndpoints(service, watched.told);
    this.#note(service, endpoint, 'down', 'removed by order');
    return undefined;
  }

  /** Gives an endpoint another address: its orders go along. False when another one is there. */
  moveEndpoint(service: string, endpoint: string, address: EndpointAddress): boolean {
    const watched = this.#services.get(service);
    const known = watched?.endpoints.get(endpoint);
    const id = formatEndpointAddress(address);
    if (!watched || !known || watched.endpoints.has(id)) return false;
    const { admin, weight } = known;
    watched.overlay.move(operatorName(known.spec), address);
    this.setEndpoints(service, watched.told);
    this.#note(service, endpoint, 'down', `moved to ${id} by order`);
    if (admin !== 'ready') this.setAdmin(service, id, admin);
    if (weight !== undefined) this.setWeight(service, id, weight);
    return true;
  }

  /** The weight that its source gives an endpoint, apart from all orders. */
  givenWeight(service: string, endpoint: string): number | undefined {
    return this.#services.get(service)?.endpoints.get(endpoint)?.spec.weight;
  }

  /** What the checks of an endpoint met; undefined when there is no such endpoint. */
  checks(service: string, endpoint: string): CheckReport | undefined {
    return this.#services.get(service)?.endpoints.get(endpoint)?.checks;
  }

  /** Takes what live traffic met, from any worker. */
  reportOutcomes(batches: readonly OutcomeBatch[]): void {
    const now = this.#deps.clock.now();
    for (const service of new Set(batches.map((batch) => batch.service))) {
      const own = batches.filter((batch) => batch.service === service);
      const events = this.#services.get(service)?.outliers?.report(own, now) ?? [];
      this.#applyEjections(service, events);
    }
  }

  /** Live requests wait and nothing is answered: checks the endpoint now, and believes it. */
  suspect(service: string, endpoint: string): void {
    this.#services.get(service)?.endpoints.get(endpoint)?.probeNow();
  }

  /** An operator's order; false when there is no such endpoint. */
  setAdmin(service: string, endpoint: string, state: AdminState): boolean {
    const watched = this.#services.get(service)?.endpoints.get(endpoint);
    if (!watched) return false;
    watched.admin = state;
    this.#note(service, endpoint, state === 'ready' ? 'up' : 'down', `admin ${state}`);
    this.#changed(service);
    return true;
  }

  /** Notes that the time of a drain is over, or its work. */
  noteDrained(service: string, endpoint: string, left: number): void {
    const reason = left === 0 ? 'drained: no work is left' : `drain timeout: ${left} still at work`;
    this.#note(service, endpoint, 'down', reason);
  }

  /** Overrides an endpoint's weight until it is gone; false when there is no such endpoint. */
  setWeight(service: string, endpoint: string, weight: number): boolean {
    const watched = this.#services.get(service)?.endpoints.get(endpoint);
    if (!watched) return false;
    watched.weight = weight;
    this.#changed(service);
    return true;
  }

  close(): void {
    this.#closed = true;
    for (const name of this.#services.keys()) this.#stop(name);
  }

  #configureService(name: string, config: Service, check: HealthCheck | undefined): void {
    const known = this.#services.get(name);
    if (!known) {
      const outliers = config.passive === false ? undefined : new OutlierTracker(config.passive);
      const overlay = new EndpointOverlay();
      const endpoints = new Map<string, WatchedEndpoint>();
      this.#services.set(name, { config, check, endpoints, told: [], overlay, outliers });
      return;
    }
    if (JSON.stringify(known.config.passive) !== JSON.stringify(config.passive)) {
      known.outliers = config.passive === false ? undefined : new OutlierTracker(config.passive);
      known.outliers?.update([...known.endpoints.keys()]);
      this.#returnEjected(name, known);
    }
    if (JSON.stringify(known.config.agentCheck) !== JSON.stringify(config.agentCheck)) {
      for (const endpoint of known.endpoints.values()) endpoint.setAgent(config.agentCheck);
      this.#changed(name);
    }
    const sameCheck =
      JSON.stringify([known.check, known.config.tls]) === JSON.stringify([check, config.tls]);
    known.config = config;
    known.check = check;
    if (sameCheck) return;
    for (const endpoint of known.endpoints.values()) endpoint.recheck(this.#probe(known), check);
    // Without a check what was down is up.
    this.#changed(name);
  }

  /** The tracker that would have returned them is gone. */
  #returnEjected(service: string, { endpoints }: Watched): void {
    for (const [id, endpoint] of endpoints) {
      if (!endpoint.state.ejected) continue;
      endpoint.setEjected(false, '');
      this.#note(service, id, 'up', 'live traffic: judged anew by other settings');
      this.#changed(service);
    }
  }

  #probe({ check, config }: Watched) {
    return check && createProbe(check, config, (path) => this.#material.files[path] ?? '');
  }

  #watch(service: string, watched: Watched, spec: EndpointSpec): WatchedEndpoint {
    const passed = this.#deps.metrics.cell('sluice_health_checks_total', service, 'passed');
    const failed = this.#deps.metrics.cell('sluice_health_checks_total', service, 'failed');
    const endpoint = new WatchedEndpoint(spec, this.#deps.clock, systemRng, {
      checked: (ok) => {
        (ok ? passed : failed).value++;
      },
      changed: (to, reason) => {
        this.#note(service, spec.id, to, reason);
        this.#changed(service);
      },
      asked: (kind) => {
        this.#deps.metrics.cell('sluice_agent_checks_total', service, kind).value++;
      },
      adjusted: () => this.#changed(service),
      recovered: () => {
        const events = watched.outliers?.release(spec.id, this.#deps.clock.now()) ?? [];
        this.#applyEjections(service, events);
      },
    });
    endpoint.recheck(this.#probe(watched), watched.check);
    endpoint.setAgent(watched.config.agentCheck);
    return endpoint;
  }

  #applyEjections(
    service: string,
    events: readonly { endpoint: string; ejected: boolean; reason: string }[],
  ): void {
    for (const event of events) {
      const endpoint = this.#services.get(service)?.endpoints.get(event.endpoint);
      if (!endpoint) continue;
      endpoint.setEjected(event.ejected, event.reason);
      if (event.ejected) this.#deps.metrics.cell('sluice_ejections_total', service).value++;
      this.#note(
        service,
        event.endpoint,
        event.ejected ? 'down' : 'up',
        `live traffic: ${event.reason}`,
      );
      this.#changed(service);
    }
  }

  #sweep(): void {
    this.#deps.clock.after(EJECTION_SWEEP_MS, () => {
      if (this.#closed) return;
      const now = this.#deps.clock.now();
      for (const [name, { outliers }] of this.#services) {
        this.#applyEjections(name, outliers?.tick(now) ?? []);
      }
      this.#sweep();
    });
  }

  #note(service: string, endpoint: string, to: 'up' | 'down', reason: string): void {
    const at = this.#deps.clock.wall();
    const event = { at, service, endpoint, to, reason };
    this.#events.push(event);
    for (const next of this.#followers) next(event);
    if (this.#events.length > MAX_EVENTS) this.#events.shift();
    this.#deps.metrics.cell('sluice_health_transitions_total', service, to).value++;
    this.#deps.logger.info(`endpoint ${to}`, { service, endpoint, reason });
  }

  /** Tells of a service once for all changes of this turn. */
  #changed(service: string): void {
    if (this.#dirty.has(service)) return;
    this.#dirty.add(service);
    queueMicrotask(() => {
      this.#dirty.delete(service);
      const watched = this.#services.get(service);
      if (!watched || this.#closed) return;
      const endpoints = [...watched.endpoints.values()].map((endpoint) => endpoint.state);
      this.#deps.onChange({ service, endpoints, staleSeconds: 0 });
    });
  }

  #stop(name: string): void {
    for (const endpoint of this.#services.get(name)?.endpoints.values() ?? []) endpoint.close();
  }
}

/** Services that HTTP listeners send requests to. */
export function httpServices(config: GatewayConfig): Set<string> {
  const names = new Set<string>();
  for (const { protocol, service, routes } of Object.values(config.listeners)) {
    if (protocol !== 'http' && protocol !== 'https') continue;
    for (const name of [service, ...routes.flatMap(servicesOf)]) if (name) names.add(name);
  }
  return names;
}
