import { readdirSync, readFileSync } from 'node:fs';

const CLOCK_TICKS_PER_SECOND = 100;
const TCP_STATES: Readonly<Record<string, string>> = {
  '01': 'ESTABLISHED',
  '03': 'SYN_RECV',
  '06': 'TIME_WAIT',
  '08': 'CLOSE_WAIT',
};

/** What processes hold and have used, summed. */
export type Usage = { rssBytes: number; fds: number; cpuMs: number };

/** Why processes cannot be measured here, for a test's `skip`; false when they can. */
export const noProc = process.platform === 'linux' ? false : 'needs /proc of Linux';

/** `pid` and all its descendants that live now. */
export function processTree(pid: number): number[] {
  let children = '';
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      children += readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8');
    }
  } catch {
    // It has ended between two reads: what was found so far is all there is.
  }
  return [pid, ...children.split(' ').filter(Boolean).map(Number).flatMap(processTree)];
}

function usageOf(pid: number): Usage {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const rssKib = Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0);
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[11]) + Number(fields[12]);
    return {
      rssBytes: rssKib * 1024,
      fds: readdirSync(`/proc/${pid}/fd`).length,
      cpuMs: (ticks * 1000) / CLOCK_TICKS_PER_SECOND,
    };
  } catch {
    return { rssBytes: 0, fds: 0, cpuMs: 0 };
  }
}

/** The sum over `pids`; one that has ended counts nothing. */
export function usage(pids: readonly number[]): Usage {
  const sum = { rssBytes: 0, fds: 0, cpuMs: 0 };
  for (const one of pids.map(usageOf)) {
    sum.rssBytes += one.rssBytes;
    sum.fds += one.fds;
    sum.cpuMs += one.cpuMs;
  }
  return sum;
}

/** How many TCP sockets of this host have `port` as their own, by state. */
export function tcpStates(port: number): Record<string, number> {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const counts: Record<string, number> = {};
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of readFileSync(file, 'utf8').split('\n').slice(1)) {
      const [, local = '', , state = ''] = line.trim().split(/\s+/);
      if (!local.endsWith(wanted)) continue;
      const name = TCP_STATES[state] ?? state;
      counts[name] = (counts[name] ?? 0) + 1;
    }
  }
  return counts;
}

/** Waits until the processes have settled: `rounds` readings without a change of descriptors. */
export async function settled(pids: readonly number[], rounds = 5): Promise<Usage> {
  let last = usage(pids);
  for (let same = 0, tries = 0; same < rounds && tries < 100; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const next = usage(pids);
    same = next.fds === last.fds ? same + 1 : 0;
    last = next;
  }
  return last;
}

/** Whether a process runs; one that has ended and waits for its parent does not. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z';
  } catch {
    return false;
  }
}

/** Ends processes that may have ended already. */
export function endAll(pids: readonly number[], signal: NodeJS.Signals = 'SIGKILL'): void {
  for (const pid of pids) {
    try {
      if (pid > 0) process.kill(pid, signal);
    } catch {
      // It has ended.
    }
  }
}
