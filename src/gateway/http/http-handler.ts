import { Http1Connection } from '../../net/http1-server.ts';
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
    const { limits, http } = listener.config;
    const { timeouts } = listener;
    const served = new Http1Connection(
      connection,
      {
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
      },
      {
        request: (exchange) =>
          new HttpSession(exchange, listener, this.plan(listener), this).start(),
        refused: (reason) => {
          this.deps.metrics.cell('sluice_listener_bad_requests_total', listener.name, reason)
            .value++;
        },
      },
    );
    listener.attach(connection, served);
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

/** Makes the handler of a worker. */
export function createHttpHandler(deps: HttpDeps): HttpHandler {
  return new HttpHandler(deps);
}
