import type { Listener } from '../../model/listener.ts';
import type { Timeouts } from '../../model/timeouts.ts';
import type { Page, ServerExchange } from '../../net/http-exchange.ts';
import { Http1Connection, type Http1Events, type Http1Options } from '../../net/http1-server.ts';
import {
  Http2Connection,
  type Http2ConnectionEvents,
  type Http2ServerOptions,
} from '../../net/http2-server.ts';
import type { StreamConnection } from '../../net/stream-connection.ts';
import type { RateUse } from '../ipc.ts';
import type { ListenerRuntime } from '../listener/listener-runtime.ts';
import { errorPage } from './error-page.ts';
import type { HttpDeps } from './http-deps.ts';
import { ListenerPlan } from './listener-plan.ts';
import { liveCount } from './matcher.ts';
import { HttpSession } from './session.ts';
import type { SessionTools } from './session-tools.ts';
import { StickyCookies } from './sticky-cookie.ts';
import { turnAway } from './turn-away.ts';

const RATE_REPORT_MS = 100;

/** Serves the connections of HTTP listeners. */
export class HttpHandler implements SessionTools {
  readonly deps: HttpDeps;
  readonly cookies: StickyCookies;
  readonly live = (service: string) => liveCount(this.deps.services(service)?.endpoints);
  readonly #plans = new Map<string, ListenerPlan>();
  readonly #options = new WeakMap<Timeouts, Http1Options & Http2ServerOptions>();
  readonly #rateUses = new Map<string, RateUse & { tokens: number }>();
  #reporting = false;

  constructor(deps: HttpDeps) {
    this.deps = deps;
    this.cookies = new StickyCookies(deps.cookieKey);
  }

  /** Takes a connection over from its listener. */
  handle(connection: StreamConnection, listener: ListenerRuntime): void {
    const { protocol, tls } = listener.config;
    const onlyH2 = tls?.alpn?.length === 1 && tls.alpn[0] === 'h2';
    const client = new HttpClient(connection, listener, this);
    if (connection.tls?.alpn === 'h2' || (protocol === 'https' && onlyH2)) client.http2();
    else client.http1();
  }

  /** What both versions of HTTP are held to on a listener: one object for all its connections. */
  options({ config, timeouts }: ListenerRuntime): Http1Options & Http2ServerOptions {
    let options = this.#options.get(timeouts);
    if (!options) {
      options = connectionOptions(config, timeouts);
      this.#options.set(timeouts, options);
    }
    return options;
  }

  /** Compiles what a listener of HTTP is configured to do. */
  prepare(listener: ListenerRuntime): void {
    const { protocol } = listener.config;
    if (protocol === 'http' || protocol === 'https') this.plan(listener);
  }

  /** The compiled configuration of a listener, made anew when it has changed. */
  plan(listener: ListenerRuntime): ListenerPlan {
    const known = this.#plans.get(listener.name);
    if (known?.config === listener.config) return known;
    const plan = new ListenerPlan(listener.name, listener.config, this.deps.metrics, known);
    this.#plans.set(listener.name, plan);
    return plan;
  }

  /** Notes a token that was taken here, for the other workers of this host. */
  noteRateUse(limit: string, key: string): void {
    const id = `${limit}\n${key}`;
    const use = this.#rateUses.get(id);
    if (use) use.tokens++;
    else this.#rateUses.set(id, { limit, key, tokens: 1 });
    if (this.#reporting) return;
    this.#reporting = true;
    this.deps.clock.after(RATE_REPORT_MS, () => {
      this.#reporting = false;
      const uses = [...this.#rateUses.values()];
      this.#rateUses.clear();
      this.deps.link.rateUse(uses);
    });
  }

  /** Counts tokens that other workers have taken. */
  applyRemoteRates(uses: readonly RateUse[]): void {
    const now = this.deps.clock.now();
    for (const use of uses) {
      for (const plan of this.#plans.values()) {
        plan.rate(use.limit)?.buckets.drain(use.key, use.tokens, now);
      }
    }
  }
}

/** One client's connection: what its engine tells becomes sessions, counts and log lines. */
class HttpClient implements Http1Events, Http2ConnectionEvents {
  readonly #connection: StreamConnection;
  readonly #listener: ListenerRuntime;
  readonly #handler: HttpHandler;

  constructor(connection: StreamConnection, listener: ListenerRuntime, handler: HttpHandler) {
    this.#connection = connection;
    this.#listener = listener;
    this.#handler = handler;
  }

  http1(): void {
    const options = this.#handler.options(this.#listener);
    const engine = new Http1Connection(this.#connection, options, this);
    this.#listener.attach(this.#connection, engine);
  }

  http2(): void {
    const options = this.#handler.options(this.#listener);
    const engine = new Http2Connection(this.#connection, options, this);
    this.#listener.attach(this.#connection, engine);
  }

  admits(): boolean {
    return !this.#handler.deps.overload.refuseWork();
  }

  hushes(): boolean {
    return this.#handler.deps.overload.refusesWork;
  }

  request(exchange: ServerExchange): void {
    const plan = this.#handler.plan(this.#listener);
    new HttpSession(exchange, this.#listener, plan, this.#handler).start();
  }

  unwanted(exchange: ServerExchange): void {
    const plan = this.#handler.plan(this.#listener);
    turnAway(exchange, this.#listener, plan, this.#handler.deps);
  }

  refused(reason: string, status: number, bytes?: Buffer): void {
    if (bytes && bytes.length > 0) {
      this.#listener.keepRefused(this.#connection.client, reason, bytes);
    }
    const { metrics } = this.#handler.deps;
    metrics.cell('sluice_listener_bad_requests_total', this.#listener.name, reason).value++;
    if (status > 0) this.failed(reason);
  }

  page(status: number): Page {
    return errorPage(status, this.#listener, undefined);
  }

  /** A line for what never became a request: an engine has answered it or ended its connection. */
  failed(outcome: string): void {
    this.#listener.logUnserved(this.#connection.client, outcome);
  }
}

function connectionOptions(
  { protocol, limits, http }: Listener,
  timeouts: Timeouts,
): Http1Options & Http2ServerOptions {
  return {
    head: {
      maxHeaderBytes: limits.maxHeaderBytes,
      maxHeaders: limits.maxHeaders,
      maxUriBytes: limits.maxUriBytes,
      underscoreHeaders: http.underscoreHeaders,
    },
    encodedSlashes: http.encodedSlashes,
    slashes: http.slashes,
    h2c: protocol === 'http' && http.h2c,
    headerMs: timeouts.header,
    idleMs: timeouts.idle,
    writeMs: timeouts.write,
    minBodyRate: limits.minBodyRate ?? 0,
    maxRequests: limits.maxRequestsPerConnection ?? Number.POSITIVE_INFINITY,
    maxConcurrentStreams: limits.maxConcurrentStreams,
  };
}

/** Makes the handler of a worker. */
export function createHttpHandler(deps: HttpDeps): HttpHandler {
  return new HttpHandler(deps);
}
