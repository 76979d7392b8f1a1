import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = new URL('../../', import.meta.url).pathname;
const START_TIMEOUT_MS = 20_000;

/** `count` TCP ports of 127.0.0.1 that nobody listens on. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<net.Server>((resolve, reject) => {
          const server = net.createServer();
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** A real daemon that a test started, with its own directory. */
export class Gateway {
  readonly directory: string;
  readonly configPath: string;
  readonly adminPort: number;
  readonly process: ChildProcess;
  /** Everything that it printed. */
  output = '';

  constructor(directory: string, adminPort: number, child: ChildProcess) {
    this.directory = directory;
    this.configPath = join(directory, 'sluice.yaml');
    this.adminPort = adminPort;
    this.process = child;
    const collect = (data: Buffer) => {
      this.output += data.toString();
    };
    child.stdout?.on('data', collect);
    child.stderr?.on('data', collect);
  }

  /**
   * Starts `sluiced` on a configuration without `admin` (it is added) and waits until it is
   * ready. `{DIR}` in the text stands for the daemon's directory; `prepare` may put files there.
   */
  static async start(
    config: string,
    options: { workers?: number; prepare?: (directory: string) => unknown } = {},
  ): Promise<Gateway> {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-test-'));
    const [adminPort = 0] = await freePorts(1);
    await options.prepare?.(directory);
    const path = join(directory, 'sluice.yaml');
    writeFileSync(path, Gateway.#complete(config, directory, adminPort, options.workers));
    const child = spawn(process.execPath, [join(ROOT, 'src/main/sluiced.ts'), '--config', path], {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: directory,
    });
    const gateway = new Gateway(directory, adminPort, child);
    await gateway.#untilReady();
    return gateway;
  }

  /** Writes a new configuration; the daemon is not told. */
  write(config: string, workers?: number): void {
    writeFileSync(
      this.configPath,
      Gateway.#complete(config, this.directory, this.adminPort, workers),
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
    if (this.process.exitCode === null && this.process.signalCode === null) {
      const ended = new Promise((resolve) => this.process.once('exit', resolve));
      this.process.kill(signal);
      const last = setTimeout(() => this.process.kill('SIGKILL'), 10_000);
      await ended;
      clearTimeout(last);
    }
    rmSync(this.directory, { recursive: true, force: true });
  }

  static #complete(config: string, directory: string, adminPort: number, workers = 1): string {
    const own = `admin: { bind: "127.0.0.1:${adminPort}" }\nworkers: ${workers}\nshutdown: { timeout: 1s }\n`;
    return own + config.replaceAll('{DIR}', directory);
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

/** Waits until `condition` holds; fails with `what` after `timeoutMs`. */
export async function eventually(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 5000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
