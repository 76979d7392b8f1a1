import { Allocator } from './allocator.ts';
import { Global } from './global.ts';
import { Handover } from './handover.ts';
import { Jobs } from './jobs.ts';
import { Leader, type LeaderDeps } from './leader.ts';
import { Reaper } from './reaper.ts';
import { Replicas } from './replicas.ts';
import { Restarts } from './restarts.ts';
import { Scheduler } from './scheduler.ts';
import type { Stage } from './stage.ts';
import { Updater } from './updater.ts';

/** What a leader does, in the order in which each part builds on what those before it wrote. */
export function stages(): Stage[] {
  const allocator = new Allocator();
  return [
    allocator,
    new Replicas(),
    new Jobs(),
    new Global(),
    new Restarts(),
    new Updater(),
    new Handover(),
    new Reaper(),
    // Once more, for the tasks that are new.
    allocator,
    new Scheduler(),
  ];
}

/** Starts a leader's loops; the returned function ends them. */
export function lead(deps: LeaderDeps): () => void {
  const leader = new Leader(deps, stages());
  return () => leader.end();
}
