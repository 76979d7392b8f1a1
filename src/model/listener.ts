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
  minVersion: z
    .enum(['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'])
    .default('TLSv1.2')
    .describe('Oldest version that is spoken.'),
  maxVersion: z
    .enum(['TLSv1.2', 'TLSv1.3'])
    .default('TLSv1.3')
    .describe('Newest version that is spoken.'),
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
      ca: filePath.describe('PEM: who signs the certificates of clients.'),
      crl: filePath.optional().describe('PEM: certificates that are not valid any more.'),
      mode: z
        .enum(['require', 'optional'])
        .default('require')
        .describe(
          'optional: a client without one is let in, and one whose certificate is bad is told of as not verified. require: a client without one gets a TLS alert; one with a bad one, for which Node has no alert, the end of its connection.',
        ),
    })
    .optional(),
});

/** What a listener bounds; one reached is answered (429, 431, 413, 503 or close) and counted. */
export const listenerLimits = z.strictObject({
  maxConnections: count.default(10_000).describe('Shared out among the workers, rounded up.'),
  maxConnectionsPerSource: count
    .optional()
    .describe('Of one client address, in each worker for itself. Default: no bound.'),
  maxHeaderBytes: size.prefault('16KiB').describe('Of all fields; above it 431.'),
  maxHeaders: count.default(100).describe('Fields of a request; above it 431.'),
  maxUriBytes: size.prefault('8KiB').describe('Of path and query; above it 414.'),
  maxBodyBytes: size.optional().describe('Default: no bound.'),
  minBodyRate: size
    .default(500)
    .describe(
      'Bytes a second over 10 s; 0 switches it off. gRPC calls have `timeouts.idle` instead.',
    ),
  maxRequestsPerConnection: count
    .optional()
    .describe('Then it is closed in good order. Default: no bound.'),
  maxConcurrentStreams: count.default(100).describe('HTTP/2 requests at work on a connection.'),
});

/** Listening addresses, their protocol, and where their traffic goes. */
export const listener = z.strictObject({
  bind: binds.describe(
    '`HOST:PORT`, `:PORT` (all, IPv4 and IPv6), `[V6]:PORT`, `HOST:FROM-TO`, `unix:/PATH` or `fd:NAME` (from systemd); one or several.',
  ),
  protocol: z
    .enum(['tcp', 'udp', 'http', 'https', 'tls', 'tls-passthrough'])
    .describe('tls: ends TLS, forwards what is inside; tls-passthrough: routed by SNI, untouched.'),
  plane: z
    .enum(['auto', 'kernel', 'user'])
    .default('auto')
    .describe(
      'What carries tcp and udp. kernel: packets are forwarded by the node agent that `agent` names, and by sockets while it cannot; auto: the same where no other key stands against it; user: sockets.',
    ),
  service: z.string().optional().describe('Takes what no route takes.'),
  routes: z.array(route).default([]).describe('The first that matches takes the request.'),
  cluster: z
    .union([z.literal(true), z.string().min(1)])
    .optional()
    .describe(
      "Takes, after `routes`, what the labels of the services of this host's cluster ask for. A name: only those whose label `com.docker.lb.service_cluster` has it.",
    ),
  tls: listenerTls.optional(),
  acceptProxy: z
    .strictObject({ from: oneOrMore(cidr).describe('Peers that are believed.') })
    .optional()
    .describe('Requires a PROXY header, from these peers only.'),
  forwarded: z
    .strictObject({
      trust: z
        .array(cidr)
        .default([])
        .describe('Peers whose fields are believed, kept and added to; of others `claims` says.'),
      claims: z
        .enum(['drop', 'keep'])
        .default('drop')
        .describe(
          'Fields of peers that are not trusted. keep: passed on, X-Forwarded-For added to, as HAProxy and nginx do; they may be invented, and the gateway does not believe them.',
        ),
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
        .default(['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-port'])
        .describe('Fields that endpoints get.'),
    })
    .prefault({}),
  access: access.optional(),
  limits: listenerLimits.prefault({}),
  timeouts: timeouts.optional(),
  http: z
    .strictObject({
      underscoreHeaders: z
        .enum(['drop', 'reject', 'allow'])
        .default('drop')
        .describe('Fields with `_` in their name, which some servers read as `-`.'),
      encodedSlashes: z
        .enum(['reject', 'keep'])
        .default('reject')
        .describe('%2F and %5C in a path.'),
      slashes: z
        .enum(['keep', 'merge'])
        .default('keep')
        .describe('Several `/` in a row in a path; merge: they are one, for routes and endpoints.'),
      serverHeader: headerValue
        .optional()
        .describe("Server field of every answer. Default: the endpoint's stays."),
      h2c: z
        .boolean()
        .default(true)
        .describe('Serve HTTP/2 without TLS to clients that begin with it.'),
    })
    .prefault({}),
  errorPages: errorPages.optional(),
  accessLog: z.boolean().default(true).describe('Whether its sessions are in the access log.'),
});

export type Listener = z.output<typeof listener>;
export type ListenerTls = z.output<typeof listenerTls>;
export type Protocol = Listener['protocol'];
