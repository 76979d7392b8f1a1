import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { loadNative } from '../../kernel/native.ts';
import { processStart } from '../runtime/holder.ts';
import type { ResolverOrder } from './resolver-orders.ts';
import { endProcess, noteProcess, Resolvers } from './resolvers.ts';

/*
 * Answers the names of all sandboxes of a host, by an agent's orders. It outlives the agent: until
 * the next one's process has taken the sockets over, it answers with what it knows.
 */

/** How often one without an agent looks whether its sandboxes are still there. */
const LOOK_EVERY_MS = 5000;
/** The most that one waits for answers from outside once another process has taken over. */
const DRAIN_MS = 10_000;
/** A namespace's name has a hyphen: none is mistaken for a process's file. */
const FILE = /^process\.\d+$/;

const [folder = '', flag] = process.argv.slice(2);
const own = `process.${process.pid}`;
noteProcess(join(folder, own), { pid: process.pid, start: processStart(process.pid) ?? '' });

const starting = (flag === '--without-koffi' ? Promise.resolve(undefined) : loadNative()).then(
  (native) => new Resolvers(native, folder),
);
let last: Promise<unknown> = starting;
let first = true;

/** Ends processes before this one: what they served is served by now. */
function endOthers(): void {
  for (const name of readdirSync(folder)) {
    if (FILE.test(name) && name !== own) endProcess(join(folder, name), 'SIGTERM');
  }
}

function end(): never {
  rmSync(join(folder, own), { force: true });
  process.exit(0);
}

async function take(order: ResolverOrder): Promise<void> {
  const answer = await (await starting).take(order);
  if (first) endOthers();
  first = false;
  // An agent that ends at this moment is noticed by `disconnect`.
  if (process.connected) process.send?.(answer, undefined, {}, () => {});
}

async function outliveAgent(): Promise<void> {
  const resolvers = await starting;
  resolvers.prune();
  if (resolvers.idle) end();
  setTimeout(outliveAgent, LOOK_EVERY_MS);
}

process.on('message', (order: ResolverOrder) => {
  last = last.then(() => take(order));
});
process.once('disconnect', () => {
  last = last.then(outliveAgent);
});
process.once('SIGTERM', async () => {
  setTimeout(end, DRAIN_MS);
  await (await starting).drain();
  end();
});
