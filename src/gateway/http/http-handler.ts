import type { ServerExchange } from '../../net/http-exchange.ts';
import { Http1Connection, type Http1Options } from '../../net/http1-server.ts';
import { Http2Connection } from '../../net/http2-server.ts';
import type { StreamConnection } from '../../net/stream-connection.ts';
import type { RateUse } from '../ipc.ts';
import type { ListenerRuntime } from '../listener/listener-runtime.ts';
import type { HttpDeps } from './http-deps.ts';
import { ListenerPlan } from './listener-plan.ts';
import { HttpSession } from './session.ts';
import type { SessionTools } from './session-tools.ts';
import { SilenceWatch } from './silence-watch.ts';
import { StickyCookies } from './sticky-cookie.ts';

const RATE_REPORT_MS = 100;

/** Serves the connections of HTTP listeners. */
export class HttpHandler implements SessionTools {
  readonly deps: HttpDeps;
  readonly cookies: StickyCookies;
  readonly silence: SilenceWatch;
  readonly #plans = new Map<string, ListenerPlan>();
  readonly #rateUses = new Map<string, RateUse & { tokens: number }>();
  #reporting = false;

  constructor(deps: HttpDeps) {
    this.deps = deps;
    this.cookies = new StickyCookies(deps.cookieKey);
    this.silence = new SilenceWatch(deps.link);
  }

  /** Takes a connection over from its listener. */
  handle(connection: StreamConnection, listener: ListenerRuntime): void {
    const { protocol, tls, http } = listener.config;
    const alpn = connection.tls?.alpn;
    const onlyH2 = tls?.alpn?.length === 1 && tls.alpn[0] === 'h2';
    if (alpn === 'h2' || (protocol === 'https' && onlyH2)) {
      this.#serveHttp2(connection, listener);
      return;
    }
    const events = {
      ...this.#events(connection, listener),
      ...(protocol === 'http' && http.h2c
        ? { http2: () => this.#serveHttp2(connection, listener) }
        : {}),
    };
    listener.attach(
      connection,
      new Http1Connection(connection, connectionOptions(listener), events),
    );
  }

  #serveHttp2(connection: StreamConnection, listener: ListenerRuntime): void {
    const options = {
      ...connectionOptions(listener),
      maxConcurrentStreams: listener.config.limits.maxConcurrentStreams,
    };
    const events = this.#events(connection, listener);
    listener.attach(connection, new Http2Connection(connection, options, events));
  }

  #events(connection: StreamConnection, listener: ListenerRuntime) {
    return {
      request: (exchange: ServerExchange) =>
        new HttpSession(exchange, listener, this.plan(listener), this).start(),
      refused: (reason: string, status: number) => {
        this.deps.metrics.cell('sluice_listener_bad_requests_total', listener.name, reason).value++;
        if (status > 0) this.#logRefusal(connection, listener, reason);
      },
      failed: (reason: string) => this.#logRefusal(connection, listener, reason),
    };
  }

  /** A line for what never became a request: an engine has answered it or ended its connection. */
  #logRefusal({ client }: StreamConnection, listener: ListenerRuntime, outcome: string): void {
    if (!listener.config.accessLog) return;
    this.deps.accessLog({
      listener: listener.name,
      route: undefined,
      service: undefined,
      endpoint: undefined,
      client: client.address,
      clientPort: client.port,
      startedAt: this.deps.clock.wall(),
      durationMs: 0,
      retries: 0,
      bytesIn: 0,
      bytesOut: 0,
      outcome,
    });
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

/** What both versions of HTTP are held to on a listener. */
function connectionOptions({ config, timeouts }: ListenerRuntime): Http1Options {
  const { limits, http } = config;
  return {
    head: {
      maxHeaderBytes: limits.maxHeaderBytes,
      maxHeaders: limits.maxHeaders,
      maxUriBytes: limits.maxUriBytes,
      underscoreHeaders: http.underscoreHeaders,
    },
    encodedSlashes: http.encodedSlashes,
    headerMs: timeouts.header,
    idleMs: timeouts.idle,
    writeMs: timeouts.write,
    minBodyRate: limits.minBodyRate ?? 0,
    maxRequests: limits.maxRequestsPerConnection ?? Number.POSITIVE_INFINITY,
  };
}

/** Makes the handler of a worker. */
export function createHttpHandler(deps: HttpDeps): HttpHandler {
  return new HttpHandler(deps);
}
