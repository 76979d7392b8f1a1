import type { Socket } from 'node:net';
import { dial } from '../../net/dial.ts';
import type { ExchangeFailure } from '../../net/http-exchange.ts';
import { Splice } from '../../net/splice.ts';
import type { StreamConnection } from '../../net/stream-connection.ts';
import { nextWork, type Work } from '../../net/work.ts';
import { encodeProxyHeader } from '../../wire/proxy-protocol.ts';
import { liveCount } from '../http/matcher.ts';
import type { OutcomeClass } from '../ipc.ts';
import type { Drainable, ListenerRuntime } from '../listener/listener-runtime.ts';
import { upstreamTls } from '../upstream/pools.ts';
import {
  type Lease,
  NO_TRIES,
  type NoLease,
  type ServiceHandle,
  type UpstreamEndpoint,
} from '../upstream/service-handle.ts';
import { L4Routes } from './l4-routes.ts';
import { countSession } from './session-counts.ts';

/** Connections of a `tcp` or `tls` listener: bytes to an endpoint and back. */
export class TcpSessions {
  readonly #listener: ListenerRuntime;
  readonly #routes = new L4Routes();
  readonly #live = (service: string) => liveCount(this.#listener.deps.services(service)?.endpoints);

  constructor(listener: ListenerRuntime) {
    this.#listener = listener;
  }

  /** Serves a connection whose server name, if it has one, is known. */
  serve(connection: StreamConnection, serverName = connection.tls?.serverName): void {
    const { config } = this.#listener;
    const target = this.#routes.target(config, connection.client.address, serverName, this.#live);
    if (target === 'access') {
      this.#listener.refused('access', connection.client);
      connection.socket.resetAndDestroy();
      return;
    }
    const name = target.service;
    const service = name === undefined ? undefined : this.#listener.deps.services(name);
    if (!service) {
      this.#listener.refused('no-route', connection.client);
      connection.socket.destroy();
      return;
    }
    new TcpSession(this.#listener, connection, service, target.route).connect(NO_TRIES);
  }

  /** Whether a connection with this server name has somewhere to go, or is refused by a rule. */
  knows(connection: StreamConnection, serverName: string | undefined): boolean {
    const { config } = this.#listener;
    const target = this.#routes.target(config, connection.client.address, serverName, this.#live);
    return target === 'access' || target.service !== undefined;
  }
}

class TcpSession implements Drainable, Work {
  readonly serial = nextWork();
  readonly #listener: ListenerRuntime;
  readonly #connection: StreamConnection;
  readonly #service: ServiceHandle;
  readonly #route: string | undefined;
  #gone = false;
  #tries = 0;
  #lease: Lease | undefined;
  #splice: Splice | undefined;
  #leasedAt: number | undefined;
  #answeredAt: number | undefined;
  #giveUp: () => void = () => {};

  constructor(
    listener: ListenerRuntime,
    connection: StreamConnection,
    service: ServiceHandle,
    route: string | undefined,
  ) {
    this.#route = route;
    this.#listener = listener;
    this.#connection = connection;
    this.#service = service;
    connection.socket.on('error', this.#onGone);
    connection.socket.on('close', this.#onGone);
    listener.attach(connection, this);
  }

  get service(): string {
    return this.#service.name;
  }

  get endpoint(): string | undefined {
    const endpoint = this.#lease?.endpoint;
    return endpoint && (endpoint.state.name ?? endpoint.id);
  }

  get startedAt(): number {
    return this.#connection.acceptedAt;
  }

  get works(): Work[] {
    return [this];
  }

  /** It goes on until both sides have ended it. */
  shutdown(): void {}

  destroy(): void {
    if (this.#splice) this.#splice.end('closed');
    else this.#connection.socket.destroy();
  }

  readonly #onGone = () => {
    this.#gone = true;
    this.#giveUp();
  };

  connect(tried: ReadonlySet<string>): void {
    const source = this.#connection.client.address;
    let settled = false;
    const leave = this.#service.acquire({ source, tried }, (result) => {
      settled = true;
      if (typeof result === 'string') this.#refuse(result);
      else this.#dial(result, tried);
    });
    if (!settled) this.#giveUp = leave;
  }

  #dial(lease: Lease, tried: ReadonlySet<string>): void {
    this.#tries = tried.size;
    this.#lease = lease;
    this.#leasedAt = lease.startedAt;
    const { timeouts } = this.#listener;
    const { config } = this.#service;
    const options = {
      address: lease.endpoint.address,
      connectMs: config.timeouts?.connect ?? timeouts.connect,
      unacknowledgedMs: config.timeouts?.unacknowledged ?? timeouts.unacknowledged,
      tls: upstreamTls(config, (path) => this.#listener.file(path), []),
      preamble: this.#proxyHeader(),
    };
    const dialing = dial(options, (result) => {
      if (typeof result === 'string') this.#failed(lease, result, tried);
      else this.#join(lease, result);
    });
    this.#giveUp = () => {
      dialing.cancel();
      lease.release('ok');
    };
    if (this.#gone) this.#giveUp();
  }

  /** What tells the endpoint who the client is, if the service wants it. */
  #proxyHeader(): Buffer | undefined {
    const { proxyProtocol } = this.#service.config;
    if (!proxyProtocol) return undefined;
    const { client, local, proxyTlvs } = this.#connection;
    return encodeProxyHeader(proxyProtocol, client, local, proxyTlvs);
  }

  /** Nothing was sent yet: the next endpoint, at once. */
  #failed(lease: Lease, failure: ExchangeFailure, tried: ReadonlySet<string>): void {
    const outcome: OutcomeClass = failure === 'connect-timeout' ? 'timeout' : 'refused';
    lease.release(outcome);
    this.#giveUp = () => {};
    if (this.#gone) return;
    const next = new Set(tried).add(lease.endpoint.id);
    const { metrics } = this.#listener.deps;
    metrics.cell('sluice_service_retries_total', this.#service.name, outcome).value++;
    lease.endpoint.tally.retried(true);
    this.connect(next);
  }

  #refuse(reason: NoLease): void {
    this.#listener.refused(reason);
    this.#connection.socket.resetAndDestroy();
    this.#record(undefined, reason, 0, 0);
  }

  #join(lease: Lease, endpoint: Socket): void {
    const { socket } = this.#connection;
    if (socket.destroyed) {
      endpoint.destroy();
      lease.release('ok');
      return;
    }
    this.#answeredAt = this.#listener.deps.clock.now();
    lease.answered(this.#answeredAt);
    lease.endpoint.tally.connected(this.#answeredAt - (this.#leasedAt ?? 0));
    const { idle, halfClose } = this.#listener.timeouts;
    socket.off('error', this.#onGone);
    socket.off('close', this.#onGone);
    const options = { idleMs: idle, halfCloseMs: halfClose };
    this.#splice = new Splice(socket, endpoint, options, ({ bytesUp, bytesDown, reason }) => {
      if (reason === 'endpoint-vanished') lease.release('timeout');
      else lease.release(reason === 'endpoint-reset' && bytesDown === 0 ? 'reset' : 'ok');
      this.#count(bytesUp, bytesDown);
      this.#record(lease.endpoint, reason, bytesUp, bytesDown);
    });
  }

  #count(bytesUp: number, bytesDown: number): void {
    const { metrics } = this.#listener.deps;
    metrics.cell('sluice_listener_bytes_received_total', this.#listener.name).value += bytesUp;
    metrics.cell('sluice_listener_bytes_sent_total', this.#listener.name).value += bytesDown;
  }

  #record(
    endpoint: UpstreamEndpoint | undefined,
    outcome: string,
    bytesIn: number,
    bytesOut: number,
  ): void {
    const { accessLog } = this.#listener;
    const { clock, metrics } = this.#listener.deps;
    const { acceptedAt, local, tls } = this.#connection;
    const durationMs = clock.now() - acceptedAt;
    const leasedAt = this.#leasedAt;
    countSession(metrics, this.#service.name, endpoint, {
      outcome,
      received: bytesOut,
      sent: bytesIn,
      waitMs: (leasedAt ?? clock.now()) - acceptedAt,
      responseMs: undefined,
      totalMs: durationMs,
    });
    accessLog?.write({
      listener: this.#listener.name,
      route: this.#route,
      service: this.#service.name,
      endpoint: endpoint?.id ?? '',
      endpointName: endpoint?.state.name,
      client: this.#connection.client.address,
      clientPort: this.#connection.client.port,
      local,
      tls: tls && { version: tls.version, cipher: tls.cipher },
      startedAt: clock.wall() - durationMs,
      durationMs,
      waitMs: leasedAt === undefined ? undefined : leasedAt - acceptedAt,
      responseMs: this.#answeredAt === undefined ? undefined : this.#answeredAt - (leasedAt ?? 0),
      retries: this.#tries,
      bytesIn,
      bytesOut,
      outcome,
    });
  }
}
