import { METRIC_SCOPES, type MetricScope } from '../base/metrics.ts';
import type { AdminBackend, EndpointOrder, EventInfo } from '../client/admin-types.ts';

/** An answer: JSON unless a content type is given. */
export type Answer = {
  readonly status: number;
  readonly body: unknown;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
};

/** An answer that goes on: a JSON line for each value; `start` yields how to stop. */
export type Stream = { readonly start: (next: (value: EventInfo) => void) => () => void };

/** One call: the path's segments are decoded. */
export type Call = {
  readonly backend: AdminBackend;
  readonly query: URLSearchParams;
  readonly parts: readonly string[];
  readonly body: string;
};

/** One operation of the admin API. */
export type Operation = {
  readonly method: 'GET' | 'PUT' | 'POST';
  /** Segments; `:name` takes any one. */
  readonly path: string;
  readonly summary: string;
  /** Parameters of the query, with what they mean. */
  readonly query?: Readonly<Record<string, string>>;
  /** What a body is to be. */
  readonly body?: object;
  /** Statuses besides 200 that say something about the call. */
  readonly statuses?: Readonly<Record<number, string>>;
  readonly type?: string;
  readonly run: (call: Call) => Answer | Stream | Promise<Answer>;
};

const ok = (body: unknown): Answer => ({ status: 200, body });

/** A refusal as JSON, with a code for programs and a message for people. */
export function fault(status: number, code: string, message: string): Answer {
  return { status, body: { error: { code, message } } };
}

const NOT_FOUND = { 404: 'There is no such object.' };

/** Every operation of the admin API; the description at /v1/openapi.json is made from this table. */
export const OPERATIONS: readonly Operation[] = [
  {
    method: 'GET',
    path: '/healthz',
    summary: 'The daemon runs; `overloaded` with reasons while it refuses new requests.',
    run: ({ backend: { strain } }) =>
      ok(strain.length > 0 ? { status: 'overloaded', reasons: strain } : { status: 'ok' }),
  },
  {
    method: 'GET',
    path: '/readyz',
    summary: 'Every worker serves; 503 while starting or draining.',
    statuses: { 503: 'Not every worker serves, or the daemon drains.' },
    run: ({ backend }) =>
      backend.unready === undefined
        ? ok({ ready: true })
        : fault(503, 'not-ready', backend.unready),
  },
  {
    method: 'GET',
    path: '/metrics',
    summary: 'Prometheus text format.',
    query: {
      scope: `Only families about one of: ${METRIC_SCOPES.join(', ')}; a list or repeated.`,
      metrics: 'Only the named families; with a leading `-` all but them; a list or repeated.',
    },
    type: 'text/plain',
    run: metrics,
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
    statuses: NOT_FOUND,
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
    body: {
      type: 'object',
      properties: {
        state: { enum: ['ready', 'drain', 'maint'] },
        weight: { type: 'integer', minimum: 0, maximum: 256 },
      },
      additionalProperties: false,
      minProperties: 1,
    },
    statuses: { 400: 'The order is not one.', ...NOT_FOUND },
    run: putEndpoint,
  },
  {
    method: 'GET',
    path: '/v1/sessions',
    summary: 'Requests and sessions under way, the oldest first.',
    query: { service: 'Only those of a service.' },
    run: async ({ backend, query }) => {
      const service = query.get('service');
      const sessions = await backend.sessions();
      return ok(sessions.filter((one) => service === null || one.service === service));
    },
  },
  {
    method: 'POST',
    path: '/v1/sessions/:id/end',
    summary: 'Ends the connection that carries a session.',
    statuses: NOT_FOUND,
    run: async ({ backend, parts: [, , id = ''] }) => {
      const found = (await backend.sessions()).find((one) => one.id === id);
      if (!found) return fault(404, 'not-found', `there is no session "${id}" any more`);
      backend.endSessions([id]);
      return ok(found);
    },
  },
  {
    method: 'POST',
    path: '/v1/reload',
    summary: 'Reads the configuration again; 400 with every error when it is refused.',
    statuses: { 400: 'The files have errors; nothing was changed.' },
    run: async ({ backend }) => {
      await backend.reload();
      return ok({ reloaded: true });
    },
  },
  {
    method: 'POST',
    path: '/v1/upgrade',
    summary: 'Lets a new daemon, from the files as they are now, take over.',
    statuses: { 400: 'It could not; the one that answers serves on.' },
    run: async ({ backend }) => {
      const pid = await backend.upgrade();
      // The next call is the new daemon's.
      return { status: 200, body: { pid }, headers: { connection: 'close' } };
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
    statuses: { 400: 'The files have errors.' },
    run: ({ backend }) => ok(backend.plan()),
  },
  {
    method: 'GET',
    path: '/v1/events',
    summary: 'The latest changes of health, oldest first, at most 1000.',
    run: ({ backend }) => ok(backend.events()),
  },
  {
    method: 'GET',
    path: '/v1/events/stream',
    summary: 'Changes of health as they happen, a JSON line each; a reader that stalls is cut off.',
    type: 'application/x-ndjson',
    statuses: { 503: 'Too many readers.' },
    run: ({ backend }) => ({ start: (next) => backend.follow(next) }),
  },
  {
    method: 'GET',
    path: '/v1/explain',
    summary: 'The way that a request would take, step by step.',
    query: {
      listen: 'HOST:PORT that the client connects to; needed.',
      host: 'Host header.',
      path: 'Path with query.',
      method: 'Default: GET.',
      sni: 'Server name of the TLS handshake.',
      source: "The client's address.",
    },
    statuses: { 400: '`listen` is missing.' },
    run: ({ backend, query }) => {
      const get = (name: string) => query.get(name) ?? undefined;
      const listen = get('listen');
      if (listen === undefined) return fault(400, 'bad-request', '`listen` is missing: HOST:PORT');
      const [host, path, method] = [get('host'), get('path'), get('method')];
      const [sni, source] = [get('sni'), get('source')];
      return ok(backend.explain({ listen, host, path, method, sni, source }));
    },
  },
  {
    method: 'GET',
    path: '/v1/openapi.json',
    summary: 'This description.',
    run: () => ok(openApi()),
  },
];

function listOf(query: URLSearchParams, name: string): string[] {
  return query.getAll(name).flatMap((text) => text.split(',').filter(Boolean));
}

async function metrics({ backend, query }: Call): Promise<Answer> {
  const scopes = listOf(query, 'scope');
  const names = listOf(query, 'metrics');
  const wrong = scopes.find((scope) => !METRIC_SCOPES.some((known) => known === scope));
  if (wrong !== undefined) {
    return fault(400, 'bad-scope', `"${wrong}" is no scope; one of: ${METRIC_SCOPES.join(', ')}`);
  }
  const filtered = scopes.length + names.length > 0;
  const filter = { scopes: scopes as MetricScope[], names };
  const { contentType, text } = await backend.metrics(filtered ? filter : undefined);
  return { status: 200, body: text, type: contentType };
}

function putEndpoint({ backend, parts, body }: Call): Answer {
  let order: EndpointOrder | null;
  try {
    order = JSON.parse(body) as EndpointOrder | null;
  } catch {
    return fault(400, 'bad-json', 'the body must be JSON: {"state": "drain"} or {"weight": 10}');
  }
  const { state, weight, ...others } = order ?? {};
  const stateFits = state === undefined || ['ready', 'drain', 'maint'].includes(state);
  const weightFits =
    weight === undefined || (Number.isInteger(weight) && weight >= 0 && weight <= 256);
  const empty = state === undefined && weight === undefined;
  if (!stateFits || !weightFits || empty || Object.keys(others).length > 0) {
    const what = '`state` (ready, drain or maint), `weight` (0 to 256), or both';
    return fault(400, 'bad-order', `the body must hold ${what}, and nothing else`);
  }
  const [, , service = '', , endpoint = ''] = parts;
  return backend.order(service, endpoint, { ...order })
    ? ok({ service, endpoint, ...order })
    : fault(404, 'not-found', `service "${service}" has no endpoint "${endpoint}"`);
}

function parametersOf({ path, query = {} }: Operation): object[] {
  const inPath = [...path.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const inQuery = Object.entries(query).map(([name, description]) => ({
    name,
    in: 'query',
    description,
    schema: { type: 'string' },
  }));
  return [...inPath, ...inQuery];
}

/** The OpenAPI 3.1 description of all operations. */
export function openApi(): object {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const operation of OPERATIONS) {
    const { method, path, summary, body, statuses = {}, type = 'application/json' } = operation;
    const template = path.replaceAll(/:(\w+)/g, '{$1}');
    const refusals = { 401: 'The bearer token is missing or wrong.', ...statuses };
    const refused = Object.entries(refusals).map(([status, description]) => [
      status,
      {
        description,
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Fault' } } },
      },
    ]);
    paths[template] ??= {};
    paths[template][method.toLowerCase()] = {
      operationId: `${method.toLowerCase()}${template.replaceAll(/\W+(\w?)/g, (_, first: string) => first.toUpperCase())}`,
      summary,
      parameters: parametersOf(operation),
      ...(body ? { requestBody: { content: { 'application/json': { schema: body } } } } : {}),
      responses: {
        200: { description: 'Done.', content: { [type]: {} } },
        ...Object.fromEntries(refused),
      },
    };
  }
  const error = {
    type: 'object',
    properties: { code: { type: 'string' }, message: { type: 'string' } },
  };
  return {
    openapi: '3.1.0',
    info: { title: 'Sluice admin API', version: '1' },
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: { Fault: { type: 'object', properties: { error } } },
    },
    security: [{}, { token: [] }],
  };
}
