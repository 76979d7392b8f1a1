/** Why a node does not fit a task, in words. */
export type Obstacle = {
  /** As the Engine says it; `%` is replaced by how many nodes there are. */
  readonly reason: string;
  /** What is said of one node, such as `is down`, and of several. */
  readonly one: string;
  readonly many: string;
};

/** What a task says that cannot be placed. */
export type Explanation = { readonly message: string; readonly error: string };

function nodes(count: number): string {
  return count === 1 ? '1 node' : `${count} nodes`;
}

function mostFirst<T>(counts: ReadonlyMap<T, number>): [T, number][] {
  return [...counts].sort(([, a], [, b]) => b - a);
}

function countBy<T>(values: readonly T[]): Map<T, number> {
  const counts = new Map<T, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

/**
 * What stands in the way at all nodes, the most frequent first: in words, and with the Engine's own
 * reasons behind them. An obstacle that several nodes have is the same object.
 */
export function explain(obstacles: readonly Obstacle[]): Explanation {
  const words = mostFirst(countBy(obstacles)).map(([{ one, many }, count], index) => {
    const who = index === 0 ? nodes(count) : String(count);
    return `${who} ${count === 1 ? one : many}`;
  });
  const reasons = mostFirst(countBy(obstacles.map(({ reason }) => reason)));
  const text = reasons.map(([reason, count]) => reason.replace('%', nodes(count))).join('; ');
  if (words.length === 0) {
    const message = 'no node fits: the cluster has none';
    return { message, error: message };
  }
  const message = `no node fits: ${words.join(', ')}`;
  return { message, error: `${message} (${text})` };
}

/** What stands in the way at the one node that a task is for. */
export function explainOne(hostname: string, { reason, one }: Obstacle): Explanation {
  const message = `node ${hostname} ${one}`;
  return { message, error: `${message} (${reason.replace('%', nodes(1))})` };
}
