import type { IncomingMessage } from 'node:http';
import { SluiceError } from '../base/errors.ts';
import type { SessionInfo } from '../model/session-info.ts';
import type {
  EndpointInfo,
  EndpointOrder,
  EventInfo,
  ExplainQuery,
  ListenerInfo,
  ServiceInfo,
  Status,
} from './admin-types.ts';
import { type AdminAddress, parseAdminAddress, readText, send } from './transport.ts';

/** Speaks to a daemon's admin API. Every call rejects with a `SluiceError` that says why. */
export class AdminClient {
  readonly #address: AdminAddress;
  readonly #token: string | undefined;

  /** `base` is such as `http://127.0.0.1:9900` or `unix:/run/sluice/admin.sock`. */
  constructor(base: string, token: string | undefined) {
    this.#address = parseAdminAddress(base);
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

  /** Those under way, of one service or of all. */
  sessions(service?: string): Promise<SessionInfo[]> {
    const query = service === undefined ? '' : `?${new URLSearchParams({ service })}`;
    return this.#call('GET', `/v1/sessions${query}`);
  }

  endSession(id: string): Promise<SessionInfo> {
    return this.#call('POST', `/v1/sessions/${encodeURIComponent(id)}/end`);
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

  /** Every series, in the Prometheus text format. */
  metrics(): Promise<string> {
    return this.#text('GET', '/metrics');
  }

  /** Changes from now on, until the connection ends. */
  async *follow(): AsyncGenerator<EventInfo> {
    const answer = await this.#send('GET', '/v1/events/stream');
    answer.setEncoding('utf8');
    let rest = '';
    for await (const part of answer) {
      const lines = (rest + part).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) yield JSON.parse(line) as EventInfo;
    }
  }

  async #call<T>(method: string, path: string, body?: unknown): Promise<T> {
    return JSON.parse(await this.#text(method, path, body)) as T;
  }

  async #text(method: string, path: string, body?: unknown): Promise<string> {
    return readText(await this.#send(method, path, body));
  }

  /** Rejects with `E_ADMIN_REFUSED` and the daemon's reason when the answer is a refusal. */
  async #send(method: string, path: string, body?: unknown): Promise<IncomingMessage> {
    const answer = await send(this.#address, { method, path, token: this.#token, body });
    if (answer.statusCode === 200) return answer;
    const text = await readText(answer);
    throw new SluiceError('E_ADMIN_REFUSED', reasonIn(text) ?? `status ${answer.statusCode}`);
  }
}

function reasonIn(text: string): string | undefined {
  try {
    return (JSON.parse(text) as { error?: { message?: string } }).error?.message;
  } catch {
    return undefined;
  }
}
