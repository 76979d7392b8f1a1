import { z } from 'zod';
import { binds } from './address.ts';
import { cidr, count, duration, oneOrMore, percent, secret, size } from './fields.ts';
import { listener } from './listener.ts';
import { LOG_FORMAT_FIELDS, parseLogFormat } from './log-format.ts';
import { service } from './service.ts';
import { timeouts } from './timeouts.ts';

const name = z
  .string()
  .regex(/^[A-Za-z0-9][\w.-]{0,62}$/, 'a name is 1 to 63 letters, digits, `.`, `_` or `-`');

/** The local administration endpoint: metrics, health, admin API. */
export const admin = z.strictObject({
  bind: binds.prefault('127.0.0.1:9900').describe('As of a listener.'),
  token: secret.optional().describe('Bearer token; needed when the bind is not local.'),
  runtime: z
    .strictObject({
      bind: binds.describe('As of a listener; local only, for it asks for no password.'),
      level: z
        .enum(['user', 'operator', 'admin'])
        .default('operator')
        .describe('What may be said there: only admin changes anything.'),
    })
    .optional()
    .describe("Takes the commands of HAProxy's runtime API (`stats socket`)."),
});

/** What a template of the access log may name in braces. */
const LOG_FIELDS = [
  ...['time', 'listener', 'route', 'service', 'endpoint', 'client', 'clientPort', 'startedAt'],
  'endpointName',
  ...['durationMs', 'waitMs', 'responseMs', 'retries', 'bytesIn', 'bytesOut', 'outcome'],
  ...['method', 'authority', 'target', 'version', 'status', 'referer', 'userAgent'],
];

const logTemplate = z
  .string()
  .superRefine((text, context) => {
    for (const [, name = ''] of text.matchAll(/\{(\w+)\}/g)) {
      if (LOG_FIELDS.includes(name)) continue;
      const message = `there is no {${name}}; there are: ${LOG_FIELDS.join(', ')}`;
      context.addIssue({ code: 'custom', message });
    }
  })
  .describe(`Names in braces: ${LOG_FIELDS.join(', ')}.`)
  .meta({ examples: ['{client} {method} {target} {status} {durationMs}'] });

const logFormat = z
  .string()
  .superRefine((text, context) => {
    const parsed = parseLogFormat(text);
    if (typeof parsed === 'string') context.addIssue({ code: 'custom', message: parsed });
  })
  .describe(
    `As HAProxy's \`log-format\`, with these fields: ${LOG_FORMAT_FIELDS.map((name) => `%${name}`).join(' ')}. Bytes are of bodies, counts of the worker.`,
  )
  .meta({ examples: ['%ci:%cp [%tr] %ft %b/%s %ST %B %{+Q}r'] });

const accessLog = z.strictObject({
  format: z
    .union([
      z.enum(['json', 'common', 'combined', 'httplog', 'tcplog']),
      z.strictObject({ template: logTemplate }),
      z.strictObject({ logFormat }),
    ])
    .default('json')
    .describe('httplog, tcplog and `logFormat` are those of HAProxy.'),
  file: z
    .string()
    .optional()
    .describe('Default: standard output. Opened anew on SIGUSR1 and on a reload.'),
  sample: percent.prefault('100%').describe('Share of sessions logged; failed ones always are.'),
});

const agent = z.strictObject({
  socket: z
    .string()
    .startsWith('/')
    .default('/run/sluice/agent.sock')
    .describe('Where the agent takes orders.'),
});

/** A whole configuration: the desired state that a file describes. */
export const gatewayConfig = z.strictObject({
  $schema: z.string().optional().describe('For editors.'),
  admin: admin.optional(),
  workers: z
    .union([count, z.literal('auto')])
    .default('auto')
    .describe('auto: one a core.'),
  memory: size
    .optional()
    .describe(
      'What all processes may take together; near it new requests get 503. Default: what the control group, or else the machine, has.',
    ),
  agent: agent
    .optional()
    .describe(
      'The node agent of this host, for listeners in the kernel plane. Default: none, or that of the engine in the same daemon.',
    ),
  user: z.string().optional().describe('Workers run as this user after binding.'),
  group: z.string().optional().describe('Default: that of `user`.'),
  log: z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error'])
        .default('info')
        .describe('What is less is not logged.'),
      access: z
        .union([z.literal(false), accessLog])
        .prefault(false)
        .describe('A line a session.'),
    })
    .prefault({}),
  metrics: z
    .strictObject({
      perEndpoint: z
        .boolean()
        .default(true)
        .describe('Whether endpoints have series of their own.'),
      maxEndpoints: count
        .default(1000)
        .describe('Endpoints with series; more are counted as left out.'),
      compat: z
        .enum(['none', 'haproxy'])
        .default('none')
        .describe(
          "haproxy: the same figures once more, under the names of HAProxy's own exporter, for boards and alerts that exist.",
        ),
    })
    .prefault({}),
  defaults: z.strictObject({ timeouts: timeouts.optional() }).prefault({}),
  discovery: z
    .strictObject({
      consul: z
        .strictObject({
          address: z
            .url({ protocol: /^https?$/ })
            .default('http://127.0.0.1:8500')
            .describe('Of the HTTP API.'),
          token: secret.optional().describe('ACL token.'),
          datacenter: z.string().optional().describe("Default: the agent's own."),
        })
        .optional(),
      engine: z
        .strictObject({
          socket: z
            .string()
            .startsWith('/')
            .default('/run/sluice/sluice.sock')
            .describe('Unix socket of an Engine API.'),
        })
        .prefault({}),
      allow: z
        .array(cidr)
        .default([])
        .describe(
          'Addresses that Consul and DNS may name although they are link-local, or loopback when the source is not on this host.',
        ),
      emptyAfter: duration
        .prefault('3s')
        .describe('A source that has named endpoints must name none for so long to be believed.'),
    })
    .prefault({}),
  shutdown: z
    .strictObject({
      timeout: duration.prefault('30s').describe('For work under way; the rest is cut off.'),
    })
    .prefault({}),
  tickets: z
    .strictObject({ rotate: duration.prefault('12h').describe('Age at which a key is replaced.') })
    .prefault({})
    .describe('TLS session tickets, shared by the workers.'),
  cookieKey: secret
    .optional()
    .describe(
      'Signs sticky cookies: the same on every host that is to know them, and across restarts; those of the key before a reload are understood on. Default: made anew at each start.',
    ),
  demo: z
    .strictObject({
      whoami: oneOrMore(binds)
        .transform((lists) => lists.flat())
        .describe('Where they listen.'),
    })
    .optional()
    .describe('Built-in demo endpoints that answer with who they are.'),
  listeners: z.record(name, listener).default({}),
  services: z.record(name, service).default({}),
});

/** What a person writes. */
export type GatewayConfigInput = z.input<typeof gatewayConfig>;
/** What the code reads: complete, defaults filled in. */
export type GatewayConfig = z.output<typeof gatewayConfig>;
