import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http';
import { type RequestOptions, request as tlsRequest } from 'node:https';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { errorText } from '../../base/errors.ts';
import { failed } from '../../base/faults.ts';

/** An answer, whole. */
export type RegistryAnswer = {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
};

export type RegistryOrder = {
  /** Host, and port where it is not the usual one. */
  readonly registry: string;
  /** `user:password`; empty: nobody's. */
  readonly login: string;
  /** Certificates are not checked, and HTTP will do. */
  readonly insecure: boolean;
};

/** For everything that one question takes. */
const TIMEOUT_MS = 10_000;
const MAX_BYTES = 4 * 1024 * 1024;
const MAX_REDIRECTS = 5;
const HUB = { name: 'docker.io', host: 'registry-1.docker.io' };
const SYSTEM_CA = '/etc/ssl/certs/ca-certificates.crt';
/** Folders with one of each registry's name, which holds the authorities (`*.crt`) that sign for it. */
const CERTIFICATE_FOLDERS = ['/etc/docker/certs.d', '/etc/containers/certs.d'];

function authorities(registry: string): string[] {
  const own = CERTIFICATE_FOLDERS.map((folder) => join(folder, registry))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
    .filter((path) => path.endsWith('.crt'));
  const files = [...(existsSync(SYSTEM_CA) ? [SYSTEM_CA] : []), ...own];
  return [...rootCertificates, ...files.map((path) => readFileSync(path, 'utf8'))];
}

/** The scheme and parameters of `WWW-Authenticate`. Source: RFC 9110, 11.6.1. */
function readChallenge(text: string): { scheme: string; fields: Map<string, string> } {
  const [scheme = ''] = text.split(' ', 1);
  const fields = [...text.slice(scheme.length).matchAll(/(\w+)="([^"]*)"/g)];
  return {
    scheme: scheme.toLowerCase(),
    fields: new Map(fields.map(([, name = '', value = '']) => [name.toLowerCase(), value])),
  };
}

/**
 * Reads from one registry, and logs in where it asks for that: by password, or by a token from the
 * place that it names. Source: the OCI distribution specification, "Pull"; Docker's specification of
 * registry tokens.
 */
export class RegistryClient {
  readonly #order: RegistryOrder;
  readonly #signal = AbortSignal.timeout(TIMEOUT_MS);
  readonly #ca: readonly string[];
  /** Where it was reached. */
  #origin: string | undefined;
  #authorization = '';

  constructor(order: RegistryOrder) {
    this.#order = order;
    this.#ca = authorities(order.registry);
  }

  /** Rejects when there is no answer; one that refuses is an answer. */
  async get(path: string, accept: string): Promise<RegistryAnswer> {
    try {
      const first = await this.#ask(path, accept);
      if (first.status !== 401) return first;
      this.#authorization = await this.#authorize(first.headers['www-authenticate'] ?? '');
      return this.#authorization === '' ? first : await this.#ask(path, accept);
    } catch (error) {
      const late = this.#signal.aborted;
      const reason = late ? `no answer within ${TIMEOUT_MS / 1000} s` : errorText(error);
      throw failed(`the registry ${this.#order.registry} cannot be asked: ${reason}`, error);
    }
  }

  async #ask(path: string, accept: string): Promise<RegistryAnswer> {
    const { registry, insecure } = this.#order;
    const host = registry === HUB.name ? HUB.host : registry;
    const headers = { accept };
    if (this.#origin !== undefined) return this.#fetch(new URL(path, this.#origin), headers);
    try {
      const answer = await this.#fetch(new URL(path, `https://${host}`), headers);
      this.#origin = `https://${host}`;
      return answer;
    } catch (error) {
      if (!insecure || this.#signal.aborted) throw error;
      this.#origin = `http://${host}`;
      return this.#fetch(new URL(path, this.#origin), headers);
    }
  }

  /** The value of `Authorization`; empty: there is nothing to log in with. */
  async #authorize(challenge: string): Promise<string> {
    const { login, insecure } = this.#order;
    const { scheme, fields } = readChallenge(challenge);
    const basic = login === '' ? '' : `Basic ${Buffer.from(login).toString('base64')}`;
    if (scheme === 'basic') return basic;
    const realm = fields.get('realm') ?? '';
    if (scheme !== 'bearer' || !URL.canParse(realm)) return '';
    const url = new URL(realm);
    if (url.protocol !== 'https:' && !insecure) throw new Error(`tokens of ${realm} are not safe`);
    for (const name of ['service', 'scope']) {
      const value = fields.get(name);
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const { status, body } = await this.#fetch(url, basic === '' ? {} : { authorization: basic });
    if (status !== 200) return '';
    // exempt(as): fields are checked
    const answer = JSON.parse(body.toString()) as { token?: unknown; access_token?: unknown };
    const token = answer.token ?? answer.access_token;
    return typeof token === 'string' ? `Bearer ${token}` : '';
  }

  /** Follows to where contents are; a login is shown to the registry alone. */
  async #fetch(url: URL, headers: OutgoingHttpHeaders): Promise<RegistryAnswer> {
    let at = url;
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const own = at.origin === this.#origin && this.#authorization !== '';
      const answer = await this.#send(at, {
        ...(at.origin === url.origin ? headers : {}),
        ...(own && { authorization: this.#authorization }),
      });
      const { location } = answer.headers;
      if (location === undefined || answer.status < 300 || answer.status > 399) return answer;
      at = new URL(location, at);
    }
    throw new Error(`${url.host} sends from one place to another`);
  }

  async #send(url: URL, headers: OutgoingHttpHeaders): Promise<RegistryAnswer> {
    const options: RequestOptions = { headers, signal: this.#signal };
    const tls = { ca: [...this.#ca], rejectUnauthorized: !this.#order.insecure };
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const call =
        url.protocol === 'https:'
          ? tlsRequest(url, { ...options, ...tls }, resolve)
          : request(url, options, resolve);
      call.once('error', reject).end();
    });
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of answer) {
      // exempt(as): no encoding is set
      parts.push(part as Buffer);
      size += (part as Buffer).length;
      if (size > MAX_BYTES) throw new Error(`${url.href} is larger than ${MAX_BYTES} bytes`);
    }
    return {
      status: answer.statusCode ?? 0,
      headers: answer.headers,
      body: Buffer.concat(parts),
    };
  }
}
