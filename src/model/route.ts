import { z } from 'zod';
import {
  balanceKey,
  cidr,
  count,
  duration,
  filePath,
  headerName,
  headerValue,
  oneOrMore,
  secret,
  size,
  statusRange,
} from './fields.ts';
import { timeouts } from './timeouts.ts';

const pattern = z.union([
  z.string(),
  z.strictObject({ regex: z.string().describe('Linear-time regular expression, unanchored.') }),
  z.strictObject({ present: z.boolean().describe('Whether it is there at all, with any value.') }),
]);

/** A host name without port, or all names below one. */
export const HOST_PATTERN =
  /^((\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])$/;

const hostPattern = z
  .string()
  .regex(
    HOST_PATTERN,
    'must be a host name without port such as "www.example.com", or "*.example.com" for all below',
  );

const pathPattern = z
  .string()
  .regex(
    /^\/[^*?#\s]*\*?$/,
    'must be a path such as "/login", or a prefix such as "/api/*"; for others write { regex: … }',
  );

const regex = z.strictObject({
  regex: z.string().describe('Linear-time regular expression, unanchored.'),
});

const methodName = z.string().regex(/^[A-Z-]+$/, 'must be a method in capitals such as "GET"');

const conditions = {
  host: oneOrMore(z.union([hostPattern, regex]))
    .optional()
    .describe('Exact, or `*.suffix` for any one or more labels below it.'),
  path: oneOrMore(z.union([pathPattern, regex]))
    .optional()
    .describe(
      'Exact, or a prefix ending in `/*` (which also takes the path without `/*`), or in `*` alone (every path that starts so).',
    ),
  method: oneOrMore(methodName).optional().describe('Any of them.'),
  header: z
    .record(headerName, pattern)
    .optional()
    .describe('Name → exact value or pattern; all must hold.'),
  query: z
    .record(z.string(), pattern)
    .optional()
    .describe('Parameter → exact value or pattern; all must hold.'),
  cookie: z
    .record(z.string().min(1), pattern)
    .optional()
    .describe('Name → exact value or pattern; all must hold.'),
  source: oneOrMore(cidr).optional().describe("The client's address."),
  sni: oneOrMore(hostPattern).optional().describe('Server name of the TLS handshake.'),
  live: z
    .record(
      z.string(),
      z.strictObject({
        atLeast: z.int().min(0).optional().describe('That many or more.'),
        below: z.int().min(1).optional().describe('Fewer than that.'),
      }),
    )
    .optional()
    .describe('Service → how many of its endpoints can take requests now.'),
};

/** What a request must have for a route to take it; every given condition must hold. */
export const match = z.strictObject({
  ...conditions,
  not: oneOrMore(z.strictObject(conditions))
    .optional()
    .describe('Conditions that must not hold together; of a list, none may hold.'),
});

/** Services that share a route's requests, by weight. */
export const split = z.strictObject({
  services: z
    .record(z.string(), z.int().min(0).max(10_000))
    .describe('Service → weight; 0 takes nothing.'),
  by: balanceKey
    .optional()
    .describe('Keeps the requests of a key together. Default: each request for itself.'),
});

/** What a template may name, in words for the reference. */
export const TEMPLATE_NAMES =
  '{scheme} {host} {port} {authority} {method} {path} {query} {search} {uri} {client} {clientPort} {forwardedFor} {requestId} {header.NAME} {cookie.NAME} {query.NAME}';

const replacement = z.strictObject({
  match: z.string().describe('Linear-time regular expression, unanchored.'),
  replace: z
    .string()
    .describe('What stands for the match; `$1` is its first group. May hold names as `set`.'),
});

const edits = {
  set: z
    .record(headerName, headerValue)
    .optional()
    .describe(`In place of every field of the name. May hold ${TEMPLATE_NAMES}.`),
  add: z
    .record(headerName, headerValue)
    .optional()
    .describe('Beside fields of the same name; as `set`.'),
  remove: z.array(headerName).optional().describe('Names; comes before `set` and `add`.'),
  replace: z
    .record(headerName, replacement)
    .optional()
    .describe('Changes the value of every field of the name; comes first of all.'),
};

const headerEdits = z.strictObject(edits);

const responseEdits = z.strictObject({
  ...edits,
  status: statusRange.optional().describe('Only for answers of these statuses.'),
});

/** Own bodies for refusals, by status or class (`"503"`, `"5xx"`). */
export const errorPages = z.record(
  z.string().regex(/^([45]\d\d|[45]xx)$/),
  z.strictObject({
    file: filePath.optional().describe('A file with the page.'),
    body: z.string().optional().describe('The page itself, in place of `file`.'),
    contentType: headerValue
      .default('text/html; charset=utf-8')
      .describe('Media type of the page.'),
  }),
);

/** Who may come in: `deny` is asked first, then a non-empty `allow` must hold. */
export const access = z.strictObject({
  allow: z.array(cidr).optional().describe('When not empty, nobody else comes in.'),
  deny: z.array(cidr).optional().describe('Asked first.'),
});

/** One rule of a listener: what it takes, and what happens then. */
export const route = z.strictObject({
  name: z
    .string()
    .regex(/^[\w.-]+$/)
    .optional()
    .describe('Default: its place in the list.'),
  match: match.optional().describe('Every condition must hold. Default: takes everything.'),
  service: z.string().optional().describe('Takes the requests.'),
  split: split
    .optional()
    .describe('Shares the requests out among services, in place of `service`.'),
  redirect: z
    .strictObject({
      to: z.string().describe(`May hold ${TEMPLATE_NAMES}.`),
      regex: z
        .string()
        .optional()
        .describe(
          'Linear-time regular expression, looked for in the path; `$1` in `to` is its first group.',
        ),
      status: z
        .literal([301, 302, 303, 307, 308])
        .default(302)
        .describe('307 and 308 keep the method.'),
    })
    .optional(),
  respond: z
    .strictObject({
      status: z.int().min(200).max(599).default(200).describe('Status of the answer.'),
      body: z.string().default('').describe('Text of the answer.'),
      template: z
        .string()
        .optional()
        .describe(`In place of \`body\`: a text that may hold ${TEMPLATE_NAMES}.`),
      file: filePath.optional().describe('A file with the body, in place of `body`.'),
      headers: z.record(headerName, headerValue).optional().describe('Fields of the answer.'),
    })
    .optional(),
  stats: z
    .strictObject({
      refresh: duration.optional().describe('Browsers load it again so often. Default: never.'),
      admin: z
        .boolean()
        .default(false)
        .describe('Whether servers can be set to ready, drain and maint; needs `basicAuth`.'),
      hideVersion: z.boolean().default(false).describe('Whether the page tells no version.'),
    })
    .optional()
    .describe(
      "Answers with statistics as HAProxy's `stats uri` does: a page, or with `;csv` behind the path a table. Match `{ regex: '^/stats(;|$)' }`.",
    ),
  rewrite: z
    .strictObject({
      stripPrefix: z
        .string()
        .startsWith('/')
        .optional()
        .describe('Taken off the path, at a `/` only.'),
      addPrefix: z
        .string()
        .startsWith('/')
        .optional()
        .describe('Put before the path, last of all.'),
      path: z.string().startsWith('/').optional().describe('Replaces the whole path.'),
      regex: z
        .strictObject({
          match: z.string().describe('Linear-time regular expression, unanchored.'),
          replace: z.string().describe('What stands for the match; `$1` is its first group.'),
        })
        .optional(),
      host: z
        .string()
        .optional()
        .describe(
          'Sent as Host; may hold the names of a template. Default: the one that the client sent.',
        ),
    })
    .optional(),
  headers: z
    .strictObject({
      request: headerEdits.optional(),
      response: oneOrMore(responseEdits)
        .optional()
        .describe('Of a list, all are done in their order.'),
    })
    .optional(),
  rateLimit: z
    .strictObject({
      requests: count.describe('Let through in a span of `per`; then `status` with Retry-After.'),
      per: duration.prefault('1s').describe('The span.'),
      burst: count.optional().describe('Default: `requests`.'),
      by: z
        .union([
          z.literal('source'),
          z.strictObject({
            header: headerName.describe('Its value; without it, all count as one.'),
          }),
        ])
        .default('source')
        .describe('Who is counted for himself.'),
      status: z.int().min(400).max(599).default(429).describe('Of the answer to the others.'),
    })
    .optional(),
  access: access.optional(),
  basicAuth: z
    .strictObject({
      realm: headerValue.default('restricted').describe('What the browser shows.'),
      users: z
        .record(z.string().min(1), secret)
        .describe(
          'Name → `{SHA256}base64`, `{SCRYPT}N:salt:hash`, a hash of crypt(3) or htpasswd (`$2y$`, `$6$`, `$5$`, `$1$`, `$apr1$`, `{SHA}`, `{SSHA}`), or the plain password.',
        ),
    })
    .optional(),
  timeouts: timeouts.pick({ request: true, tunnel: true }).optional(),
  maxBodyBytes: size.optional().describe("In place of the listener's `limits.maxBodyBytes`."),
  errorPages: errorPages.optional(),
});

export type Match = z.output<typeof match>;
export type Pattern = z.output<typeof pattern>;
export type HeaderEdits = z.output<typeof headerEdits>;
export type ResponseEdits = z.output<typeof responseEdits>;
export type ErrorPages = z.output<typeof errorPages>;
export type Access = z.output<typeof access>;
export type Split = z.output<typeof split>;
export type Route = z.output<typeof route>;
export type RateLimit = NonNullable<Route['rateLimit']>;

/** Every service that a route may send to. */
export function servicesOf({ service, split }: Pick<Route, 'service' | 'split'>): string[] {
  return service === undefined ? Object.keys(split?.services ?? {}) : [service];
}
