import { z } from 'zod';
import { duration } from './fields.ts';

/** Deadlines of a listener's or route's work, each optional: the next outer value stands in. */
export const timeouts = z.strictObject({
  connect: duration.optional().describe('Reaching an endpoint. Default 1s.'),
  header: duration.optional().describe("A request's head, from its first byte. Default 10s."),
  request: duration
    .optional()
    .describe('From the whole request sent to the response head received. Default 60s.'),
  idle: duration
    .optional()
    .describe(
      'A kept-alive HTTP connection, a TCP session or a UDP flow without a byte. Default 60s (TCP: 10m, UDP: 30s).',
    ),
  tunnel: duration.optional().describe('An upgraded connection without a byte. Default 1h.'),
  halfClose: duration
    .optional()
    .describe('The other direction, after one side has finished. Default 30s.'),
  handshake: duration
    .optional()
    .describe('TLS handshake, ClientHello or PROXY header. Default 5s.'),
  write: duration.optional().describe('A peer that takes no byte that is ready. Default 60s.'),
  unacknowledged: duration
    .optional()
    .describe(
      'A peer that acknowledges neither bytes (or has no room for them) nor keep-alive probes: it has vanished. `0s`: probes alone, for 40s. Default 60s (TCP: 0s).',
    ),
});

/** Deadlines in milliseconds, complete. */
export type Timeouts = { [Name in keyof z.output<typeof timeouts>]-?: number };

/** What holds where nothing is configured. A TCP session's idle default is `TCP_IDLE_MS`. */
export const DEFAULT_TIMEOUTS: Timeouts = {
  connect: 1000,
  header: 10_000,
  request: 60_000,
  idle: 60_000,
  tunnel: 3_600_000,
  halfClose: 30_000,
  handshake: 5000,
  write: 60_000,
  unacknowledged: 60_000,
};

/** Default idle deadline of a TCP session: long, because nothing tells a quiet one from a dead one. */
export const TCP_IDLE_MS = 600_000;

/** TCP sessions: nobody but their ends knows for how long one of them may have no room for bytes. */
export const TCP_UNACKNOWLEDGED_MS = 0;

/** Default idle deadline of a UDP flow. */
export const UDP_IDLE_MS = 30_000;

/** The first defined value of each deadline, outermost last. */
export function resolveTimeouts(...layers: (z.output<typeof timeouts> | undefined)[]): Timeouts {
  const result = { ...DEFAULT_TIMEOUTS };
  for (const layer of layers.reverse()) Object.assign(result, layer);
  return result;
}
