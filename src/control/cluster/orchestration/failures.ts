const WINDOW_MS = 5 * 60_000;
const MOST = 5;

/** Where tasks have failed lately, by what they are tasks of. */
export class Failures {
  /** Times by task, by node, by group. */
  readonly #groups = new Map<string, Map<string, Map<string, number>>>();

  /** `at` in ms; a task fails once. */
  add(group: string, nodeId: string, taskId: string, at: number): void {
    const nodes = this.#groups.get(group) ?? new Map<string, Map<string, number>>();
    const tasks = nodes.get(nodeId) ?? new Map<string, number>();
    if (!tasks.has(taskId)) tasks.set(taskId, at);
    this.#groups.set(group, nodes.set(nodeId, tasks));
  }

  /** Forgets what is more than five minutes past. */
  forget(now: number): void {
    for (const [group, nodes] of this.#groups) {
      for (const [nodeId, tasks] of nodes) {
        for (const [id, at] of tasks) if (at <= now - WINDOW_MS) tasks.delete(id);
        if (tasks.size === 0) nodes.delete(nodeId);
      }
      if (nodes.size === 0) this.#groups.delete(group);
    }
  }

  /** Tells of a node whether five tasks of the group or more have failed there. */
  failing(group: string): (nodeId: string) => boolean {
    const nodes = this.#groups.get(group);
    return (nodeId) => (nodes?.get(nodeId)?.size ?? 0) >= MOST;
  }
}
