import { monitorEventLoopDelay } from 'node:perf_hooks';

const RESOLUTION_MS = 20;

/** Starts watching the event loop; the function yields the longest stall since its last call, in ms. */
export function startLagMeter(): () => number {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  return () => {
    const stall = Math.max(0, histogram.max / 1e6 - RESOLUTION_MS);
    histogram.reset();
    return stall;
  };
}
