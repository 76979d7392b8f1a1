import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';
import type { Resources } from '../gateway/worker/overload.ts';

/** Where the limit cannot be read. */
const USUAL_DESCRIPTORS = 1024;
const PAGE_BYTES = 4096;
const SUPERVISOR_BYTES = 64 * 1024 * 1024;

function descriptorLimit(): number {
  try {
    const text = readFileSync('/proc/self/limits', 'utf8');
    const soft = /^Max open files\s+(\d+)/m.exec(text)?.[1];
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
  } catch {
    return USUAL_DESCRIPTORS;
  }
}

/** The memory that the control group, or else the machine, lets all processes together have. */
function memoryLimit(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

/** Bytes that this process alone holds, as far as the kernel tells; else all that it holds. */
function ownBytes(): number {
  try {
    const [, resident = 0, shared = 0] = readFileSync('/proc/self/statm', 'utf8')
      .split(' ')
      .map(Number);
    return (resident - shared) * PAGE_BYTES;
  } catch {
    return process.memoryUsage.rss();
  }
}

/** What this process may use of its machine. */
export function processResources(): Resources {
  return {
    descriptors: descriptorLimit(),
    memory: (workers, limit = memoryLimit()) => {
      const { used_heap_size: heap, heap_size_limit: heapLimit } = getHeapStatistics();
      // The other workers fare alike, as the kernel spreads the connections.
      return Math.max((ownBytes() * workers + SUPERVISOR_BYTES) / limit, heap / heapLimit);
    },
  };
}
