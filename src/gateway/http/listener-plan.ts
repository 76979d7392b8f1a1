import type { Cell, HistogramCell, MetricRegistry } from '../../base/metrics.ts';
import { TokenBuckets } from '../../health/token-bucket.ts';
import type { Listener } from '../../model/listener.ts';
import type { Route } from '../../model/route.ts';
import { AddressRules } from '../listener/address-rules.ts';
import { codeClass } from '../metrics/catalog.ts';
import { Forwarder } from './forwarded.ts';
import { type CompiledMatch, Matcher } from './matcher.ts';

const MAX_RATE_KEYS = 100_000;

/** A route with everything that a request needs of it. */
export type RoutePlan = {
  readonly name: string;
  readonly route: Route;
  readonly rules: AddressRules;
  readonly rate: { id: string; buckets: TokenBuckets } | undefined;
  readonly codes: Cell[];
  readonly duration: HistogramCell;
  readonly limited: Cell;
  readonly service: ServiceCells | undefined;
};

/** What is counted of a service's requests. */
export type ServiceCells = {
  readonly ok: Cell;
  readonly codes: Cell[];
  readonly received: Cell;
  readonly sent: Cell;
};

/** A listener's configuration, compiled once for all its requests. */
export class ListenerPlan {
  readonly config: Listener;
  readonly matcher: Matcher;
  readonly forwarder: Forwarder;
  readonly codes: Cell[];
  readonly duration: HistogramCell;
  readonly service: ServiceCells | undefined;
  readonly received: Cell;
  readonly sent: Cell;
  readonly #routes = new Map<CompiledMatch, RoutePlan>();

  constructor(
    name: string,
    config: Listener,
    metrics: MetricRegistry,
    before: ListenerPlan | undefined,
  ) {
    this.config = config;
    this.matcher = new Matcher(config.routes);
    this.forwarder = new Forwarder(config.forwarded);
    this.codes = codeCells((code) => metrics.cell('sluice_listener_requests_total', name, code));
    this.duration = metrics.histogram('sluice_listener_request_duration_seconds', name);
    this.service = serviceCells(config.service, metrics);
    this.received = metrics.cell('sluice_listener_bytes_received_total', name);
    this.sent = metrics.cell('sluice_listener_bytes_sent_total', name);
    for (const compiled of this.matcher.routes) {
      this.#routes.set(compiled, planRoute(name, compiled, metrics, before));
    }
  }

  plan(compiled: CompiledMatch | undefined): RoutePlan | undefined {
    return compiled && this.#routes.get(compiled);
  }

  get plans(): RoutePlan[] {
    return [...this.#routes.values()];
  }
}

/** Cells by the hundreds digit of a status. */
function codeCells(make: (code: string) => Cell): Cell[] {
  return [0, 1, 2, 3, 4, 5].map((digit) =>
    digit === 0 ? { value: 0 } : make(codeClass(digit * 100)),
  );
}

function serviceCells(name: string | undefined, metrics: MetricRegistry): ServiceCells | undefined {
  if (name === undefined) return undefined;
  return {
    ok: metrics.cell('sluice_service_requests_total', name, 'ok'),
    codes: codeCells((code) => metrics.cell('sluice_service_responses_total', name, code)),
    received: metrics.cell('sluice_service_bytes_received_total', name),
    sent: metrics.cell('sluice_service_bytes_sent_total', name),
  };
}

function planRoute(
  listener: string,
  { name, route }: CompiledMatch,
  metrics: MetricRegistry,
  before: ListenerPlan | undefined,
): RoutePlan {
  const limit = route.rateLimit;
  const known = before?.plans.find((plan) => plan.name === name);
  const same = JSON.stringify(known?.route.rateLimit) === JSON.stringify(limit);
  const buckets =
    limit &&
    new TokenBuckets({
      perSecond: (limit.requests * 1000) / limit.per,
      burst: limit.burst ?? limit.requests,
      maxKeys: MAX_RATE_KEYS,
    });
  return {
    name,
    route,
    rules: new AddressRules(route.access),
    // What clients have used up survives a reload that does not change the limit.
    rate: same && known?.rate ? known.rate : buckets && { id: `${listener}/${name}`, buckets },
    codes: codeCells((code) => metrics.cell('sluice_route_requests_total', listener, name, code)),
    duration: metrics.histogram('sluice_route_request_duration_seconds', listener, name),
    service: serviceCells(route.service, metrics),
    limited: metrics.cell('sluice_route_rate_limited_total', listener, name),
  };
}
