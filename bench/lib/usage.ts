import { readFileSync } from 'node:fs';
import { processTree } from '../../test/support/processes.ts';

const TICKS_PER_SECOND = 100;

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It has ended since it was found.
    return '';
  }
}

/** CPU time so far of a process and everything below it, those included that have ended. */
export function cpuSeconds(root: number): number {
  let ticks = 0;
  for (const pid of processTree(root)) {
    const stat = read(`/proc/${pid}/stat`);
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // User and system time: its own, and that of its children that have ended.
    for (const field of fields.slice(11, 15)) ticks += Number(field);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Memory in KiB of a process and everything below it; what they share counts once. */
export function memoryKib(root: number): number {
  let kib = 0;
  for (const pid of processTree(root)) {
    const rollup = read(`/proc/${pid}/smaps_rollup`);
    kib += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
  }
  return kib;
}
