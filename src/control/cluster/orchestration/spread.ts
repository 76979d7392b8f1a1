import type { ClusterNode } from '../../../model/cluster.ts';
import { attributeOf } from './constraints.ts';
import { type Ask, type NodeLoad, obstacleAt } from './placement.ts';

type Candidate = {
  readonly load: NodeLoad;
  readonly failing: boolean;
  /** Tasks of the service there. */
  mine: number;
};

/** Candidates beyond what is needed that are kept before they are sorted. */
const SLACK = 16;

function before(a: Candidate, b: Candidate): boolean {
  if (a.failing !== b.failing) return b.failing;
  return a.mine !== b.mine ? a.mine < b.mine : a.load.tasks < b.load.tasks;
}

/**
 * The nodes of one branch, the one to be used next at the root of a heap: one where the service has
 * not failed again and again, with the fewest of its tasks, with the fewest tasks.
 */
class Leaf {
  tasks = 0;
  readonly #ask: Ask;
  readonly #most: number;
  readonly #heap: Candidate[] = [];
  #ordered = false;
  /** Those that do not come before it are not needed. */
  #worst: Candidate | undefined;

  /** `most`: how often a node is asked for. */
  constructor(ask: Ask, most: number) {
    this.#ask = ask;
    this.#most = most;
  }

  /** Takes a node that fits; of many the best, as many as can be asked for. */
  offer(candidate: Candidate): void {
    if (this.#worst && !before(candidate, this.#worst)) return;
    if (obstacleAt(candidate.load, this.#ask)) return;
    this.#heap.push(candidate);
    if (this.#heap.length < 2 * this.#most + SLACK) return;
    this.#heap.sort((a, b) => Number(before(b, a)) - Number(before(a, b)));
    this.#heap.length = this.#most;
    this.#worst = this.#heap.at(-1);
  }

  /** The next node that still fits; undefined: none does. */
  next(): NodeLoad | undefined {
    if (!this.#ordered) {
      for (let at = this.#heap.length >> 1; at >= 0; at--) this.#sink(at);
      this.#ordered = true;
    }
    for (;;) {
      // The tasks of the one that was used last have become more.
      this.#sink(0);
      const [top] = this.#heap;
      if (!top) return undefined;
      if (!obstacleAt(top.load, this.#ask)) {
        top.mine++;
        return top.load;
      }
      const last = this.#heap.pop();
      if (last && this.#heap.length > 0) this.#heap[0] = last;
    }
  }

  #sink(start: number): void {
    const heap = this.#heap;
    const moved = heap[start];
    let at = start;
    for (let child = 2 * at + 1; moved && child < heap.length; child = 2 * at + 1) {
      const [left, right] = [heap[child], heap[child + 1]];
      if (left && right && before(right, left)) child++;
      const least = heap[child];
      if (!least || !before(least, moved)) break;
      heap[at] = least;
      at = child;
    }
    if (moved) heap[at] = moved;
  }
}

/** Branches by the value of a label; the one with the fewest tasks of the service is next. */
class Fork {
  tasks = 0;
  readonly branches = new Map<string, Branch>();

  next(): NodeLoad | undefined {
    for (;;) {
      let least: Branch | undefined;
      let key = '';
      for (const [value, branch] of this.branches) {
        if (least && least.tasks <= branch.tasks) continue;
        least = branch;
        key = value;
      }
      if (!least) return undefined;
      const load = least.next();
      if (load) {
        least.tasks++;
        return load;
      }
      this.branches.delete(key);
    }
  }
}

type Branch = Leaf | Fork;

/**
 * Gives nodes to the tasks of one service, one by one: as many to each value of the first label of
 * `spread`, within it to each of the second, and so on; then to the node that has the fewest. Who
 * is given a node adds the task to it before the next one is asked for.
 */
export class Spread {
  readonly #ask: Ask;
  readonly #most: number;
  readonly #root: Branch;

  /**
   * `most`: how many tasks there are; `failing`: nodes where the service has failed again and again.
   */
  constructor(
    loads: Iterable<NodeLoad>,
    ask: Ask,
    most: number,
    failing: (nodeId: string) => boolean,
  ) {
    this.#ask = ask;
    this.#most = most;
    this.#root = ask.spread.length > 0 ? new Fork() : new Leaf(ask, most);
    for (const load of loads) {
      const { node } = load;
      if (!node) continue;
      const mine = load.services.get(ask.serviceId) ?? 0;
      this.#leafOf(node, mine).offer({ load, failing: failing(node.id), mine });
    }
  }

  /** Undefined: no node fits. */
  next(): NodeLoad | undefined {
    return this.#root.next();
  }

  /** The branch of a node; its tasks are counted all the way. */
  #leafOf(node: ClusterNode, tasks: number): Leaf {
    let branch = this.#root;
    for (const [depth, key] of this.#ask.spread.entries()) {
      if (branch instanceof Leaf) break;
      const value = attributeOf(node, key) ?? '';
      const deeper = depth + 1 < this.#ask.spread.length;
      const next: Branch =
        branch.branches.get(value) ?? (deeper ? new Fork() : new Leaf(this.#ask, this.#most));
      branch.branches.set(value, next);
      next.tasks += tasks;
      branch = next;
    }
    if (branch instanceof Leaf) return branch;
    throw new RangeError('a branch without nodes');
  }
}
