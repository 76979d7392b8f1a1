import type { Duplex } from 'node:stream';
import { isUsable } from '../../health/eligible.ts';
import type { SilenceDetector } from '../../health/silence.ts';
import type { RetryOn } from '../../model/service.ts';
import type { Timeouts } from '../../model/timeouts.ts';
import { deadlines, type Timed } from '../../net/deadlines.ts';
import type {
  ClientExchange,
  ExchangeFailure,
  FailureDetail,
  OutgoingRequest,
  RawHeaders,
  ResponseHead,
  ResponseSink,
  ServerExchange,
} from '../../net/http-exchange.ts';
import { Splice } from '../../net/splice.ts';
import { reasonOf } from '../../wire/http1-write.ts';
import type { OutcomeClass } from '../ipc.ts';
import type { ListenerRuntime } from '../listener/listener-runtime.ts';
import {
  type Lease,
  NO_TRIES,
  type NoLease,
  type ServiceHandle,
} from '../upstream/service-handle.ts';
import { refusalOf } from './admission.ts';
import { IDEMPOTENT, outcomeOf, retryCause } from './attempt-outcome.ts';
import { editHeaders, fillTemplate, rewritePath } from './edits.ts';
import { errorPage } from './error-page.ts';
import { GrpcCall } from './grpc-call.ts';
import { httpRecord } from './http-record.ts';
import type { ListenerPlan, RoutePlan } from './listener-plan.ts';
import { RequestBody } from './request-body.ts';
import { addOwnFields, editResponse } from './response-fields.ts';
import { countSession } from './session-counts.ts';
import type { SessionTools } from './session-tools.ts';
import { keyOf, splitService } from './split.ts';
import { cookieValue, removeCookie } from './sticky-cookie.ts';

/** One request from its head to the end of its answer, over as many endpoints as it takes. */
export class HttpSession implements ResponseSink, Timed {
  place = -1;
  deadline = Number.POSITIVE_INFINITY;
  readonly #exchange: ServerExchange;
  readonly #listener: ListenerRuntime;
  readonly #plan: ListenerPlan;
  readonly #handler: SessionTools;
  readonly #startedAt = performance.now();
  readonly #client: string;
  readonly #grpc: GrpcCall | undefined;
  #route: RoutePlan | undefined;
  #service: ServiceHandle | undefined;
  #request: OutgoingRequest | undefined;
  #body: RequestBody | undefined;
  #lease: Lease | undefined;
  #silence: SilenceDetector | undefined;
  #resolvedTimeouts: Timeouts | undefined;
  #call: ClientExchange | undefined;
  #offDown: () => void = () => {};
  #giveUp: () => void = () => {};
  #tried: ReadonlySet<string> = NO_TRIES;
  #retries = 0;
  #leasedAt = 0;
  #responseMs: number | undefined;
  /** A kept connection has ended as we wrote: what follows takes new ones. */
  #fresh = false;
  #headSent = false;
  #answeredByEndpoint = false;
  #over = false;
  #uploading = false;
  #idleMs = Number.POSITIVE_INFINITY;
  #status = 0;
  #bytesOut = 0;
  #setCookie: string | undefined;
  #stickyToken: string | undefined;
  #lastEndpoint: string | undefined;

  constructor(
    exchange: ServerExchange,
    listener: ListenerRuntime,
    plan: ListenerPlan,
    handler: SessionTools,
  ) {
    this.#exchange = exchange;
    this.#listener = listener;
    this.#plan = plan;
    this.#handler = handler;
    this.#client = plan.forwarder.client(exchange.head, exchange.connection);
    this.#grpc = GrpcCall.of(exchange.head);
  }

  /** Finds the route, asks its conditions, and answers or sends the request on. */
  start(): void {
    const { head, connection } = this.#exchange;
    this.#exchange.onClose = () => this.#clientGone();
    this.#exchange.onDrain = () => {
      if (this.#headSent) this.deadline = performance.now() + this.#idleMs;
      this.#call?.resumeBody();
    };
    const info = {
      method: head.method,
      authority: head.authority,
      path: head.path,
      query: head.query,
      headers: head.headers,
      source: this.#client,
      sni: connection.tls?.serverName,
    };
    this.#route = this.#plan.plan(this.#plan.matcher.match(info));
    const name = this.#serviceName();
    if (this.#handler.deps.overload.refuseWork()) {
      this.#refuse(503, 'overload', ['retry-after', '1']);
      return;
    }
    if (!this.#admit()) return;
    if (this.#route && this.#answerLocally(this.#route)) return;
    const service = name === undefined ? undefined : this.#handler.deps.services(name);
    if (service) this.#forward(service);
    else this.#refuse(name === undefined ? 404 : 503, 'no-route');
  }

  inform(status: number, headers: RawHeaders): void {
    this.#exchange.inform(status, headers);
  }

  head(head: ResponseHead): void {
    this.#answered();
    this.#countResponse(head.status);
    if (this.#retryStatus(head.status)) return;
    this.#grpc?.note(head.headers);
    const { headers } = head;
    this.#editResponse(headers);
    if (this.#setCookie) headers.push('set-cookie', this.#setCookie);
    this.#status = head.status;
    this.#headSent = true;
    this.#exchange.respond(head);
  }

  data(chunk: Buffer): boolean {
    if (!this.#headSent) return true;
    this.#bytesOut += chunk.length;
    const room = this.#exchange.write(chunk);
    // A client that does not read has a deadline of its own.
    this.deadline = room ? performance.now() + this.#idleMs : Number.POSITIVE_INFINITY;
    return room;
  }

  end(trailers: RawHeaders): void {
    if (!this.#headSent) return;
    this.#grpc?.note(trailers);
    this.#releaseLease(this.#status >= 500 || this.#grpc?.failed ? 'status5xx' : 'ok');
    this.#exchange.end(trailers);
    this.#finish('ok');
  }

  upgraded(headers: RawHeaders, tunnel: Duplex): void {
    this.#answered();
    this.#countResponse(101);
    deadlines.delete(this);
    this.#status = 101;
    this.#headSent = true;
    const client = this.#exchange.acceptUpgrade(headers);
    const { tunnel: idleMs, halfClose: halfCloseMs } = this.#timeouts;
    this.#over = true;
    new Splice(client, tunnel, { idleMs, halfCloseMs }, (result) => {
      this.#bytesOut = result.bytesDown;
      this.#releaseLease('ok');
      this.#record(result.reason);
    });
  }

  fail(failure: ExchangeFailure, detail: FailureDetail): void {
    this.#call = undefined;
    // A kept connection that closed as we wrote says nothing about the endpoint.
    const { reused, bytesReceived, unprocessed = false } = detail;
    const race = failure === 'reset' && (unprocessed || (reused && bytesReceived === 0));
    const endpoint = this.#lease?.endpoint.id;
    this.#releaseLease(race ? 'ok' : outcomeOf(failure));
    if (this.#over) return;
    if (this.#headSent) {
      this.#breakOff(failure === 'timeout' ? 504 : 502, `endpoint-${failure}`);
      return;
    }
    const sent = failure !== 'refused' && failure !== 'connect-timeout' && !unprocessed;
    if (race && !this.#fresh && this.#mayRepeat(sent)) {
      this.#fresh = true;
      this.#again(undefined, 'keep-alive-race');
    } else if (this.#mayRetry(retryCause(failure), sent))
      this.#again(endpoint, retryCause(failure));
    else if (failure === 'timeout') this.#refuse(504, 'endpoint-timeout');
    else this.#refuse(502, `endpoint-${failure}`);
  }

  /** Ends an answer that has begun and will not be completed. */
  #breakOff(status: number, reason: string): void {
    if (this.#grpc) this.#exchange.end(this.#grpc.fields(status, reason));
    else this.#exchange.abort();
    this.#finish(reason);
  }

  /** The client of a gRPC call waits no longer. */
  #deadlinePassed(): void {
    this.#giveUp();
    this.#call?.cancel();
    this.#call = undefined;
    this.#releaseLease('ok');
    if (this.#over) return;
    if (this.#headSent) this.#breakOff(504, 'grpc-timeout');
    else this.#refuse(504, 'grpc-timeout');
  }

  drain(): void {
    this.#body?.resume();
  }

  /** The endpoint, or the client with its body, stands still for too long. */
  expire(): void {
    this.#call?.cancel();
    if (this.#uploading && !this.#body?.paused && !this.#headSent) {
      this.#call = undefined;
      this.#releaseLease('ok');
      this.#refuse(408, 'body-timeout');
      return;
    }
    this.fail('timeout', { reused: false, bytesReceived: 0 });
  }

  /** Whether access rules, password and rate limit let the request in; answers when not. */
  #admit(): boolean {
    if (!this.#route) return true;
    const { headers } = this.#exchange.head;
    const refusal = refusalOf(this.#route, this.#client, headers, this.#handler);
    return !refusal || this.#refuse(refusal.status, refusal.reason, refusal.headers);
  }

  #answerLocally({ route }: RoutePlan): boolean {
    const { head, connection } = this.#exchange;
    if (route.redirect) {
      const location = fillTemplate(route.redirect.to, head, connection.local.port);
      this.#answer(route.redirect.status, ['location', location], '');
      return true;
    }
    if (!route.respond) return false;
    const headers = Object.entries(route.respond.headers ?? {}).flat();
    const { file, body } = route.respond;
    this.#answer(route.respond.status, headers, file ? this.#listener.file(file) : body);
    return true;
  }

  #forward(service: ServiceHandle): void {
    const { head, connection } = this.#exchange;
    this.#service = service;
    this.#grpc?.start(() => this.#deadlinePassed());
    this.#resolvedTimeouts = undefined;
    const { maxBodyBytes } = this.#listener.config.limits;
    if (
      maxBodyBytes !== undefined &&
      typeof head.length === 'number' &&
      head.length > maxBodyBytes
    ) {
      this.#refuse(413, 'body-too-large');
      return;
    }
    const route = this.#route?.route;
    const headers = head.headers;
    const { sticky } = service.config;
    if (sticky && 'cookie' in sticky) {
      this.#stickyToken = cookieValue(headers, sticky.cookie.name);
      removeCookie(headers, sticky.cookie.name);
    }
    this.#plan.forwarder.apply(headers, head, connection);
    editHeaders(headers, route?.headers?.request);
    const path = rewritePath(head.path, route?.rewrite);
    this.#request = {
      method: head.method,
      scheme: service.config.tls ? 'https' : 'http',
      authority: route?.rewrite?.host ?? (head.authority || 'localhost'),
      target: head.query === undefined ? path : `${path}?${head.query}`,
      headers,
      length: head.length,
      upgrade: head.upgrade,
    };
    const { retries } = service.config;
    const kept = retries === false ? 0 : retries.maxBodyBytes;
    this.#body = new RequestBody(this.#exchange, kept, maxBodyBytes, {
      moved: () => this.#bodyMoved(),
      sent: () => this.#awaitAnswer(),
      failed: (failure) => this.#bodyFailed(failure),
    });
    this.#attempt();
  }

  #attempt(): void {
    const service = this.#service as ServiceHandle;
    this.#giveUp = service.acquire(
      {
        source: this.#client,
        key: this.#balanceKey(service),
        sticky: this.#stickyEndpoint(service),
        tried: this.#tried,
      },
      (result) => {
        this.#giveUp = () => {};
        if (typeof result === 'string') this.#noLease(result);
        else this.#send(result);
      },
    );
  }

  #send(lease: Lease): void {
    const service = this.#service as ServiceHandle;
    if (this.#body?.replayable === false) {
      lease.release('ok');
      this.#refuse(503, 'not-repeatable', ['retry-after', '1']);
      return;
    }
    this.#lease = lease;
    this.#leasedAt = performance.now();
    this.#lastEndpoint = lease.endpoint.id;
    this.#answeredByEndpoint = false;
    this.#noteSticky(service, lease);
    const { connect } = this.#timeouts;
    this.#silence = this.#handler.silence.of(service.name, lease.endpoint.id);
    this.#silence.started(this.#leasedAt);
    this.#offDown = lease.endpoint.onDown(() => this.#endpointDown());
    const call = lease.endpoint
      .pool()
      .request(this.#request as OutgoingRequest, this, { connectMs: connect, fresh: this.#fresh });
    if (this.#lease !== lease) return;
    this.#call = call;
    this.#body?.sendTo(call);
  }

  /** While the body flows, only a standstill ends the request, however long it takes. */
  #bodyMoved(): void {
    if (this.#over || !this.#lease) return;
    if (this.#answeredByEndpoint) {
      // Both directions at once: either keeps it alive, but for a client that does not read.
      if (this.deadline < Number.POSITIVE_INFINITY)
        this.deadline = performance.now() + this.#idleMs;
      return;
    }
    const { idle, write } = this.#timeouts;
    this.#uploading = true;
    this.deadline = performance.now() + (this.#body?.paused ? write : idle);
    deadlines.add(this);
  }

  #awaitAnswer(): void {
    if (this.#over || this.#answeredByEndpoint) return;
    this.#uploading = false;
    this.deadline = performance.now() + this.#timeouts.request;
    deadlines.add(this);
  }

  /** Nothing will come from the endpoint any more: a request that can be repeated moves on. */
  #endpointDown(): void {
    if (this.#headSent || this.#over || !this.#mayRepeat(true)) return;
    const endpoint = this.#lease?.endpoint.id;
    this.#call?.cancel();
    this.#call = undefined;
    this.#releaseLease('timeout');
    this.#again(endpoint, 'endpoint-down');
  }

  #again(endpoint: string | undefined, cause: string): void {
    if (endpoint !== undefined) {
      this.#tried = new Set([...this.#tried, endpoint]);
      this.#retries++;
    }
    this.#body?.detach();
    const { metrics } = this.#handler.deps;
    metrics.cell('sluice_service_retries_total', this.#service?.name ?? '', cause).value++;
    this.#attempt();
  }

  /** Whether sending the request again could not do anything twice that must be done once. */
  #mayRepeat(sent: boolean): boolean {
    if (!this.#body?.replayable) return false;
    return !sent || IDEMPOTENT.has(this.#exchange.head.method);
  }

  #mayRetry(cause: RetryOn, sent: boolean): boolean {
    const retries = this.#service?.config.retries;
    if (!retries || !this.#mayRepeat(sent) || !retries.on.includes(cause)) return false;
    if (sent && !retries.methods.includes(this.#exchange.head.method)) return false;
    // A refused connection costs nothing: every endpoint may be tried once.
    const limit = sent ? retries.attempts : (this.#service?.endpoints.length ?? 0);
    if (this.#retries >= limit) return false;
    return !sent || this.#service?.tryRetry() === true;
  }

  /** Drops an answer that may be had better from another endpoint; false: it goes to the client. */
  #retryStatus(status: number): boolean {
    const cause = String(status) as RetryOn;
    if (status < 500 || !this.#mayRetry(cause, true)) return false;
    const lease = this.#lease;
    const service = this.#service;
    if (!lease || !service) return false;
    const others = service.endpoints.some(
      ({ id, state }) => id !== lease.endpoint.id && !this.#tried.has(id) && isUsable(state),
    );
    if (!others) return false;
    this.#call?.cancel();
    this.#call = undefined;
    this.#releaseLease('status5xx');
    // Not within the answer's own callback.
    queueMicrotask(() => this.#over || this.#again(lease.endpoint.id, cause));
    return true;
  }

  #noLease(reason: NoLease): void {
    if (reason === 'cancelled') return;
    const tried = this.#tried.size > 0;
    this.#refuse(tried && reason === 'no-endpoint' ? 502 : 503, reason, ['retry-after', '1']);
  }

  #answered(): void {
    if (this.#answeredByEndpoint) return;
    this.#answeredByEndpoint = true;
    this.#uploading = false;
    this.#idleMs = this.#timeouts.idle;
    const now = performance.now();
    this.#responseMs = now - this.#leasedAt;
    this.deadline = now + this.#idleMs;
    deadlines.add(this);
    this.#lease?.answered();
    if (this.#lease) this.#silence?.firstByte(now);
  }

  #releaseLease(outcome: OutcomeClass): void {
    const lease = this.#lease;
    if (!lease) return;
    this.#lease = undefined;
    this.#offDown();
    deadlines.delete(this);
    this.#silence?.finished(this.#answeredByEndpoint);
    lease.release(outcome);
  }

  #bodyFailed(failure: ExchangeFailure): void {
    this.#call?.cancel();
    this.#releaseLease('ok');
    if (this.#over) return;
    if (failure === 'too-large' && !this.#headSent) this.#refuse(413, 'body-too-large');
    else {
      if (this.#headSent) this.#exchange.abort();
      else if (failure === 'timeout') this.#status = 408;
      this.#finish('client-body');
    }
  }

  #clientGone(): void {
    if (this.#over) return;
    this.#giveUp();
    this.#call?.cancel();
    this.#releaseLease('ok');
    this.#finish('client-gone');
  }

  #serviceName(): string | undefined {
    const route = this.#route?.route;
    if (!route) return this.#listener.config.service;
    const by = route.split?.by;
    const key = by && keyOf(by, this.#exchange.head, this.#client);
    return route.split ? splitService(route.split, key) : route.service;
  }

  #balanceKey(service: ServiceHandle): string | undefined {
    const { key } = service.config.balance;
    const { sticky } = service.config;
    const { head } = this.#exchange;
    if (sticky && 'appCookie' in sticky) {
      const value = cookieValue(head.headers, sticky.appCookie.name);
      if (value !== undefined) return value;
    }
    return key === 'source' ? undefined : keyOf(key, head, this.#client);
  }

  #stickyEndpoint(service: ServiceHandle): string | undefined {
    const { sticky } = service.config;
    if (!sticky || !('cookie' in sticky)) return undefined;
    const token = this.#stickyToken;
    if (token === undefined) return undefined;
    const ids = service.endpoints.map(({ id }) => id);
    return this.#handler.cookies.endpoint(service.name, token, ids);
  }

  /** Names the endpoint in a cookie, unless the client's cookie already does. */
  #noteSticky(service: ServiceHandle, { endpoint }: Lease): void {
    const { sticky } = service.config;
    if (!sticky || !('cookie' in sticky)) return;
    const encrypted = this.#exchange.connection.tls !== undefined;
    const token = this.#handler.cookies.token(service.name, endpoint.id);
    this.#setCookie =
      this.#stickyToken === token
        ? undefined
        : this.#handler.cookies.setCookie(sticky.cookie, token, encrypted);
  }

  get #timeouts(): Timeouts {
    this.#resolvedTimeouts ??= {
      ...this.#listener.timeouts,
      ...this.#service?.config.timeouts,
      ...this.#route?.route.timeouts,
    } as Timeouts;
    return this.#resolvedTimeouts;
  }

  /** Answers for the gateway itself; always false, so that checks can return it. */
  #refuse(status: number, reason: string, headers: RawHeaders = []): false {
    if (this.#grpc) {
      this.#answer(200, this.#grpc.trailersOnly(status, reason), '', reason);
      return false;
    }
    const page = errorPage(status, this.#listener, this.#route?.route.errorPages);
    const body = page?.body ?? `${status} ${reasonOf(status)}\n`;
    const type = page?.contentType ?? 'text/plain; charset=utf-8';
    this.#answer(status, ['content-type', type, ...headers], body, reason);
    return false;
  }

  #answer(status: number, headers: RawHeaders, text: string, outcome = 'ok'): void {
    if (this.#over || this.#headSent) return;
    const body = Buffer.from(text);
    this.#status = status;
    this.#headSent = true;
    this.#bytesOut = body.length;
    addOwnFields(headers, text !== '');
    this.#editResponse(headers);
    this.#exchange.respond({ status, headers, length: body.length });
    this.#exchange.write(body);
    this.#exchange.end();
    this.#finish(outcome);
  }

  #editResponse(headers: RawHeaders): void {
    const { serverHeader } = this.#listener.config.http;
    editResponse(headers, this.#route?.route.headers?.response, serverHeader);
  }

  #finish(outcome: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#grpc?.over();
    this.#record(outcome);
  }

  #record(outcome: string): void {
    const elapsedMs = performance.now() - this.#startedAt;
    const { metrics, accessLog } = this.#handler.deps;
    const done = {
      plan: this.#plan,
      route: this.#route,
      service: this.#service?.name,
      status: this.#status,
      elapsedMs,
      outcome,
      bytesIn: this.#body?.bytes ?? 0,
      bytesOut: this.#bytesOut,
      answered: this.#answeredByEndpoint,
      grpcStatus: this.#grpc?.statusName,
    };
    countSession(done, metrics);
    if (this.#listener.config.accessLog) accessLog(this.#accessRecord(outcome, elapsedMs));
  }

  #countResponse(status: number): void {
    const cells = this.#service && this.#plan.cellsOf(this.#service.name);
    const cell = cells?.codes[Math.trunc(status / 100)];
    if (cell) cell.value++;
  }

  #accessRecord(outcome: string, durationMs: number) {
    const { head, connection } = this.#exchange;
    return {
      listener: this.#listener.name,
      route: this.#route?.name,
      service: this.#service?.name,
      endpoint: this.#lastEndpoint,
      client: this.#client,
      clientPort: connection.client.port,
      startedAt: this.#handler.deps.clock.wall() - durationMs,
      durationMs,
      waitMs: this.#leasedAt > 0 ? this.#leasedAt - this.#startedAt : undefined,
      responseMs: this.#responseMs,
      retries: this.#retries,
      bytesIn: this.#body?.bytes ?? 0,
      bytesOut: this.#bytesOut,
      outcome,
      http: httpRecord(head, this.#status),
    };
  }
}
