import { z } from 'zod';
import { endpointAddress } from './address.ts';
import { balanceKey, count, duration, filePath, percent, size } from './fields.ts';
import { agentCheck, healthCheck, passive } from './health-check.ts';
import { timeouts } from './timeouts.ts';

const weight = z.int().min(0).max(256).default(1);

const endpointObject = z.strictObject({
  address: endpointAddress,
  weight: weight.describe('0 takes no new work; sticky clients still reach it.'),
  backup: z.boolean().default(false).describe('Serves only while no other endpoint can.'),
  maxConnections: count.optional(),
});

/** One statically named endpoint, short (`"host:port"`) or long. */
export const endpoint = z.union([
  endpointAddress.transform((address) => ({ address, weight: 1, backup: false as boolean })),
  endpointObject,
]);

/** Where a service's endpoints come from when they are not written out. */
export const discover = z.union([
  z.strictObject({
    consul: z.strictObject({
      service: z.string().min(1),
      tag: z.string().optional(),
      datacenter: z.string().optional(),
      passingOnly: z.boolean().default(true),
    }),
  }),
  z.strictObject({
    dns: z.strictObject({
      name: z.string().min(1),
      type: z.enum(['A', 'AAAA', 'SRV']).default('A'),
      port: z.int().min(1).max(65_535).optional().describe('Needed for A and AAAA.'),
      refresh: duration
        .optional()
        .describe('Fixed interval; default: the TTL, at least `minTtl` and at most 60s; SRV: 10s.'),
      minTtl: duration.prefault('1s').describe('Shortest interval, however short the TTL is.'),
      server: endpointAddress.optional().describe('DNS server; default: the system’s.'),
    }),
  }),
  z.strictObject({ file: z.strictObject({ path: filePath }) }),
]);

const algorithm = z.enum([
  'round-robin',
  'least-connections',
  'random-two',
  'source-hash',
  'consistent-hash',
  'maglev',
  'ewma',
  'first',
]);

/** How endpoints are chosen. */
export const balance = z.union([
  algorithm.transform((name) => ({
    algorithm: name,
    key: 'source' as BalanceKey,
    boundedLoad: undefined as number | undefined,
  })),
  z.strictObject({
    algorithm,
    key: balanceKey.default('source').describe('What the hashing algorithms hash.'),
    boundedLoad: z
      .number()
      .min(1.05)
      .max(10)
      .optional()
      .describe('Most load, as a multiple of the mean.'),
  }),
]);

/** What the hashing algorithms hash. */
export type BalanceKey = z.output<typeof balanceKey>;

/** Keeping a client on its endpoint. */
export const sticky = z.union([
  z.strictObject({
    cookie: z.strictObject({
      name: z
        .string()
        .regex(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/)
        .default('SLUICE'),
      maxAge: duration.optional().describe('Default: a session cookie.'),
      path: z.string().startsWith('/').default('/'),
      domain: z.string().optional(),
      httpOnly: z.boolean().default(true),
      secure: z.union([z.boolean(), z.literal('auto')]).default('auto'),
      sameSite: z.enum(['lax', 'strict', 'none']).optional(),
    }),
  }),
  z.strictObject({ appCookie: z.strictObject({ name: z.string().min(1) }) }),
  z.strictObject({ source: z.strictObject({ timeout: duration.prefault('3h') }) }),
]);

/** Conditions on which a request may be sent again, to another endpoint. */
export const retryOn = z.enum(['connect-failure', 'reset', 'timeout', '500', '502', '503', '504']);

/** A named set of endpoints and everything about reaching them. */
export const service = z.strictObject({
  endpoints: z.array(endpoint).default([]),
  discover: discover.optional(),
  protocol: z
    .enum(['http1', 'h2', 'h2c', 'auto'])
    .default('http1')
    .describe(
      'Towards endpoints, for HTTP listeners. h2: HTTP/2 over TLS; h2c: HTTP/2 without; auto: over TLS, HTTP/2 where the endpoint agrees to it, else HTTP/1.1.',
    ),
  balance: balance.prefault('random-two'),
  sticky: sticky.optional(),
  health: z
    .union([z.literal(false), healthCheck])
    .optional()
    .describe(
      'Default: http (any answer counts) or h2 for services of HTTP listeners, tcp otherwise.',
    ),
  agentCheck: agentCheck
    .optional()
    .describe('An agent beside each endpoint tells its weight, drains it or takes it down.'),
  passive: z.union([z.literal(false), passive]).prefault({}),
  retries: z
    .union([
      z.literal(false),
      z.strictObject({
        attempts: z.int().min(1).max(10).default(2).describe('After the first one.'),
        on: z
          .array(
            z.union([retryOn, z.literal([500, 502, 503, 504]).transform(String).pipe(retryOn)]),
          )
          .default(['connect-failure', 'reset', '502', '503', '504']),
        methods: z.array(z.string()).default(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']),
        budget: percent.prefault('20%').describe('Most retries, as a share of requests.'),
        maxBodyBytes: size.prefault('64KiB').describe('Largest body that is kept for a retry.'),
      }),
    ])
    .prefault({}),
  slowStart: duration.optional(),
  limits: z
    .strictObject({
      maxConnections: count
        .optional()
        .describe('Requests or connections at work in the whole service.'),
      maxConnectionsPerEndpoint: count.optional(),
      queue: z
        .strictObject({ size: z.int().min(0).default(1024), timeout: duration.prefault('5s') })
        .prefault({}),
    })
    .prefault({}),
  keepAlive: z
    .strictObject({
      maxIdle: z.int().min(0).default(256).describe('Idle connections kept for an endpoint.'),
      idle: duration.prefault('50s'),
    })
    .prefault({}),
  panic: z
    .union([z.enum(['any', 'none']), percent])
    .default('none')
    .describe(
      'With no healthy endpoint left: try any, or answer 503. A percentage tries any as soon as a smaller share is healthy.',
    ),
  drain: z.strictObject({ timeout: duration.prefault('30s') }).prefault({}),
  tls: z
    .strictObject({
      verify: z.boolean().default(true),
      ca: filePath.optional(),
      serverName: z.string().optional(),
      cert: filePath.optional(),
      key: filePath.optional(),
    })
    .optional(),
  proxyProtocol: z.enum(['v1', 'v2']).optional(),
  timeouts: timeouts.optional(),
});

export type Endpoint = z.output<typeof endpoint>;
export type Discover = z.output<typeof discover>;
export type Balance = z.output<typeof balance>;
export type Sticky = z.output<typeof sticky>;
export type RetryOn = z.output<typeof retryOn>;
export type Service = z.output<typeof service>;
