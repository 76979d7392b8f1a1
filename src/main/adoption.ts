import { unlinkSync } from 'node:fs';
import net from 'node:net';
import { errorText, SluiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { type Inheritance, InheritanceBuilder } from '../gateway/supervisor/handover.ts';
import { connectChannel } from '../net/handle-channel.ts';
import { bindExclusive, type NativeHandle } from '../net/handles.ts';
import type { RunDirectory } from './run-directory.ts';
import { receiveInto } from './succession.ts';

/** What tells a worker without a supervisor that it has been replaced. */
export const LEAVE_SIGNAL = 'SIGUSR2';

const ASK_TIMEOUT_MS = 500;

/** The process that says it supervises this configuration; undefined when nobody does. */
function runningSupervisor(directory: RunDirectory): Promise<string | undefined> {
  return new Promise((resolve) => {
    const asked = net.connect(directory.supervisor);
    let pid = '';
    asked.setTimeout(ASK_TIMEOUT_MS, () => asked.destroy());
    asked.on('data', (data) => {
      pid += data.toString();
    });
    asked.on('error', () => resolve(undefined));
    asked.on('close', () => resolve(pid || undefined));
  });
}

/** Throws `E_ALREADY_RUNS` when another process supervises this configuration. */
export async function checkPlace(directory: RunDirectory): Promise<void> {
  const pid = await runningSupervisor(directory);
  if (pid === undefined) return;
  throw new SluiceError(
    'E_ALREADY_RUNS',
    `process ${pid} runs this configuration; \`sluice upgrade\` replaces it without a gap`,
  );
}

/** Holds the place of the supervisor of a configuration, as long as this process lives. */
export function takePlace(directory: RunDirectory, logger: Logger): void {
  const handle = openSocket(directory.supervisor, logger);
  if (!handle) return;
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.end(String(process.pid));
  });
  server.listen(handle);
  server.unref();
}

/** Opens a socket in the run directory; none, with a warning, when that is not possible. */
export function openSocket(path: string, logger: Logger): NativeHandle | undefined {
  try {
    return bindExclusive({ kind: 'unix', path });
  } catch (error) {
    logger.warn('no socket in the run directory', { why: errorText(error) });
    return undefined;
  }
}

/** Takes over the sockets of workers whose supervisor has died; they serve until told to leave. */
export async function adopt(directory: RunDirectory, logger: Logger): Promise<Inheritance> {
  const builder = new InheritanceBuilder();
  for (const path of directory.workers) {
    if (await connectChannel(path)) {
      await receiveInto(builder);
      if (process.connected) process.disconnect?.();
      await new Promise((resolve) => setImmediate(resolve));
    } else unlinkSync(path);
  }
  const inheritance = builder.result;
  const { orphans } = inheritance;
  if (orphans.length > 0) logger.info('adopting the sockets of workers left behind', { orphans });
  return inheritance;
}

/** Tells workers that have been replaced to finish their work and end. */
export function dismissOrphans(orphans: readonly number[]): void {
  for (const pid of orphans) {
    try {
      process.kill(pid, LEAVE_SIGNAL);
    } catch {
      // It has ended by itself.
    }
  }
}
