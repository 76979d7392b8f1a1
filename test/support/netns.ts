import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { AgentClient } from '../../src/link/agent-client.ts';
import type { AgentEvents } from '../../src/link/agent-port.ts';
import type {
  AttachmentIntent,
  ForwardIntent,
  HostIntent,
  NetworkIntent,
  SandboxIntent,
} from '../../src/model/host-intent.ts';
import type { PeerOrder } from './netns-peer.ts';
import { isAlive } from './processes.ts';

const AGENT = new URL('../../src/main/agent.ts', import.meta.url).pathname;
const PEER = new URL('./netns-peer.ts', import.meta.url).pathname;
const ASK_TIMEOUT_MS = 5000;
const START_TIMEOUT_MS = 60_000;

/** Why tests with network namespaces cannot run here; false when they can. */
export function netnsUnavailable(): string | false {
  if (process.platform !== 'linux') return 'network namespaces need Linux';
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  for (const tool of ['nft', 'ip', 'nsenter', 'unshare', 'setpriv', 'ss']) {
    const found = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'].some((folder) =>
      existsSync(join(folder, tool)),
    );
    if (!found) return `the command ${tool} is not installed`;
  }
  try {
    const probe = `slt${process.pid}x`;
    run('ip', 'netns', 'add', probe);
    run('ip', 'netns', 'delete', probe);
    return false;
  } catch {
    return 'network namespaces cannot be made here';
  }
}

/** Runs a command to its end; its output. */
export function run(file: string, ...args: string[]): string {
  return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Waits until `check` says true. */
export async function until(check: () => boolean | Promise<boolean>, timeoutMs = 30_000) {
  const end = performance.now() + timeoutMs;
  while (!(await check())) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A program in a namespace that listens and asks for the test. */
export class Peer {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (text: string) => void>();
  #next = 1;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', ({ id, text }: { id: number; text: string }) => {
      this.#waiting.get(id)?.(text);
      this.#waiting.delete(id);
    });
  }

  static async in(namespace: string): Promise<Peer> {
    const child = fork(PEER, {
      execPath: 'nsenter',
      execArgv: [`--net=/run/netns/${namespace}`, process.execPath],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const peer = new Peer(child);
    await new Promise<void>((resolve, reject) => {
      peer.#waiting.set(0, () => resolve());
      child.on('exit', () => reject(new Error('the peer ended')));
    });
    return peer;
  }

  order(order: PeerOrder): Promise<string> {
    const id = this.#next++;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child.send({ id, order });
    });
  }

  async listen(name: string, port: number, host = '::'): Promise<void> {
    await this.order({ op: 'listen', transport: 'tcp', host, port, name });
    await this.order({ op: 'listen', transport: 'udp', host, port, name });
  }

  tcp(host: string, port: number, timeoutMs = ASK_TIMEOUT_MS): Promise<string> {
    return this.order({ op: 'ask', transport: 'tcp', host, port, timeoutMs });
  }

  udp(host: string, port: number, timeoutMs = ASK_TIMEOUT_MS): Promise<string> {
    return this.order({ op: 'ask', transport: 'udp', host, port, timeoutMs });
  }

  close(): void {
    if (this.#child.connected) this.#child.disconnect();
  }
}

let hosts = 0;

/**
 * A host of its own: a network namespace `…h` with an uplink to `…e`, which plays the outside
 * (192.0.2.100 and 2001:db8::100), and an agent within.
 */
export class TestHost {
  readonly prefix = `slt${process.pid}n${hosts++}`;
  readonly host = `${this.prefix}h`;
  readonly outside = `${this.prefix}e`;
  readonly root = mkdtempSync(join(tmpdir(), 'sluice-netns-'));
  readonly events: [name: string, ...args: unknown[]][] = [];
  readonly peers: Peer[] = [];
  #agent: ChildProcess | undefined;
  #client: AgentClient | undefined;
  agentLog = '';

  static async start(): Promise<TestHost> {
    const host = new TestHost();
    try {
      host.#makeNamespaces();
      await host.startAgent();
    } catch (error) {
      await host.stop();
      throw error;
    }
    return host;
  }

  /** A host whose uplink is a port of a bridge in a namespace of the test's. */
  static async on(net: string, number: number): Promise<TestHost> {
    const host = new TestHost();
    try {
      run('ip', 'netns', 'add', host.host);
      host.ip(host.host, 'link', 'set', 'lo', 'up');
      const peer = ['type', 'veth', 'peer', 'name', 'eth0', 'netns', host.host];
      run('ip', '-n', net, 'link', 'add', `p${number}`, ...peer);
      run('ip', '-n', net, 'link', 'set', `p${number}`, 'master', 'br0', 'up');
      host.ip(host.host, 'addr', 'add', `192.0.2.1${number}/24`, 'dev', 'eth0');
      host.ip(host.host, 'addr', 'add', `2001:db8:1::1${number}/64`, 'dev', 'eth0', 'nodad');
      host.ip(host.host, 'link', 'set', 'eth0', 'up');
      host.ip(host.host, 'route', 'add', 'default', 'via', '192.0.2.1');
      host.ip(host.host, 'route', 'add', '::/0', 'via', '2001:db8:1::1');
      await host.startAgent();
    } catch (error) {
      await host.stop();
      throw error;
    }
    return host;
  }

  #makeNamespaces(): void {
    for (const name of [this.host, this.outside]) {
      run('ip', 'netns', 'add', name);
      run('ip', '-n', name, 'link', 'set', 'lo', 'up');
    }
    const { host, outside } = this;
    run(
      'ip',
      '-n',
      host,
      'link',
      'add',
      'eth0',
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      outside,
    );
    for (const address of ['192.0.2.10/24', '192.0.2.11/24', '2001:db8::10/64']) {
      this.ip(
        host,
        'addr',
        'add',
        address,
        'dev',
        'eth0',
        ...(address.includes(':') ? ['nodad'] : []),
      );
    }
    this.ip(outside, 'addr', 'add', '192.0.2.100/24', 'dev', 'eth0');
    this.ip(outside, 'addr', 'add', '2001:db8::100/64', 'dev', 'eth0', 'nodad');
    for (const name of [host, outside]) this.ip(name, 'link', 'set', 'eth0', 'up');
  }

  ip(namespace: string, ...args: string[]): string {
    return run('ip', '-n', namespace, ...args);
  }

  /** Runs a command in the host's namespace. */
  onHost(...argv: string[]): string {
    return run('nsenter', `--net=/run/netns/${this.host}`, ...argv);
  }

  inSandbox(id: string, ...argv: string[]): string {
    return run('nsenter', `--net=/run/netns/${this.netns(id)}`, ...argv);
  }

  netns(sandbox: string): string {
    return `${this.prefix}-${sandbox.slice(0, 12)}`;
  }

  async peer(namespace: string): Promise<Peer> {
    const peer = await Peer.in(namespace);
    this.peers.push(peer);
    return peer;
  }

  get agent(): AgentClient {
    if (!this.#client) throw new Error('no agent');
    return this.#client;
  }

  get agentRuns(): boolean {
    return this.#agent !== undefined && this.#agent.exitCode === null && !this.#agent.killed;
  }

  get agentPid(): number {
    return this.#agent?.pid ?? 0;
  }

  /** Process ids of its resolver: one, two while the next one takes over, or none. */
  get resolverPids(): number[] {
    const pids = readdirSync(join(this.root, 'resolvers')).flatMap((name) =>
      name.startsWith('process.') ? [Number(name.slice('process.'.length))] : [],
    );
    return pids.filter(isAlive);
  }

  async startAgent(...further: readonly string[]): Promise<void> {
    const argv = [
      `--net=/run/netns/${this.host}`,
      process.execPath,
      AGENT,
      ...['--exec-root', this.root, '--log-root', join(this.root, 'logs')],
      ...['--volume-root', join(this.root, 'volumes')],
      ...['--prefix', this.prefix, '--log-level', 'debug', ...further],
    ];
    const agent = spawn('nsenter', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
    agent.stderr.on('data', (data) => {
      this.agentLog += data;
    });
    this.#agent = agent;
    this.#client ??= new AgentClient(join(this.root, 'agent.sock'), this.#listener(), systemClock);
    const client = this.#client;
    await until(() => {
      if (agent.exitCode !== null) throw new Error(`the agent ended: ${this.agentLog}`);
      return client.connected;
    }, START_TIMEOUT_MS);
  }

  #listener(): AgentEvents {
    const tell =
      (name: string) =>
      (...args: unknown[]) => {
        this.events.push([name, ...args]);
      };
    return {
      taskExited: tell('taskExited'),
      execExited: tell('execExited'),
      degraded: tell('degraded'),
      connected: tell('connected'),
    };
  }

  async killAgent(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const agent = this.#agent;
    if (!agent || agent.exitCode !== null || agent.signalCode !== null) return;
    const ended = new Promise((resolve) => agent.once('exit', resolve));
    agent.kill(signal);
    await ended;
    await until(() => !this.#client?.connected);
  }

  /** Ends everything that the test started, also when it did so in vain. */
  async stop(): Promise<void> {
    for (const peer of this.peers) peer.close();
    try {
      if (this.#client?.connected) {
        for (const { id } of await this.#client.tasks()) await this.#client.removeTask(id);
        await this.#client.sync(EMPTY_INTENT);
      }
    } finally {
      await this.killAgent('SIGTERM');
      this.#client?.close();
      this.#endLeftovers();
      const ours = readdirSync('/run/netns').filter((name) => name.startsWith(this.prefix));
      for (const name of ours) run('ip', 'netns', 'delete', name);
      rmSync(this.root, { recursive: true, force: true });
    }
  }

  /** Processes of this host that a failed test left: told by the files of its own folder. */
  #endLeftovers(): void {
    const folder = join(this.root, 'resolvers');
    if (!existsSync(folder)) return;
    for (const name of readdirSync(folder)) {
      try {
        process.kill(Number.parseInt(readFileSync(join(folder, name), 'utf8'), 10), 'SIGKILL');
      } catch {
        // It has ended.
      }
    }
  }
}

export const EMPTY_INTENT: HostIntent = { networks: [], sandboxes: [], forwards: [], names: [] };

const hex = (text: string) => Buffer.from(text.padEnd(32, '-')).toString('hex').slice(0, 64);

/** `172.20.0.0/24` → `172.20.0.1/24`, `fd00::/64` → `fd00::1/64`. */
function firstAddress(subnet: string): string {
  return subnet.replace(/(\.0|::)\//, (_, end: string) => `${end === '::' ? '::' : '.'}1/`);
}

/** A bridge network with the usual settings. */
export function bridgeNetwork(
  name: string,
  subnets: readonly string[],
  changes: Partial<NetworkIntent> = {},
): NetworkIntent {
  return {
    id: hex(name),
    driver: 'bridge',
    link: `br-${name}`,
    mtu: undefined,
    gateways: subnets.map(firstAddress),
    subnets,
    internal: false,
    icc: true,
    masquerade: true,
    ruled: true,
    external: false,
    options: {},
    ...changes,
  };
}

function macOf(address: string): string {
  const bytes = address.split('/')[0]?.split('.').map(Number) ?? [];
  return ['02', '42', ...bytes.map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

export function attachment(
  sandbox: string,
  network: NetworkIntent,
  addresses: readonly string[],
  link = 'eth0',
  gateways: readonly string[] | undefined = undefined,
): AttachmentIntent {
  const own = network.gateways.map((gateway) => gateway.split('/')[0] ?? '');
  return {
    id: hex(`${sandbox}+${network.link}`),
    network: network.id,
    link,
    mac: macOf(addresses[0] ?? ''),
    addresses,
    gateways: gateways ?? (network.internal ? [] : own),
  };
}

export function sandbox(
  name: string,
  attachments: readonly AttachmentIntent[],
  changes: Partial<SandboxIntent> = {},
): SandboxIntent {
  return { id: hex(name), attachments, resolver: undefined, sysctls: {}, ...changes };
}

export function forward(
  port: number,
  targets: readonly string[],
  changes: Partial<ForwardIntent> = {},
): ForwardIntent {
  const transport = changes.transport ?? 'tcp';
  return {
    id: `${transport}-${changes.address ?? ''}-${port}`,
    transport,
    address: undefined,
    port,
    targets: targets.map((target) => {
      const at = target.lastIndexOf(':');
      return {
        address: target.slice(0, at).replaceAll(/[[\]]/g, ''),
        port: Number(target.slice(at + 1)),
      };
    }),
    balance: 'round-robin',
    kind: 'published',
    ...changes,
  };
}
