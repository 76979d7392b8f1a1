import { spawn } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { endAll, processTree } from '../../test/support/processes.ts';

const START_MS = 10_000;
const STOP_MS = 5000;
const POLL_MS = 25;

/** The folder of this run; it goes with the process. The worker of nginx, another user, may read it. */
export const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
chmodSync(folder, 0o755);

// However this run ends, nothing that it started stays: not even workers, which outlive a killed supervisor.
process.once('exit', () => {
  endAll(processTree(process.pid).slice(1));
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => process.exit(1));
}

/** A started process tree; `stop` ends it. */
export type Running = { readonly pid: number; stop(): Promise<void> };

/** Whether something takes connections on a port of the loopback. */
export function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/**
 * Starts a command on some CPUs (`0`, `0,1`); what it says goes to a file of the run's folder.
 * @throws when it has ended, or is not ready within ten seconds, with the end of what it said.
 */
export async function start(
  name: string,
  cpus: string,
  command: readonly string[],
  ready: () => Promise<boolean>,
): Promise<Running> {
  const log = join(folder, `${name}.log`);
  const output = openSync(log, 'w');
  const child = spawn('taskset', ['-c', cpus, ...command], { stdio: ['ignore', output, output] });
  closeSync(output);
  let ended = false;
  const end = new Promise<void>((resolve) => {
    child.once('error', () => resolve());
    child.once('exit', () => resolve());
  }).then(() => {
    ended = true;
  });
  const pid = child.pid ?? 0;
  const stop = async () => {
    child.kill('SIGTERM');
    const last = new AbortController();
    const late = setTimeout(STOP_MS, undefined, { signal: last.signal }).then(
      () => endAll(processTree(pid)),
      () => {},
    );
    await end;
    last.abort();
    await late;
  };
  for (let waited = 0; waited < START_MS && !ended; waited += POLL_MS) {
    if (await ready()) return { pid, stop };
    await setTimeout(POLL_MS);
  }
  await stop();
  throw new Error(`${name} did not start: ${readFileSync(log, 'utf8').slice(-2000)}`);
}
