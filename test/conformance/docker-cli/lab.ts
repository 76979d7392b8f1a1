import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { DockerDaemon, type Outcome, run } from '../../support/docker-daemon.ts';
import { endAll, isAlive } from '../../support/processes.ts';

const PEER = fileURLToPath(new URL('./peer.mjs', import.meta.url));
const REGISTRY_SERVER = fileURLToPath(new URL('./registry.mjs', import.meta.url));
const SLUICED = fileURLToPath(new URL('../../../src/main/sluiced.ts', import.meta.url));
const AGENT = fileURLToPath(new URL('../../../src/main/agent.ts', import.meta.url));
const START_MS = 60_000;
const STOP_MS = 20_000;

/** The host's address towards the client, and the client's. */
export const HOST = '198.51.100.1';
export const CLIENT = '198.51.100.2';
/** Where the client may run a registry; that of Docker is out of bounds. */
export const REGISTRY = `${CLIENT}:5000`;
export const HOST6 = '2001:db8:51::1';

let labs = 0;

/**
 * A host in a network namespace of its own with a daemon in it, and a client beside it. Only the
 * link between the two leads anywhere.
 */
export class Lab extends DockerDaemon {
  readonly #name = `slr-${process.pid}-${labs++}`;
  #daemon: ChildProcess | undefined;
  #successor: number | undefined;
  #flags: readonly string[] = [];
  #generation = 0;
  /** What the daemon is started through. */
  #prefix: readonly string[] = [];
  #roots: readonly string[] | undefined;

  constructor() {
    super(mkdtempSync(join(tmpdir(), 'sluice-lab-')));
  }

  static async open(flags: readonly string[] = []): Promise<Lab> {
    const lab = await Lab.make();
    try {
      await lab.start(flags);
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** A lab whose daemon is yet to be started. */
  static async make(): Promise<Lab> {
    const lab = new Lab();
    try {
      await lab.#wire();
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** The process that serves: another one than was started, after an upgrade. */
  get daemonPid(): number {
    return this.#successor ?? this.#daemon?.pid ?? 0;
  }

  set daemonPid(pid: number) {
    this.#successor = pid;
  }

  /** Runs a command in the host's namespace. */
  host(...argv: string[]): Promise<Outcome> {
    const { file, args } = this.command(...argv);
    return run([file, ...args]);
  }

  /** What runs a command in the host's namespace. */
  command(...argv: string[]): { file: string; args: string[] } {
    return { file: 'nsenter', args: [`--net=/run/netns/${this.#name}h`, ...argv] };
  }

  /** Runs a command in the client's namespace. */
  client(...argv: string[]): Promise<Outcome> {
    const { file, args } = this.clientCommand(...argv);
    return run([file, ...args]);
  }

  /** What runs a command in the client's namespace. */
  clientCommand(...argv: string[]): { file: string; args: string[] } {
    return { file: 'nsenter', args: [`--net=/run/netns/${this.#name}c`, ...argv] };
  }

  /** Asks a server from `host`, from `client`, or from a container by name. */
  async ask(
    from: string,
    transport: 'tcp' | 'udp',
    address: string,
    port: number,
  ): Promise<string> {
    const argv = [process.execPath, PEER, 'ask', transport, address, String(port)];
    if (from === 'client') return (await this.client(...argv)).out.trim();
    if (from === 'host') return (await this.host(...argv)).out.trim();
    return (await this.docker('exec', from, ...argv)).out.trim();
  }

  /** Starts a server in a new container; `options` are docker run's. Returns the id. */
  async serve(name: string, ports: readonly string[], ...options: string[]): Promise<string> {
    const id = await this.ok(
      ...['run', '-d', '--name', name, ...options, 'host'],
      ...[process.execPath, PEER, 'serve', name, ...ports],
    );
    return id;
  }

  /** Starts a server program in the client's namespace; returns its end. */
  async serveOutside(name: string, ...ports: string[]): Promise<() => void> {
    const argv = [
      `--net=/run/netns/${this.#name}c`,
      process.execPath,
      PEER,
      'serve',
      name,
      ...ports,
    ];
    const child = spawn('nsenter', argv, { stdio: 'ignore' });
    const listens = async () => (await this.client('ss', '-Hlntu')).out;
    const numbers = ports.map((port) => port.slice(port.indexOf(':')));
    await this.#until('it listens', async () => {
      const out = await listens();
      return numbers.every((number) => out.includes(`${number} `));
    });
    return () => child.kill('SIGKILL');
  }

  /** Starts a registry with one image in the client's namespace; returns its end. */
  async serveRegistry(folder: string, login?: string): Promise<() => void> {
    const [, port = ''] = REGISTRY.split(':');
    const argv = [REGISTRY_SERVER, folder, port, ...(login === undefined ? [] : [login])];
    const enter = `--net=/run/netns/${this.#name}c`;
    const child = spawn('nsenter', [enter, process.execPath, ...argv], { stdio: 'ignore' });
    await this.#until('the registry listens', async () =>
      (await this.client('ss', '-Hlnt')).out.includes(`:${port} `),
    );
    return () => child.kill('SIGKILL');
  }

  /** `docker inspect -f`. */
  inspect(name: string, format: string): Promise<string> {
    return this.ok('inspect', '-f', format, name);
  }

  addressOf(name: string, network = 'bridge'): Promise<string> {
    return this.inspect(name, `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`);
  }

  /** Removes every container, network and volume that a row has left. */
  async tidy(): Promise<void> {
    const ids = (await this.docker('ps', '-aq')).out.trim().split('\n').filter(Boolean);
    if (ids.length > 0) await this.docker('rm', '-f', ...ids);
    await this.docker('network', 'prune', '-f');
    await this.docker('volume', 'prune', '-af');
  }

  /** Starts the daemon anew with other flags and no state. */
  async fresh(flags: readonly string[]): Promise<void> {
    await this.tidy();
    await this.stop();
    await this.#forget();
    this.#generation++;
    await this.start(flags);
  }

  async start(flags: readonly string[] = this.#flags): Promise<void> {
    await this.launch(flags);
    await this.#until('the daemon answers', async () => {
      if (this.#daemon?.exitCode !== null) throw new Error(`the daemon ended:\n${this.log}`);
      return (await this.docker('version', '-f', '{{.Server.Version}}')).code === 0;
    });
  }

  async #until(what: string, condition: () => Promise<boolean>): Promise<void> {
    const end = performance.now() + START_MS;
    while (!(await condition())) {
      if (performance.now() > end)
        throw new Error(`not within ${START_MS} ms: ${what}\n${this.log}`);
      await delay(50);
    }
  }

  /** The agent as root, then the daemon as somebody else; returns the agent's end. */
  async startUnprivileged(owner: string): Promise<() => void> {
    const [uid = '', gid = ''] = owner.split(':');
    const folder = join(this.folder, 'unprivileged');
    const exec = join(folder, 'exec');
    mkdirSync(exec, { recursive: true });
    for (const path of [this.folder, folder, exec]) chmodSync(path, 0o755);
    const data = join(folder, 'data');
    mkdirSync(data);
    await run(['chown', owner, data, this.folder]);
    const enter = `--net=/run/netns/${this.#name}h`;
    const kept = ['--log-root', join(folder, 'logs'), '--volume-root', join(folder, 'volumes')];
    const agentFlags = ['--exec-root', exec, ...kept, '--owner', owner];
    const agentArgv = [enter, process.execPath, AGENT, ...agentFlags, '--prefix', 'slunpriv'];
    const agent = spawn('nsenter', agentArgv, { stdio: 'ignore' });
    await this.#until('the agent listens', async () => existsSync(join(exec, 'agent.sock')));
    this.#prefix = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
    this.#roots = ['--data-root', data, '--exec-root', exec];
    try {
      await this.start([]);
    } finally {
      [this.#prefix, this.#roots] = [[], undefined];
    }
    return () => agent.kill('SIGTERM');
  }

  /** Starts the daemon without waiting for it. */
  async launch(flags: readonly string[]): Promise<ChildProcess> {
    this.#flags = flags;
    this.#successor = undefined;
    const own = ['-H', `unix://${this.socket}`, ...this.roots(), '-l', 'debug'];
    const enter = [`--net=/run/netns/${this.#name}h`, ...this.#prefix];
    const argv = [...enter, process.execPath, SLUICED, ...own, ...flags];
    const log = join(this.folder, 'daemon.log');
    writeFileSync(log, '', { flag: 'a' });
    this.#daemon = spawn('sh', ['-c', `exec nsenter "$@" >>${log} 2>&1`, 'sh', ...argv], {
      stdio: 'ignore',
      env: {
        ...process.env,
        ...this.#podmanEnv(),
        RUNTIME_DIRECTORY: join(this.folder, 'run'),
      },
    });
    return this.#daemon;
  }

  /** Podman's store is the lab's own, and needs nothing of the file system below it. */
  #podmanEnv(): Record<string, string> {
    const folder = join(this.folder, 'podman');
    mkdirSync(folder, { recursive: true });
    const [storage, engine] = [join(folder, 'storage.conf'), join(folder, 'containers.conf')];
    const roots = `runroot="${folder}/run"\ngraphroot="${folder}/root"\n`;
    writeFileSync(storage, `[storage]\ndriver="vfs"\n${roots}`);
    writeFileSync(engine, `[engine]\ntmp_dir="${folder}/tmp"\n`);
    const registries = join(folder, 'registries.conf');
    const own = `[[registry]]\nlocation="${REGISTRY}"\ninsecure=true\n`;
    const outside = '[[registry]]\nprefix="docker.io"\nlocation="docker.io"\nblocked=true\n';
    writeFileSync(registries, `${own}${outside}`);
    return {
      CONTAINERS_STORAGE_CONF: storage,
      CONTAINERS_CONF: engine,
      CONTAINERS_REGISTRIES_CONF: registries,
    };
  }

  /** Runs podman on the lab's store, in the host's namespace. */
  async podman(...args: string[]): Promise<string> {
    const general = ['--cgroup-manager=cgroupfs', '--events-backend=none'];
    const { file, args: argv } = this.command('podman', ...general, ...args);
    const { code, out, err } = await run([file, ...argv], this.#podmanEnv());
    if (code !== 0) throw new Error(`podman ${args.join(' ')}: ${code}\n${out}${err}`);
    return out.trim();
  }

  /** Flags of the folders that this daemon alone uses. */
  roots(): readonly string[] {
    if (this.#roots) return this.#roots;
    const root = join(this.folder, `g${this.#generation}`);
    return ['--data-root', join(root, 'data'), '--exec-root', join(root, 'exec')];
  }

  /** Ends the daemon; `SIGKILL` leaves it no time for anything. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#daemon;
    if (this.#successor !== undefined) {
      endAll([this.#successor], signal);
      await this.#until('the successor ends', async () => !isAlive(this.#successor ?? 0));
    }
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    const late = delay(STOP_MS, 'late', { ref: false });
    if ((await Promise.race([ended, late])) === 'late') child.kill('SIGKILL');
    await ended;
  }

  async close(): Promise<void> {
    if (this.#daemon?.exitCode === null) await this.tidy();
    await this.stop();
    this.#endRest();
    for (const side of ['h', 'c']) await run(['ip', 'netns', 'del', `${this.#name}${side}`]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** One more daemon in the host's namespace; returns its end. */
  async beside(flags: readonly string[]): Promise<() => Promise<void>> {
    const argv = [`--net=/run/netns/${this.#name}h`, process.execPath, SLUICED, ...flags];
    const child = spawn('nsenter', argv, { stdio: 'ignore' });
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    return async () => {
      child.kill('SIGTERM');
      await Promise.race([ended, delay(STOP_MS, undefined, { ref: false })]);
      child.kill('SIGKILL');
    };
  }

  /** Takes away what the last daemon leaves to its next start, as another one comes. */
  async #forget(): Promise<void> {
    const { out } = await this.host('ip', '-br', 'link', 'show', 'type', 'bridge');
    for (const [link] of out.matchAll(/^\S+/gm)) await this.host('ip', 'link', 'del', link);
    await this.host('nft', 'flush', 'ruleset');
  }

  async #wire(): Promise<void> {
    const [host, client] = [`${this.#name}h`, `${this.#name}c`];
    for (const name of [host, client]) {
      await this.#need('ip', 'netns', 'add', name);
      await this.#need('ip', '-n', name, 'link', 'set', 'lo', 'up');
    }
    await this.#need(
      ...['ip', '-n', host, 'link', 'add', 'eth0', 'type', 'veth', 'peer'],
      ...['name', 'eth0', 'netns', client],
    );
    for (const [name, four, six] of [
      [host, `${HOST}/24`, `${HOST6}/64`],
      [client, `${CLIENT}/24`, '2001:db8:51::2/64'],
    ] as const) {
      await this.#need('ip', '-n', name, 'addr', 'add', four, 'dev', 'eth0');
      await this.#need('ip', '-n', name, 'addr', 'add', six, 'dev', 'eth0', 'nodad');
      await this.#need('ip', '-n', name, 'link', 'set', 'eth0', 'up');
    }
    await this.#need('ip', '-n', host, 'route', 'add', 'default', 'via', CLIENT);
  }

  async #need(...argv: string[]): Promise<void> {
    const { code, err } = await run(argv);
    if (code !== 0) throw new Error(`${argv.join(' ')}: ${err}`);
  }

  /** Agents of this lab's daemons. */
  agents(): number[] {
    return this.#processes()
      .filter(([, line]) => line.includes('agent.ts'))
      .map(([pid]) => pid);
  }

  /** Processes that still refer to this lab's folder: an agent that a test has orphaned. */
  #endRest(): void {
    for (const [pid] of this.#processes()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
  }

  #processes(): [number, string][] {
    return readdirSync('/proc').flatMap((name): [number, string][] => {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
      try {
        const line = readFileSync(`/proc/${name}/cmdline`, 'utf8');
        return line.includes(this.folder) ? [[Number(name), line]] : [];
      } catch {
        return [];
      }
    });
  }
}
