import type { TestContext } from 'node:test';
import { REQUESTS, SCRAPS } from '../fuzz/corpus/http1.ts';
import { exchange } from './attack.ts';
import { freePorts, Gateway } from './gateway.ts';
import { mutate } from './mutate.ts';
import { Oracle } from './oracle.ts';
import { seeded } from './seed.ts';

const MAX_REPORTED = 10;

/** How a run of the differential test went. */
export type Differences = {
  sent: number;
  /** Messages of which something was answered with 2xx. */
  taken: number;
  refused: number;
  /** Messages that the two sides read differently, in words. */
  wrong: string[];
};

/** What is wrong with what was forwarded of `message`, given how a server would have read it. */
function compare(message: string, direct: Oracle, origin: Oracle): string | undefined {
  const told = (what: string) =>
    `${what}: ${JSON.stringify({ message, forwarded: origin.raw, origin: origin.seen, direct: direct.seen })}`;
  if (origin.errors.length > 0) return told(`the origin refused it (${origin.errors.join()})`);
  for (const [at, request] of origin.seen.entries()) {
    const expected = direct.seen[at];
    // Node refuses some of what RFC 9112 lets pass; then there is nothing to compare with.
    const gaveUp = direct.stopped || direct.errors.length > 0;
    if (!expected) return gaveUp ? undefined : told('one request became two');
    if (expected.method !== request.method) return told('another method');
    if (expected.body !== request.body) return told('another body');
  }
  return undefined;
}

/**
 * Sends seeded mutations of good requests through `port` to `origin`, and straight to a server
 * with Node's strict parser: whatever is forwarded has to be read by the origin as the client's
 * bytes would have been, request by request.
 */
export async function compareAll(
  t: TestContext,
  count: number,
  port: number,
  origin: Oracle,
): Promise<Differences> {
  const rng = seeded(t);
  const direct = new Oracle();
  const directPort = await direct.start();
  t.after(() => direct.stop());
  const result: Differences = { sent: 0, taken: 0, refused: 0, wrong: [] };
  for (; result.sent < count && result.wrong.length < MAX_REPORTED; result.sent++) {
    const message = mutate(rng, REQUESTS, SCRAPS);
    origin.clear();
    direct.clear();
    const [{ text, ending }] = await Promise.all([
      exchange(port, message, { half: true, timeoutMs: 10_000 }),
      exchange(directPort, message, { half: true, timeoutMs: 10_000 }),
    ]);
    if (/^HTTP\/1\.1 2/m.test(text)) result.taken++;
    else if (/^HTTP\/1\.1 [45]/m.test(text)) result.refused++;
    if (ending === 'open') result.wrong.push(`no end: ${JSON.stringify({ message, text })}`);
    const difference = compare(message, direct, origin);
    if (difference) result.wrong.push(difference);
  }
  return result;
}

/** Runs the comparison through a daemon with one worker. */
export async function throughGateway(t: TestContext, count: number): Promise<Differences> {
  const origin = new Oracle();
  const [originPort, [port = 0]] = await Promise.all([origin.start(), freePorts(1)]);
  const gateway = await Gateway.start(`listeners:
  web:
    bind: "127.0.0.1:${port}"
    protocol: http
    service: app
    accessLog: false
services:
  app: { health: false, passive: false, endpoints: ["127.0.0.1:${originPort}"] }
`);
  t.after(async () => {
    await gateway.stop();
    origin.stop();
  });
  return compareAll(t, count, port, origin);
}
