import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import {
  type ClusterService,
  type ClusterTask,
  type ClusterTaskState,
  KIND,
} from '../../../model/cluster.ts';
import type { Change } from '../../../store/embedded-store.ts';
import { timestamp } from '../../ids.ts';
import { isOver, progress, type Versioned } from '../cluster-state.ts';
import { hasHttpLabels } from '../http-labels.ts';
import { clusterId } from '../identity/tokens.ts';
import { NO_REPORT } from '../report.ts';
import { placeOf } from '../templates.ts';
import { type Nodes, unmetBy } from './node-fitness.ts';
import { sameWork } from './same-work.ts';
import type { ClusterView, Touched } from './view.ts';

export type Service = Versioned<ClusterService>;
export type Task = Versioned<ClusterTask>;

/** Tasks of a service that follow one another: in a replica's place, or on a node. */
export type Slot = {
  /** 0: of a service that has one a node. */
  readonly slot: number;
  /** Empty but for one a node. */
  readonly nodeId: string;
  /** The oldest first; those that are to be removed among them. */
  readonly tasks: readonly Task[];
};

/** Slots of a service that have tasks, by their place. */
export function slotsOf(view: ClusterView, serviceId: string): Map<string, Slot> {
  const slots = new Map<string, Slot & { readonly tasks: Task[] }>();
  for (const task of view.tasksOfService(serviceId).values()) {
    const { slot, nodeId } = task.value;
    const place = placeOf(task.value);
    const found = slots.get(place) ?? { slot, nodeId: slot === 0 ? nodeId : '', tasks: [] };
    found.tasks.push(task);
    slots.set(place, found);
  }
  for (const { tasks } of slots.values()) {
    tasks.sort(({ value: a }, { value: b }) => (order(a) < order(b) ? -1 : 1));
  }
  return slots;
}

function order({ created, id }: ClusterTask): string {
  return `${created} ${id}`;
}

/** Whether a task is to run, now or later. */
export function isWanted({ value }: Task): boolean {
  return !isOver(value.desired);
}

/** Whether a service counts with a slot: not all of its tasks are to be removed. */
export function isUsed({ tasks }: Slot): boolean {
  return tasks.some(({ value }) => value.desired !== 'remove');
}

/** Whether a task runs and takes new connections. */
export function isServing({ value: { report, desired } }: Task): boolean {
  return report.state === 'running' && report.serving && !isOver(desired);
}

/** Whether a task has ended by itself: it was not told to. */
export function hasFailed({ value: { report } }: Task): boolean {
  return report.state === 'complete' || report.state === 'failed' || report.state === 'rejected';
}

/** Whether a task is part of the present run of its job, or of a service that is no job. */
export function isOfRun({ value }: Task, { job }: ClusterService): boolean {
  return value.iteration === job?.iteration;
}

/** Whether a job's task has done what it was for: it stays, and nothing follows it. */
export function isDone({ value: { iteration, report } }: Task): boolean {
  return iteration !== undefined && report.state === 'complete';
}

/** Whether what the latest task of a slot was for is done, maybe by one that was given up as lost. */
export function isFinished({ tasks }: Slot): boolean {
  const run = tasks.at(-1)?.value.iteration;
  return tasks.some((task) => isDone(task) && task.value.iteration === run);
}

/** Whether nothing of a task that is not wanted can run any more, as far as can be known. */
export function isGone({ value: { report, nodeId } }: Task, view: ClusterView): boolean {
  if (isOver(report.state) || progress(report.state) < progress('assigned')) return true;
  const node = view.nodes.get(nodeId)?.value;
  return node === undefined || node.status === 'down';
}

/** Whether a task is made as its service is now; other constraints hold where it is. */
export function isCurrent({ value }: Task, service: ClusterService, nodes: Nodes): boolean {
  const { template } = service.spec;
  const { constraints } = template;
  if (hasHttpLabels(service.labels) && !inMesh(value)) return false;
  if (!sameWork(value, { template, ports: service.ports })) return false;
  if (isDeepStrictEqual(constraints, value.template.constraints)) return true;
  const placed = progress(value.report.state) >= progress('assigned');
  return placed && unmetBy(value.nodeId, constraints, nodes) === undefined;
}

/** Whether a task has an address by which every node reaches it. */
export function inMesh({ ports, meshed = false }: Pick<ClusterTask, 'ports' | 'meshed'>): boolean {
  return meshed || ports.some(({ mode }) => mode === 'ingress');
}

/** A task that is to be something else; `reason`: why the cluster wants that. */
export function turned(
  { version, value }: Task,
  desired: ClusterTaskState,
  wall: number,
  reason?: string,
): Change {
  const next = { ...value, desired, updated: timestamp(wall), ...(reason && { reason }) };
  return { kind: KIND.task, id: value.id, value: next, expected: version };
}

/** All tasks of a slot that is given up, but for those that are to be removed already. */
export function emptied({ tasks }: Slot, wall: number): Change[] {
  return tasks
    .filter(({ value }) => value.desired !== 'remove')
    .map((task) => turned(task, 'remove', wall));
}

/** A task that goes for good. */
export function deleted({ version, value }: Task): Change {
  return { kind: KIND.task, id: value.id, value: undefined, expected: version };
}

/** A slot that never had a task. */
export function emptySlot(slot: number, nodeId = ''): Slot {
  return { slot, nodeId, tasks: [] };
}

/**
 * The task that follows in a slot, made as the service is now. It is to be `ready` until those
 * before it leave it the place. Its id comes from what it follows: whoever does not know whether
 * it was written, and whoever leads next, cannot make it twice.
 */
export function following(
  { value: service, version }: Service,
  { slot, nodeId, tasks }: Slot,
  view: ClusterView,
  wall: number,
): Change {
  const latest = tasks.at(-1)?.value;
  const created = timestamp(Math.max(wall, latest ? Date.parse(latest.created) + 1 : 0));
  const node = view.nodes.get(nodeId)?.version ?? 0;
  const iteration = service.job && { iteration: service.job.iteration };
  const place = placeOf({ slot, nodeId, ...iteration });
  const follows = latest?.id ?? `${Math.max(version, node)}`;
  const id = clusterId(createHash('sha256').update(`${service.id} ${place} ${follows}`).digest());
  const task: ClusterTask = {
    ...{ id, name: `${service.name}.${place}.${id}`, labels: {}, created, updated: created },
    ...{ serviceId: service.id, slot, nodeId, specVersion: service.specVersion, ...iteration },
    ...{ template: service.spec.template, ports: service.ports, addresses: {} },
    ...(hasHttpLabels(service.labels) ? { meshed: true } : {}),
    desired: tasks.some(isWanted) || !tasks.every((one) => isGone(one, view)) ? 'ready' : 'running',
    report: { ...NO_REPORT, at: created, message: 'created' },
  };
  return { kind: KIND.task, id, value: task, expected: 0 };
}

/** Services whose tasks, or the nodes of whose tasks, have changed, and which changed themselves. */
export function servicesOf(view: ClusterView, { services, nodes }: Touched): Set<string> {
  const ids = new Set(services);
  for (const node of nodes) {
    for (const { value } of view.tasksOfNode(node).values()) ids.add(value.serviceId);
  }
  return ids;
}
