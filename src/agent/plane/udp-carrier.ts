import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import type { ForwardIntent } from '../../model/host-intent.ts';

type Target = ForwardIntent['targets'][number];

/** Clients that one reserved port carries at the same time; datagrams of further ones are lost. */
const MAX_CARRIED = 512;
/** Of a client that neither asks nor is answered. Source: nf_conntrack_udp_timeout_stream. */
const IDLE_MS = 120_000;

type Flow = { readonly upstream: Socket; readonly target: Target; readonly idle: NodeJS.Timeout };

/**
 * Carries datagrams that the kernel's rules cannot forward: those of IPv6 clients, `[::1]` above
 * all, for a target that has only an IPv4 address. Each client has a socket towards its target.
 */
export class UdpCarrier {
  readonly #socket: Socket;
  readonly #target: () => Target | undefined;
  readonly #flows = new Map<string, Flow>();

  constructor(socket: Socket, target: () => Target | undefined) {
    this.#socket = socket;
    this.#target = target;
    socket.on('message', (data, client) => this.#ask(data, client));
  }

  #ask(data: Buffer, client: RemoteInfo): void {
    const flow = this.#flows.get(keyOf(client)) ?? this.#open(client);
    if (!flow) return;
    flow.idle.refresh();
    flow.upstream.send(data, flow.target.port, flow.target.address);
  }

  #open(client: RemoteInfo): Flow | undefined {
    const target = this.#target();
    if (!target || this.#flows.size >= MAX_CARRIED) return undefined;
    const upstream = createSocket(target.address.includes(':') ? 'udp6' : 'udp4');
    const idle = setTimeout(() => this.#drop(client), IDLE_MS).unref();
    const flow = { upstream, target, idle };
    this.#flows.set(keyOf(client), flow);
    upstream.on('message', (data, { address, port }) => {
      if (address !== target.address || port !== target.port) return;
      idle.refresh();
      this.#socket.send(data, client.port, client.address);
    });
    upstream.on('error', () => this.#drop(client));
    return flow;
  }

  #drop(client: RemoteInfo): void {
    const flow = this.#flows.get(keyOf(client));
    if (!flow) return;
    this.#flows.delete(keyOf(client));
    clearTimeout(flow.idle);
    flow.upstream.close();
  }

  /** Lets go of every client: the next datagram of each may go elsewhere. */
  forget(): void {
    for (const { upstream, idle } of this.#flows.values()) {
      clearTimeout(idle);
      upstream.close();
    }
    this.#flows.clear();
  }
}

function keyOf({ address, port }: RemoteInfo): string {
  return `${address} ${port}`;
}
