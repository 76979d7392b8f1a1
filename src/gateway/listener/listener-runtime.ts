import net, { type Socket } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { errorText, systemCode } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { Cell, LevelCell, MetricRegistry } from '../../base/metrics.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { Listener } from '../../model/listener.ts';
import type { RefusedRequest } from '../../model/session-info.ts';
import {
  resolveTimeouts,
  TCP_IDLE_MS,
  TCP_UNACKNOWLEDGED_MS,
  type Timeouts,
  UDP_IDLE_MS,
} from '../../model/timeouts.ts';
import type { NativeHandle } from '../../net/handles.ts';
import { RETRY_AFTER_S } from '../../net/http1-server.ts';
import { watchPeers } from '../../net/peer-watch.ts';
import type { PeerAddress, StreamConnection, TlsInfo } from '../../net/stream-connection.ts';
import type { TicketKeys } from '../../net/ticket-keys.ts';
import { TlsTerminator } from '../../net/tls-server.ts';
import type { Work } from '../../net/work.ts';
import type { ProxyHeader } from '../../wire/proxy-protocol.ts';
import type { AccessLog } from '../access-record.ts';
import type { ConfigMaterial, WorkInfo } from '../ipc.ts';
import { SniSessions } from '../l4/sni-session.ts';
import { TcpSessions } from '../l4/tcp-session.ts';
import { UdpSessions } from '../l4/udp-session.ts';
import type { ServiceHandle } from '../upstream/service-handle.ts';
import type { OverloadGuard } from '../worker/overload.ts';
import { AddressRules, AddressSet } from './address-rules.ts';
import { handshakeReason } from './handshake-reason.ts';
import { readProxyHeader } from './proxy-reader.ts';

const BACKLOG = 1024;
/** Bytes of a request that could not be read. */
const MAX_KEPT = 4096;
const NO_DESCRIPTOR = new Set(['EMFILE', 'ENFILE']);
const OVERLOADED = [
  'HTTP/1.1 503 Service Unavailable',
  `retry-after: ${RETRY_AFTER_S}`,
  'content-length: 0',
  'connection: close',
  '',
  '',
].join('\r\n');

/** Takes over a connection that has passed the listener's checks. */
export type StreamHandler = (connection: StreamConnection, listener: ListenerRuntime) => void;

/** Something that a drain has to wait for. */
export type Drainable = {
  /** Take no new work; `idle: 'wait'` lets an idle client send one more request, then closes. */
  shutdown(idle: 'close' | 'wait'): void;
  destroy(): void;
  /** Nothing is under way: cutting it off loses no work. */
  readonly idle?: boolean;
  /** What is under way. */
  readonly works?: readonly Work[];
};

/** What a listener is built on. */
export type ListenerDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  readonly services: (name: string) => ServiceHandle | undefined;
  readonly handlers: { readonly http: StreamHandler };
  readonly tickets: TicketKeys;
  readonly accessLog: () => AccessLog | undefined;
  readonly overload: OverloadGuard;
  readonly defaults: GatewayConfig['defaults'];
  /** Workers of this host: each takes its share of `maxConnections`, rounded up. */
  readonly workers: () => number;
};

/** A connection on its way to its session. */
type Arrival = { raw: Socket; client: PeerAddress; header: ProxyHeader };

/** A connection that has not ended: who ends it on drain, and the client it counts for. */
type Open = {
  drainable: Drainable | undefined;
  source: string | undefined;
  connection: StreamConnection | undefined;
};

const NO_HEADER: ProxyHeader = { tlvs: [] };

type Cells = { total: Cell; active: LevelCell };

/** One listener in one worker: accepts, checks, terminates TLS, and hands connections on. */
export class ListenerRuntime {
  readonly name: string;
  readonly deps: ListenerDeps;
  readonly #servers = new Map<string, { close(): void; handle?: NativeHandle }>();
  readonly #open = new Map<Socket, Open>();
  readonly #perSource = new Map<string, number>();
  readonly #cells: Cells;
  readonly #tcp: TcpSessions;
  readonly #udp: UdpSessions;
  readonly #sni: SniSessions;
  #config: Listener;
  #material: ConfigMaterial;
  #timeouts: Timeouts;
  #rules: AddressRules;
  #proxies: AddressSet;
  #tls: TlsTerminator | undefined;
  refusedRequest: RefusedRequest | undefined;
  #nextId = 1;
  #onEmpty: (() => void) | undefined;

  constructor(name: string, config: Listener, material: ConfigMaterial, deps: ListenerDeps) {
    this.name = name;
    this.deps = deps;
    this.#config = config;
    this.#material = material;
    this.#timeouts = timeoutsOf(config, deps.defaults);
    this.#rules = new AddressRules(config.access);
    this.#proxies = new AddressSet(config.acceptProxy?.from ?? []);
    this.#cells = {
      total: deps.metrics.cell('sluice_listener_connections_total', name),
      active: deps.metrics.level('sluice_listener_connections_active', name),
    };
    this.#tcp = new TcpSessions(this);
    this.#udp = new UdpSessions(this);
    this.#sni = new SniSessions(this, this.#tcp);
    this.#loadTls();
  }

  get config(): Listener {
    return this.#config;
  }

  get timeouts(): Timeouts {
    return this.#timeouts;
  }

  /** The text of a file that the configuration names. */
  file(path: string): string {
    return this.#material.files[path] ?? '';
  }

  get active(): number {
    return this.#open.size;
  }

  /** Keys of the binds that it listens on. */
  get bound(): string[] {
    return [...this.#servers.keys()];
  }

  /** Takes changed settings: they hold for new connections and requests. */
  update(config: Listener, material: ConfigMaterial, defaults: GatewayConfig['defaults']): void {
    this.#config = config;
    this.#material = material;
    this.#timeouts = timeoutsOf(config, defaults);
    this.#rules = new AddressRules(config.access);
    this.#proxies = new AddressSet(config.acceptProxy?.from ?? []);
    this.#loadTls();
    for (const { handle } of this.#servers.values()) {
      if (handle) watchPeers(handle, this.#timeouts.unacknowledged);
    }
  }

  /** Accepts from a socket that the supervisor has bound. */
  addHandle(key: string, handle: NativeHandle): void {
    if (this.#config.protocol === 'udp') {
      this.#servers.set(key, this.#udp.open(handle));
      return;
    }
    watchPeers(handle, this.#timeouts.unacknowledged);
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
    server.on('connection', (socket) => this.#accept(socket));
    server.on('error', (error) => {
      if (NO_DESCRIPTOR.has(systemCode(error) ?? '')) {
        this.deps.overload.noteShed('descriptors');
        return;
      }
      this.deps.logger.error('a listener failed', { listener: this.name, why: errorText(error) });
    });
    // The length of the queue is not taken from the options of a handle.
    server.listen(handle, BACKLOG);
    this.#servers.set(key, { handle, close: () => server.close() });
  }

  removeHandle(key: string): void {
    this.#servers.get(key)?.close();
    this.#servers.delete(key);
  }

  /** Whether the access rules let a client in. */
  allows(address: string): boolean {
    return this.#rules.allows(address);
  }

  /**
   * Counts a connection or request that was refused or ended by the listener; with its client it
   * also gets a line, because no session will write one.
   */
  refused(reason: string, client?: PeerAddress): void {
    this.deps.metrics.cell('sluice_listener_refused_total', this.name, reason).value++;
    if (client) this.logUnserved(client, reason);
  }

  /** Where its sessions' lines go; without one, none is made up. */
  get accessLog(): AccessLog | undefined {
    return this.#config.accessLog ? this.deps.accessLog() : undefined;
  }

  /** Writes the line of a connection that became no session. */
  logUnserved(client: PeerAddress, outcome: string): void {
    this.accessLog?.write({
      listener: this.name,
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

  /** Says who ends a connection on drain; without one it is destroyed. */
  attach(connection: StreamConnection, drainable: Drainable): void {
    const raw = this.#rawOf.get(connection.socket) ?? connection.socket;
    const open = this.#open.get(raw);
    if (!open) return;
    open.drainable = drainable;
    open.connection = connection;
  }

  /** What is under way on its connections. */
  works(): WorkInfo[] {
    const now = this.deps.clock.now();
    return [...this.#open.values()].flatMap(({ drainable, connection }) =>
      (connection ? (drainable?.works ?? []) : []).map((work) => {
        const { client, local } = connection as StreamConnection;
        const { serial, service, endpoint } = work;
        const ageMs = Math.max(0, now - work.startedAt);
        return { serial, listener: this.name, service, endpoint, client, local, ageMs };
      }),
    );
  }

  /** Ends the connections that carry some of it. */
  endWorks(serials: ReadonlySet<number>): void {
    for (const { drainable } of [...this.#open.values()]) {
      if (drainable?.works?.some(({ serial }) => serials.has(serial))) drainable.destroy();
    }
  }

  /** Keeps what could not be read, in the place of what was kept before. */
  keepRefused(client: PeerAddress, reason: string, bytes: Buffer): void {
    const { name, deps } = this;
    const kept = Buffer.from(bytes.subarray(0, MAX_KEPT));
    this.refusedRequest = { listener: name, at: deps.clock.wall(), client, reason, bytes: kept };
  }

  /** Stops accepting, finishes what is under way; the number of connections that had to be cut. */
  async drain(timeoutMs: number, idle: 'close' | 'wait'): Promise<number> {
    for (const key of this.bound) this.removeHandle(key);
    for (const { drainable } of this.#open.values()) drainable?.shutdown(idle);
    if (this.#open.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
        setTimeout(resolve, timeoutMs);
      });
    }
    const cut = [...this.#open.values()].filter(({ drainable }) => !drainable?.idle).length;
    for (const socket of this.#open.keys()) socket.destroy();
    return cut;
  }

  readonly #rawOf = new WeakMap<Socket, Socket>();

  #accept(socket: Socket): void {
    this.#cells.total.value++;
    const peer = {
      address: socket.remoteAddress?.replace(/^::ffff:/, '') ?? 'unix',
      port: socket.remotePort ?? 0,
    };
    const { acceptProxy, limits } = this.#config;
    if (this.deps.overload.refuseConnection()) this.#shed(socket, peer);
    else if (this.#open.size >= Math.ceil(limits.maxConnections / this.deps.workers())) {
      this.#turnAway(socket, peer, 'listener-limit');
    } else if (!acceptProxy) {
      this.#track(socket);
      this.#admit({ raw: socket, client: peer, header: NO_HEADER });
    } else if (!this.#proxies.has(peer.address)) {
      this.#turnAway(socket, peer, 'proxy-untrusted');
    } else {
      this.#track(socket);
      const { handshake } = this.#timeouts;
      readProxyHeader(socket, handshake, (header) => this.#introduced(socket, peer, header));
    }
  }

  #introduced(socket: Socket, peer: PeerAddress, header: ProxyHeader | string): void {
    if (typeof header === 'string') this.#turnAway(socket, peer, header);
    else this.#admit({ raw: socket, client: header.source ?? peer, header });
  }

  #turnAway(socket: Socket, client: PeerAddress, reason: string): void {
    this.refused(reason, client);
    socket.resetAndDestroy();
  }

  /** Goes on with a connection whose client is known. */
  #admit(arrival: Arrival): void {
    const { raw, client } = arrival;
    const { protocol } = this.#config;
    // Over plain HTTP each request is asked for; a handshake alone costs many times as much.
    const shed = protocol !== 'http' && this.deps.overload.refuseWork();
    const refusal = shed ? 'overload' : this.#refusal(client.address);
    if (refusal) {
      this.#turnAway(raw, client, refusal);
      return;
    }
    this.#countSource(raw, client.address);
    if (protocol !== 'https' && protocol !== 'tls') this.#dispatch(arrival, raw, undefined);
    else if (this.#tls) this.#secure(arrival, this.#tls);
    else this.#turnAway(raw, client, 'no-certificate');
  }

  #refusal(source: string): string | undefined {
    const { maxConnectionsPerSource } = this.#config.limits;
    const mine = this.#perSource.get(source) ?? 0;
    if (maxConnectionsPerSource && mine >= maxConnectionsPerSource) return 'source-limit';
    return this.allows(source) ? undefined : 'access';
  }

  #track(socket: Socket): void {
    const open: Open = { drainable: undefined, source: undefined, connection: undefined };
    this.#open.set(socket, open);
    this.#cells.active.set(this.#cells.active.value + 1);
    this.deps.overload.opened();
    socket.on('close', () => {
      this.deps.overload.closed();
      this.#open.delete(socket);
      this.#cells.active.value--;
      if (open.source !== undefined) this.#uncountSource(open.source);
      if (this.#open.size === 0) this.#onEmpty?.();
    });
  }

  #countSource(socket: Socket, source: string): void {
    const open = this.#open.get(socket);
    if (!open) return;
    open.source = source;
    this.#perSource.set(source, (this.#perSource.get(source) ?? 0) + 1);
  }

  #uncountSource(source: string): void {
    const left = (this.#perSource.get(source) ?? 1) - 1;
    if (left > 0) this.#perSource.set(source, left);
    else this.#perSource.delete(source);
  }

  #secure(arrival: Arrival, terminator: TlsTerminator): void {
    const socket = arrival.raw;
    const { metrics } = this.deps;
    const timer = setTimeout(() => {
      this.#handshakeFailed(arrival.client, 'timeout');
      socket.destroy();
    }, this.#timeouts.handshake);
    socket.once('close', () => clearTimeout(timer));
    terminator.handshake(socket, (result) => {
      clearTimeout(timer);
      if (typeof result === 'string') {
        this.#handshakeFailed(arrival.client, handshakeReason(result));
        if (!socket.writableEnded) socket.destroy();
        return;
      }
      const { info } = result;
      const resumed = result.socket.isSessionReused() ? 'yes' : 'no';
      metrics.cell('sluice_tls_handshakes_total', this.name, info.version, resumed).value++;
      this.#rawOf.set(result.socket, socket);
      this.#dispatch(arrival, result.socket, info);
    });
  }

  #handshakeFailed(client: PeerAddress, reason: string): void {
    this.deps.metrics.cell('sluice_tls_failures_total', this.name, reason).value++;
    // Whoever only looks whether the port is open is nobody's session.
    if (reason !== 'reset') this.logUnserved(client, `tls-${reason}`);
  }

  #dispatch({ raw, client, header }: Arrival, socket: Socket, tls: TlsInfo | undefined): void {
    const connection: StreamConnection = {
      id: this.#nextId++,
      socket,
      client,
      peer: {
        address: raw.remoteAddress?.replace(/^::ffff:/, '') ?? 'unix',
        port: raw.remotePort ?? 0,
      },
      local: header.destination ?? {
        address: raw.localAddress?.replace(/^::ffff:/, '') ?? 'unix',
        port: raw.localPort ?? 0,
      },
      tls,
      proxyTlvs: header.tlvs,
      acceptedAt: this.deps.clock.now(),
    };
    const { protocol } = this.#config;
    if (protocol === 'http' || protocol === 'https') this.deps.handlers.http(connection, this);
    else if (protocol === 'tls-passthrough') this.#sni.serve(connection);
    else this.#tcp.serve(connection);
  }

  /** There is no descriptor to serve it with: says so, where the client can understand it. */
  #shed(socket: Socket, client: PeerAddress): void {
    if (this.#config.protocol !== 'http' || this.#config.acceptProxy) {
      this.#turnAway(socket, client, 'overload');
      return;
    }
    this.refused('overload', client);
    socket.on('error', () => {});
    socket.end(OVERLOADED, () => socket.destroy());
  }

  #loadTls(): void {
    const { tls, protocol } = this.#config;
    if (!tls) return;
    const { files } = this.#material;
    const file = (path: string) => files[path] ?? '';
    const alpn = tls.alpn ?? (protocol === 'https' ? ['h2', 'http/1.1'] : []);
    try {
      if (this.#tls) this.#tls.update(tls, alpn, file);
      else this.#tls = new TlsTerminator(tls, alpn, file, this.deps.tickets);
      this.#noteExpiries(tls);
    } catch (error) {
      this.deps.metrics.cell('sluice_certificate_reloads_total', 'refused').value++;
      this.deps.logger.error('certificates refused; the old ones stay in force', {
        listener: this.name,
        why: errorText(error),
      });
    }
  }

  #noteExpiries(tls: NonNullable<Listener['tls']>): void {
    const family = 'sluice_certificate_not_after_seconds';
    this.deps.metrics.remove(({ name }, labels) => name === family && labels[0] === this.name);
    for (const [index, seconds] of (this.#tls?.expiries ?? []).entries()) {
      const label = tls.certificates[index]?.cert ?? String(index);
      this.deps.metrics.cell(family, this.name, label).value = seconds;
    }
  }
}

function timeoutsOf(config: Listener, defaults: GatewayConfig['defaults']): Timeouts {
  const { protocol } = config;
  const http = protocol === 'http' || protocol === 'https';
  const own = {
    idle: protocol === 'udp' ? UDP_IDLE_MS : TCP_IDLE_MS,
    unacknowledged: TCP_UNACKNOWLEDGED_MS,
  };
  return resolveTimeouts(config.timeouts, defaults.timeouts, http ? undefined : own);
}
