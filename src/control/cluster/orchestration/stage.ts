import type { Change } from '../../../store/embedded-store.ts';
import type { ClusterView, Touched } from './view.ts';

/** What a stage wants written. */
export type Plan = {
  /**
   * Each group is written whole or not at all; a group that names a version which is no more is
   * dropped, and what made that version touches the view again. At most `MAX_CHANGES` in a group.
   */
  readonly groups: readonly (readonly Change[])[];
  /** When to look again even if nothing changes, in ms of the clock's `now`; undefined: never. */
  readonly wakeAt: number | undefined;
};

/**
 * One part of what a leader does: a function of the state, without I/O, that may remember what it
 * needs to be quick. A leader begins with new stages, for which everything is touched.
 */
export interface Stage {
  /** `now` in ms, monotonic; `wall` in ms since 1970. */
  plan(view: ClusterView, touched: Touched, now: number, wall: number): Plan;
}
