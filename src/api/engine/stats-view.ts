import { cpus } from 'node:os';
import type { TaskStats } from '../../control/streams.ts';
import type { Container } from '../../model/container.ts';
import { NS_PER_MS } from './durations.ts';

function linksView({ links }: TaskStats): Record<string, unknown> {
  const zero = { rx_errors: 0, rx_dropped: 0, tx_errors: 0, tx_dropped: 0 };
  return Object.fromEntries(
    Object.entries(links).map(([name, { rxBytes, rxPackets, txBytes, txPackets }]) => [
      name,
      {
        ...zero,
        rx_bytes: rxBytes,
        rx_packets: rxPackets,
        tx_bytes: txBytes,
        tx_packets: txPackets,
      },
    ]),
  );
}

function cpuView({ cpuNs }: TaskStats): Record<string, unknown> {
  const cores = cpus().length;
  return {
    cpu_usage: { total_usage: cpuNs, usage_in_kernelmode: 0, usage_in_usermode: cpuNs },
    // All cores together, as the reference server counts the system's time.
    system_cpu_usage: Math.round(performance.now() * NS_PER_MS * cores),
    online_cpus: cores,
    throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
  };
}

/** Figures of a container; without any it does not run. `previous`: what was shown before. */
export function statsView(
  { id, name }: Container,
  figures: TaskStats | undefined,
  previous: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const head = { name: `/${name}`, id, read: new Date().toISOString() };
  const preread = previous['read'] ?? '0001-01-01T00:00:00Z';
  const before = previous['cpu_stats'] ?? { cpu_usage: { total_usage: 0 } };
  if (!figures) {
    const none = { cpu_usage: { total_usage: 0 } };
    return {
      ...head,
      preread,
      pids_stats: {},
      cpu_stats: none,
      precpu_stats: none,
      memory_stats: {},
    };
  }
  return {
    ...head,
    preread,
    pids_stats: { current: figures.pids },
    blkio_stats: { io_service_bytes_recursive: null },
    num_procs: 0,
    cpu_stats: cpuView(figures),
    precpu_stats: before,
    memory_stats: { usage: figures.memoryBytes, limit: figures.memoryLimitBytes, stats: {} },
    networks: linksView(figures),
  };
}
