import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { systemClock } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import { invalid } from '../../base/faults.ts';
import type { Logger } from '../../base/logger.ts';
import { systemRng } from '../../base/rng.ts';
import type { ClusterMember } from '../../control/cluster/member.ts';
import type { Engine } from '../../control/engine.ts';
import { archiveRoutes } from './archive-routes.ts';
import { CallsUnderWay } from './calls.ts';
import { containerRoutes } from './container-routes.ts';
import { eventRoutes } from './event-routes.ts';
import { Fields } from './fields.ts';
import { fileRoutes } from './file-routes.ts';
import { type Answer, type Call, faultAnswer, Router, type Upgraded } from './http.ts';
import { imageRoutes } from './image-routes.ts';
import { networkRoutes } from './network-routes.ts';
import { Query } from './query.ts';
import { serviceRoutes } from './service-routes.ts';
import { streamRoutes } from './stream-routes.ts';
import { swarmRoutes } from './swarm-routes.ts';
import { swarmHeader } from './swarm-view.ts';
import { type EngineFacts, systemRoutes } from './system-routes.ts';
import { taskLogRoutes } from './task-log-routes.ts';
import { taskRoutes } from './task-routes.ts';
import { API_VERSION, splitVersion } from './versions.ts';
import { volumeRoutes } from './volume-routes.ts';

const MAX_BODY = 4 * 1024 * 1024;
/** Connections of one listener; waits, events and attached streams hold one each. */
const MAX_CONNECTIONS = 8192;
const KEEP_ALIVE_MS = 60_000;
const HEADERS_TIMEOUT_MS = 30_000;

/** Certificates of a listener that asks its clients for theirs. */
export type EngineTls = { readonly cert: string; readonly key: string; readonly ca: string };

/** The Engine API over any number of listeners. */
export class EngineServer {
  #router: Router;
  #member: ClusterMember;
  readonly #facts: () => EngineFacts;
  readonly #logger: Logger;
  readonly #servers = new Set<Server>();
  readonly #upgraded = new Set<Duplex>();
  readonly #calls = new CallsUnderWay();
  #phase: 'serving' | 'leaving' | 'left' = 'serving';

  constructor(engine: Engine, member: ClusterMember, facts: () => EngineFacts, logger: Logger) {
    this.#facts = facts;
    this.#member = member;
    this.#logger = logger;
    this.#router = this.#routerOf(engine, member);
  }

  /** Serves another engine from now on. */
  serve(engine: Engine, member: ClusterMember): void {
    this.#member = member;
    this.#router = this.#routerOf(engine, member);
    this.#phase = 'serving';
  }

  #routerOf(engine: Engine, member: ClusterMember): Router {
    return new Router([
      ...systemRoutes(engine, member, this.#facts),
      ...networkRoutes(engine, member, systemClock),
      ...containerRoutes(engine),
      ...streamRoutes(engine),
      ...eventRoutes(engine),
      ...imageRoutes(engine),
      ...volumeRoutes(engine),
      ...archiveRoutes(engine),
      ...serviceRoutes(engine, member, { clock: systemClock, rng: systemRng }),
      ...taskRoutes(member),
      ...taskLogRoutes(member),
      ...fileRoutes(member, systemClock),
      ...swarmRoutes(member, systemClock),
    ]);
  }

  /** A server that is yet to listen; with `tls` every client needs a certificate of the CA. */
  createServer(tls: EngineTls | undefined): Server {
    const options = { requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2' } as const;
    const server = tls ? createTlsServer({ ...options, ...tls }) : createServer();
    // Waits, events, logs and attached streams live for days.
    server.requestTimeout = 0;
    server.timeout = 0;
    server.headersTimeout = HEADERS_TIMEOUT_MS;
    server.keepAliveTimeout = KEEP_ALIVE_MS;
    server.maxConnections = MAX_CONNECTIONS;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      void this.#serve(request, response, undefined);
    });
    server.on('upgrade', (request: IncomingMessage, stream: Duplex, head: Buffer) => {
      this.#upgrade(request, stream, head);
    });
    const connected = (socket: Socket) => this.#calls.connected(socket);
    server.on('connection', connected);
    server.on('secureConnection', connected);
    this.#servers.add(server);
    return server;
  }

  /** From now on every answer is the last one of its connection. */
  leave(): void {
    this.#phase = 'leaving';
    this.#calls.closeConnections();
  }

  /** `leave` is over: all goes on as before. */
  stay(): void {
    this.#phase = 'serving';
  }

  /** Resolves when only lasting answers are left, or with what is in the way at the deadline. */
  brief(deadlineMs: number): Promise<string[]> {
    return this.#calls.brief(deadlineMs);
  }

  /** Ends what can be ended in order; resolves when the rest has ended by itself. */
  left(): Promise<void> {
    this.#phase = 'left';
    this.#calls.endLasting();
    for (const server of this.#servers) server.closeIdleConnections();
    return this.#calls.none();
  }

  /** Lets go of every client. */
  close(): void {
    for (const server of this.#servers) {
      server.close();
      server.closeAllConnections();
    }
    for (const socket of this.#upgraded) socket.destroy();
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#upgraded.add(socket);
    socket.on('close', () => this.#upgraded.delete(socket));
    socket.on('error', () => socket.destroy());
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.on('finish', () => socket.end());
    void this.#serve(request, response, { socket, head });
  }

  async #serve(
    request: IncomingMessage,
    response: ServerResponse,
    upgraded: Upgraded | undefined,
  ): Promise<void> {
    if (this.#phase === 'left') {
      request.socket.destroy();
      return;
    }
    const name = `${request.method} ${request.url}`;
    const underWay = this.#calls.begin(name, response, upgraded?.socket);
    if (this.#phase === 'leaving') response.shouldKeepAlive = false;
    response.setHeader('Api-Version', API_VERSION);
    response.setHeader('Ostype', 'linux');
    response.setHeader('Docker-Experimental', 'false');
    response.setHeader('Swarm', swarmHeader(this.#member));
    response.setHeader('Server', `Sluice/${this.#facts().version} (linux)`);
    let answer: Answer;
    try {
      answer = await this.#route(request, response, upgraded, underWay.lasts);
    } catch (error) {
      answer = faultAnswer(error);
      const fields = { method: request.method, url: request.url, reason: errorText(error) };
      this.#logger.debug('refused', fields);
    } finally {
      underWay.answered();
    }
    if (!answer) return;
    if (response.headersSent) response.end();
    else {
      // exempt(as): a response needs no more of its socket than a duplex stream has
      if (upgraded) response.assignSocket(upgraded.socket as Socket);
      writeAnswer(response, answer);
    }
  }

  #route(
    request: IncomingMessage,
    response: ServerResponse,
    upgraded: Upgraded | undefined,
    lasts: Call['lasts'],
  ) {
    const url = new URL(`http://engine${request.url ?? '/'}`);
    const { path, version } = splitVersion(url.pathname);
    const { route, parameters } = this.#router.match(request.method ?? 'GET', path);
    let body: Promise<Fields> | undefined;
    // The body of a call that leaves HTTP may come in the request or on the connection.
    const left = upgraded && { ...upgraded };
    const call: Call = {
      parameters,
      query: new Query(url.searchParams),
      request,
      response,
      version,
      upgraded: left,
      body: () => {
        body ??= readBody(request, left).then((text) => Fields.parse(text));
        return body;
      },
      lasts,
    };
    return route.run(call);
  }
}

function writeAnswer(response: ServerResponse, answer: NonNullable<Answer>): void {
  const { status, body } = answer;
  if (body === undefined) {
    response.writeHead(status, status === 200 ? { 'content-length': '0' } : {});
    response.end();
    return;
  }
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

async function readBody(
  request: IncomingMessage,
  upgraded: { socket: Duplex; head: Buffer } | undefined,
): Promise<string> {
  const length = Number(request.headers['content-length'] ?? Number.NaN);
  if (length > MAX_BODY) throw invalid(`the body is larger than ${MAX_BODY} bytes`);
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request) {
    // exempt(as): no encoding is set
    parts.push(part as Buffer);
    size += (part as Buffer).length;
    if (size > MAX_BODY) throw invalid(`the body is larger than ${MAX_BODY} bytes`);
  }
  if (upgraded && size < length) {
    const rest = await readRest(upgraded, length - size);
    parts.push(rest);
  }
  return Buffer.concat(parts).toString();
}

/** The rest of a body that was handed over with the connection. */
async function readRest(
  upgraded: { socket: Duplex; head: Buffer },
  length: number,
): Promise<Buffer> {
  const { socket } = upgraded;
  while (upgraded.head.length < length) {
    const more = await new Promise<Buffer>((resolve, reject) => {
      socket.once('data', (data) => {
        socket.pause();
        resolve(Buffer.from(data));
      });
      socket.once('close', () => reject(invalid('the body ended too early')));
    });
    upgraded.head = Buffer.concat([upgraded.head, more]);
  }
  const body = upgraded.head.subarray(0, length);
  upgraded.head = upgraded.head.subarray(length);
  return body;
}
