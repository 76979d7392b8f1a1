import dgram, { type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { errorText } from '../../base/errors.ts';
import type { Cell } from '../../base/metrics.ts';
import { deadlines, type Timed } from '../../net/deadlines.ts';
import { datagramType, type NativeHandle } from '../../net/handles.ts';
import type { ListenerRuntime } from '../listener/listener-runtime.ts';
import {
  type Lease,
  NO_TRIES,
  type ServiceHandle,
  type UpstreamEndpoint,
} from '../upstream/service-handle.ts';
import { countSession } from './session-counts.ts';

/** Flows of one listener in one worker; one more evicts the quietest. */
const MAX_FLOWS = 65_536;
/** Datagrams of one flow that wait for an endpoint. */
const MAX_PENDING = 16;

/** Datagrams of a `udp` listener: each client address and port is a flow to one endpoint. */
export class UdpSessions {
  readonly #listener: ListenerRuntime;
  // In order of their last datagram, so that the first is the one to evict.
  readonly #flows = new Map<string, UdpFlow>();

  constructor(listener: ListenerRuntime) {
    this.#listener = listener;
  }

  /** Takes datagrams from a socket that is already bound; closing the result ends its flows. */
  open(handle: NativeHandle): { close(): void } {
    const socket = dgram.createSocket(datagramType(handle));
    const id = handle.fd;
    socket.on('message', (data, from) => this.#receive(id, socket, data, from));
    socket.on('error', (error) => {
      const { logger } = this.#listener.deps;
      logger.error('a listener failed', { listener: this.#listener.name, why: errorText(error) });
    });
    socket.bind({ fd: handle.fd });
    return {
      close: () => {
        for (const flow of [...this.#flows.values()]) if (flow.published === socket) flow.end();
        socket.close();
      },
    };
  }

  #receive(id: number, published: Socket, data: Buffer, from: RemoteInfo): void {
    const key = `${id} ${from.address} ${from.port}`;
    const flow = this.#flows.get(key) ?? this.#begin(key, published, from);
    if (!flow) return;
    this.#flows.delete(key);
    this.#flows.set(key, flow);
    const { metrics } = this.#listener.deps;
    metrics.cell('sluice_listener_bytes_received_total', this.#listener.name).value += data.length;
    flow.forward(data);
  }

  #begin(key: string, published: Socket, from: RemoteInfo): UdpFlow | undefined {
    const listener = this.#listener;
    if (!listener.allows(from.address.replace(/^::ffff:/, ''))) return this.#drop('access');
    const name = listener.config.service;
    const service = name === undefined ? undefined : listener.deps.services(name);
    if (!service) return this.#drop('no-route');
    if (this.#flows.size >= MAX_FLOWS) {
      this.#flows.values().next().value?.end('evicted');
      this.#drop('evicted');
    }
    const { metrics } = listener.deps;
    metrics.cell('sluice_udp_flows_total', listener.name).value++;
    const active = metrics.cell('sluice_udp_flows_active', listener.name);
    active.value++;
    const flow = new UdpFlow(listener, service, published, from, () => {
      this.#flows.delete(key);
      active.value--;
    });
    this.#flows.set(key, flow);
    return flow;
  }

  #drop(reason: string): undefined {
    dropped(this.#listener, reason).value++;
  }
}

function dropped({ deps, name }: ListenerRuntime, reason: string): Cell {
  return deps.metrics.cell('sluice_udp_dropped_total', name, reason);
}

type Upstream = { readonly socket: Socket; readonly lease: Lease };

/** One client's datagrams; stays with its endpoint until idle, or until the endpoint is gone. */
class UdpFlow implements Timed {
  place = -1;
  deadline = 0;
  readonly published: Socket;
  readonly #listener: ListenerRuntime;
  readonly #service: ServiceHandle;
  readonly #client: RemoteInfo;
  readonly #onEnd: () => void;
  #upstream: Upstream | undefined;
  /** Whether the endpoint has answered nothing since the last datagram. */
  #waits = false;
  #connected = false;
  #picking = false;
  #giveUp: () => void = () => {};
  #pending: Buffer[] = [];
  #last: Buffer | undefined;
  #tried = NO_TRIES;
  #over = false;
  readonly #startedAt: number;
  #endpoint: UpstreamEndpoint | undefined;
  #retries = 0;
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(
    listener: ListenerRuntime,
    service: ServiceHandle,
    published: Socket,
    client: RemoteInfo,
    onEnd: () => void,
  ) {
    this.#listener = listener;
    this.#service = service;
    this.published = published;
    this.#client = client;
    this.#onEnd = onEnd;
    this.#startedAt = listener.deps.clock.now();
    this.#touch();
    deadlines.add(this);
  }

  expire(): void {
    this.end('idle');
  }

  /** Forgets the flow; a later datagram begins another. */
  end(outcome = 'closed'): void {
    if (this.#over) return;
    this.#over = true;
    deadlines.delete(this);
    this.#giveUp();
    this.#leave('ok');
    this.#onEnd();
    this.#record(outcome);
  }

  forward(data: Buffer): void {
    this.#touch();
    this.#last = data;
    this.#bytesIn += data.length;
    if (this.#upstream && this.#connected) {
      this.#send(this.#upstream, data);
      return;
    }
    if (this.#pending.length < MAX_PENDING) this.#pending.push(data);
    else dropped(this.#listener, 'queue-full').value++;
    if (!this.#upstream && !this.#picking) this.#pick();
  }

  #touch(): void {
    this.deadline = performance.now() + this.#listener.timeouts.idle;
  }

  #pick(): void {
    this.#picking = true;
    const source = this.#client.address.replace(/^::ffff:/, '');
    const leave = this.#service.acquire({ source, tried: this.#tried }, (result) => {
      this.#picking = false;
      this.#giveUp = () => {};
      if (typeof result !== 'string') this.#connect(result);
      else if (!this.#over) {
        dropped(this.#listener, result).value += this.#pending.length;
        this.end(result);
      }
    });
    if (this.#picking) this.#giveUp = leave;
  }

  #connect(lease: Lease): void {
    const { address } = lease.endpoint;
    if (this.#over || 'path' in address) {
      lease.release('ok');
      this.end();
      return;
    }
    const socket = dgram.createSocket(isIPv6(address.host) ? 'udp6' : 'udp4');
    lease.onDown = () => {
      this.#leave('ok');
      if (this.#waits) this.#sendAgain();
    };
    const upstream = { socket, lease };
    this.#endpoint = lease.endpoint;
    this.#upstream = upstream;
    socket.on('message', (data) => this.#reply(upstream, data));
    socket.on('error', () => this.#refused(upstream));
    socket.once('connect', () => {
      if (this.#upstream !== upstream) return;
      this.#connected = true;
      for (const data of this.#pending.splice(0)) this.#send(upstream, data);
    });
    socket.connect(address.port, address.host);
  }

  #send(upstream: Upstream, data: Buffer): void {
    this.#waits = true;
    upstream.socket.send(data, (error) => {
      if (error) this.#refused(upstream);
    });
  }

  #reply(upstream: Upstream, data: Buffer): void {
    if (this.#upstream !== upstream) return;
    this.#touch();
    this.#waits = false;
    this.#tried = NO_TRIES;
    upstream.lease.answered(performance.now());
    const { deps, name } = this.#listener;
    deps.metrics.cell('sluice_listener_bytes_sent_total', name).value += data.length;
    this.#bytesOut += data.length;
    this.published.send(data, this.#client.port, this.#client.address, (error) => {
      if (error) dropped(this.#listener, 'reply').value++;
    });
  }

  /** Nobody listens at the endpoint: the next one gets the last datagram. */
  #refused(upstream: Upstream): void {
    if (this.#upstream !== upstream) return;
    this.#tried = new Set(this.#tried).add(upstream.lease.endpoint.id);
    this.#retries++;
    this.#leave('refused');
    this.#sendAgain();
  }

  /** Nothing has answered the last datagram: another endpoint gets it. */
  #sendAgain(): void {
    if (this.#pending.length === 0 && this.#last) this.#pending.push(this.#last);
    this.#pick();
  }

  #leave(outcome: 'ok' | 'refused'): void {
    const upstream = this.#upstream;
    if (!upstream) return;
    this.#upstream = undefined;
    this.#connected = false;
    upstream.socket.close();
    upstream.lease.release(outcome);
  }

  #record(outcome: string): void {
    const { accessLog, deps, name } = this.#listener;
    const durationMs = deps.clock.now() - this.#startedAt;
    // A flow has no end of its own: that its client fell silent is the good one.
    const word = outcome === 'idle' ? 'ok' : outcome;
    countSession(deps.metrics, this.#service.name, this.#endpoint, {
      outcome: word,
      received: this.#bytesOut,
      sent: this.#bytesIn,
      waitMs: 0,
      responseMs: undefined,
      totalMs: durationMs,
    });
    accessLog?.write({
      listener: name,
      route: undefined,
      service: this.#service.name,
      endpoint: this.#endpoint?.id,
      endpointName: this.#endpoint?.state.name,
      client: this.#client.address.replace(/^::ffff:/, ''),
      clientPort: this.#client.port,
      startedAt: deps.clock.wall() - durationMs,
      durationMs,
      retries: this.#retries,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      outcome: word,
    });
  }
}
