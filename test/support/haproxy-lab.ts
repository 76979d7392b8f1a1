import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { eventually, freePorts, Gateway } from './gateway.ts';

const FIXTURES = new URL('../fixtures/haproxy/', import.meta.url).pathname;

/** What one of both answered. */
export type Reply = {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
};

/** A request to a port of the fixture. */
export type Ask = {
  readonly port: number;
  readonly path?: string;
  readonly method?: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
};

/** What a test may not do on the machine that it runs on. */
const HOST_LINES = /^\s*(chroot|user haproxy|group haproxy|daemon|stats socket|nbproc).*$/gm;

/** The ports of one side by those that the fixture names. */
type Ports = ReadonlyMap<number, number>;

async function freshPorts(names: readonly number[]): Promise<Ports> {
  const ports = await freePorts(names.length);
  return new Map(names.map((name, index) => [name, ports[index] ?? 0]));
}

function withPorts(text: string, ports: Ports): string {
  const place = /(?<=[:,-]|PORT-)(\d{4,5})\b/g;
  return text.replaceAll(place, (port) => String(ports.get(Number(port)) ?? port));
}

/** One request to a port of 127.0.0.1. */
export function ask(
  port: number,
  { path = '/', method = 'GET', host, headers }: Ask,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const all = { host: host ?? 'www.example.com', ...headers };
    const options = { host: '127.0.0.1', port, path, method, headers: all, agent: false };
    const request = http.request(options, (response) => {
      let body = '';
      response.on('data', (data) => {
        body += data;
      });
      response.on('error', reject);
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      });
    });
    request.on('error', reject);
    request.end();
  });
}

/** A server that tells who it is and what it got; `/status/N` answers so, `/hang` never. */
export class Echo {
  readonly #server: http.Server;
  readonly #port: number;

  constructor(name: string, port: number) {
    this.#port = port;
    this.#server = http.createServer((request, response) => {
      const url = request.url ?? '';
      if (url.startsWith('/slow')) return;
      const status = Number(/^\/status\/(\d+)/.exec(url)?.[1] ?? 200);
      response.writeHead(status, { 'content-type': 'application/json', 'x-powered-by': 'echo' });
      const { method, headers } = request;
      response.end(JSON.stringify({ name, method, url, headers }));
    });
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.#port, '127.0.0.1', resolve));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

/** A fixture before HAProxy and before Sluice, with the same servers behind them. */
export class HaproxyLab {
  readonly directory: string;
  readonly servers: Ports;
  readonly sides: { readonly haproxy: Ports; readonly sluice: Ports };
  readonly gateway: Gateway;

  private constructor(
    directory: string,
    servers: Ports,
    sides: { haproxy: Ports; sluice: Ports },
    gateway: Gateway,
  ) {
    this.directory = directory;
    this.servers = servers;
    this.sides = sides;
    this.gateway = gateway;
  }

  /**
   * Starts both on copies of a fixture whose ports are others: those from 9000 on and `more` are
   * servers', all others listen. `prepare` may put files beside it.
   */
  static async start(
    t: TestContext,
    fixture: string,
    options: { prepare?: (directory: string) => void; servers?: Ports } = {},
  ): Promise<HaproxyLab> {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-haproxy-'));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    cpSync(FIXTURES, directory, { recursive: true });
    options.prepare?.(directory);
    const text = readFileSync(join(FIXTURES, fixture), 'utf8').replaceAll(HOST_LINES, '');
    const names = [...new Set(text.match(/(?<=[:,-]|PORT-)\d{4,5}\b/g)?.map(Number))];
    const fixed = options.servers ?? new Map<number, number>();
    const listening = names.filter((port) => port < 9000 && !fixed.has(port));
    const fresh = await freshPorts(names.filter((port) => port >= 9000 && !fixed.has(port)));
    const servers = new Map([...fresh, ...fixed]);
    const sides = { haproxy: await freshPorts(listening), sluice: await freshPorts(listening) };
    const file = (side: keyof typeof sides) => {
      const path = join(directory, `${side}-${fixture}`);
      writeFileSync(path, withPorts(text, new Map([...servers, ...sides[side]])));
      return path;
    };
    const env = { CERTS: directory };
    await startHaproxy(t, file('haproxy'), directory, env);
    const args = ['--config', file('sluice')];
    const gateway = await Gateway.start('', { args, env, cwd: directory });
    t.after(() => gateway.stop());
    const lab = new HaproxyLab(directory, servers, sides, gateway);
    for (const ports of Object.values(sides))
      for (const port of ports.values()) await listens(port);
    return lab;
  }

  /** A server of the fixture, started and ended with the test. */
  async serve(t: TestContext, port: number): Promise<Echo> {
    const echo = new Echo(String(port), this.servers.get(port) ?? 0);
    await echo.start();
    t.after(() => echo.stop());
    return echo;
  }

  /** Asks both. */
  async both(one: Ask): Promise<{ haproxy: Reply; sluice: Reply }> {
    const { haproxy, sluice } = this.sides;
    return {
      haproxy: await ask(haproxy.get(one.port) ?? 0, one),
      sluice: await ask(sluice.get(one.port) ?? 0, one),
    };
  }
}

async function startHaproxy(
  t: TestContext,
  path: string,
  cwd: string,
  more: Readonly<Record<string, string>>,
): Promise<void> {
  const env = { ...process.env, ...more };
  const child = spawn('haproxy', ['-db', '-f', path], {
    cwd,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      output += data.toString();
    });
  }
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  t.after(() => {
    child.kill('SIGKILL');
    return ended;
  });
  await new Promise((resolve) => setImmediate(resolve));
  if (child.exitCode !== null) throw new Error(`haproxy ended:\n${output}`);
  child.once('exit', (code) => {
    if (code) process.stderr.write(`haproxy ended:\n${output}\n`);
  });
}

async function listens(port: number): Promise<void> {
  await eventually(`port ${port} listens`, () => {
    return new Promise<boolean>((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => resolve(true));
      socket.on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
  });
}

/** What both are to say alike: fields of the connection and of the program are their own. */
const OWN = /^(date|connection|keep-alive|content-length|transfer-encoding|server|cache-control)$/;

/** A reply in the form in which both are compared; what a server was told, too. */
export function comparable({ status, headers, body }: Reply): object {
  const kept = Object.entries(headers).filter(([name]) => !OWN.test(name) && name !== 'set-cookie');
  // An answer of the gateway itself has a body of its own.
  const served = body.startsWith('{') ? told(body) : undefined;
  const fields = Object.fromEntries(served ? kept : kept.filter(([name]) => name === 'location'));
  return { status, fields, served };
}

function told(body: string): object {
  const request = JSON.parse(body) as { headers: Record<string, string> };
  const fields = Object.entries(request.headers).filter(([name]) => !OWN.test(name));
  return { ...request, headers: Object.fromEntries(fields.sort(([a], [b]) => (a < b ? -1 : 1))) };
}

/** The name of the server that answered. */
export function servedBy({ body, status }: Reply): string {
  return body.startsWith('{') ? (JSON.parse(body) as { name: string }).name : `status ${status}`;
}
