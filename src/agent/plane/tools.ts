import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Exec } from '../../kernel/exec.ts';
import type { Native } from '../../kernel/native.ts';
import type { Naming } from './naming.ts';

/** What every part of the agent works with. */
export type AgentTools = {
  readonly exec: Exec;
  readonly native: Native | undefined;
  readonly naming: Naming;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Folder of the agent's own files; gone after a restart of the host. */
  readonly execRoot: string;
  /** `NAME=value`: where podman's configuration is. */
  readonly podmanEnv: readonly string[];
};

/** Runs `work` for all items, at most `width` at a time. */
export async function eachOf<T>(
  items: Iterable<T>,
  width: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = [...items];
  const lanes = Array.from({ length: Math.min(width, queue.length) }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  });
  await Promise.all(lanes);
}
