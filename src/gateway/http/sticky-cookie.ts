import { createHmac } from 'node:crypto';
import type { Sticky } from '../../model/service.ts';
import { headerValue } from './matcher.ts';

type CookieSettings = Extract<Sticky, { cookie: unknown }>['cookie'];

const TOKEN_LENGTH = 22;

/** The value of a cookie in a request, or undefined. Source: RFC 6265 section 4.2. */
export function cookieValue(headers: readonly string[], name: string): string | undefined {
  const header = headerValue(headers, 'cookie');
  for (const pair of header?.split(';') ?? []) {
    const [key, value] = pair.trim().split('=', 2);
    if (key === name) return value;
  }
  return undefined;
}

/**
 * Cookies that name an endpoint without showing it: a keyed digest of service and endpoint, so that
 * none can be made or read outside.
 */
export class StickyCookies {
  readonly #key: string;
  readonly #tokens = new Map<string, string>();

  constructor(key: string) {
    this.#key = key;
  }

  token(service: string, endpoint: string): string {
    const name = `${service}\n${endpoint}`;
    let token = this.#tokens.get(name);
    if (token === undefined) {
      if (this.#tokens.size > 100_000) this.#tokens.clear();
      token = createHmac('sha256', this.#key)
        .update(name)
        .digest('base64url')
        .slice(0, TOKEN_LENGTH);
      this.#tokens.set(name, token);
    }
    return token;
  }

  /** The endpoint that a token names among the service's, or undefined. */
  endpoint(service: string, token: string, ids: readonly string[]): string | undefined {
    if (token.length !== TOKEN_LENGTH) return undefined;
    return ids.find((id) => this.token(service, id) === token);
  }

  /** The value of a Set-Cookie field. */
  setCookie(settings: CookieSettings, token: string, encrypted: boolean): string {
    const { name, path, maxAge, domain, httpOnly, secure, sameSite } = settings;
    let text = `${name}=${token}; Path=${path}`;
    if (maxAge !== undefined) text += `; Max-Age=${Math.round(maxAge / 1000)}`;
    if (domain !== undefined) text += `; Domain=${domain}`;
    if (httpOnly) text += '; HttpOnly';
    if (secure === true || (secure === 'auto' && encrypted)) text += '; Secure';
    if (sameSite !== undefined)
      text += `; SameSite=${sameSite[0]?.toUpperCase()}${sameSite.slice(1)}`;
    return text;
  }
}
