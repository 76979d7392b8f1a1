import { cpSync, readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import { join } from 'node:path';
import { WebSocketServer } from 'ws';
import { toYaml } from '../../src/config/foreign.ts';
import { importNginx } from '../../src/importers/nginx/import-nginx.ts';
import type { ImportResult } from '../../src/importers/report.ts';
import { fileIo } from '../../src/main/config-source.ts';
import { freePorts, Gateway } from './gateway.ts';
import { Nginx } from './nginx.ts';

export const FIXTURES = new URL('../fixtures/nginx/', import.meta.url).pathname;

/** One request that both get. */
export type Asked = {
  readonly path: string;
  readonly method?: string;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: string;
  /** Of the file; default: the first. */
  readonly listen?: number;
  /** Asked by TLS, with this server name. */
  readonly serverName?: string;
};

/** What is compared of an answer. */
export type Seen = {
  readonly status: number;
  readonly location: string | undefined;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
};

/** An HTTP server that answers with its name and with what it has got. */
export class EchoBackend {
  readonly name: string;
  port = 0;
  /** What it answers with. */
  status = 200;
  readonly #server: http.Server;

  constructor(name: string) {
    this.name = name;
    this.#server = http.createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { method, url = '', headers } = request;
        if (url.includes('hang')) return;
        const body = Buffer.concat(chunks).length;
        response.statusCode = url === '/' && headers.host === 'localhost' ? 200 : this.status;
        response.setHeader('x-backend', this.name);
        response.end(JSON.stringify({ name, method, url, headers: told(headers), body }));
      });
    });
    new WebSocketServer({ server: this.#server }).on('connection', (socket) => {
      socket.on('message', (data) => socket.send(`${name}: ${data}`));
    });
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    // exempt(as): a server on a port has such an address.
    this.port = (this.#server.address() as net.AddressInfo).port;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** Fields without those of a single connection. */
function told(headers: http.IncomingHttpHeaders): http.IncomingHttpHeaders {
  const { connection, ...rest } = headers;
  return rest;
}

/** Ports of a fixture, and those that stand for them. */
export type Ports = ReadonlyMap<number, number>;

/** nginx on a file, and Sluice on what was made of it, before the same backends. */
export class SideBySide {
  readonly nginx: Nginx;
  readonly sluice: Gateway;
  readonly result: ImportResult;
  readonly #ports: { nginx: Ports; sluice: Ports };

  private constructor(
    nginx: Nginx,
    sluice: Gateway,
    result: ImportResult,
    ports: { nginx: Ports; sluice: Ports },
  ) {
    this.nginx = nginx;
    this.sluice = sluice;
    this.result = result;
    this.#ports = ports;
  }

  /**
   * Starts both. `listens` are ports that the file listens on, `backends` those that it sends to, as
   * they are written there; `prepare` puts more files beside it.
   */
  static async start(
    fixture: string,
    listens: readonly number[],
    backends: Ports,
    prepare: (directory: string) => void = () => {},
  ): Promise<SideBySide> {
    const text = readFileSync(join(FIXTURES, fixture), 'utf8');
    const [theirs, ours] = [await stand(listens), await stand(listens)];
    const place = (directory: string) => {
      cpSync(FIXTURES, directory, { recursive: true });
      prepare(directory);
    };
    const own = (ports: Ports) => rewritten(text, new Map([...backends, ...ports]));
    const nginx = await Nginx.start(own(theirs), theirs.get(listens[0] ?? 0) ?? 0, place);
    const result = importNginx(own(ours), join(nginx.directory, 'nginx.conf'), fileIo({}));
    const sluice = await Gateway.start(toYaml(result.config));
    return new SideBySide(nginx, sluice, result, { nginx: theirs, sluice: ours });
  }

  port(which: 'nginx' | 'sluice', listen: number): number {
    return this.#ports[which].get(listen) ?? 0;
  }

  /** The answers of both, with their own ports named as the file names them. */
  async ask(asked: Asked): Promise<{ nginx: Seen; sluice: Seen }> {
    const [nginx, sluice] = await Promise.all([
      this.#one('nginx', asked),
      this.#one('sluice', asked),
    ]);
    return { nginx, sluice };
  }

  async #one(which: 'nginx' | 'sluice', asked: Asked): Promise<Seen> {
    const ports = this.#ports[which];
    const listen = asked.listen ?? [...ports.keys()][0] ?? 0;
    const port = ports.get(listen) ?? 0;
    const back = new Map([...ports].map(([written, real]) => [real, written]));
    const { status, headers, text } = await request(port, asked);
    const location = headers.location && resolved(headers.location, asked, port);
    return {
      status,
      headers,
      location: location && rewritten(location, back),
      text: rewritten(text, back),
    };
  }

  async stop(): Promise<void> {
    await this.nginx.stop();
    await this.sluice.stop();
  }
}

async function stand(listens: readonly number[]): Promise<Ports> {
  const free = await freePorts(listens.length);
  return new Map(listens.map((port, index) => [port, free[index] ?? 0]));
}

function rewritten(text: string, ports: Ports): string {
  return text.replaceAll(/\b\d{4,5}\b/g, (one) => String(ports.get(Number(one)) ?? one));
}

/** A relative Location is one of the address that was asked. */
function resolved(location: string, { headers }: Asked, port: number): string {
  const host = String(headers?.['host'] ?? `127.0.0.1:${port}`);
  const url = new URL(location, `http://${host}`);
  // nginx adds the port that it listens on where the client named none.
  if (url.hostname === host.replace(/:\d+$/, '')) url.port = '';
  return url.href;
}

function request(port: number, asked: Asked): Promise<Omit<Seen, 'location'>> {
  const { path, method = 'GET', headers = {}, body, serverName } = asked;
  const options = { host: '127.0.0.1', port, path, method, headers, agent: false, timeout: 20_000 };
  return new Promise((resolve, reject) => {
    const made =
      serverName === undefined
        ? http.request(options)
        : https.request({ ...options, servername: serverName, rejectUnauthorized: false });
    made.on('response', (response) => {
      let text = '';
      response.on('data', (data) => {
        text += data;
      });
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
    });
    made.on('timeout', () => made.destroy(new Error(`no answer to ${path}`)));
    made.on('error', reject);
    made.end(body);
  });
}
