import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DockerDaemon, type Outcome, run } from '../support/docker-daemon.ts';
import type { Place } from '../support/member-processes.ts';
import { processTree } from '../support/processes.ts';

const LOAD = fileURLToPath(new URL('./load.mjs', import.meta.url));
const WEB_LOAD = fileURLToPath(new URL('./web-load.mjs', import.meta.url));
const STEADY = fileURLToPath(new URL('./steady.mjs', import.meta.url));
const PEER = fileURLToPath(new URL('../conformance/docker-cli/peer.mjs', import.meta.url));
const SLUICED = fileURLToPath(new URL('../../src/main/sluiced.ts', import.meta.url));
const START_MS = 60_000;
const STOP_MS = 20_000;
const PATIENCE_MS = 60_000;
const LOG_LINES = 40;
const FIRST_HOST = 11;
const CLIENT = 100;

let sites = 0;

/** Waits until `check` holds; `what` says it when it does not, with what `more` tells. */
export async function until(
  what: string,
  check: () => boolean | Promise<boolean>,
  timeoutMs = 30_000,
  more: () => string = () => '',
): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await check())) {
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}\n${more()}`);
    await delay(100);
  }
}

async function need(...argv: string[]): Promise<string> {
  const { code, out, err } = await run(argv);
  if (code !== 0) throw new Error(`${argv.join(' ')}: ${err}`);
  return out;
}

/** One host of a site: a network namespace with a daemon in it. */
export class SiteHost extends DockerDaemon {
  readonly name: string;
  readonly address: string;
  readonly namespace: string;
  #daemon: ChildProcess | undefined;
  #flags: readonly string[] = [];

  constructor(name: string, address: string, folder: string, namespace: string) {
    super(folder);
    this.name = name;
    this.address = address;
    this.namespace = namespace;
    mkdirSync(folder, { recursive: true });
  }

  get pid(): number {
    return this.#daemon?.pid ?? 0;
  }

  /** Process ids of its agent: one, or none while it is started anew. */
  get agents(): number[] {
    return this.#running(/\/agent\.[jt]s\0/);
  }

  /** Process ids of its agent's resolver: two while the next one takes over. */
  get resolvers(): number[] {
    return this.#running(/\/resolver-main\.[jt]s\0/);
  }

  /** Process ids of its gateway's workers. */
  get workers(): number[] {
    return processTree(this.pid).filter((pid) => {
      try {
        return /\/worker\.[jt]s\0/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
      } catch {
        return false;
      }
    });
  }

  /** This host as a place for programs. */
  get place(): Place {
    return { address: this.address, enter: ['nsenter', `--net=/run/netns/${this.namespace}`] };
  }

  /** Network namespaces that its agent has made for overlays; all hosts' are in one folder. */
  get overlays(): string[] {
    const prefix = /"prefix":"([^"]+)"/.exec(this.log)?.[1];
    if (prefix === undefined) throw new Error(`${this.name}: no agent has said its prefix`);
    return readdirSync('/run/netns').filter((name) => name.startsWith(`${prefix}.`));
  }

  /** Its address of the other family. */
  get address6(): string {
    return this.address.replace('192.0.2.', '2001:db8:2::');
  }

  /** The container of a task of a service on this host, empty without one. */
  async taskOf(service: string): Promise<string> {
    const filter = `label=com.docker.swarm.service.name=${service}`;
    return (await this.ok('ps', '-q', '--filter', filter)).split('\n')[0] ?? '';
  }

  /** Runs a command in the host's namespace. */
  run(...argv: string[]): Promise<Outcome> {
    return run(['nsenter', `--net=/run/netns/${this.namespace}`, ...argv]);
  }

  /** Resolves when the daemon answers. `{DIR}` in a flag stands for this host's folder. */
  async start(flags: readonly string[] = this.#flags): Promise<void> {
    this.#flags = flags;
    const log = join(this.folder, 'daemon.log');
    appendFileSync(log, '');
    const roots = ['--data-root', join(this.folder, 'data'), '--exec-root', this.#exec];
    const own = ['-H', `unix://${this.socket}`, ...roots, '-l', 'debug'];
    const given = flags.map((flag) => flag.replaceAll('{DIR}', this.folder));
    const argv = [process.execPath, SLUICED, ...own, ...given];
    const script = `hostname ${this.name} && exec "$@" >>${log} 2>&1`;
    this.#daemon = spawn(
      'nsenter',
      [`--net=/run/netns/${this.namespace}`, 'unshare', '--uts', 'sh', '-c', script, 'sh', ...argv],
      { stdio: 'ignore', env: { ...process.env, RUNTIME_DIRECTORY: join(this.folder, 'run') } },
    );
    await until(
      `the daemon of ${this.name} answers`,
      async () => {
        if (this.#daemon?.exitCode !== null) throw new Error(`the daemon ended:\n${this.log}`);
        return (await this.docker('version', '-f', '{{.Server.Version}}')).code === 0;
      },
      START_MS,
      () => this.log,
    );
  }

  /** Ends the daemon; `SIGKILL` leaves it no time for anything. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#daemon;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    const late = delay(STOP_MS, 'late', { ref: false });
    if ((await Promise.race([ended, late])) === 'late') child.kill('SIGKILL');
    await ended;
  }

  /** Cuts the host off, or joins it again. */
  async plug(joined: boolean): Promise<void> {
    await need('ip', '-n', this.namespace, 'link', 'set', 'eth0', joined ? 'up' : 'down');
  }

  /** Drops whatever it and others send each other, until that is undone with none. */
  async part(from: readonly SiteHost[]): Promise<void> {
    const ends = (side: string) =>
      from.flatMap(({ address, address6 }) => [
        `ip ${side} ${address} drop`,
        `ip6 ${side} ${address6} drop`,
      ]);
    const chain = (hook: string, rules: readonly string[]) =>
      `add chain inet parted ${hook} { type filter hook ${hook} priority -400; ${rules.join('; ')}; }`;
    const table = 'add table inet parted';
    const orders = [table, 'delete table inet parted'];
    if (from.length > 0) {
      orders.push(table, chain('prerouting', ends('saddr')), chain('output', ends('daddr')));
    }
    const { code, err } = await this.run('nft', orders.join('\n'));
    if (code !== 0) throw new Error(`${this.name} cannot be parted: ${err}`);
  }

  #running(program: RegExp): number[] {
    const all = processesOf(this.#exec).filter(({ line }) => program.test(line));
    // A child that it has just forked for a command still looks like it.
    const pids = all.map(({ pid }) => pid);
    return pids.filter((pid) => !pids.includes(parentOf(pid)));
  }

  get #exec(): string {
    return join(this.folder, 'exec');
  }
}

/**
 * What a load has met; `seen`: how often each name answered; `lastFailedAt`: when the last one that
 * failed was asked, in milliseconds since 1970, 0 for none.
 */
export type LoadResult = {
  readonly asked: number;
  readonly failed: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly seen: Readonly<Record<string, number>>;
  readonly lastFailedAt: number;
  /** How many it has opened, of one that keeps some. */
  readonly connections?: number;
  /** Requests a second that were reached, of one to web servers. */
  readonly rate?: number;
};

/** Requests that go on until they are ended. */
export class Load {
  readonly #child: ChildProcessWithoutNullStreams;
  #text = '';

  constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    child.stdout.on('data', (data) => {
      this.#text += data;
    });
  }

  /** Resolves when the last request is over. */
  async end(): Promise<LoadResult> {
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin.end();
    await ended;
    return JSON.parse(this.#text);
  }
}

/**
 * Several hosts on one bridge, each a network namespace with a daemon of its own, and a client
 * beside them. Nothing leads out of it.
 */
export class Site {
  readonly hosts: SiteHost[] = [];
  readonly folder = mkdtempSync(join(tmpdir(), 'sluice-site-'));
  readonly #prefix = `sle${process.pid}n${sites++}`;
  readonly #namespaces: string[] = [];
  readonly #children: ChildProcess[] = [];

  /** `flags` are every daemon's, or give them once the hosts are wired. */
  static async open(
    size: number,
    flags: readonly string[] | ((site: Site) => Promise<readonly string[]>) = [],
  ): Promise<Site> {
    const site = new Site();
    try {
      await site.#wire(size);
      const given = typeof flags === 'function' ? await flags(site) : flags;
      await Promise.all(site.hosts.map((host) => host.start(given)));
      return site;
    } catch (error) {
      await site.close();
      throw error;
    }
  }

  /** A cluster of all hosts; the first is the manager, the others are workers. */
  static async swarm(...order: Parameters<typeof Site.open>): Promise<Site> {
    const site = await Site.open(...order);
    const [size] = order;
    try {
      const [manager, ...workers] = site.hosts;
      if (!manager) return site;
      await manager.ok('swarm', 'init', '--advertise-addr', manager.address);
      const token = await manager.ok('swarm', 'join-token', '-q', 'worker');
      for (const worker of workers) {
        await worker.ok('swarm', 'join', '--token', token, `${manager.address}:2377`);
      }
      await until('every node is ready', async () => {
        const out = await manager.ok('node', 'ls', '--format', '{{.Status}}');
        return out.split('\n').filter((status) => status === 'Ready').length === size;
      });
      return site;
    } catch (error) {
      await site.close();
      throw error;
    }
  }

  /** A host by its number, which its name has: the first is 1. */
  host(number: number): SiteHost {
    const found = this.hosts[number - 1];
    if (!found) throw new Error(`host${number}: the site has ${this.hosts.length} hosts`);
    return found;
  }

  /** Waits until `check` holds; a failure shows the end of every daemon's log. */
  eventually(
    what: string,
    check: () => boolean | Promise<boolean>,
    timeoutMs = PATIENCE_MS,
  ): Promise<void> {
    const end = ({ name, log }: SiteHost) =>
      `${name}\n${log.split('\n').slice(-LOG_LINES).join('\n')}`;
    return until(what, check, timeoutMs, () => this.hosts.map(end).join('\n'));
  }

  /** The client beside the hosts as a place for programs. */
  get beside(): Place {
    const enter = ['nsenter', `--net=/run/netns/${this.#prefix}c`];
    return { address: `192.0.2.${CLIENT}`, enter };
  }

  /** Runs a command on the client beside the hosts. */
  client(...argv: string[]): Promise<Outcome> {
    return run([...this.beside.enter, ...argv]);
  }

  /** Asks a server from the client; its answer, empty when there is none. */
  async ask(transport: 'tcp' | 'udp', address: string, port: number): Promise<string> {
    return (await this.client(...this.asking(transport, address, port))).out.trim();
  }

  /** Asks the hosts in turn from the client, `rate` times a second, until it is ended. */
  load(rate: number, port: number, ...hosts: readonly string[]): Load {
    return this.#load(LOAD, String(rate), String(port), ...hosts);
  }

  /**
   * Asks web servers on the hosts in turn, `rate` times a second: `fresh` of 100 requests over a
   * connection of their own, the others over connections that are kept.
   */
  webLoad(
    { rate, fresh, port, name }: { rate: number; fresh: number; port: number; name: string },
    ...hosts: readonly SiteHost[]
  ): Load {
    const order = [rate, fresh, port].map(String);
    return this.#load(WEB_LOAD, ...order, name, ...hosts.map(({ address }) => address));
  }

  /** Asks one host for a name by HTTP, one request after the other, over as few connections as it can. */
  steady(host: SiteHost, name: string, port = 80): Load {
    return this.#load(STEADY, host.address, String(port), name);
  }

  #load(script: string, ...args: readonly string[]): Load {
    const namespace = `/run/netns/${this.#prefix}c`;
    const argv = [`--net=${namespace}`, process.execPath, script, ...args];
    const child = spawn('nsenter', argv, { stdio: 'pipe' });
    this.#children.push(child);
    return new Load(child);
  }

  /** Serves a port on the client. */
  async listen(name: string, port: number): Promise<void> {
    const argv = this.serving(name, `tcp:${port}`);
    const child = spawn('nsenter', [`--net=/run/netns/${this.#prefix}c`, ...argv]);
    this.#children.push(child);
    await until(`${name} listens`, async () => {
      return (await this.ask('tcp', '127.0.0.1', port)).startsWith(name);
    });
  }

  /** The command that asks a server once, for tasks. */
  asking(transport: 'tcp' | 'udp', address: string, port: number): string[] {
    return [process.execPath, PEER, 'ask', transport, address, String(port)];
  }

  /** The command of a server that answers with its name, for a service's tasks. */
  serving(name: string, ...ports: string[]): string[] {
    return [process.execPath, PEER, 'serve', name, ...ports];
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await Promise.all(
      this.hosts.map(async (host) => {
        // Or a manager that is still there would have other tasks in place of those removed.
        await host.docker('swarm', 'leave', '--force');
        const left = (await host.docker('ps', '-aq')).out.trim().split('\n').filter(Boolean);
        if (left.length > 0) await host.docker('rm', '-f', ...left);
        await host.stop();
      }),
    );
    this.#endRest();
    for (const name of this.#namespaces) await run(['ip', 'netns', 'del', name]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #add(suffix: string): Promise<string> {
    const name = `${this.#prefix}${suffix}`;
    await need('ip', 'netns', 'add', name);
    this.#namespaces.push(name);
    await need('ip', '-n', name, 'link', 'set', 'lo', 'up');
    return name;
  }

  async #wire(size: number): Promise<void> {
    const bridge = await this.#add('b');
    await need('ip', '-n', bridge, 'link', 'add', 'br0', 'type', 'bridge');
    await need('ip', '-n', bridge, 'link', 'set', 'br0', 'up');
    for (let at = 0; at < size; at++) {
      const namespace = await this.#plug(bridge, `h${at}`, FIRST_HOST + at);
      const name = `host${at + 1}`;
      const address = `192.0.2.${FIRST_HOST + at}`;
      this.hosts.push(new SiteHost(name, address, join(this.folder, name), namespace));
    }
    await this.#plug(bridge, 'c', CLIENT);
  }

  async #plug(bridge: string, suffix: string, last: number): Promise<string> {
    const name = await this.#add(suffix);
    const port = `p${last}`;
    await need(
      ...['ip', '-n', name, 'link', 'add', 'eth0', 'type', 'veth'],
      ...['peer', 'name', port, 'netns', bridge],
    );
    await need('ip', '-n', bridge, 'link', 'set', port, 'master', 'br0', 'up');
    await need('ip', '-n', name, 'addr', 'add', `192.0.2.${last}/24`, 'dev', 'eth0');
    const six = `2001:db8:2::${last}/64`;
    await need('ip', '-n', name, 'addr', 'add', six, 'dev', 'eth0', 'nodad');
    await need('ip', '-n', name, 'link', 'set', 'eth0', 'up');
    return name;
  }

  /** Agents and workers that a killed daemon has left. */
  #endRest(): void {
    for (const { pid } of processesOf(this.folder)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
  }
}

/** The parent of a process, 0 when it has ended. */
function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Other processes whose command line or environment refers to a folder. */
function processesOf(folder: string): { readonly pid: number; readonly line: string }[] {
  const pids = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  return pids.flatMap((pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      const all = line + readFileSync(`/proc/${pid}/environ`, 'utf8');
      return pid !== process.pid && all.includes(folder) ? { pid, line } : [];
    } catch {
      return [];
    }
  });
}
