import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { systemCode } from '../../base/errors.ts';
import type { Exec } from '../../kernel/exec.ts';
import type { ForwardIntent } from '../../model/host-intent.ts';
import { UdpCarrier } from './udp-carrier.ts';

/** Connections that one reserved port carries itself at the same time. */
const MAX_CARRIED = 512;
const CONNECT_TIMEOUT_MS = 5000;
/** Errors that mean that the host has no IPv6. */
const NO_FAMILY = ['EAFNOSUPPORT', 'EADDRNOTAVAIL'];
/** Every address of the host, by one socket. */
const BOTH = 'both families';

type Target = ForwardIntent['targets'][number];
type Held = { readonly close: () => void; retarget: (targets: readonly Target[]) => void };

/** The targets of a reserved port, by turns; none before there is traffic to carry. */
class Targets {
  #all: readonly Target[] = [];
  #next = 0;

  set(all: readonly Target[]): void {
    this.#all = all;
  }

  readonly next = (): Target | undefined => this.#all[this.#next++ % Math.max(1, this.#all.length)];
}

/**
 * Carries what the kernel's rules cannot forward: IPv6 clients (`[::1]` above all) of a target
 * that has only an IPv4 address.
 */
function carry(server: Server, target: () => Target | undefined): void {
  server.maxConnections = MAX_CARRIED;
  server.on('connection', (client) => {
    const to = target();
    client.on('error', () => client.destroy());
    if (!to) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect({ host: to.address, port: to.port, allowHalfOpen: true });
    const timer = setTimeout(() => upstream.destroy(), CONNECT_TIMEOUT_MS);
    upstream.on('connect', () => clearTimeout(timer));
    upstream.on('error', () => client.resetAndDestroy());
    upstream.on('close', () => {
      clearTimeout(timer);
      client.destroy();
    });
    client.on('close', () => upstream.destroy());
    client.pipe(upstream).pipe(client);
  });
}

function holdTcp(forward: ForwardIntent, address: string): Promise<Held> {
  const targets = new Targets();
  const server = createServer({ allowHalfOpen: true });
  carry(server, targets.next);
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const both = address === BOTH;
    const host = both ? '::' : address;
    server.listen({ host, port: forward.port, ipv6Only: !both, exclusive: true }, () => {
      server.on('error', () => {});
      resolve({
        close: () => server.close(),
        retarget: (changed) => targets.set(changed),
      });
    });
  });
}

function holdUdp(forward: ForwardIntent, address: string): Promise<Held> {
  const both = address === BOTH;
  const type = both || address.includes(':') ? 'udp6' : 'udp4';
  const socket: UdpSocket = createSocket({ type, ipv6Only: type === 'udp6' && !both });
  const targets = new Targets();
  const carrier = new UdpCarrier(socket, targets.next);
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ address: both ? '::' : address, port: forward.port, exclusive: true }, () => {
      socket.on('error', () => {});
      resolve({
        close: () => {
          carrier.forget();
          socket.close();
        },
        retarget: (changed) => {
          targets.set(changed);
          carrier.forget();
        },
      });
    });
  });
}

/** The local ports of the SCTP sockets of this host. Source: Linux, net/sctp/proc.c. */
export function sctpPorts(text: string): number[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => Number(line.trim().split(/\s+/)[5] ?? 0) || []);
}

function sctpSockets(): string {
  try {
    return readFileSync('/proc/self/net/sctp/eps', 'utf8');
  } catch {
    // A kernel without SCTP sockets: nobody can listen.
    return '';
  }
}

/** Node has no SCTP sockets: a name that is the network namespace's own keeps other agents away. */
function holdSctp(forward: ForwardIntent, address: string): Promise<Held> {
  if (sctpPorts(sctpSockets()).includes(forward.port)) {
    return Promise.reject(Object.assign(new Error('in use'), { code: 'EADDRINUSE' }));
  }
  const server = createServer((client) => client.destroy());
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path: `\0sluice-sctp/${address}/${forward.port}` }, () => {
      server.on('error', () => {});
      resolve({ close: () => server.close(), retarget: () => {} });
    });
  });
}

const HOLD = { tcp: holdTcp, udp: holdUdp, sctp: holdSctp } as const;

function samePlace(a: ForwardIntent, b: ForwardIntent): boolean {
  return (
    a.kind === b.kind && a.transport === b.transport && a.address === b.address && a.port === b.port
  );
}

/** Who listens on a port, as a user would name it; undefined when it cannot be told. */
async function ownerOf(exec: Exec, transport: string, port: number): Promise<string | undefined> {
  const kind = { tcp: '-t', udp: '-u', sctp: '-S' }[transport] ?? '-t';
  try {
    const { stdout } = await exec(['ss', '-H', '-l', '-n', '-p', kind, `sport = :${port}`]);
    const [, name, pid] = /users:\(\("([^"]+)",pid=(\d+)/.exec(stdout) ?? [];
    return name === undefined ? undefined : `${name} (pid ${pid})`;
  } catch {
    return undefined;
  }
}

/**
 * Holds every published port with a socket, so that no process of the host can listen there
 * unnoticed, and tells when one does already.
 */
export class Reservations {
  readonly #exec: Exec;
  readonly #held = new Map<string, { forward: ForwardIntent; served: boolean; sockets: Held[] }>();

  constructor(exec: Exec) {
    this.#exec = exec;
  }

  /**
   * Brings the sockets in line with the forwards; returns what could not be had, by forward. What is
   * new is carried nowhere before `serve`.
   */
  async update(forwards: ReadonlyMap<string, ForwardIntent>): Promise<Map<string, string>> {
    const failures = new Map<string, string>();
    for (const [id, held] of this.#held) {
      const forward = forwards.get(id);
      if (forward === held.forward || (forward && samePlace(forward, held.forward))) continue;
      for (const socket of held.sockets) socket.close();
      this.#held.delete(id);
    }
    for (const forward of forwards.values()) {
      if (forward.kind !== 'published') continue;
      const held = this.#held.get(forward.id);
      if (held) {
        if (held.forward !== forward) held.served = false;
        held.forward = forward;
        continue;
      }
      const outcome = await this.#hold(forward);
      if (typeof outcome === 'string') failures.set(forward.id, outcome);
      else this.#held.set(forward.id, { forward, served: false, sockets: outcome });
    }
    return failures;
  }

  /** From now on the sockets carry to the targets that the forwards have. */
  serve(): void {
    for (const held of this.#held.values()) {
      if (held.served) continue;
      for (const socket of held.sockets) socket.retarget(held.forward.targets);
      held.served = true;
    }
  }

  async #hold(forward: ForwardIntent): Promise<Held[] | string> {
    const hold = HOLD[forward.transport];
    if (forward.address !== undefined) return this.#holdEach(hold, forward, [forward.address]);
    const each = () => this.#holdEach(hold, forward, ['0.0.0.0', '::']);
    if (forward.transport === 'sctp') return each();
    try {
      return [await hold(forward, BOTH)];
    } catch {
      // No IPv6 here, or taken: which of the two families, only single sockets tell.
      return each();
    }
  }

  async #holdEach(
    hold: (forward: ForwardIntent, address: string) => Promise<Held>,
    forward: ForwardIntent,
    addresses: readonly string[],
  ): Promise<Held[] | string> {
    const sockets: Held[] = [];
    for (const address of addresses) {
      try {
        sockets.push(await hold(forward, address));
      } catch (error) {
        const code = systemCode(error) ?? '';
        if (address === '::' && sockets.length > 0 && NO_FAMILY.includes(code)) continue;
        for (const socket of sockets) socket.close();
        return this.#refusal(forward, address, code);
      }
    }
    return sockets;
  }

  async #refusal(forward: ForwardIntent, address: string, code: string): Promise<string> {
    const host = address.includes(':') ? `[${address}]` : address;
    const what = `failed to bind host port ${host}:${forward.port}/${forward.transport}`;
    if (code !== 'EADDRINUSE') {
      const why = code === 'EADDRNOTAVAIL' ? 'cannot assign requested address' : code;
      return `${what}: ${why}`;
    }
    const owner = await ownerOf(this.#exec, forward.transport, forward.port);
    return `${what}: address already in use${owner === undefined ? '' : ` by ${owner}`}`;
  }

  close(): void {
    for (const { sockets } of this.#held.values()) for (const socket of sockets) socket.close();
    this.#held.clear();
  }
}
