import { createHmac } from 'node:crypto';
import type { Sticky } from '../../model/service.ts';

type CookieSettings = Extract<Sticky, { cookie: unknown }>['cookie'];

const TOKEN_LENGTH = 22;

/** The value of a cookie in a request, or undefined. Source: RFC 6265 section 4.2. */
export function cookieValue(headers: readonly string[], name: string): string | undefined {
  const prefix = `${name}=`;
  for (let at = 0; at < headers.length; at += 2) {
    if (!isCookie(headers[at])) continue;
    for (const pair of (headers[at + 1] ?? '').split(';')) {
      const text = pair.trim();
      if (text.startsWith(prefix)) return text.slice(prefix.length);
    }
  }
  return undefined;
}

/** Takes a cookie out of the Cookie fields, in place; a field left empty goes. */
export function removeCookie(headers: string[], name: string): void {
  const prefix = `${name}=`;
  for (let at = headers.length - 2; at >= 0; at -= 2) {
    if (!isCookie(headers[at])) continue;
    const pairs = (headers[at + 1] ?? '').split(';').map((pair) => pair.trim());
    const left = pairs.filter((pair) => !pair.startsWith(prefix));
    if (left.length === pairs.length) continue;
    if (left.length === 0) headers.splice(at, 2);
    else headers[at + 1] = left.join('; ');
  }
}

function isCookie(name: string | undefined): boolean {
  return name?.toLowerCase() === 'cookie';
}

/**
 * Cookies that name an endpoint without showing it: a keyed digest of service and endpoint, so that
 * none can be made or read outside. Those of the key before are understood until the next one.
 */
export class StickyCookies {
  #key: string;
  #before: StickyCookies | undefined;
  readonly #tokens = new Map<string, string>();

  constructor(key: string) {
    this.#key = key;
  }

  /** Signs with another key from now on. */
  changeKey(key: string): void {
    if (key === this.#key) return;
    this.#before = new StickyCookies(this.#key);
    this.#key = key;
    this.#tokens.clear();
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
    const found = ids.find((id) => this.token(service, id) === token);
    return found ?? this.#before?.endpoint(service, token, ids);
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
