import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { errorText, SluiceError } from '../base/errors.ts';
import type { AdminBackend, EndpointOrder } from '../client/admin-types.ts';
import { type Bind, formatBind } from '../model/address.ts';

const MAX_BODY = 1024 * 1024;
const LOCAL_HOSTS = ['localhost', '127.0.0.1', '[::1]', ''];

/** An answer: JSON unless a content type is given. */
type Answer = { status: number; body: unknown; type?: string };

type Call = { backend: AdminBackend; url: URL; parts: string[]; body: string };

type Operation = {
  readonly method: 'GET' | 'PUT' | 'POST';
  /** Segments; `:name` takes any one. */
  readonly path: string;
  readonly summary: string;
  readonly run: (call: Call) => Answer | Promise<Answer>;
};

const ok = (body: unknown): Answer => ({ status: 200, body });

function fault(status: number, code: string, message: string): Answer {
  return { status, body: { error: { code, message } } };
}

/** Every operation of the admin API; the description at /v1/openapi.json is made from this table. */
export const OPERATIONS: readonly Operation[] = [
  {
    method: 'GET',
    path: '/healthz',
    summary: 'The daemon runs.',
    run: () => ok({ status: 'ok' }),
  },
  {
    method: 'GET',
    path: '/readyz',
    summary: 'Every worker serves; 503 while starting or draining.',
    run: ({ backend }) =>
      backend.ready ? ok({ ready: true }) : fault(503, 'not-ready', 'not every worker serves'),
  },
  {
    method: 'GET',
    path: '/metrics',
    summary: 'Prometheus text format.',
    run: async ({ backend }) => {
      const { contentType, text } = await backend.metrics();
      return { status: 200, body: text, type: contentType };
    },
  },
  {
    method: 'GET',
    path: '/v1/status',
    summary: 'The daemon and its workers.',
    run: ({ backend }) => ok(backend.status()),
  },
  {
    method: 'GET',
    path: '/v1/listeners',
    summary: 'Listeners.',
    run: ({ backend }) => ok(backend.listeners()),
  },
  {
    method: 'GET',
    path: '/v1/services',
    summary: 'Services with their endpoints.',
    run: async ({ backend }) => ok(await backend.services()),
  },
  {
    method: 'GET',
    path: '/v1/services/:service/endpoints',
    summary: 'Endpoints of a service.',
    run: async ({ backend, parts }) => {
      const found = (await backend.services()).find(({ name }) => name === parts[2]);
      return found
        ? ok(found.endpoints)
        : fault(404, 'not-found', `there is no service "${parts[2]}"`);
    },
  },
  {
    method: 'PUT',
    path: '/v1/services/:service/endpoints/:endpoint',
    summary: 'Sets the admin state (ready, drain, maint) or weight (0 to 256) of an endpoint.',
    run: putEndpoint,
  },
  {
    method: 'POST',
    path: '/v1/reload',
    summary: 'Reads the configuration again; 400 with every error when it is refused.',
    run: async ({ backend }) => {
      await backend.reload();
      return ok({ reloaded: true });
    },
  },
  {
    method: 'GET',
    path: '/v1/config',
    summary: 'The running configuration, without secrets.',
    run: ({ backend }) => ok(backend.config()),
  },
  {
    method: 'GET',
    path: '/v1/plan',
    summary: 'What a reload would change now.',
    run: ({ backend }) => ok(backend.plan()),
  },
  {
    method: 'GET',
    path: '/v1/events',
    summary: 'The latest changes of health.',
    run: ({ backend }) => ok(backend.events()),
  },
  {
    method: 'GET',
    path: '/v1/explain',
    summary: 'The way of a request: listen, host, path, method, sni, source.',
    run: ({ backend, url }) => {
      const get = (name: string) => url.searchParams.get(name) ?? undefined;
      const listen = get('listen');
      if (listen === undefined) return fault(400, 'bad-request', '`listen` is missing: HOST:PORT');
      return ok(
        backend.explain({
          listen,
          host: get('host'),
          path: get('path'),
          method: get('method'),
          sni: get('sni'),
          source: get('source'),
        }),
      );
    },
  },
  {
    method: 'GET',
    path: '/v1/openapi.json',
    summary: 'This description.',
    run: () => ok(describe()),
  },
];

function putEndpoint({ backend, parts, body }: Call): Answer {
  let order: EndpointOrder;
  try {
    order = JSON.parse(body) as EndpointOrder;
  } catch {
    return fault(400, 'bad-json', 'the body must be JSON: {"state": "drain"} or {"weight": 10}');
  }
  const { state, weight } = order ?? {};
  const stateFits = state === undefined || ['ready', 'drain', 'maint'].includes(state);
  const weightFits =
    weight === undefined || (Number.isInteger(weight) && weight >= 0 && weight <= 256);
  if (!stateFits || !weightFits || (state === undefined && weight === undefined)) {
    return fault(400, 'bad-order', 'state is ready, drain or maint; weight is 0 to 256');
  }
  const [, , service = '', , endpoint = ''] = parts;
  const found = backend.order(service, decodeURIComponent(endpoint), order);
  return found
    ? ok({ service, endpoint, ...order })
    : fault(404, 'not-found', `${service} has no endpoint ${endpoint}`);
}

function describe(): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { method, path, summary } of OPERATIONS) {
    const template = path.replaceAll(/:(\w+)/g, '{$1}');
    const parameters = [...path.matchAll(/:(\w+)/g)].map(([, name]) => ({
      name,
      in: 'path',
      required: true,
      schema: { type: 'string' },
    }));
    paths[template] ??= {};
    paths[template][method.toLowerCase()] = {
      summary,
      parameters,
      responses: { 200: { description: 'Done.' } },
    };
  }
  return { openapi: '3.1.0', info: { title: 'Sluice admin API', version: '1' }, paths };
}

function fits(operation: Operation, parts: readonly string[]): boolean {
  const wanted = operation.path.split('/').slice(1);
  return (
    wanted.length === parts.length &&
    wanted.every((part, at) => part.startsWith(':') || part === parts[at])
  );
}

/** The admin API on local addresses. Browsers of other sites are kept out by Host and Origin. */
export class AdminServer {
  readonly #backend: AdminBackend;
  readonly #token: string | undefined;
  readonly #servers: Server[] = [];

  constructor(backend: AdminBackend, token: string | undefined) {
    this.#backend = backend;
    this.#token = token;
  }

  /** Throws `E_BIND_FAILED`. */
  async listen(binds: readonly Bind[]): Promise<void> {
    for (const bind of binds) {
      const server = createServer((request, response) => void this.#serve(request, response, bind));
      server.headersTimeout = 10_000;
      server.requestTimeout = 30_000;
      await new Promise<void>((resolve, reject) => {
        server.once('error', (error) => {
          reject(
            new SluiceError(
              'E_BIND_FAILED',
              `cannot serve admin on ${formatBind(bind)}: ${errorText(error)}`,
            ),
          );
        });
        const ready = () => resolve();
        if (bind.kind === 'unix') server.listen(bind.path, ready);
        else if (bind.kind === 'ip') server.listen({ host: bind.host, port: bind.port }, ready);
        else reject(new SluiceError('E_BIND_FAILED', 'admin cannot listen on a passed descriptor'));
      });
      this.#servers.push(server);
    }
  }

  async close(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      server.close();
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse, bind: Bind): Promise<void> {
    const answer = await this.#answer(request, bind).catch((error: unknown) => {
      const code = error instanceof SluiceError ? error.code : 'internal';
      return fault(error instanceof SluiceError ? 400 : 500, code, errorText(error));
    });
    const text = typeof answer.body === 'string' ? answer.body : `${JSON.stringify(answer.body)}\n`;
    response.writeHead(answer.status, { 'content-type': answer.type ?? 'application/json' });
    response.end(text);
  }

  async #answer(request: IncomingMessage, bind: Bind): Promise<Answer> {
    const host = (request.headers.host ?? '').replace(/:\d+$/, '');
    const own = bind.kind === 'ip' && !bind.dualStack && host === bind.host;
    const foreign = !own && !LOCAL_HOSTS.includes(host) && this.#token === undefined;
    if (foreign || request.headers.origin !== undefined) {
      return fault(403, 'forbidden', 'not from a browser, and by a local name only');
    }
    if (!this.#authorized(request))
      return fault(401, 'unauthorized', 'the bearer token is missing or wrong');
    const url = new URL(request.url ?? '/', 'http://localhost');
    const parts = url.pathname.split('/').slice(1);
    const operations = OPERATIONS.filter((operation) => fits(operation, parts));
    if (operations.length === 0)
      return fault(404, 'not-found', `there is nothing at ${url.pathname}`);
    const operation = operations.find(({ method }) => method === request.method);
    if (!operation)
      return fault(405, 'method', `use ${operations.map(({ method }) => method).join(' or ')}`);
    const body = await readBody(request);
    if (body === undefined) return fault(413, 'too-large', 'the body is larger than 1 MiB');
    return operation.run({ backend: this.#backend, url, parts, body });
  }

  #authorized(request: IncomingMessage): boolean {
    if (!this.#token) return true;
    const given = Buffer.from((request.headers.authorization ?? '').replace(/^Bearer /i, ''));
    const wanted = Buffer.from(this.#token);
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  }
}

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request) {
    size += (part as Buffer).length;
    if (size > MAX_BODY) return undefined;
    parts.push(part as Buffer);
  }
  return Buffer.concat(parts).toString();
}
