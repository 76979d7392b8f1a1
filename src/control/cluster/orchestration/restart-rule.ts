import { timestamp } from '../../ids.ts';
import { sameWork } from './same-work.ts';
import { hasFailed, isFinished, type Slot, type Task } from './slots.ts';

/** Whether another task may follow one that has ended, or lost its place, by the rule for that. */
export function mayRestart(slot: Slot, latest: Task, wall: number): boolean {
  if (isFinished(slot)) return false;
  const { tasks } = slot;
  const { template, report } = latest.value;
  const { condition, maxAttempts, windowMs } = template.restart;
  if (condition === 'none') return false;
  if (!hasFailed(latest)) return true;
  if (condition === 'on-failure' && report.state === 'complete') return false;
  if (maxAttempts === 0) return true;
  const ended = Date.parse(report.at) || wall;
  const since = windowMs === 0 ? '' : timestamp(ended - windowMs);
  const before = tasks.filter(
    (task) =>
      task !== latest &&
      hasFailed(task) &&
      task.value.report.at >= since &&
      sameWork(task.value, latest.value),
  );
  return before.length < maxAttempts;
}
