import { randomBytes } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { unavailable } from '../../base/faults.ts';
import type { LogQuery } from '../../link/agent-port.ts';
import type { LogsOrder, TaskLine } from '../../link/cluster-protocol.ts';
import { type LogsReader, RefusedError } from '../../link/cluster-server.ts';
import { type ClusterTask, KIND } from '../../model/cluster.ts';
import { managerAddresses, tasksOf } from './cluster-state.ts';
import type { ManagerPart } from './manager.ts';

/** How long a node may take to open the connection that it was asked for. */
const OPEN_MS = 10_000;
const STREAM_BYTES = 16;

type Waiting = { readonly nodeId: string; accept(close: () => void): LogsReader };

/** Output of tasks, as the nodes send it that they run on. */
export class TaskLogs {
  readonly #waiting = new Map<string, Waiting>();
  readonly #send: (nodeId: string, order: LogsOrder) => boolean;
  readonly #clock: Clock;

  constructor(send: (nodeId: string, order: LogsOrder) => boolean, clock: Clock) {
    this.#send = send;
    this.#clock = clock;
  }

  /**
   * Asks a node for the output of some of its tasks. `ended` is called once, also when the node is
   * away or does not answer; the result stops it.
   */
  ask(
    nodeId: string,
    tasks: readonly string[],
    { follow, tail, sinceNs, untilNs }: LogQuery,
    line: (line: TaskLine) => void,
    ended: () => void,
  ): () => void {
    const stream = randomBytes(STREAM_BYTES).toString('hex');
    let close = () => {};
    let over = false;
    const end = () => {
      timer.cancel();
      this.#waiting.delete(stream);
      if (over) return;
      over = true;
      close();
      ended();
    };
    const timer = this.#clock.after(OPEN_MS, end);
    this.#waiting.set(stream, {
      nodeId,
      accept: (closeIt) => {
        timer.cancel();
        this.#waiting.delete(stream);
        close = closeIt;
        return { line: (one) => over || line(one), ended: end };
      },
    });
    const times = { since: sinceNs?.toString(), until: untilNs?.toString() };
    // The caller has what stops it before it hears of the end.
    if (!this.#send(nodeId, { stream, tasks, follow, tail, ...times })) queueMicrotask(end);
    return end;
  }

  /** A node has opened a connection for output. Throws when nobody waits for it. */
  open(nodeId: string, stream: string, close: () => void): LogsReader {
    const waiting = this.#waiting.get(stream);
    if (waiting?.nodeId === nodeId) return waiting.accept(close);
    throw new RefusedError('nobody waits for this output');
  }
}

const hasOutput = ({ nodeId, report }: ClusterTask) => nodeId !== '' && report.containerId !== '';

/**
 * Reads the output of every task that is wanted, and with `follow` of those that come. `ended` is
 * called once, when nothing more comes; the result stops it. Output on nodes that are away is left
 * out. Throws on a manager that does not lead, since nodes are not connected with it.
 */
export function readTaskLogs(
  manager: ManagerPart,
  wants: (task: ClusterTask) => boolean,
  query: LogQuery,
  line: (task: ClusterTask, line: TaskLine) => void,
  ended: () => void,
): () => void {
  const { store, taskLogs } = manager;
  if (!manager.leads) {
    const [leader = 'none yet'] = managerAddresses(store);
    throw unavailable(`output of tasks is read from the manager that leads: ${leader}`);
  }
  const known = new Map<string, ClusterTask>();
  const stops = new Set<() => void>();
  let over = false;
  let unwatch = () => {};
  const finish = () => {
    if (over) return;
    over = true;
    unwatch();
    for (const stop of [...stops]) stop();
    ended();
  };
  const begin = (tasks: readonly ClusterTask[]) => {
    const byNode = new Map<string, string[]>();
    for (const task of tasks) {
      if (known.has(task.id) || !wants(task) || !hasOutput(task)) continue;
      known.set(task.id, task);
      byNode.set(task.nodeId, [...(byNode.get(task.nodeId) ?? []), task.id]);
    }
    for (const [nodeId, ids] of byNode) {
      let stop = () => {};
      const take = (one: TaskLine) => {
        const task = known.get(one.taskId);
        if (task) line(task, one);
      };
      stop = taskLogs.ask(nodeId, ids, query, take, () => {
        stops.delete(stop);
        if (stops.size === 0 && !query.follow) finish();
      });
      stops.add(stop);
    }
  };
  begin(tasksOf(store).map(({ value }) => value));
  if (query.follow) {
    unwatch = store.watch((events) => {
      const changed = events.filter(({ kind, object }) => kind === KIND.task && object);
      // exempt(as): the store holds what this program wrote
      begin(changed.map(({ object }) => object?.value as ClusterTask));
    });
  }
  if (stops.size === 0 && !query.follow) finish();
  return finish;
}
