import { z } from 'zod';
import { endpointAddress } from './address.ts';
import { balanceKey, count, duration, filePath, percent, size } from './fields.ts';
import { agentCheck, healthCheck, passive } from './health-check.ts';
import { timeouts } from './timeouts.ts';

const weight = z.int().min(0).max(256).default(1);

const endpointObject = z.strictObject({
  name: z
    .string()
    .regex(/^[\w.:-]{1,63}$/, 'a name is 1 to 63 letters, digits, `.`, `_`, `:` or `-`')
    .optional()
    .describe(
      'What HAProxy calls it: in its metrics, statistics, runtime API and log formats. Default: the address.',
    ),
  address: endpointAddress.describe('`HOST:PORT` or `unix:/PATH`; a name is resolved by DNS.'),
  weight: weight.describe('0 takes no new work; sticky clients still reach it.'),
  backup: z.boolean().default(false).describe('Serves only while no other endpoint can.'),
  maxConnections: count.optional().describe('Default: `limits.maxConnectionsPerEndpoint`.'),
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
      service: z.string().min(1).describe('Its name in the catalog.'),
      tag: z.string().optional().describe('That instances must have.'),
      datacenter: z.string().optional().describe('Default: that of `discovery.consul`.'),
      passingOnly: z.boolean().default(true).describe('Only instances whose checks all pass.'),
    }),
  }),
  z.strictObject({
    dns: z.strictObject({
      name: z.string().min(1).describe('Name that is looked up.'),
      type: z.enum(['A', 'AAAA', 'SRV']).default('A').describe('SRV brings ports and weights.'),
      port: z.int().min(1).max(65_535).optional().describe('Needed for A and AAAA.'),
      refresh: duration
        .optional()
        .describe('Fixed interval; default: the TTL, at least `minTtl` and at most 60s; SRV: 10s.'),
      minTtl: duration.prefault('1s').describe('Shortest interval, however short the TTL is.'),
      server: endpointAddress.optional().describe('DNS server; default: the system’s.'),
    }),
  }),
  z.strictObject({
    file: z.strictObject({
      path: filePath.describe(
        'An address a line, or a YAML or JSON list of endpoints; looked at once a second.',
      ),
    }),
  }),
  z.strictObject({
    cluster: z
      .strictObject({
        service: z.string().min(1).describe('Its name.'),
        port: z.int().min(1).max(65_535).describe('Of its tasks.'),
      })
      .describe(
        "A service of this host's cluster that publishes a port in ingress mode, or has labels for gateways.",
      ),
  }),
  z.strictObject({
    tasks: z.strictObject({
      network: z
        .string()
        .min(1)
        .optional()
        .describe('Whose addresses are used. Default: the first by name that a task is on.'),
      name: z.string().min(1).optional().describe('Of the task; a `*` at its end takes any rest.'),
      label: z.string().min(1).optional().describe('`KEY` or `KEY=VALUE`.'),
      port: z
        .int()
        .min(1)
        .max(65_535)
        .optional()
        .describe('Default: the only port that a task exposes.'),
    }),
  }),
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
    algorithm: algorithm.describe('As in the short form.'),
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
        .default('SLUICE')
        .describe('Of the cookie that the gateway sets.'),
      maxAge: duration.optional().describe('Default: a session cookie.'),
      path: z.string().startsWith('/').default('/').describe('Attribute Path.'),
      domain: z.string().optional().describe('Attribute Domain. Default: none.'),
      httpOnly: z.boolean().default(true).describe('Attribute HttpOnly.'),
      secure: z
        .union([z.boolean(), z.literal('auto')])
        .default('auto')
        .describe('Attribute Secure; auto: over TLS.'),
      sameSite: z
        .enum(['lax', 'strict', 'none'])
        .optional()
        .describe('Attribute SameSite. Default: none.'),
    }),
  }),
  z.strictObject({
    appCookie: z.strictObject({
      name: z.string().min(1).describe('Of a cookie of the application.'),
    }),
  }),
  z.strictObject({
    source: z.strictObject({
      timeout: duration.prefault('3h').describe('Without a session from the client.'),
    }),
  }),
]);

/** Conditions on which a request may be sent again, to another endpoint. */
export const retryOn = z.enum(['connect-failure', 'reset', 'timeout', '500', '502', '503', '504']);

/** A named set of endpoints and everything about reaching them. */
export const service = z.strictObject({
  endpoints: z.array(endpoint).default([]).describe('`HOST:PORT`, `unix:/PATH`, or an object.'),
  discover: discover.optional(),
  protocol: z
    .enum(['http1', 'h2', 'h2c', 'auto'])
    .default('http1')
    .describe(
      'Towards endpoints, for HTTP listeners. h2: HTTP/2 over TLS; h2c: HTTP/2 without; auto: over TLS, HTTP/2 where the endpoint agrees to it, else HTTP/1.1.',
    ),
  balance: balance
    .prefault('random-two')
    .describe('random-two: the less loaded of two at random; first: the first that has room.'),
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
  passive: z
    .union([z.literal(false), passive])
    .prefault({})
    .describe('Judges endpoints by live traffic.'),
  retries: z
    .union([
      z.literal(false),
      z.strictObject({
        attempts: z.int().min(1).max(10).default(2).describe('After the first one.'),
        on: z
          .array(
            z.union([retryOn, z.literal([500, 502, 503, 504]).transform(String).pipe(retryOn)]),
          )
          .default(['connect-failure', 'reset', '502', '503', '504'])
          .describe('Failures and statuses.'),
        methods: z
          .array(z.string())
          .default(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
          .describe('That may be sent again once they have reached an endpoint.'),
        budget: percent.prefault('20%').describe('Most retries, as a share of requests.'),
        maxBodyBytes: size.prefault('64KiB').describe('Largest body that is kept for a retry.'),
      }),
    ])
    .prefault({})
    .describe('Sending a failed request to another endpoint.'),
  slowStart: duration
    .optional()
    .describe('An endpoint that comes up gets its whole share only after so long.'),
  limits: z
    .strictObject({
      maxConnections: count
        .optional()
        .describe('Requests or connections at work in the whole service.'),
      maxConnectionsPerEndpoint: count
        .optional()
        .describe('Work beyond it waits in the queue. Default: no bound.'),
      queue: z
        .strictObject({
          size: z.int().min(0).default(1024).describe('Most that wait; above it 503.'),
          timeout: duration.prefault('5s').describe('Longest wait; then 503.'),
        })
        .prefault({}),
    })
    .prefault({}),
  keepAlive: z
    .strictObject({
      maxIdle: z
        .int()
        .min(0)
        .default(256)
        .describe('Idle connections kept for an endpoint; more stay for about a second.'),
      idle: duration.prefault('50s').describe('How long they are kept.'),
    })
    .prefault({}),
  http: z
    .strictObject({
      pipelining: z
        .int()
        .min(1)
        .max(128)
        .default(1)
        .describe(
          'Most requests under way on one HTTP/1.1 connection: idempotent ones without a body are sent before those ahead of them are answered. A slow answer then holds up those behind it. Default: no pipelining.',
        ),
    })
    .prefault({}),
  panic: z
    .union([z.enum(['any', 'none']), percent])
    .default('none')
    .describe(
      'With no healthy endpoint left: try any, or answer 503. A percentage tries any as soon as a smaller share is healthy.',
    ),
  drain: z
    .strictObject({
      timeout: duration.prefault('30s').describe('For the work of an endpoint that leaves.'),
    })
    .prefault({}),
  tls: z
    .strictObject({
      verify: z.boolean().default(true).describe('Whether their certificates are checked.'),
      ca: filePath.optional().describe('PEM. Default: the authorities that Node brings.'),
      serverName: z.string().optional().describe('Sent as SNI and looked for in the certificate.'),
      cert: filePath.optional().describe('PEM: shown to endpoints that ask for one.'),
      key: filePath.optional().describe('PEM, of `cert`.'),
    })
    .optional(),
  proxyProtocol: z
    .enum(['v1', 'v2'])
    .optional()
    .describe('Sent to endpoints first. Default: none.'),
  timeouts: timeouts.optional(),
});

export type Endpoint = z.output<typeof endpoint>;
export type Discover = z.output<typeof discover>;
export type Balance = z.output<typeof balance>;
export type Sticky = z.output<typeof sticky>;
export type RetryOn = z.output<typeof retryOn>;
export type Service = z.output<typeof service>;
