import { z } from 'zod';
import {
  count,
  duration,
  headerName,
  headerValue,
  oneOrMore,
  percent,
  statusRange,
} from './fields.ts';

const timing = {
  interval: duration.prefault('2s').describe('From check to check.'),
  fastInterval: duration
    .optional()
    .describe('While the state is in doubt. Default: the interval, at most 250ms.'),
  downInterval: duration
    .optional()
    .describe('While down. Default: the interval, at most 500ms, so that a return is soon seen.'),
  timeout: duration.prefault('1s').describe('Of the whole check.'),
  rise: count.default(2).describe('Good checks in a row that bring it up.'),
  fall: count.default(2).describe('Bad checks in a row that take it down.'),
  port: z.int().min(1).max(65_535).optional().describe("Default: the endpoint's."),
  initialState: z
    .enum(['up', 'down', 'hold'])
    .default('up')
    .describe('hold: no traffic before the first good check.'),
};

const text = z.union([
  z.string(),
  z.strictObject({ regex: z.string().describe('Linear-time regular expression, unanchored.') }),
]);

const http = {
  ...timing,
  path: z.string().startsWith('/').default('/').describe('With its query.'),
  method: z
    .string()
    .regex(/^[A-Z]+$/)
    .default('GET')
    .describe('In capitals.'),
  host: z.string().optional().describe('Sent as Host. Default: `localhost`.'),
  headers: z.record(headerName, headerValue).optional().describe('Sent with it.'),
  expect: z
    .strictObject({
      status: statusRange.default('200-399'),
      body: text.optional().describe('What the answer must hold.'),
    })
    .prefault({}),
};

/** An active check. Defaults: every 2s, 1s timeout, 2 to rise, 2 to fall. */
export const healthCheck = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('tcp'), ...timing }),
  z.strictObject({
    type: z.literal('tls'),
    ...timing,
    serverName: z.string().optional().describe('Sent as SNI.'),
    verify: z.boolean().default(true).describe('Whether the certificate is checked.'),
  }),
  z.strictObject({ type: z.literal('http'), ...http }),
  z.strictObject({
    type: z.literal('https'),
    ...http,
    serverName: z.string().optional().describe('Sent as SNI.'),
    verify: z.boolean().default(true).describe('Whether the certificate is checked.'),
  }),
  z.strictObject({
    type: z.literal('dns'),
    ...timing,
    name: z.string().min(1).describe('Asked for; NOERROR and NXDOMAIN are good.'),
    recordType: z.enum(['A', 'AAAA', 'TXT', 'SOA', 'NS']).default('A').describe('Asked for.'),
  }),
  z.strictObject({
    type: z.literal('send-expect'),
    ...timing,
    send: z.string().optional().describe('\\r, \\n, \\t and \\xHH are read as such.'),
    expect: text.describe('What must come.'),
    more: z
      .array(
        z.strictObject({
          send: z.string().optional().describe('As above.'),
          expect: text.describe('What must come after that.'),
        }),
      )
      .max(16)
      .optional()
      .describe('What is said and must come afterwards, on the same connection.'),
  }),
  z
    .strictObject({ type: z.literal('h2'), ...timing })
    .describe('HTTP/2 is set up, with TLS where the service has it: any server that lives does.'),
  z.strictObject({
    type: z.literal('grpc'),
    ...timing,
    service: z
      .string()
      .regex(/^[!-~]{0,127}$/, 'must be a service name such as "shop.Cart"')
      .default('')
      .describe('Asked for by grpc.health.v1; default: the server as a whole.'),
    authority: z
      .string()
      .min(1)
      .optional()
      .describe("Default: the server name of the service's `tls`, else `localhost`."),
  }),
  z.strictObject({
    type: z.literal('exec'),
    ...timing,
    command: oneOrMore(z.string().min(1)).describe('Program and arguments; status 0 is good.'),
  }),
]);

/** Asking an agent beside each endpoint what the endpoint can take. */
export const agentCheck = z.strictObject({
  port: z.int().min(1).max(65_535).describe("Of the agent, at the endpoint's address."),
  interval: duration.prefault('2s').describe('From question to question.'),
  timeout: duration.prefault('1s').describe('Of connecting and answering.'),
  send: z.string().optional().describe('Sent first; \\r, \\n, \\t and \\xHH are read as such.'),
});

/** Judging endpoints by live traffic. */
export const passive = z.strictObject({
  failures: count.default(5).describe('In a row.'),
  errorRatio: percent.prefault('50%').describe('Within the window, of at least 20 requests.'),
  within: duration.prefault('10s').describe('The window.'),
  ejectFor: duration
    .prefault('30s')
    .describe('Times the number of ejections in a row, at most 5m.'),
  maxEjected: percent.prefault('50%').describe('Of the endpoints; a pool of two may lose one.'),
});

export type HealthCheck = z.output<typeof healthCheck>;
export type HttpHealthCheck = Extract<HealthCheck, { type: 'http' | 'https' }>;
export type AgentCheck = z.output<typeof agentCheck>;
export type Passive = z.output<typeof passive>;
