import type { ContainerHealth, ContainerHealthCheck, HealthRecord } from '../model/container.ts';

const KEPT_RECORDS = 5;

/** Health before the first check. */
export const UNKNOWN_HEALTH: ContainerHealth = { status: 'starting', failingStreak: 0, log: [] };

/**
 * Health after one more check. Failures within the start period do not count while the container
 * has not been healthy yet.
 */
export function afterCheck(
  health: ContainerHealth,
  check: Pick<ContainerHealthCheck, 'retries' | 'startPeriodMs'>,
  record: HealthRecord,
  sinceStartMs: number,
): ContainerHealth {
  const log = [...health.log, record].slice(-KEPT_RECORDS);
  if (record.exitCode === 0) return { status: 'healthy', failingStreak: 0, log };
  if (health.status === 'starting' && sinceStartMs < check.startPeriodMs) return { ...health, log };
  const failingStreak = health.failingStreak + 1;
  const status = failingStreak >= check.retries ? 'unhealthy' : health.status;
  return { status, failingStreak, log };
}

/** ms until the next check. */
export function checkDelay(
  { status }: ContainerHealth,
  check: ContainerHealthCheck,
  sinceStartMs: number,
): number {
  const starting = status === 'starting' && sinceStartMs < check.startPeriodMs;
  return starting ? check.startIntervalMs : check.intervalMs;
}
