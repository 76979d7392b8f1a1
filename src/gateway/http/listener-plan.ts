import type { Cell, HistogramCell, MetricRegistry } from '../../base/metrics.ts';
import { TokenBuckets } from '../../health/token-bucket.ts';
import type { Listener } from '../../model/listener.ts';
import type { RateLimit, Route } from '../../model/route.ts';
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
};

/** What is counted of a service's requests. */
export type ServiceCells = {
  readonly ok: Cell;
  readonly codes: Cell[];
  readonly received: Cell;
  readonly sent: Cell;
};

type Rate = NonNullable<RoutePlan['rate']>;

/**
 * A listener's configuration, compiled once for all its requests; what belongs to a route is made
 * at its first request.
 */
export class ListenerPlan {
  readonly config: Listener;
  readonly matcher: Matcher;
  readonly forwarder: Forwarder;
  readonly codes: Cell[];
  readonly duration: HistogramCell;
  readonly received: Cell;
  readonly sent: Cell;
  readonly #name: string;
  readonly #metrics: MetricRegistry;
  readonly #routes = new Map<CompiledMatch, RoutePlan>();
  readonly #services = new Map<string, ServiceCells>();
  /** Of limits that have been asked, by their id, with the settings that they count for. */
  readonly #rates = new Map<string, { settings: string; rate: Rate }>();

  constructor(
    name: string,
    config: Listener,
    metrics: MetricRegistry,
    before: ListenerPlan | undefined,
  ) {
    this.config = config;
    this.#name = name;
    this.#metrics = metrics;
    this.matcher = new Matcher(config.routes);
    this.forwarder = new Forwarder(config.forwarded);
    this.codes = codeCells((code) => metrics.cell('sluice_listener_requests_total', name, code));
    this.duration = metrics.histogram('sluice_listener_request_duration_seconds', name);
    this.received = metrics.cell('sluice_listener_bytes_received_total', name);
    this.sent = metrics.cell('sluice_listener_bytes_sent_total', name);
    if (before) this.#keepRates(before);
  }

  plan(compiled: CompiledMatch | undefined): RoutePlan | undefined {
    if (!compiled) return undefined;
    let plan = this.#routes.get(compiled);
    if (!plan) {
      plan = this.#planRoute(compiled);
      this.#routes.set(compiled, plan);
    }
    return plan;
  }

  /** What is counted of a service's requests that came by this listener. */
  cellsOf(service: string): ServiceCells {
    let cells = this.#services.get(service);
    if (!cells) {
      cells = serviceCells(service, this.#metrics);
      this.#services.set(service, cells);
    }
    return cells;
  }

  /** The buckets of a limit, if it has been asked. */
  rate(id: string): Rate | undefined {
    return this.#rates.get(id)?.rate;
  }

  #planRoute({ name, route }: CompiledMatch): RoutePlan {
    const [listener, metrics] = [this.#name, this.#metrics];
    return {
      name,
      route,
      rules: new AddressRules(route.access),
      rate: route.rateLimit && this.#rate(`${listener}/${name}`, route.rateLimit),
      codes: codeCells((code) => metrics.cell('sluice_route_requests_total', listener, name, code)),
      duration: metrics.histogram('sluice_route_request_duration_seconds', listener, name),
      limited: metrics.cell('sluice_route_rate_limited_total', listener, name),
    };
  }

  #rate(id: string, limit: RateLimit): Rate {
    const settings = JSON.stringify(limit);
    const known = this.#rates.get(id);
    if (known?.settings === settings) return known.rate;
    const buckets = new TokenBuckets({
      perSecond: (limit.requests * 1000) / limit.per,
      burst: limit.burst ?? limit.requests,
      maxKeys: MAX_RATE_KEYS,
    });
    const rate = { id, buckets };
    this.#rates.set(id, { settings, rate });
    return rate;
  }

  /** What clients have used up survives a reload that does not change the limit. */
  #keepRates(before: ListenerPlan): void {
    for (const { name, route } of this.matcher.routes) {
      const id = `${this.#name}/${name}`;
      const known = before.#rates.get(id);
      if (known && known.settings === JSON.stringify(route.rateLimit)) this.#rates.set(id, known);
    }
  }
}

/** Cells by the hundreds digit of a status. */
function codeCells(make: (code: string) => Cell): Cell[] {
  return [0, 1, 2, 3, 4, 5].map((digit) =>
    digit === 0 ? { value: 0 } : make(codeClass(digit * 100)),
  );
}

function serviceCells(name: string, metrics: MetricRegistry): ServiceCells {
  return {
    ok: metrics.cell('sluice_service_requests_total', name, 'ok'),
    codes: codeCells((code) => metrics.cell('sluice_service_responses_total', name, code)),
    received: metrics.cell('sluice_service_bytes_received_total', name),
    sent: metrics.cell('sluice_service_bytes_sent_total', name),
  };
}
