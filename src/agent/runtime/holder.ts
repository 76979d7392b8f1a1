import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { COMMAND_PATH } from '../../kernel/exec.ts';

const FIRST_FD = 3;

/** When a process was started, in ticks since boot; undefined when there is none. */
export function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return startOf(stat);
  } catch {
    return undefined;
  }
}

/** The start time in a line of `/proc/PID/stat`; a zombie has ended. */
export function startOf(stat: string): string | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}

/** A process by number and start time: numbers are used again, pairs are not. */
export type ProcessId = { readonly pid: number; readonly start: string };

export function isAlive(process: ProcessId): boolean {
  return processStart(process.pid) === process.start;
}

export function signalProcess(process_: ProcessId, signal: NodeJS.Signals | number): boolean {
  if (!isAlive(process_)) return false;
  try {
    process.kill(process_.pid, signal);
    return true;
  } catch {
    return false;
  }
}

/**
 * Starts a process that does nothing but keep descriptors open after the agent's death: what was
 * written to a socket or pipe meanwhile is there when the next agent takes them back. They are its
 * descriptors 3, 4, … in the order given.
 */
export function holdOpen(fds: readonly number[]): ProcessId | undefined {
  const child = spawn('sleep', ['infinity'], {
    env: { PATH: COMMAND_PATH },
    stdio: ['ignore', 'ignore', 'ignore', ...fds],
    detached: true,
    cwd: '/',
  });
  child.on('error', () => {});
  child.unref();
  const start = child.pid === undefined ? undefined : processStart(child.pid);
  return child.pid === undefined || start === undefined ? undefined : { pid: child.pid, start };
}

/** The number that a held descriptor has in its holder. */
export function heldFd(index: number): number {
  return FIRST_FD + index;
}
