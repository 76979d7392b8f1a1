import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';

const RESOLUTION_MS = 20;
/** Shorter spans tell nothing about how busy a process is. */
const LEAST_SPAN_MS = 500;

/** How loaded the process of a worker is. */
export type WorkerLoad = {
  /** Longest stall of the event loop since the last look. */
  readonly lagMs: number;
  /** Share of the time since about a second ago in which the event loop worked, 0 to 1. */
  readonly busy: number;
  /** In bytes. */
  readonly heap: { readonly used: number; readonly reserved: number };
};

/** Starts watching this process; the function yields its load. */
export function startLoadMeter(): () => WorkerLoad {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  let before = performance.eventLoopUtilization();
  let busy = 0;
  return () => {
    const lagMs = Math.max(0, histogram.max / 1e6 - RESOLUTION_MS);
    histogram.reset();
    const now = performance.eventLoopUtilization();
    const { active, idle, utilization } = performance.eventLoopUtilization(now, before);
    if (active + idle >= LEAST_SPAN_MS) {
      busy = utilization;
      before = now;
    }
    const { used_heap_size: used, total_heap_size: reserved } = getHeapStatistics();
    return { lagMs, busy, heap: { used, reserved } };
  };
}
