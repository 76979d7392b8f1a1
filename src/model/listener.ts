import { z } from 'zod';
import { binds } from './address.ts';
import { cidr, count, filePath, headerValue, oneOrMore, size } from './fields.ts';
import { access, errorPages, route } from './route.ts';
import { timeouts } from './timeouts.ts';

const certificate = z.strictObject({
  cert: filePath.describe('PEM, leaf first, then its chain.'),
  key: filePath.describe('PEM, unencrypted.'),
});

/** What a listener presents and demands in the TLS handshake. */
export const listenerTls = z.strictObject({
  certificates: z
    .array(certificate)
    .min(1)
    .describe('Chosen by SNI: exact, then wildcard, then the first.'),
  minVersion: z.enum(['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3']).default('TLSv1.2'),
  maxVersion: z.enum(['TLSv1.2', 'TLSv1.3']).default('TLSv1.3'),
  ciphers: z.string().optional().describe('OpenSSL cipher list.'),
  alpn: z
    .array(z.enum(['h2', 'http/1.1']))
    .min(1)
    .optional()
    .describe('Default for https: h2 and http/1.1; for tls: none.'),
  strictSni: z
    .boolean()
    .default(false)
    .describe('Refuse a name that no certificate covers, and none.'),
  clientAuth: z
    .strictObject({
      ca: filePath,
      crl: filePath.optional(),
      mode: z.enum(['require', 'optional']).default('require'),
    })
    .optional(),
});

/** What a listener bounds; one reached is answered (429, 431, 413, 503 or close) and counted. */
export const listenerLimits = z.strictObject({
  maxConnections: count.default(10_000),
  maxConnectionsPerSource: count.optional(),
  maxHeaderBytes: size.prefault('16KiB'),
  maxHeaders: count.default(100),
  maxUriBytes: size.prefault('8KiB'),
  maxBodyBytes: size.optional().describe('Default: no bound.'),
  minBodyRate: size.default(500).describe('Bytes a second over 10 s; 0 switches it off.'),
  maxRequestsPerConnection: count.optional(),
  maxConcurrentStreams: count.default(100).describe('HTTP/2 requests at work on a connection.'),
});

/** Listening addresses, their protocol, and where their traffic goes. */
export const listener = z.strictObject({
  bind: binds,
  protocol: z.enum(['tcp', 'udp', 'http', 'https', 'tls', 'tls-passthrough']),
  service: z.string().optional().describe('Takes what no route takes.'),
  routes: z.array(route).default([]),
  tls: listenerTls.optional(),
  acceptProxy: z
    .strictObject({ from: oneOrMore(cidr) })
    .optional()
    .describe('Requires a PROXY header, from these peers only.'),
  forwarded: z
    .strictObject({
      trust: z.array(cidr).default([]),
      headers: z
        .array(
          z.enum([
            'x-forwarded-for',
            'x-forwarded-proto',
            'x-forwarded-host',
            'x-forwarded-port',
            'forwarded',
            'x-real-ip',
          ]),
        )
        .default(['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-port']),
    })
    .prefault({}),
  access: access.optional(),
  limits: listenerLimits.prefault({}),
  timeouts: timeouts.optional(),
  http: z
    .strictObject({
      underscoreHeaders: z.enum(['drop', 'reject', 'allow']).default('drop'),
      encodedSlashes: z
        .enum(['reject', 'keep'])
        .default('reject')
        .describe('%2F and %5C in a path.'),
      serverHeader: headerValue.optional(),
      h2c: z
        .boolean()
        .default(true)
        .describe('Serve HTTP/2 without TLS to clients that begin with it.'),
    })
    .prefault({}),
  errorPages: errorPages.optional(),
  accessLog: z.boolean().default(true),
});

export type Listener = z.output<typeof listener>;
export type ListenerTls = z.output<typeof listenerTls>;
export type ListenerLimits = z.output<typeof listenerLimits>;
export type Protocol = Listener['protocol'];
