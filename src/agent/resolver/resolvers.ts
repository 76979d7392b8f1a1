import { fork } from 'node:child_process';
import { createSocket, Socket as UdpSocket } from 'node:dgram';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, Server } from 'node:net';
import { extname, join } from 'node:path';
import { type Clock, systemClock } from '../../base/clock.ts';
import { errorText, SluiceError } from '../../base/errors.ts';
import { systemRng } from '../../base/rng.ts';
import type { Native } from '../../kernel/native.ts';
import { netnsPath } from '../../kernel/netns.ts';
import type { NameRecord } from '../../model/host-intent.ts';
import { eachOf } from '../plane/tools.ts';
import { heldFd, holdOpen, isAlive, type ProcessId, signalProcess } from '../runtime/holder.ts';
import { firstOf, NameIndex } from './answer.ts';
import { Forwarder } from './forwarder.ts';
import {
  RESOLVER_ADDRESS,
  type ResolvedSandbox,
  type ResolverAnswer,
  type ResolverOrder,
  type ResolverPorts,
} from './resolver-orders.ts';
import { type ResolverView, SandboxResolver } from './sandbox-resolver.ts';

const BIND_TIMEOUT_MS = 10_000;
const WIDTH = 4;

type Sockets = { readonly udp: UdpSocket; readonly tcp: Server };
type Active = {
  readonly resolver: SandboxResolver;
  readonly holder: ProcessId | undefined;
  readonly ports: ResolverPorts;
};
type Known = { readonly sandbox: ResolvedSandbox; readonly own: NameIndex };

function adoptUdp(fd: number): Promise<UdpSocket> {
  const socket = createSocket('udp4');
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('listening', () => resolve(socket));
    socket.bind({ fd });
  });
}

function adoptTcp(fd: number): Promise<Server> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => resolve(server));
    server.listen({ fd });
  });
}

function portsOf({ udp, tcp }: Sockets): ResolverPorts {
  const address = tcp.address();
  return {
    udp: udp.address().port,
    tcp: typeof address === 'object' && address ? address.port : 0,
  };
}

/** Throws when there is no such file. */
function readProcess(file: string): ProcessId {
  const [pid, start = ''] = readFileSync(file, 'utf8').split(' ');
  return { pid: Number(pid), start };
}

/** Notes a process in a file, by which another one finds it. */
export function noteProcess(file: string, { pid, start }: ProcessId): void {
  writeFileSync(file, `${pid} ${start}`);
}

/** Signals the process that a file names, if there is any, and removes the file. */
export function endProcess(file: string, signal: NodeJS.Signals): void {
  try {
    signalProcess(readProcess(file), signal);
    rmSync(file, { force: true });
  } catch {
    // There is none, or it has ended and removed it.
  }
}

/** The resolvers of all sandboxes, in the one process that answers for them. */
export class Resolvers {
  readonly #native: Native | undefined;
  readonly #folder: string;
  readonly #clock: Clock = systemClock;
  readonly #active = new Map<string, Active>();
  readonly #known = new Map<string, Known>();
  readonly #records = new Map<string, readonly NameRecord[]>();
  readonly #indexes = new Map<string, NameIndex>();

  /** `folder`: of the files that tell who holds a namespace's sockets. */
  constructor(native: Native | undefined, folder: string) {
    this.#native = native;
    this.#folder = folder;
  }

  /** Whether there is nobody to answer to. */
  get idle(): boolean {
    return this.#known.size === 0;
  }

  async take({ id, sandboxes, gone, names }: ResolverOrder): Promise<ResolverAnswer> {
    for (const [network, records] of names) {
      if (records.length === 0) this.#records.delete(network);
      else this.#records.set(network, records);
      // Built again on first use: names change together, and are asked for much later.
      this.#indexes.delete(network);
    }
    for (const netns of gone) this.#release(netns);
    const ports: [string, ResolverPorts][] = [];
    const failures: [string, string][] = [];
    await eachOf(sandboxes, WIDTH, async ([netns, sandbox]) => {
      this.#known.set(netns, { sandbox, own: new NameIndex(sandbox.records) });
      try {
        const active = this.#active.get(netns) ?? (await this.#open(netns));
        ports.push([netns, active.ports]);
      } catch (error) {
        this.#known.delete(netns);
        failures.push([netns, errorText(error)]);
      }
    });
    return { id, ports, failures };
  }

  async #open(netns: string): Promise<Active> {
    const { sockets, holder } = (await this.#takeBack(netns)) ?? (await this.#bind(netns));
    const forwarder = new Forwarder(this.#native, netnsPath(netns), this.#clock);
    const resolver = new SandboxResolver(sockets, () => this.#view(netns), forwarder, systemRng);
    const active = { resolver, holder, ports: portsOf(sockets) };
    this.#active.set(netns, active);
    return active;
  }

  #file(netns: string): string {
    return join(this.#folder, netns);
  }

  /** The sockets of an earlier process, with the queries that came since. */
  async #takeBack(netns: string): Promise<{ sockets: Sockets; holder: ProcessId } | undefined> {
    try {
      const holder = readProcess(this.#file(netns));
      if (!this.#native || !isAlive(holder)) return undefined;
      const [udp, tcp] = [0, 1].map((index) => this.#native?.takeFd(holder.pid, heldFd(index)));
      if (udp === undefined || tcp === undefined) return undefined;
      return { sockets: { udp: await adoptUdp(udp), tcp: await adoptTcp(tcp) }, holder };
    } catch {
      return undefined;
    }
  }

  async #bind(netns: string): Promise<{ sockets: Sockets; holder: ProcessId | undefined }> {
    const native = this.#native;
    if (!native) return { sockets: await this.#bindByChild(netns), holder: undefined };
    const { udp, tcp } = native.inNamespace(netnsPath(netns), () => ({
      udp: native.socket('udp', RESOLVER_ADDRESS, 0).fd,
      tcp: native.socket('listener', RESOLVER_ADDRESS, 0).fd,
    }));
    const holder = holdOpen([udp, tcp]);
    if (holder) noteProcess(this.#file(netns), holder);
    return { sockets: { udp: await adoptUdp(udp), tcp: await adoptTcp(tcp) }, holder };
  }

  #bindByChild(netns: string): Promise<Sockets> {
    const script = new URL(`./bind-child${extname(import.meta.url)}`, import.meta.url).pathname;
    const child = fork(script, {
      execPath: 'nsenter',
      execArgv: [`--net=${netnsPath(netns)}`, process.execPath],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: {},
    });
    return new Promise((resolve, reject) => {
      let udp: UdpSocket | undefined;
      const fail = () => {
        child.kill('SIGKILL');
        reject(new SluiceError('E_AGENT_COMMAND', `no sockets could be bound in ${netns}`));
      };
      const timer = this.#clock.after(BIND_TIMEOUT_MS, fail);
      child.on('message', (_, handle) => {
        if (handle instanceof UdpSocket) udp = handle;
        if (handle instanceof Server && udp) {
          timer.cancel();
          resolve({ udp, tcp: handle });
        }
      });
      child.on('error', fail);
      child.on('exit', (code) => {
        if (code !== 0) fail();
      });
    });
  }

  #view(netns: string): ResolverView {
    const known = this.#known.get(netns);
    if (!known) return { names: new NameIndex([]), servers: [], ndots: undefined };
    const { networks, servers, ndots } = known.sandbox;
    const indexes = networks.map((network) => this.#indexOf(network));
    return { names: firstOf([known.own, ...indexes]), servers, ndots };
  }

  #indexOf(network: string): NameIndex {
    const there = this.#indexes.get(network);
    if (there) return there;
    const index = new NameIndex(this.#records.get(network) ?? []);
    this.#indexes.set(network, index);
    return index;
  }

  /** Lets go of a namespace, and ends what holds its sockets. */
  #release(netns: string): void {
    this.#active.get(netns)?.resolver.close();
    this.#active.delete(netns);
    this.#known.delete(netns);
    endProcess(this.#file(netns), 'SIGKILL');
  }

  /** Lets go of namespaces that somebody has removed while there was no agent to tell. */
  prune(): void {
    for (const netns of this.#known.keys()) {
      if (!existsSync(netnsPath(netns))) this.#release(netns);
    }
  }

  /**
   * Takes no further queries; resolves when those that came are answered. The sockets stay with
   * their holders, and with whoever shares them.
   */
  async drain(): Promise<void> {
    await Promise.all(
      [...this.#active.values()].map(({ resolver, holder }) => {
        const native = this.#native;
        const fd = holder && native?.takeFd(holder.pid, heldFd(0));
        if (!native || fd === undefined) return resolver.drain();
        return resolver.drain((answer, { address, port }) => {
          native.sendTo(fd, answer, address, port);
        });
      }),
    );
  }
}
