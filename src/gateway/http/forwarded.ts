import { isIP } from 'node:net';
import type { Listener } from '../../model/listener.ts';
import type { RequestHead } from '../../net/http-exchange.ts';
import type { StreamConnection } from '../../net/stream-connection.ts';
import { FieldNames } from '../../wire/fields.ts';
import { AddressSet } from '../listener/address-rules.ts';
import { headerValue } from './matcher.ts';

/** Fields in which a client could pretend to be another. */
const CLAIMS = [
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-port',
  'forwarded',
  'x-real-ip',
];

/** What the gateway alone says of a client's certificate; replaced, whatever was sent. */
const CERTIFICATE = [
  'x-client-cert-subject',
  'x-client-cert-fingerprint',
  'x-client-cert-verified',
  'x-client-cert',
];

/** Who a request comes from, and the fields that tell the endpoint. Source: RFC 7239. */
export class Forwarder {
  readonly #trusted: AddressSet;
  readonly #fields: Listener['forwarded']['headers'];
  readonly #keepsClaims: boolean;
  /** What goes before ours is put in. */
  readonly #replaced: FieldNames;

  constructor({ trust, headers, claims }: Listener['forwarded']) {
    this.#trusted = new AddressSet(trust);
    this.#fields = headers;
    this.#keepsClaims = claims === 'keep';
    this.#replaced = new FieldNames([...(this.#keepsClaims ? headers : CLAIMS), ...CERTIFICATE]);
  }

  /** The client: the right-most hop that is not trusted, or the first of all trusted ones. */
  client(head: RequestHead, connection: StreamConnection): string {
    let client = connection.client.address;
    if (!this.#trusted.has(client)) return client;
    for (const hop of hopsOf(head.headers).reverse()) {
      // Beyond a hop that hides its name, or is none, nobody can be believed.
      if (isIP(hop) === 0) return client;
      client = hop;
      if (!this.#trusted.has(hop)) return client;
    }
    return client;
  }

  /**
   * Replaces in a head what its sender claims, unless that is kept; a list that is kept is appended
   * to. `client` is what `client` says of the same head.
   */
  apply(head: RequestHead, connection: StreamConnection, client: string): void {
    const { headers } = head;
    const peer = connection.client.address;
    const trusted = this.#trusted.has(peer);
    const keep = (name: string) => (trusted ? headerValue(headers, name) : undefined);
    const kept = trusted || this.#keepsClaims;
    const before = kept ? joined(headers, 'x-forwarded-for') : undefined;
    const proto = keep('x-forwarded-proto') ?? head.scheme;
    const host = keep('x-forwarded-host') ?? head.authority;
    const port = keep('x-forwarded-port') ?? String(connection.local.port);
    const list = kept ? joined(headers, 'forwarded') : undefined;
    this.#replaced.removeFrom(headers);
    for (const name of this.#fields) {
      if (name === 'x-forwarded-for') headers.push(name, before ? `${before}, ${peer}` : peer);
      else if (name === 'x-forwarded-proto') headers.push(name, proto);
      else if (name === 'x-forwarded-host') headers.push(name, host);
      else if (name === 'x-forwarded-port') headers.push(name, port);
      else if (name === 'x-real-ip') headers.push(name, client);
      else {
        const node = peer.includes(':') ? `"[${peer}]"` : peer;
        const own = `for=${node};proto=${head.scheme};host="${head.authority}"`;
        headers.push(name, list ? `${list}, ${own}` : own);
      }
    }
    const certificate = connection.tls?.client;
    if (!certificate) return;
    headers.push('x-client-cert-subject', certificate.subject.replaceAll(/[^\x20-\x7e]/g, '?'));
    headers.push('x-client-cert-fingerprint', certificate.fingerprint);
    headers.push('x-client-cert-verified', certificate.verified ? 'yes' : 'no');
    headers.push('x-client-cert', encodeURIComponent(certificate.pem));
  }
}

/** The hops that a request says it came by, the first one first; of X-Forwarded-For, else Forwarded. */
function hopsOf(headers: readonly string[]): string[] {
  const list = joined(headers, 'x-forwarded-for');
  const hops =
    list?.split(',') ??
    [...(joined(headers, 'forwarded') ?? '').matchAll(FORWARDED_FOR)].map(
      ([, quoted, token]) => quoted ?? token ?? '',
    );
  return hops.map((hop) => bareAddress(hop.trim())).filter((hop) => hop !== '');
}

/** The `for` of each element. Source: RFC 7239 section 4. */
const FORWARDED_FOR = /(?<=^|[,;])[ \t]*for=(?:"([^"\\]*)"|([^;,"\s]+))/gi;

/** A hop without its port and mapping: `192.0.2.1:80`, `[2001:db8::1]:80`, `::ffff:192.0.2.1`. */
function bareAddress(hop: string): string {
  const bare = /^\[([^\]]*)\](?::\d+)?$/.exec(hop)?.[1] ?? /^([\d.]+):\d+$/.exec(hop)?.[1] ?? hop;
  return bare.replace(/^::ffff:(?=[\d.]+$)/i, '');
}

/** Every value of a header as one list. */
function joined(headers: readonly string[], name: string): string | undefined {
  const values: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    if ((headers[at] as string).toLowerCase() === name) values.push(headers[at + 1] as string);
  }
  return values.length > 0 ? values.join(', ') : undefined;
}
