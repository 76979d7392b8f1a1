import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { errorText, SluiceError } from '../base/errors.ts';
import type { AdminBackend } from '../client/admin-types.ts';
import type { Bind } from '../model/address.ts';
import { BoundServers, type BoundSocket } from './bound-servers.ts';
import { type Answer, fault, OPERATIONS, type Operation, type Stream } from './operations.ts';

const MAX_BODY = 1024 * 1024;
const MAX_CONNECTIONS = 256;
const MAX_STREAMS = 16;
/** A reader of a stream that lets so much wait is cut off. */
const MAX_STREAM_BACKLOG = 256 * 1024;
const LOCAL_HOSTS = ['localhost', '127.0.0.1', '[::1]', ''];
const COMMON_HEADERS = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };

function fits(operation: Operation, parts: readonly string[]): boolean {
  const wanted = operation.path.split('/').slice(1);
  return (
    wanted.length === parts.length &&
    wanted.every((part, at) => part.startsWith(':') || part === parts[at])
  );
}

/** The decoded segments of a path and its query, or undefined when it is malformed. */
function readTarget(target: string): { parts: string[]; query: URLSearchParams } | undefined {
  const mark = target.indexOf('?');
  const path = mark < 0 ? target : target.slice(0, mark);
  const query = new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1));
  if (!path.startsWith('/')) return undefined;
  try {
    return { parts: path.slice(1).split('/').map(decodeURIComponent), query };
  } catch {
    return undefined;
  }
}

/** The admin API on local addresses. Browsers of other sites are kept out by Host and Origin. */
export class AdminServer {
  readonly #backend: AdminBackend;
  /** What callers have to show; undefined: nothing. */
  token: string | undefined;
  readonly #servers = new BoundServers<Server>();
  #streams = 0;

  constructor(backend: AdminBackend, token: string | undefined) {
    this.#backend = backend;
    this.token = token;
  }

  /** Serves on sockets that are bound already. Throws `E_BIND_FAILED`. */
  async listen(sockets: readonly BoundSocket[]): Promise<void> {
    for (const socket of sockets) {
      const { bind } = socket;
      const server = createServer((request, response) => void this.#serve(request, response, bind));
      server.headersTimeout = 10_000;
      server.requestTimeout = 15_000;
      server.maxConnections = MAX_CONNECTIONS;
      await this.#servers.add(server, socket);
    }
  }

  /** The addresses where it serves. */
  get addresses(): string[] {
    return this.#servers.addresses;
  }

  /** Takes no new connections at an address; calls under way get their answers. */
  leaveAddress(address: string): void {
    this.#servers.leave(address);
  }

  /** Takes no new connections; calls under way get their answers. */
  leave(): void {
    this.#servers.leaveAll();
  }

  close(): void {
    this.leave();
    for (const server of this.#servers.all) server.closeAllConnections();
  }

  async #serve(request: IncomingMessage, response: ServerResponse, bind: Bind): Promise<void> {
    const answer = await this.#answer(request, bind).catch((error: unknown) => {
      const code = error instanceof SluiceError ? error.code : 'internal';
      return fault(error instanceof SluiceError ? 400 : 500, code, errorText(error));
    });
    if ('start' in answer) {
      this.#stream(response, answer);
      return;
    }
    const text = typeof answer.body === 'string' ? answer.body : `${JSON.stringify(answer.body)}\n`;
    const headers = {
      'content-type': answer.type ?? 'application/json',
      'content-length': Buffer.byteLength(text),
      // What is left of a body that was not wanted must not be read as a request.
      ...(request.complete ? {} : { connection: 'close' }),
      ...COMMON_HEADERS,
      ...answer.headers,
    };
    response.writeHead(answer.status, headers);
    response.end(request.method === 'HEAD' ? undefined : text);
  }

  #stream(response: ServerResponse, { start }: Stream): void {
    this.#streams++;
    response.writeHead(200, { 'content-type': 'application/x-ndjson', ...COMMON_HEADERS });
    response.flushHeaders();
    const stop = start((value) => {
      if (response.writableLength > MAX_STREAM_BACKLOG) response.destroy();
      else response.write(`${JSON.stringify(value)}\n`);
    });
    response.on('close', () => {
      this.#streams--;
      stop();
    });
  }

  async #answer(request: IncomingMessage, bind: Bind): Promise<Answer | Stream> {
    const refusal = this.#refusal(request, bind);
    if (refusal) return refusal;
    const target = readTarget(request.url ?? '');
    if (!target) return fault(400, 'bad-path', 'the path is malformed');
    const { parts, query } = target;
    const operations = OPERATIONS.filter((operation) => fits(operation, parts));
    if (operations.length === 0) {
      const message = `there is nothing at /${parts.join('/')}; /v1/openapi.json tells what there is`;
      return fault(404, 'not-found', message);
    }
    const wanted = request.method === 'HEAD' ? 'GET' : request.method;
    const operation = operations.find(({ method }) => method === wanted);
    if (!operation) {
      const allow = operations.map(({ method }) => method).join(', ');
      return { ...fault(405, 'method', `use ${allow}`), headers: { allow } };
    }
    const body = await readBody(request);
    if (body === undefined) return fault(413, 'too-large', 'the body is larger than 1 MiB');
    const type = request.headers['content-type'] ?? 'application/json';
    if (body !== '' && !/^application\/json\s*(;|$)/i.test(type)) {
      return fault(400, 'bad-type', 'send JSON, with `content-type: application/json`');
    }
    const answer = await operation.run({ backend: this.#backend, query, parts, body });
    const full = 'start' in answer && this.#streams >= MAX_STREAMS;
    return full ? fault(503, 'too-many', `${MAX_STREAMS} readers follow already`) : answer;
  }

  /** Keeps out other sites' pages in a browser on this host, and callers without the token. */
  #refusal(request: IncomingMessage, bind: Bind): Answer | undefined {
    const host = (request.headers.host ?? '').replace(/:\d+$/, '').toLowerCase();
    const own = bind.kind === 'ip' && !bind.dualStack && host === bind.host;
    const foreign = !own && !LOCAL_HOSTS.includes(host) && this.token === undefined;
    if (foreign || request.headers.origin !== undefined) {
      return fault(403, 'forbidden', 'not from a browser, and by a local name only');
    }
    if (this.#authorized(request)) return undefined;
    return {
      ...fault(401, 'unauthorized', 'the bearer token is missing or wrong'),
      headers: { 'www-authenticate': 'Bearer' },
    };
  }

  #authorized(request: IncomingMessage): boolean {
    if (!this.token) return true;
    const given = Buffer.from((request.headers.authorization ?? '').replace(/^Bearer /i, ''));
    const wanted = Buffer.from(this.token);
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  }
}

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY) return undefined;
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request) {
    size += (part as Buffer).length;
    if (size > MAX_BODY) return undefined;
    parts.push(part as Buffer);
  }
  return Buffer.concat(parts).toString();
}
