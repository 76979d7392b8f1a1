import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ErrorCode } from '../../base/error-codes.ts';
import { errorText, SluiceError } from '../../base/errors.ts';
import { invalid, notFound } from '../../base/faults.ts';
import type { Fields } from './fields.ts';
import type { Query } from './query.ts';

/** What a call carries, whoever answers it. */
export type Call = {
  readonly parameters: Readonly<Record<string, string>>;
  readonly query: Query;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The connection itself, when the client asked to leave HTTP; then `response` is not used. */
  readonly upgraded: Upgraded | undefined;
  /** Minor number of the API version: 50 for 1.50. */
  readonly version: number;
  readonly body: () => Promise<Fields>;
  /** The answer takes as long as the client wants; `end` ends it when the daemon has to leave. */
  readonly lasts: (end?: () => void) => void;
};

/** A connection that leaves HTTP, with what was read of it already. */
export type Upgraded = { readonly socket: Duplex; readonly head: Buffer };

/** An answer; undefined: the handler has answered or will by itself. */
export type Answer = { readonly status: number; readonly body?: unknown } | undefined;

/** One operation of the API. */
export type Route = {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  /** Segments; `:name` takes one, `:name*` one or more. */
  readonly path: string;
  readonly run: (call: Call) => Answer | Promise<Answer>;
};

export const ok = (body: unknown): Answer => ({ status: 200, body });
export const created = (body: unknown): Answer => ({ status: 201, body });
export const done: Answer = { status: 204 };

const STATUS: Partial<Record<ErrorCode, number>> = {
  E_OBJECT_NOT_FOUND: 404,
  E_OBJECT_CONFLICT: 409,
  E_OBJECT_UNCHANGED: 304,
  E_REQUEST_INVALID: 400,
  E_REQUEST_FORBIDDEN: 403,
  E_REQUEST_UNSUPPORTED: 501,
  E_NODE_UNAVAILABLE: 503,
  E_CLUSTER_REFUSED: 400,
  E_CLUSTER_UNREACHABLE: 503,
  E_STORE_FAILED: 503,
  E_STORE_TOO_LARGE: 400,
};
const SERVER_ERROR = 500;

/** The answer that stands for an error. */
export function faultAnswer(error: unknown): { status: number; body: unknown } {
  const status = error instanceof SluiceError ? STATUS[error.code] : undefined;
  return { status: status ?? SERVER_ERROR, body: { message: errorText(error) } };
}

type Match = { readonly route: Route; readonly parameters: Record<string, string> };

/** Finds the route of a call. */
export class Router {
  readonly #routes: readonly { route: Route; pattern: RegExp }[];

  constructor(routes: readonly Route[]) {
    this.#routes = routes.map((route) => {
      const pattern = route.path
        .replaceAll(/:(\w+)\*/g, '(?<$1>.+)')
        .replaceAll(/:(\w+)/g, '(?<$1>[^/]+)');
      return { route, pattern: new RegExp(`^${pattern}$`) };
    });
  }

  /** Throws when nothing is served there. */
  match(method: string, path: string): Match {
    for (const { route, pattern } of this.#routes) {
      if (route.method !== method) continue;
      const hit = pattern.exec(path);
      if (!hit) continue;
      const entries = Object.entries(hit.groups ?? {});
      return {
        route,
        parameters: Object.fromEntries(entries.map(([name, text]) => [name, decode(text)])),
      };
    }
    throw notFound('page not found');
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(`invalid path: ${text}`);
  }
}
