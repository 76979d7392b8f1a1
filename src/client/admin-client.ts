import { SluiceError } from '../base/errors.ts';
import type {
  EndpointInfo,
  EndpointOrder,
  EventInfo,
  ExplainQuery,
  ListenerInfo,
  ServiceInfo,
  Status,
} from './admin-types.ts';

/** Speaks to a daemon's admin API. Every call rejects with a `SluiceError` that says why. */
export class AdminClient {
  readonly #base: string;
  readonly #token: string | undefined;

  /** `base` is such as `http://127.0.0.1:9900`. */
  constructor(base: string, token: string | undefined) {
    this.#base = base.replace(/\/$/, '');
    this.#token = token;
  }

  status(): Promise<Status> {
    return this.#call('GET', '/v1/status');
  }

  listeners(): Promise<ListenerInfo[]> {
    return this.#call('GET', '/v1/listeners');
  }

  services(): Promise<ServiceInfo[]> {
    return this.#call('GET', '/v1/services');
  }

  endpoints(service: string): Promise<EndpointInfo[]> {
    return this.#call('GET', `/v1/services/${encodeURIComponent(service)}/endpoints`);
  }

  order(service: string, endpoint: string, order: EndpointOrder): Promise<unknown> {
    const path = `/v1/services/${encodeURIComponent(service)}/endpoints/${encodeURIComponent(endpoint)}`;
    return this.#call('PUT', path, order);
  }

  reload(): Promise<unknown> {
    return this.#call('POST', '/v1/reload');
  }

  upgrade(): Promise<{ pid: number }> {
    return this.#call('POST', '/v1/upgrade');
  }

  config(): Promise<unknown> {
    return this.#call('GET', '/v1/config');
  }

  events(): Promise<EventInfo[]> {
    return this.#call('GET', '/v1/events');
  }

  explain(query: ExplainQuery): Promise<string[]> {
    const defined = Object.entries(query).filter(([, value]) => value !== undefined);
    return this.#call('GET', `/v1/explain?${new URLSearchParams(defined as [string, string][])}`);
  }

  async #call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await fetch(this.#base + path, {
      method,
      headers: this.#token ? { authorization: `Bearer ${this.#token}` } : {},
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }).catch((error: unknown) => {
      const hint = 'is sluiced running, with `admin` in its configuration?';
      throw new SluiceError('E_ADMIN_UNREACHABLE', `no answer from ${this.#base}: ${hint}`, {
        cause: error,
      });
    });
    const value: unknown = await answer.json();
    if (answer.ok) return value as T;
    const { message } = (value as { error: { message: string } }).error;
    throw new SluiceError('E_ADMIN_REFUSED', message);
  }
}
