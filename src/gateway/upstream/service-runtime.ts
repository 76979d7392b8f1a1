import type { Balancer, PickContext } from '../../balance/balancer.ts';
import { createBalancer } from '../../balance/catalog.ts';
import { hashKey } from '../../balance/hash.ts';
import type { Clock, Timer } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Cell, HistogramCell, LevelCell, MetricRegistry } from '../../base/metrics.ts';
import type { Rng } from '../../base/rng.ts';
import { eligible, isUsable } from '../../health/eligible.ts';
import { RetryBudget } from '../../health/retry-budget.ts';
import { slowStartFactor } from '../../health/slow-start.ts';
import type { EndpointState, ServiceState } from '../../model/endpoint-state.ts';
import type { Service } from '../../model/service.ts';
import type { HttpClientPool } from '../../net/http-exchange.ts';
import type { OutcomeClass } from '../ipc.ts';
import { EndpointLease, type Lessor } from './endpoint-lease.ts';
import { EndpointRuntime } from './endpoint-runtime.ts';
import { ENDPOINT_TALLY, EndpointTally } from './endpoint-tally.ts';
import type { OutcomeReporter } from './outcome-reporter.ts';
import type {
  Lease,
  NoLease,
  PickRequest,
  ServiceHandle,
  UpstreamEndpoint,
} from './service-handle.ts';
import { StickyTable } from './sticky-table.ts';
import { WaitQueue } from './wait-queue.ts';

const RAMP_STEP_MS = 500;

/** What a service runtime is built on. */
export type ServiceDeps = {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  readonly outcomes: OutcomeReporter;
  /** Workers of this host: each enforces its share of every limit, rounded up. */
  readonly workers: () => number;
  readonly makePool: (service: Service, endpoint: UpstreamEndpoint) => HttpClientPool;
};

/** A service as one worker runs it: picks endpoints, counts the work on them, queues the rest. */
export class ServiceRuntime implements ServiceHandle, Lessor {
  readonly name: string;
  readonly #deps: ServiceDeps;
  readonly #endpoints = new Map<string, EndpointRuntime>();
  readonly #queue: WaitQueue<Lease | NoLease>;
  readonly #cells: {
    active: LevelCell;
    queued: LevelCell;
    full: Cell;
    expired: Cell;
    exhausted: Cell;
    duration: HistogramCell;
  };
  #config: Service;
  #balancer: Balancer<EndpointRuntime>;
  #budget: RetryBudget;
  #sticky: StickyTable | undefined;
  #eligible: EndpointRuntime[] = [];
  #ramp: Timer | undefined;

  constructor(name: string, config: Service, deps: ServiceDeps) {
    this.name = name;
    this.#config = config;
    this.#deps = deps;
    this.#queue = new WaitQueue<Lease | NoLease>(deps.clock, 'queue-timeout');
    this.#balancer = this.#makeBalancer();
    this.#budget = this.#makeBudget();
    this.#sticky = this.#makeSticky();
    const { metrics } = deps;
    this.#cells = {
      active: metrics.level('sluice_service_active', name),
      queued: metrics.level('sluice_service_queue_length', name),
      full: metrics.cell('sluice_service_queue_refused_total', name, 'full'),
      expired: metrics.cell('sluice_service_queue_refused_total', name, 'timeout'),
      exhausted: metrics.cell('sluice_service_retry_budget_exhausted_total', name),
      duration: metrics.histogram('sluice_service_request_duration_seconds', name),
    };
  }

  get config(): Service {
    return this.#config;
  }

  get endpoints(): readonly EndpointRuntime[] {
    return [...this.#endpoints.values()];
  }

  /** Requests that wait for an endpoint. */
  get queued(): number {
    return this.#queue.length;
  }

  /** Takes a changed configuration; work under way and what is known of endpoints stay. */
  update(config: Service): void {
    const before = this.#config;
    this.#config = config;
    if (differs(before.balance, config.balance)) this.#balancer = this.#makeBalancer();
    if (differs(before.retries, config.retries)) this.#budget = this.#makeBudget();
    if (differs(before.sticky, config.sticky)) this.#sticky = this.#makeSticky();
    const reach = (of: Service) => [
      of.tls,
      of.protocol,
      of.proxyProtocol,
      of.keepAlive,
      of.http,
      of.timeouts,
    ];
    if (differs(reach(before), reach(config))) {
      for (const endpoint of this.#endpoints.values()) endpoint.closePool();
    }
    this.#refresh();
  }

  /** Takes the newest list of endpoints with their health, as one value. */
  apply(state: ServiceState): void {
    const gone = new Set(this.#endpoints.keys());
    const down: EndpointRuntime[] = [];
    for (const next of state.endpoints) {
      gone.delete(next.id);
      const known = this.#endpoints.get(next.id);
      if (!known) this.#endpoints.set(next.id, this.#makeEndpoint(next));
      else if (known.apply(next)) down.push(known);
    }
    for (const id of gone) {
      const endpoint = this.#endpoints.get(id);
      this.#endpoints.delete(id);
      if (endpoint) down.push(endpoint);
      this.#forgetMetrics(id);
    }
    this.#refresh();
    // What waited on them finds those that have come in the same step.
    for (const endpoint of down) endpoint.goDown();
  }

  acquire(request: PickRequest, done: (result: Lease | NoLease) => void): () => void {
    const lease = this.#attempt(request);
    if (lease) {
      done(lease);
      return nothing;
    }
    if (this.#exhausted(request)) {
      done('no-endpoint');
      return nothing;
    }
    const { size, timeout } = this.#config.limits.queue;
    if (this.#queue.length >= this.#share(size)) {
      this.#cells.full.value++;
      done('queue-full');
      return nothing;
    }
    const leave = this.#queue.add(
      timeout,
      () => this.#queuedAttempt(request),
      (result) => {
        this.#cells.queued.set(this.#queue.length);
        if (result === 'queue-timeout') this.#cells.expired.value++;
        done(result);
      },
    );
    this.#cells.queued.set(this.#queue.length);
    return () => {
      leave();
      this.#cells.queued.set(this.#queue.length);
    };
  }

  tryRetry(): boolean {
    const allowed = this.#budget.tryRetry(this.#deps.clock.now());
    if (!allowed) this.#cells.exhausted.value++;
    return allowed;
  }

  explain(request: PickRequest): {
    chosen: string | undefined;
    notes: { endpoint: string; note: string }[];
  } {
    const notes = this.endpoints.map((endpoint) => ({
      endpoint: endpoint.id,
      note: this.#note(endpoint, request),
    }));
    return { chosen: this.#choose(request)?.id, notes };
  }

  /** Closes kept connections; work under way ends by itself. */
  close(): void {
    this.#ramp?.cancel();
    for (const endpoint of this.#endpoints.values()) endpoint.closePool();
  }

  #attempt(request: PickRequest): Lease | undefined {
    const { maxConnections } = this.#config.limits;
    if (maxConnections && this.#cells.active.value >= this.#share(maxConnections)) return undefined;
    const endpoint = this.#choose(request);
    return endpoint && this.#lease(endpoint, request);
  }

  #queuedAttempt(request: PickRequest): Lease | NoLease | undefined {
    if (this.#eligible.length === 0) return 'no-endpoint';
    return this.#attempt(request);
  }

  /** Whether every endpoint that takes new work has been tried. */
  #exhausted({ tried }: PickRequest): boolean {
    return this.#eligible.every((endpoint) => tried.has(endpoint.id));
  }

  /** The least loaded backup: for what all others failed at, before any check has noticed. */
  #backup({ tried }: PickRequest): EndpointRuntime | undefined {
    let best: EndpointRuntime | undefined;
    for (const endpoint of this.#endpoints.values()) {
      const { backup } = endpoint.state;
      if (!backup || endpoint.weight === 0 || tried.has(endpoint.id)) continue;
      if (!isUsable(endpoint.state) || this.#isFull(endpoint)) continue;
      if (!best || endpoint.load.active < best.load.active) best = endpoint;
    }
    return best;
  }

  #choose(request: PickRequest): EndpointRuntime | undefined {
    if (request.tried.size > 0 && this.#exhausted(request)) return this.#backup(request);
    const held = this.#held(request);
    if (held) return held;
    const context: PickContext = {
      hash: this.#hash(request),
      excluded: (endpoint) =>
        request.tried.has(endpoint.id) || this.#isFull(endpoint as EndpointRuntime),
    };
    const { sticky } = this.#config;
    if (sticky && 'appCookie' in sticky && request.key !== undefined) {
      return this.#rendezvous(request, request.key);
    }
    if (this.#sticky && !context.hash) return this.#rendezvous(request, request.source);
    return this.#balancer.pick(context);
  }

  /** The endpoint that stickiness names, if it may take the request. */
  #held(request: PickRequest): EndpointRuntime | undefined {
    const id = request.sticky ?? this.#sticky?.get(request.source);
    const endpoint = id === undefined ? undefined : this.#endpoints.get(id);
    if (!endpoint || request.tried.has(endpoint.id) || this.#isFull(endpoint)) return undefined;
    return isUsable(endpoint.state) ? endpoint : undefined;
  }

  /** Highest hash of key and endpoint: every worker sends a new key to the same place. */
  #rendezvous(request: PickRequest, key: string): EndpointRuntime | undefined {
    let best: EndpointRuntime | undefined;
    let bestHash = -1;
    for (const endpoint of this.#eligible) {
      if (request.tried.has(endpoint.id) || this.#isFull(endpoint)) continue;
      const hash = hashKey(`${key}|${endpoint.id}`);
      if (hash > bestHash) [best, bestHash] = [endpoint, hash];
    }
    return best;
  }

  #hash(request: PickRequest): number | undefined {
    const { algorithm, key } = this.#config.balance;
    const hashing =
      algorithm === 'source-hash' || algorithm === 'consistent-hash' || algorithm === 'maglev';
    if (!hashing) return undefined;
    const text = algorithm === 'source-hash' || key === 'source' ? request.source : request.key;
    return text === undefined ? undefined : hashKey(text);
  }

  #isFull(endpoint: EndpointRuntime): boolean {
    const limit = endpoint.state.maxConnections ?? this.#config.limits.maxConnectionsPerEndpoint;
    return limit !== undefined && endpoint.load.active >= this.#share(limit);
  }

  #share(limit: number): number {
    return Math.ceil(limit / this.#deps.workers());
  }

  #lease(endpoint: EndpointRuntime, request: PickRequest): Lease {
    const startedAt = this.#deps.clock.now();
    endpoint.load.active++;
    endpoint.cells.active.set(endpoint.cells.active.value + 1);
    endpoint.cells.requests.value++;
    this.#cells.active.set(this.#cells.active.value + 1);
    this.#budget.request(startedAt);
    this.#sticky?.set(request.source, endpoint.id);
    const lease = new EndpointLease(endpoint, startedAt, this);
    endpoint.leases.add(lease);
    return lease;
  }

  now(): number {
    return this.#deps.clock.now();
  }

  leaseAnswered(endpoint: EndpointRuntime, elapsedMs: number): void {
    this.#balancer.finished?.(endpoint, elapsedMs);
    this.#cells.duration.observe(elapsedMs / 1000);
  }

  leaseReleased(lease: EndpointLease, outcome: OutcomeClass): void {
    const { endpoint } = lease;
    endpoint.leases.delete(lease);
    endpoint.load.active--;
    endpoint.cells.active.value--;
    this.#cells.active.value--;
    endpoint.cells.outcome(outcome);
    if (this.#queue.length > 0) this.#queue.serve();
  }

  #makeEndpoint(state: EndpointState): EndpointRuntime {
    const { metrics, makePool, outcomes } = this.#deps;
    const cells = {
      requests: metrics.cell('sluice_endpoint_requests_total', this.name, state.id),
      active: metrics.level('sluice_endpoint_active', this.name, state.id),
      idle: metrics.cell('sluice_endpoint_idle_connections', this.name, state.id),
      tally: new EndpointTally(metrics.tally(ENDPOINT_TALLY.name, this.name, state.id)),
      outcome: outcomes.of(this.name, state.id),
    };
    const endpoint: EndpointRuntime = new EndpointRuntime(
      state,
      () => makePool(this.#config, endpoint),
      cells,
    );
    return endpoint;
  }

  #forgetMetrics(id: string): void {
    this.#deps.metrics.remove(
      (family, labels) =>
        family.labels[1] === 'endpoint' && labels[0] === this.name && labels[1] === id,
    );
  }

  /** Rebuilds the set that takes new work and hands it to the balancer as one value. */
  #refresh(): void {
    const now = this.#deps.clock.wall();
    const ramp = this.#config.slowStart;
    let ramping = false;
    for (const endpoint of this.#endpoints.values()) {
      const factor = ramp ? slowStartFactor(now - endpoint.state.upSince, ramp) : 1;
      // In steps, because a table-based balancer rebuilds for every new weight.
      endpoint.weight = endpoint.state.weight * (Math.ceil(factor * 10) / 10);
      ramping ||= factor < 1;
    }
    this.#eligible = this.#selectEligible();
    this.#balancer.update(this.#eligible);
    this.#ramp?.cancel();
    this.#ramp = ramping ? this.#deps.clock.after(RAMP_STEP_MS, () => this.#refresh()) : undefined;
    if (this.#queue.length > 0) this.#queue.serve();
  }

  #selectEligible(): EndpointRuntime[] {
    const weighted = this.endpoints.filter((endpoint) => endpoint.weight > 0);
    const taken = new Set(
      eligible(
        weighted.map((endpoint) => endpoint.state),
        { panic: this.#config.panic },
      ),
    );
    return weighted.filter((endpoint) => taken.has(endpoint.state));
  }

  #note(endpoint: EndpointRuntime, request: PickRequest): string {
    const { state } = endpoint;
    if (state.admin !== 'ready') return `admin state ${state.admin}`;
    if (!isUsable(state)) return state.reason || `check ${state.check}`;
    if (!this.#eligible.includes(endpoint)) return state.backup ? 'backup, not needed' : 'weight 0';
    if (request.tried.has(endpoint.id)) return 'tried before';
    return this.#isFull(endpoint) ? 'at its connection limit' : 'eligible';
  }

  #makeBalancer(): Balancer<EndpointRuntime> {
    const { algorithm, boundedLoad } = this.#config.balance;
    const balancer = createBalancer<EndpointRuntime>(algorithm, {
      rng: this.#deps.rng,
      clock: this.#deps.clock,
      options: { boundedLoad },
    });
    balancer.update(this.#eligible);
    return balancer;
  }

  #makeBudget(): RetryBudget {
    const { retries } = this.#config;
    return new RetryBudget(retries === false ? 0 : retries.budget);
  }

  #makeSticky(): StickyTable | undefined {
    const { sticky } = this.#config;
    if (!sticky || !('source' in sticky)) return undefined;
    return new StickyTable(this.#deps.clock, sticky.source.timeout);
  }
}

function nothing(): void {}

function differs(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) !== JSON.stringify(b);
}
