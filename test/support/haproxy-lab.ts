import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
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
  readonly body?: string;
  /** Sent as SNI; then it is asked over TLS. */
  readonly serverName?: string;
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

/** One request to a port of 127.0.0.1; a connection that is refused or cut has status 0. */
export function ask(port: number, one: Ask): Promise<Reply> {
  const { path = '/', method = 'GET', host, headers, body: sent, serverName } = one;
  const all = { host: host ?? 'www.example.com', ...headers };
  const plain = { host: '127.0.0.1', port, path, method, headers: all, agent: false };
  const options = { ...plain, servername: serverName, rejectUnauthorized: false };
  return new Promise((resolve) => {
    const lost = () => resolve({ status: 0, headers: {}, body: '' });
    const request = (serverName === undefined ? http : https).request(options, (response) => {
      let body = '';
      response.on('data', (data) => {
        body += data;
      });
      response.on('error', lost);
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      });
    });
    request.on('error', lost);
    request.end(sent);
  });
}

/** How a server of the tests is reached. */
export type EchoOptions = {
  readonly host?: string;
  /** Certificate and key in one text. */
  readonly pem?: string;
};

/** A server that tells who it is and what it got; `/status/N` answers so, `/slow` never. */
export class Echo {
  readonly #server: http.Server | https.Server;
  readonly #port: number;
  readonly #host: string;
  /** More fields of its answers. */
  fields: http.OutgoingHttpHeaders = {};

  constructor(name: string, port: number, { host = '127.0.0.1', pem }: EchoOptions = {}) {
    this.#port = port;
    this.#host = host;
    const answer: http.RequestListener = ({ method, headers, url = '' }, response) => {
      if (url.startsWith('/slow')) return;
      const status = Number(/^\/status\/(\d+)/.exec(url)?.[1] ?? 200);
      const fields = { 'content-type': 'application/json', 'x-powered-by': 'echo' };
      response.writeHead(status, { ...fields, ...this.fields });
      response.end(JSON.stringify({ name, method, url, headers }));
    };
    this.#server = pem
      ? https.createServer({ cert: pem, key: pem }, answer)
      : http.createServer(answer);
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.#port, this.#host, resolve));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

/** A fixture before HAProxy and before Sluice, with the same servers behind them. */
export class HaproxyLab {
  readonly servers: Ports;
  readonly sides: { readonly haproxy: Ports; readonly sluice: Ports };
  readonly gateway: Gateway;
  /** The file that the gateway runs. */
  readonly file: string;

  private constructor(
    file: string,
    servers: Ports,
    sides: { haproxy: Ports; sluice: Ports },
    gateway: Gateway,
  ) {
    this.file = file;
    this.servers = servers;
    this.sides = sides;
    this.gateway = gateway;
  }

  /**
   * Starts both on copies of a fixture whose ports are others: those from 9000 on and `more` are
   * servers', all others listen. `prepare` may put files beside it; `alone`: without HAProxy;
   * `theirs`: the fixture that HAProxy gets, where ours is in words that it no longer takes.
   */
  static async start(
    t: TestContext,
    fixture: string,
    options: {
      prepare?: (directory: string) => void;
      servers?: Ports;
      alone?: boolean;
      theirs?: string;
    } = {},
  ): Promise<HaproxyLab> {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-haproxy-'));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    cpSync(FIXTURES, directory, { recursive: true });
    options.prepare?.(directory);
    const read = (name: string) =>
      readFileSync(join(FIXTURES, name), 'utf8').replaceAll(HOST_LINES, '');
    const text = read(fixture);
    const texts = { haproxy: read(options.theirs ?? fixture), sluice: text };
    const names = [...new Set(text.match(/(?<=[:,-]|PORT-)\d{4,5}\b/g)?.map(Number))];
    const fixed = options.servers ?? new Map<number, number>();
    const listening = names.filter((port) => port < 9000 && !fixed.has(port));
    const fresh = await freshPorts(names.filter((port) => port >= 9000 && !fixed.has(port)));
    const servers = new Map([...fresh, ...fixed]);
    const sides = { haproxy: await freshPorts(listening), sluice: await freshPorts(listening) };
    const file = (side: keyof typeof sides) => {
      const path = join(directory, `${side}-${fixture}`);
      writeFileSync(path, withPorts(texts[side], new Map([...servers, ...sides[side]])));
      return path;
    };
    const env = { CERTS: directory };
    if (!options.alone) await startHaproxy(t, file('haproxy'), directory, env);
    const own = file('sluice');
    const args = ['--config', own];
    const gateway = await Gateway.start('', { args, env, cwd: directory });
    t.after(() => gateway.stop());
    const lab = new HaproxyLab(own, servers, sides, gateway);
    const started = options.alone ? [sides.sluice] : Object.values(sides);
    for (const port of started.flatMap((ports) => [...ports.values()])) await listens(port);
    return lab;
  }

  /** A server of the fixture, started and ended with the test. */
  async serve(t: TestContext, port: number, options?: EchoOptions): Promise<Echo> {
    const echo = new Echo(String(port), this.servers.get(port) ?? 0, options);
    await echo.start();
    t.after(() => echo.stop());
    return echo;
  }

  /** A server of another address and name on a port of the fixture. */
  async serveAt(t: TestContext, name: string, port: number, host: string): Promise<Echo> {
    const echo = new Echo(name, this.servers.get(port) ?? 0, { host });
    await echo.start();
    t.after(() => echo.stop());
    return echo;
  }

  /** Asks both; ports in the replies are those of the fixture. */
  async both(one: Ask): Promise<{ haproxy: Reply; sluice: Reply }> {
    const reply = async (ports: Ports): Promise<Reply> => {
      const text = JSON.stringify(await ask(ports.get(one.port) ?? 0, one));
      const names = new Map([...ports].map(([name, port]) => [String(port), String(name)]));
      return JSON.parse(text.replaceAll(/\b\d{5}\b/g, (port) => names.get(port) ?? port)) as Reply;
    };
    return { haproxy: await reply(this.sides.haproxy), sluice: await reply(this.sides.sluice) };
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
  // The gateway writes names of hosts in small letters.
  request.headers['host'] = request.headers['host']?.toLowerCase() ?? '';
  const fields = Object.entries(request.headers).filter(([name]) => !OWN.test(name));
  return { ...request, headers: Object.fromEntries(fields.sort(([a], [b]) => (a < b ? -1 : 1))) };
}

/** The name of the server that answered. */
export function servedBy({ body, status }: Reply): string {
  return body.startsWith('{') ? (JSON.parse(body) as { name: string }).name : `status ${status}`;
}

/** Both give the same answers, and endpoints the same requests. */
export async function sameAnswers(lab: HaproxyLab, asks: readonly Ask[]): Promise<void> {
  for (const one of asks) {
    const { haproxy, sluice } = await lab.both(one);
    assert.deepEqual(comparable(sluice), comparable(haproxy), JSON.stringify(one));
  }
}

/** Who answers `count` requests of each, by name. */
export async function spread(lab: HaproxyLab, one: Ask, count: number) {
  const served = { haproxy: new Map<string, number>(), sluice: new Map<string, number>() };
  const note = (map: Map<string, number>, reply: Reply) => {
    const name = servedBy(reply);
    map.set(name, (map.get(name) ?? 0) + 1);
  };
  for (let sent = 0; sent < count; sent++) {
    const { haproxy, sluice } = await lab.both(one);
    note(served.haproxy, haproxy);
    note(served.sluice, sluice);
  }
  const sorted = (map: Map<string, number>) => Object.fromEntries([...map].sort());
  return { haproxy: sorted(served.haproxy), sluice: sorted(served.sluice) };
}

/** Both let these servers alone answer. */
export function servedOnlyBy(lab: HaproxyLab, one: Ask, names: readonly string[]): Promise<void> {
  return eventually(`served by ${names}`, async () => {
    const { haproxy, sluice } = await spread(lab, one, 2 * names.length + 2);
    return [haproxy, sluice].every((map) => Object.keys(map).join() === [...names].sort().join());
  });
}

/** Servers on ports of the fixture. */
export async function serveAll(
  t: TestContext,
  lab: HaproxyLab,
  ports: readonly number[],
  options?: EchoOptions,
) {
  const echoes = new Map<number, Awaited<ReturnType<HaproxyLab['serve']>>>();
  for (const port of ports) echoes.set(port, await lab.serve(t, port, options));
  return echoes;
}
