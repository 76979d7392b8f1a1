import { fork } from 'node:child_process';
import { createSocket, Socket as UdpSocket } from 'node:dgram';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, Server } from 'node:net';
import { extname, join } from 'node:path';
import { errorText, SluiceError } from '../../base/errors.ts';
import { systemRng } from '../../base/rng.ts';
import { must } from '../../kernel/exec.ts';
import { execIn, netnsPath } from '../../kernel/netns.ts';
import type { SandboxIntent } from '../../model/host-intent.ts';
import type { SandboxServices } from '../plane/host-plane.ts';
import type { Change, IntentStore } from '../plane/intent-store.ts';
import { type AgentTools, eachOf } from '../plane/tools.ts';
import { heldFd, holdOpen, isAlive, type ProcessId, signalProcess } from '../runtime/holder.ts';
import { firstOf, NameIndex } from './answer.ts';
import { Forwarder } from './forwarder.ts';
import { type ResolverView, SandboxResolver } from './sandbox-resolver.ts';

/** Where the resolver of every sandbox answers. */
const ADDRESS = '127.0.0.11';
const BIND_TIMEOUT_MS = 10_000;
const WIDTH = 4;

type Sockets = { readonly udp: UdpSocket; readonly tcp: Server };
type Active = { readonly resolver: SandboxResolver; readonly holder: ProcessId | undefined };

/** Leads the well-known port to the sockets, and leaves port 53 itself to the sandbox. */
function redirectTable(name: string, ports: { udp: number; tcp: number }): string {
  return `table ip ${name}
delete table ip ${name}
table ip ${name} {
  chain out {
    type nat hook output priority -110;
    ip daddr ${ADDRESS} udp dport 53 dnat to ${ADDRESS}:${ports.udp}
    ip daddr ${ADDRESS} tcp dport 53 dnat to ${ADDRESS}:${ports.tcp}
  }
}
`;
}

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

/** The resolvers of all sandboxes, in this one process. */
export class Resolvers implements SandboxServices {
  readonly #tools: AgentTools;
  readonly #active = new Map<string, Active>();
  #intent: IntentStore | undefined;
  #indexes = new Map<string, NameIndex>();
  readonly #own = new Map<string, { of: SandboxIntent; index: NameIndex }>();

  constructor(tools: AgentTools) {
    this.#tools = tools;
    mkdirSync(this.#root, { recursive: true });
  }

  get #root(): string {
    return join(this.#tools.execRoot, 'resolvers');
  }

  async update(intent: IntentStore, change: Change | undefined): Promise<Map<string, string>> {
    const failures = new Map<string, string>();
    this.#intent = intent;
    // Built again on first use: names change together, and are asked for much later.
    this.#indexes = new Map();
    const { naming } = this.#tools;
    const wanted = new Map(
      [...intent.sandboxes.values()]
        .filter(({ resolver }) => resolver !== undefined)
        .map((sandbox) => [naming.netns(sandbox.id), sandbox] as const),
    );
    for (const netns of this.#active.keys()) {
      if (!wanted.has(netns)) await this.release(netns);
    }
    const missing = [...wanted].filter(
      ([netns, { id }]) => !this.#active.has(netns) && (!change || change.sandboxes.has(id)),
    );
    await eachOf(missing, WIDTH, async ([netns, { id }]) => {
      try {
        await this.#open(netns, id);
      } catch (error) {
        failures.set(id, `the resolver cannot be set up: ${errorText(error)}`);
      }
    });
    return failures;
  }

  async #open(netns: string, sandbox: string): Promise<void> {
    const { native, clock, exec, naming } = this.#tools;
    const taken = await this.#takeBack(netns);
    const { sockets, holder } = taken ?? (await this.#bind(netns));
    const forwarder = new Forwarder(native, netnsPath(netns), clock);
    const view = () => this.#view(sandbox);
    const resolver = new SandboxResolver(sockets, view, forwarder, systemRng);
    this.#active.set(netns, { resolver, holder });
    const address = sockets.tcp.address();
    const ports = {
      udp: sockets.udp.address().port,
      tcp: typeof address === 'object' && address ? address.port : 0,
    };
    const inside = execIn(exec, native, netns);
    await must(inside, ['nft', '-f', '-'], {
      input: redirectTable(`${naming.table}_resolver`, ports),
    });
  }

  /** The sockets of an earlier agent, with the queries that came since. */
  async #takeBack(netns: string): Promise<{ sockets: Sockets; holder: ProcessId } | undefined> {
    const { native } = this.#tools;
    try {
      const [pid, start = ''] = readFileSync(join(this.#root, netns), 'utf8').split(' ');
      const holder = { pid: Number(pid), start };
      if (!native || !isAlive(holder)) return undefined;
      const fds = [0, 1].map((index) => native.takeFd(holder.pid, heldFd(index)));
      const [udp, tcp] = fds;
      if (udp === undefined || tcp === undefined) return undefined;
      return { sockets: { udp: await adoptUdp(udp), tcp: await adoptTcp(tcp) }, holder };
    } catch {
      return undefined;
    }
  }

  async #bind(netns: string): Promise<{ sockets: Sockets; holder: ProcessId | undefined }> {
    const { native } = this.#tools;
    if (!native) return { sockets: await this.#bindByChild(netns), holder: undefined };
    const { udp, tcp } = native.inNamespace(netnsPath(netns), () => ({
      udp: native.socket('udp', ADDRESS, 0).fd,
      tcp: native.socket('listener', ADDRESS, 0).fd,
    }));
    const holder = holdOpen([udp, tcp]);
    if (holder) writeFileSync(join(this.#root, netns), `${holder.pid} ${holder.start}`);
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
      const timer = this.#tools.clock.after(BIND_TIMEOUT_MS, fail);
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

  #indexOf(network: string): NameIndex {
    const there = this.#indexes.get(network);
    if (there) return there;
    const index = new NameIndex(this.#intent?.names.get(network) ?? []);
    this.#indexes.set(network, index);
    return index;
  }

  #ownIndex(sandbox: SandboxIntent): NameIndex {
    const there = this.#own.get(sandbox.id);
    if (there?.of === sandbox) return there.index;
    const index = new NameIndex(sandbox.resolver?.records ?? []);
    this.#own.set(sandbox.id, { of: sandbox, index });
    return index;
  }

  #view(id: string): ResolverView {
    const sandbox = this.#intent?.sandboxes.get(id);
    if (!sandbox) {
      return { names: new NameIndex([]), servers: [], ndots: undefined, forwards: false };
    }
    const networks = sandbox.attachments.map(({ network }) => network);
    return {
      names: firstOf([
        this.#ownIndex(sandbox),
        ...networks.map((network) => this.#indexOf(network)),
      ]),
      servers: sandbox.resolver?.servers ?? [],
      ndots: sandbox.resolver?.ndots,
      forwards: networks.some((network) => this.#intent?.networks.get(network)?.internal === false),
    };
  }

  async release(netns: string): Promise<void> {
    const active = this.#active.get(netns);
    active?.resolver.close();
    this.#active.delete(netns);
    const file = join(this.#root, netns);
    try {
      const [pid, start = ''] = readFileSync(file, 'utf8').split(' ');
      signalProcess({ pid: Number(pid), start }, 'SIGKILL');
      rmSync(file, { force: true });
    } catch {
      // Nothing was held.
    }
    for (const id of this.#own.keys()) {
      if (this.#tools.naming.netns(id) === netns) this.#own.delete(id);
    }
  }

  /** Lets go of the sockets; their holders keep them for the next agent. */
  close(): void {
    for (const { resolver } of this.#active.values()) resolver.close();
    this.#active.clear();
  }
}
