import { errorText } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { NO_ASSIGNMENT } from '../../link/assignment.ts';
import type {
  AttachmentWish,
  ClusterFile,
  ClusterTask,
  FileReference,
  NodeAssignment,
  NodeDescription,
  TaskReport,
} from '../../model/cluster.ts';
import type { AttachmentRequest } from '../../model/container.ts';
import type { TaskMount } from '../../model/task-spec.ts';
import type { Engine } from '../engine.ts';
import type { EngineEvent } from '../event-log.ts';
import type { ClusterAttachments } from './attachments.ts';
import type { TaskLogsSource } from './log-sender.ts';
import type { AssignmentRunner } from './member.ts';
import { plainAttachment, TASK_LABEL, taskOrder } from './task-order.ts';
import { type TaskHost, TaskRun } from './task-run.ts';
import { contextOf } from './templates.ts';

/** Files that tasks see, kept in memory while they run. */
export interface TaskFiles {
  /** Writes them; how the task is to see them. Throws when there is no memory to keep them in. */
  put(
    taskId: string,
    files: readonly (FileReference & { readonly data: Buffer })[],
  ): readonly TaskMount[];
  drop(taskId: string): void;
}

/** What shows the networks and services of an assignment on this host. */
export interface ClusterPlane {
  /** Resolves when they are in place; throws when the host refuses a part. */
  show(assignment: NodeAssignment): Promise<void>;
  /** The containers of tasks are others than before. As `show` of the assignment that is shown. */
  refresh(): Promise<void>;
  /** How the container of a task joins its networks. */
  attachments(task: ClusterTask): readonly AttachmentRequest[];
}

export type WorkerDeps = {
  readonly engine: Engine;
  readonly files: TaskFiles;
  readonly plane: ClusterPlane;
  readonly attachments: ClusterAttachments;
  describe(): NodeDescription;
  now(): string;
  readonly logger: Logger;
};

/** Runs the tasks that a node is assigned as containers. */
export class TaskWorker implements AssignmentRunner {
  readonly #deps: WorkerDeps;
  readonly #runs = new Map<string, TaskRun>();
  readonly #host: TaskHost;
  #assignment: NodeAssignment = NO_ASSIGNMENT;
  #report: ((taskId: string, report: TaskReport) => void) | undefined;

  constructor(deps: WorkerDeps) {
    this.#deps = deps;
    const { engine, logger } = deps;
    const { containers, registry } = engine;
    this.#host = {
      prepare: (task) => this.#prepare(task),
      start: (id) => this.#start(id),
      stop: (id, timeoutMs) => containers.lifecycle.stop(id, { timeoutMs }),
      remove: (taskId, id) => this.#remove(taskId, id),
      find: (id) => registry.findContainer(id),
      now: deps.now,
      report: (id, report) => this.#report?.(id, report),
      logger,
    };
    engine.events.subscribe((event) => this.#happened(event));
  }

  async assign(assignment: NodeAssignment): Promise<void> {
    this.#assignment = assignment;
    try {
      await this.#deps.plane.show(assignment);
    } finally {
      this.#deps.attachments.assigned(assignment);
      this.#run(assignment);
    }
  }

  wishes(): readonly AttachmentWish[] {
    return this.#deps.attachments.wishes();
  }

  drained(tasks: readonly string[]): void {
    for (const id of tasks) this.#runs.get(id)?.drained();
  }

  readonly logs: TaskLogsSource = (taskId, query, line, ended) => {
    const containerId = this.#containerOf(taskId);
    if (containerId !== '')
      return this.#deps.engine.containers.logs(containerId, query, line, ended);
    ended();
    return () => {};
  };

  reportTo(report: ((taskId: string, report: TaskReport) => void) | undefined): void {
    this.#report = report;
  }

  /** Its ports lead to it before it is said to serve. */
  async #start(containerId: string): Promise<void> {
    await this.#deps.engine.containers.lifecycle.start(containerId);
    await this.#refresh();
  }

  async #refresh(): Promise<void> {
    try {
      await this.#deps.plane.refresh();
    } catch (error) {
      this.#deps.logger.warn('not all of the cluster is shown', { reason: errorText(error) });
    }
  }

  /** Also where networks are not in place: a task that needs them says so itself. */
  #run(assignment: NodeAssignment): void {
    const wanted = new Map(assignment.tasks.map((task) => [task.id, task]));
    for (const [id, run] of this.#runs) if (!wanted.has(id)) run.dismiss();
    for (const task of wanted.values()) {
      const run = this.#runs.get(task.id);
      if (run) run.update(task);
      else this.#runs.set(task.id, new TaskRun(this.#host, task, this.#containerOf(task.id)));
    }
    this.#dismissStrangers(wanted);
  }

  #containerOf(taskId: string): string {
    const { containers } = this.#deps.engine.registry;
    return [...containers].find(({ spec }) => spec.labels[TASK_LABEL] === taskId)?.id ?? '';
  }

  /** Containers of tasks that went while this daemon was away. */
  #dismissStrangers(wanted: ReadonlyMap<string, ClusterTask>): void {
    for (const { id, spec } of this.#deps.engine.registry.containers) {
      const taskId = spec.labels[TASK_LABEL];
      if (taskId === undefined || wanted.has(taskId) || this.#runs.has(taskId)) continue;
      void this.#remove(taskId, id);
    }
  }

  async #prepare(task: ClusterTask): Promise<string> {
    const { engine, files, plane, describe } = this.#deps;
    const service = this.#assignment.services.find((one) => one.serviceId === task.serviceId);
    const name = service?.name ?? task.name.split('.')[0] ?? task.serviceId;
    const context = contextOf(task, { name, labels: service?.labels ?? {} }, describe());
    const found = task.template.files.map((reference) => ({
      ...reference,
      data: dataOf(reference, this.#assignment.files),
    }));
    const mounts = found.length > 0 ? files.put(task.id, found) : [];
    const joins = plane.attachments(task);
    const attachments = joins.length > 0 ? joins : [plainAttachment('bridge')];
    const order = taskOrder(task, context, mounts, attachments);
    await engine.images.obtain(order.image, task.template.login ?? '');
    return (await engine.containers.create(order)).id;
  }

  async #remove(taskId: string, containerId: string): Promise<void> {
    const { engine, files, logger } = this.#deps;
    this.#runs.delete(taskId);
    try {
      if (engine.registry.findContainer(containerId)) {
        await engine.containers.remove(containerId, true, true);
      }
    } catch (error) {
      logger.warn('the container of a task stays', { task: taskId, reason: errorText(error) });
    }
    files.drop(taskId);
    await this.#refresh();
  }

  #happened({ type, action, id, attributes }: EngineEvent): void {
    if (type !== 'container') return;
    const run = this.#runs.get(attributes[TASK_LABEL] ?? '');
    if (run?.containerId !== id) return;
    if (action === 'die') {
      run.ended(Number(attributes['exitCode'] ?? 0));
      void this.#refresh();
    }
    if (action === 'health_status: healthy') run.health('healthy');
    if (action === 'health_status: unhealthy') run.health('unhealthy');
  }
}

function dataOf({ id, name, kind }: FileReference, files: readonly ClusterFile[]): Buffer {
  const file = files.find((one) => one.id === id);
  if (!file) throw new Error(`${kind} ${name} has not reached this node`);
  return Buffer.from(file.data, 'base64');
}
