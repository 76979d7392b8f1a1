import { performance } from 'node:perf_hooks';
import type { Duplex } from 'node:stream';
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
import { nextWork, type Work } from '../../net/work.ts';
import type { OutcomeClass } from '../ipc.ts';
import type { ListenerRuntime } from '../listener/listener-runtime.ts';
import {
  type Lease,
  NO_TRIES,
  type NoLease,
  type ServiceHandle,
} from '../upstream/service-handle.ts';
import { refusalOf } from './admission.ts';
import { Affinity } from './affinity.ts';
import { outcomeOf, retryCause } from './attempt-outcome.ts';
import { Attempts } from './attempts.ts';
import {
  editHeaders,
  fillTemplate,
  outgoingRequest,
  redirectTarget,
  type TemplateSource,
} from './edits.ts';
import { GrpcCall } from './grpc-call.ts';
import type { ListenerPlan, RoutePlan } from './listener-plan.ts';
import { type OwnAnswer, refusalAnswer, sendOwn } from './own-answer.ts';
import { type BodyEvents, RequestBody } from './request-body.ts';
import { editResponse } from './response-fields.ts';
import { SessionAccount } from './session-account.ts';
import type { SessionTools } from './session-tools.ts';
import { keyOf, splitService } from './split.ts';
import { statsAnswer } from './stats-page.ts';

/** One request from its head to the end of its answer, over as many endpoints as it takes. */
export class HttpSession implements ResponseSink, BodyEvents, Timed, Work {
  place = -1;
  deadline = Number.POSITIVE_INFINITY;
  readonly serial = nextWork();
  readonly #exchange: ServerExchange;
  readonly #listener: ListenerRuntime;
  readonly #plan: ListenerPlan;
  readonly #handler: SessionTools;
  readonly #client: string;
  readonly #source: TemplateSource;
  readonly #account: SessionAccount;
  readonly #grpc: GrpcCall | undefined;
  #route: RoutePlan | undefined;
  #service: ServiceHandle | undefined;
  #request: OutgoingRequest | undefined;
  #body: RequestBody | undefined;
  #lease: Lease | undefined;
  #resolvedTimeouts: Timeouts | undefined;
  #call: ClientExchange | undefined;
  #giveUp: () => void = () => {};
  #attempts: Attempts | undefined;
  /** A kept connection has ended as we wrote: what follows takes new ones. */
  #fresh = false;
  #headSent = false;
  #over = false;
  #uploading = false;
  #idleMs = Number.POSITIVE_INFINITY;
  #affinity: Affinity | undefined;

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
    const { head, connection } = exchange;
    this.#client = plan.forwarder.client(head, connection);
    this.#source = {
      head,
      client: this.#client,
      clientPort: connection.client.port,
      localPort: connection.local.port,
    };
    this.#account = new SessionAccount(exchange, listener, plan, this.#client, handler.deps);
    this.#grpc = GrpcCall.of(exchange.head);
  }

  get service(): string | undefined {
    return this.#account.service;
  }

  get endpoint(): string | undefined {
    const { endpoint } = this.#account;
    return endpoint && (endpoint.state.name ?? endpoint.id);
  }

  get startedAt(): number {
    return this.#account.startedAt;
  }

  /** Finds the route, asks its conditions, and answers or sends the request on. */
  start(): void {
    const { head, connection } = this.#exchange;
    this.#exchange.work = this;
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
      live: this.#handler.live,
    };
    this.#route = this.#plan.plan(this.#plan.matcher.match(info));
    this.#account.route = this.#route;
    const name = this.#serviceName();
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
    this.#account.response(head.status);
    if (this.#retryStatus(head.status)) return;
    this.#grpc?.note(head.headers);
    const { headers } = head;
    const { serverHeader } = this.#listener.config.http;
    const edits = this.#route?.route.headers?.response;
    editResponse(headers, head.status, edits, serverHeader, this.#source);
    const encrypted = this.#exchange.connection.tls !== undefined;
    const { endpoint } = this.#account;
    const cookie = endpoint && this.#affinity?.setCookie(endpoint.id, encrypted);
    if (cookie) headers.push('set-cookie', cookie);
    this.#account.status = head.status;
    this.#headSent = true;
    this.#exchange.respond(head);
  }

  data(chunk: Buffer): boolean {
    if (!this.#headSent) return true;
    this.#account.bytesOut += chunk.length;
    const room = this.#exchange.write(chunk);
    // A client that does not read has a deadline of its own.
    this.deadline = room ? performance.now() + this.#idleMs : Number.POSITIVE_INFINITY;
    return room;
  }

  passedOn(): boolean {
    return this.#exchange.hasGoneOut;
  }

  end(trailers: RawHeaders): void {
    if (!this.#headSent) return;
    this.#grpc?.note(trailers);
    this.#releaseLease(this.#account.status >= 500 || this.#grpc?.failed ? 'status5xx' : 'ok');
    this.#exchange.end(trailers);
    this.#finish('ok');
  }

  upgraded(headers: RawHeaders, tunnel: Duplex): void {
    this.#answered();
    // Source: RFC 8441 section 5.
    this.#account.status = this.#exchange.head.version === '2' ? 200 : 101;
    this.#account.response(this.#account.status);
    deadlines.delete(this);
    this.#headSent = true;
    const client = this.#exchange.acceptUpgrade(headers);
    const { tunnel: idleMs, halfClose: halfCloseMs } = this.#timeouts;
    this.#over = true;
    new Splice(client, tunnel, { idleMs, halfCloseMs }, (result) => {
      this.#account.bytesOut = result.bytesDown;
      this.#releaseLease('ok');
      this.#close(result.reason, result.bytesUp);
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
    if (race && !this.#fresh && this.#attempts?.mayRepeat(sent)) {
      this.#fresh = true;
      this.#again(undefined, 'keep-alive-race');
    } else if (this.#attempts?.mayRetry(retryCause(failure), sent))
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
    if (route.redirect) {
      const location = redirectTarget(route.redirect, this.#source);
      this.#answer({ status: route.redirect.status, headers: ['location', location], text: '' });
      return true;
    }
    if (route.stats) {
      const { link } = this.#handler.deps;
      void statsAnswer(this.#exchange, route.stats, link).then(
        (answer) => this.#answer(answer),
        () => this.#refuse(503, 'no-statistics', ['retry-after', '1']),
      );
      return true;
    }
    if (!route.respond) return false;
    const headers = Object.entries(route.respond.headers ?? {}).flat();
    const { status, file, template, body } = route.respond;
    const own = template === undefined ? body : fillTemplate(template, this.#source);
    this.#answer({ status, headers, text: file ? this.#listener.file(file) : own });
    return true;
  }

  #forward(service: ServiceHandle): void {
    const { head, connection } = this.#exchange;
    this.#service = service;
    this.#account.service = service.name;
    this.#grpc?.start(() => this.#deadlinePassed());
    this.#resolvedTimeouts = undefined;
    const route = this.#route?.route;
    const maxBodyBytes = route?.maxBodyBytes ?? this.#listener.config.limits.maxBodyBytes;
    if (
      maxBodyBytes !== undefined &&
      typeof head.length === 'number' &&
      head.length > maxBodyBytes
    ) {
      this.#refuse(413, 'body-too-large');
      return;
    }
    this.#affinity = new Affinity(service, head, this.#client, this.#handler.cookies);
    this.#plan.forwarder.apply(head, connection, this.#client);
    editHeaders(head.headers, route?.headers?.request, this.#source);
    this.#request = outgoingRequest(head, service, route?.rewrite, this.#source);
    const { retries } = service.config;
    const kept = retries === false ? 0 : retries.maxBodyBytes;
    this.#body = new RequestBody(this.#exchange, kept, maxBodyBytes, this);
    this.#attempts = new Attempts(service, head.method, this.#body);
    this.#attempt();
  }

  #attempt(): void {
    const service = this.#service as ServiceHandle;
    this.#giveUp = service.acquire(
      {
        source: this.#client,
        key: this.#affinity?.key,
        sticky: this.#affinity?.endpoint,
        tried: this.#attempts?.tried ?? NO_TRIES,
      },
      (result) => {
        this.#giveUp = () => {};
        if (typeof result === 'string') this.#noLease(result);
        else this.#send(result);
      },
    );
  }

  #send(lease: Lease): void {
    if (this.#body?.replayable === false) {
      lease.release('ok');
      this.#refuse(503, 'not-repeatable', ['retry-after', '1']);
      return;
    }
    this.#lease = lease;
    this.#account.leased(lease);
    const { connect } = this.#timeouts;
    lease.endpoint.silence.started(lease.startedAt);
    lease.onDown = () => this.#endpointDown();
    const call = lease.endpoint
      .pool()
      .request(this.#request as OutgoingRequest, this, { connectMs: connect, fresh: this.#fresh });
    if (this.#lease !== lease) return;
    this.#call = call;
    this.#body?.sendTo(call);
  }

  /** While the body flows, only a standstill ends the request, however long it takes. */
  bodyMoved(): void {
    if (this.#over || !this.#lease) return;
    if (this.#account.answered) {
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

  bodySent(): void {
    if (this.#over || this.#account.answered) return;
    this.#uploading = false;
    this.deadline = performance.now() + this.#timeouts.request;
    deadlines.add(this);
  }

  /** Nothing will come from the endpoint any more: a request that can be repeated moves on. */
  #endpointDown(): void {
    if (this.#headSent || this.#over || !this.#attempts?.mayRepeat(true)) return;
    const endpoint = this.#lease?.endpoint.id;
    this.#call?.cancel();
    this.#call = undefined;
    this.#releaseLease('timeout');
    this.#again(endpoint, 'endpoint-down');
  }

  #again(endpoint: string | undefined, cause: string): void {
    if (endpoint !== undefined) this.#attempts?.failedOn(endpoint);
    this.#body?.detach();
    this.#account.endpoint?.tally.retried(endpoint !== undefined);
    const { metrics } = this.#handler.deps;
    metrics.cell('sluice_service_retries_total', this.#service?.name ?? '', cause).value++;
    this.#attempt();
  }

  /** Drops an answer that may be had better from another endpoint; false: it goes to the client. */
  #retryStatus(status: number): boolean {
    const lease = this.#lease;
    const attempts = this.#attempts;
    if (status < 500 || !lease || !attempts) return false;
    const cause = String(status) as RetryOn;
    const { id } = lease.endpoint;
    if (!attempts.hasOther(id) || !attempts.mayRetry(cause, true)) return false;
    this.#call?.cancel();
    this.#call = undefined;
    this.#releaseLease('status5xx');
    // Not within the answer's own callback.
    queueMicrotask(() => this.#over || this.#again(id, cause));
    return true;
  }

  #noLease(reason: NoLease): void {
    if (reason === 'cancelled') return;
    const tried = this.#attempts !== undefined && this.#attempts.retries > 0;
    this.#refuse(tried && reason === 'no-endpoint' ? 502 : 503, reason, ['retry-after', '1']);
  }

  #answered(): void {
    if (this.#account.answered) return;
    this.#uploading = false;
    this.#idleMs = this.#timeouts.idle;
    const now = performance.now();
    this.#account.firstByte(now);
    this.deadline = now + this.#idleMs;
    deadlines.add(this);
    if (!this.#lease) return;
    this.#lease.answered(now);
    this.#lease.endpoint.silence.firstByte(now);
  }

  #releaseLease(outcome: OutcomeClass): void {
    const lease = this.#lease;
    if (!lease) return;
    this.#lease = undefined;
    deadlines.delete(this);
    lease.endpoint.silence.finished(this.#account.answered);
    lease.release(outcome);
  }

  bodyFailed(failure: ExchangeFailure): void {
    this.#call?.cancel();
    this.#releaseLease('ok');
    if (this.#over) return;
    if (failure === 'too-large' && !this.#headSent) this.#refuse(413, 'body-too-large');
    else {
      if (this.#headSent) this.#exchange.abort();
      else if (failure === 'timeout') this.#account.status = 408;
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

  get #timeouts(): Timeouts {
    const ofService = this.#service?.config.timeouts;
    const ofRoute = this.#route?.route.timeouts;
    if (!ofService && !ofRoute) return this.#listener.timeouts;
    this.#resolvedTimeouts ??= { ...this.#listener.timeouts, ...ofService, ...ofRoute } as Timeouts;
    return this.#resolvedTimeouts;
  }

  /** Answers for the gateway itself; always false, so that checks can return it. */
  #refuse(status: number, reason: string, headers: RawHeaders = []): false {
    const pages = this.#route?.route.errorPages;
    this.#answer(refusalAnswer(status, reason, this.#grpc, this.#listener, pages, headers), reason);
    return false;
  }

  #answer(answer: OwnAnswer, outcome = 'ok'): void {
    if (this.#over || this.#headSent) return;
    this.#headSent = true;
    const edits = this.#route?.route.headers?.response;
    sendOwn(this.#exchange, this.#account, answer, this.#listener, edits, this.#source);
    this.#finish(outcome);
  }

  #finish(outcome: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#grpc?.over();
    this.#close(outcome, this.#body?.bytes ?? 0);
  }

  #close(outcome: string, bytesIn: number): void {
    this.#account.bytesIn = bytesIn;
    this.#account.retries = this.#attempts?.retries ?? 0;
    this.#account.grpcStatus = this.#grpc?.statusName;
    this.#account.close(outcome);
  }
}
