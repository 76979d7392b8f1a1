import type { RequestHead } from '../../net/http-exchange.ts';
import type { ServiceHandle } from '../upstream/service-handle.ts';
import { keyOf } from './split.ts';
import { cookieValue, removeCookie, type StickyCookies } from './sticky-cookie.ts';

/** What draws a request towards an endpoint of its service: the balancing key and the cookies. */
export class Affinity {
  readonly #service: ServiceHandle;
  readonly #head: RequestHead;
  readonly #client: string;
  readonly #cookies: StickyCookies;
  /** What the client's sticky cookie says. */
  readonly #token: string | undefined;

  /** Takes the gateway's own cookie out of the head: the endpoint has no use for it. */
  constructor(service: ServiceHandle, head: RequestHead, client: string, cookies: StickyCookies) {
    this.#service = service;
    this.#head = head;
    this.#client = client;
    this.#cookies = cookies;
    const { sticky } = service.config;
    if (!sticky || !('cookie' in sticky)) return;
    this.#token = cookieValue(head.headers, sticky.cookie.name);
    removeCookie(head.headers, sticky.cookie.name);
  }

  /** The balancing key, of the head as it is sent on; undefined: the client's address. */
  get key(): string | undefined {
    const { sticky, balance } = this.#service.config;
    if (sticky && 'appCookie' in sticky) {
      const value = cookieValue(this.#head.headers, sticky.appCookie.name);
      if (value !== undefined) return value;
    }
    return balance.key === 'source' ? undefined : keyOf(balance.key, this.#head, this.#client);
  }

  /** The endpoint that the client's cookie names. */
  get endpoint(): string | undefined {
    if (this.#token === undefined) return undefined;
    const ids = this.#service.endpoints.map(({ id }) => id);
    return this.#cookies.endpoint(this.#service.name, this.#token, ids);
  }

  /** The Set-Cookie that names an endpoint; undefined: none is wanted, or the client has it. */
  setCookie(endpoint: string, encrypted: boolean): string | undefined {
    const { sticky } = this.#service.config;
    if (!sticky || !('cookie' in sticky)) return undefined;
    const token = this.#cookies.token(this.#service.name, endpoint);
    if (token === this.#token) return undefined;
    return this.#cookies.setCookie(sticky.cookie, token, encrypted);
  }
}
