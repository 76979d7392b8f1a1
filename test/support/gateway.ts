import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endAll, isAlive } from './processes.ts';

const ROOT = new URL('../../', import.meta.url).pathname;
const START_TIMEOUT_MS = 60_000;

/** Below the ports that the kernel hands out, so that no client of another test gets one of them. */
const PORTS = { first: 10_000, count: 22_000 };
/** Ports of one process of tests, whose first it holds so that no other takes a port of them. */
const BLOCK = 100;
let nextPort = 0;
let portsLeft = 0;

/** Listens on a port if nobody does. */
function hold(port: number): Promise<net.Server | undefined> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

async function takeBlock(): Promise<void> {
  const count = PORTS.count / BLOCK;
  const any = Math.floor(Math.random() * count);
  for (let tries = 0; tries < count; tries++) {
    const first = PORTS.first + ((any + tries) % count) * BLOCK;
    const held = await hold(first);
    if (!held) continue;
    held.unref();
    [nextPort, portsLeft] = [first + 1, BLOCK - 1];
    return;
  }
  throw new Error('every block of ports is in use');
}

/** `count` TCP ports of 127.0.0.1 that nobody listens on; no other process of tests gets them. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    if (portsLeft === 0) await takeBlock();
    portsLeft--;
    const port = nextPort++;
    const held = await hold(port);
    if (!held) continue;
    await new Promise((resolve) => held.close(resolve));
    ports.push(port);
  }
  return ports;
}

/** How a test starts its daemon. */
export type StartOptions = {
  readonly workers?: number;
  readonly prepare?: (directory: string) => unknown;
  /** What HAProxy's runtime API at `run.sock` of its directory allows; absent: there is none. */
  readonly runtime?: 'user' | 'operator' | 'admin';
  /** More arguments; `{DIR}` stands for the daemon's directory. */
  readonly args?: readonly string[];
  /** A program and its arguments, which run the daemon. */
  readonly prefix?: readonly string[];
  /** More of the environment, `{DIR}` as above. */
  readonly env?: Readonly<NodeJS.ProcessEnv>;
  /** Where it is started; default: its own directory. */
  readonly cwd?: string;
};

/** A real daemon that a test started, with its own directory. */
export class Gateway {
  readonly directory: string;
  readonly configPath: string;
  readonly adminPort: number;
  readonly #options: StartOptions;
  /** The process that the test has started last. */
  process: ChildProcess;
  /** The process that serves: another one than was started, after an upgrade. */
  pid: number;
  /** Everything that it and its successors printed. */
  output = '';

  constructor(directory: string, adminPort: number, options: StartOptions) {
    this.directory = directory;
    this.configPath = join(directory, 'sluice.yaml');
    this.adminPort = adminPort;
    this.#options = options;
    this.process = this.#spawn();
    this.pid = this.process.pid ?? 0;
  }

  /**
   * Starts `sluiced` on a configuration without `admin` (it is added) and waits until it is
   * ready. `{DIR}` in the text stands for the daemon's directory; `prepare` may put files there.
   */
  static async start(config: string, options: StartOptions = {}): Promise<Gateway> {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-test-'));
    const [adminPort = 0] = await freePorts(1);
    await options.prepare?.(directory);
    const path = join(directory, 'sluice.yaml');
    writeFileSync(path, Gateway.#complete(config, directory, adminPort, options));
    const gateway = new Gateway(directory, adminPort, options);
    await gateway.#untilReady();
    return gateway;
  }

  /** Starts the daemon again, after its process has ended, and waits until it is ready. */
  async startAgain(): Promise<void> {
    this.process = this.#spawn();
    this.pid = this.process.pid ?? 0;
    await this.#untilReady();
  }

  /** Runs a second daemon on the same configuration until it ends. */
  async startSecond(): Promise<{ code: number | null; output: string }> {
    const child = this.#spawn();
    let output = '';
    child.stderr?.on('data', (data) => {
      output += data;
    });
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { code, output };
  }

  /** Lets a new daemon take over; the answer of the one before. */
  async upgrade(): Promise<{ status: number; text: string }> {
    const answer = await this.admin('/v1/upgrade', { method: 'POST' });
    if (answer.status === 200) this.pid = (JSON.parse(answer.text) as { pid: number }).pid;
    return answer;
  }

  /** Pids of the workers that serve. */
  async workers(): Promise<number[]> {
    const { text } = await this.admin('/v1/status');
    return (JSON.parse(text) as { workers: { pid: number }[] }).workers.map(({ pid }) => pid);
  }

  #spawn(): ChildProcess {
    const args = (this.#options.args ?? []).map((arg) => arg.replaceAll('{DIR}', this.directory));
    const more = Object.entries(this.#options.env ?? {});
    const env = Object.fromEntries(
      more.map(([name, value]) => [name, value?.replaceAll('{DIR}', this.directory)]),
    );
    const command = [process.execPath, join(ROOT, 'src/main/sluiced.ts')];
    const [program = '', ...rest] = [...(this.#options.prefix ?? []), ...command];
    const child = spawn(program, [...rest, '--config', this.configPath, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: this.#options.cwd ?? this.directory,
      env: { ...process.env, RUNTIME_DIRECTORY: this.directory, ...env },
    });
    const collect = (data: Buffer) => {
      this.output += data.toString();
    };
    child.stdout?.on('data', collect);
    child.stderr?.on('data', collect);
    return child;
  }

  /** Writes a new configuration; the daemon is not told. */
  write(config: string, workers?: number): void {
    writeFileSync(
      this.configPath,
      Gateway.#complete(config, this.directory, this.adminPort, {
        ...this.#options,
        ...(workers === undefined ? {} : { workers }),
      }),
    );
  }

  /** Asks the admin API; the answer's status and text. */
  async admin(path: string, init?: RequestInit): Promise<{ status: number; text: string }> {
    const answer = await fetch(`http://127.0.0.1:${this.adminPort}${path}`, init);
    return { status: answer.status, text: await answer.text() };
  }

  /** One sample of /metrics by its full series text, or undefined. */
  async metric(series: string): Promise<number | undefined> {
    const { text } = await this.admin('/metrics');
    const line = text.split('\n').find((one) => one.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length + 1));
  }

  /** Ends the daemon (its workers follow) and removes its directory. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const started = this.process.pid ?? 0;
    endAll([this.pid], signal);
    const ended = () => !isAlive(this.pid) && !isAlive(started);
    await eventually('the daemon ends', ended, 10_000).catch(() => endAll([this.pid, started]));
    rmSync(this.directory, { recursive: true, force: true });
  }

  static #complete(
    config: string,
    directory: string,
    adminPort: number,
    { workers = 1, runtime: level }: StartOptions,
  ): string {
    const shutdown = config.includes('shutdown:') ? '' : 'shutdown: { timeout: 1s }\n';
    const runtime = level ? `, runtime: { bind: "unix:{DIR}/run.sock", level: ${level} }` : '';
    const admin = `admin: { bind: "127.0.0.1:${adminPort}"${runtime} }`;
    const own = `${admin}\nworkers: ${workers}\n${shutdown}`;
    return (own + config).replaceAll('{DIR}', directory);
  }

  async #untilReady(): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      if (this.process.exitCode !== null) throw new Error(`sluiced ended:\n${this.output}`);
      if (performance.now() > deadline) {
        this.process.kill('SIGKILL');
        throw new Error(`sluiced is not ready:\n${this.output}`);
      }
      const ready = await this.admin('/readyz').catch(() => undefined);
      if (ready?.status === 200) return;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}

/** Waits until `condition` holds; fails with `what` after `timeoutMs`, which only failures wait for. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 30_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
