import type { RestartRule } from '../model/container.ts';

const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 60_000;
/** A run of this length counts as a success: the next delay is the first one again. */
const GOOD_RUN_MS = 10_000;

/** One end of a container, seen by the rule that may start it again. */
export type EndedRun = {
  readonly exitCode: number;
  /** It was ended by an order. */
  readonly stopped: boolean;
  readonly restartCount: number;
  readonly ranMs: number;
  /** The delay before this run; 0: there was none. */
  readonly lastDelayMs: number;
};

/** After how many ms to start again; undefined: not at all. */
export function restartDelay(rule: RestartRule, run: EndedRun): number | undefined {
  if (run.stopped || rule.when === 'no') return undefined;
  if (rule.when === 'on-failure') {
    if (run.exitCode === 0) return undefined;
    if (rule.maximum > 0 && run.restartCount >= rule.maximum) return undefined;
  }
  if (run.lastDelayMs === 0 || run.ranMs >= GOOD_RUN_MS) return FIRST_DELAY_MS;
  return Math.min(run.lastDelayMs * 2, MAX_DELAY_MS);
}

/** Whether a container that does not run is started with the daemon. */
export function startsWithDaemon(
  rule: RestartRule,
  state: { readonly stopped: boolean; readonly exitCode: number; readonly everStarted: boolean },
): boolean {
  if (!state.everStarted) return false;
  if (rule.when === 'always') return true;
  if (rule.when === 'unless-stopped') return !state.stopped;
  return rule.when === 'on-failure' && !state.stopped && state.exitCode !== 0;
}
