import { notFound } from '../../base/faults.ts';
import {
  type Cluster,
  type ClusterAttachment,
  type ClusterFile,
  type ClusterNetwork,
  type ClusterNode,
  type ClusterService,
  type ClusterTask,
  type ClusterTaskState,
  KIND,
  type ObjectMeta,
  TASK_STATES,
} from '../../model/cluster.ts';
import type { Store } from '../../store/store.ts';
import { lookUp } from '../lookup.ts';

/** An object with the version that its next writer has to name. */
export type Versioned<T> = { readonly version: number; readonly value: T };

function all<T>(store: Store, kind: string): Versioned<T>[] {
  // exempt(as): the store holds what this program wrote
  return store.list(kind).map(({ version, value }) => ({ version, value: value as T }));
}

function one<T>(store: Store, kind: string, id: string): T | undefined {
  // exempt(as): the store holds what this program wrote
  return store.get(kind, id)?.value as T | undefined;
}

/** The cluster whose state a store holds; undefined: none yet. */
export function clusterOf(store: Store): Versioned<Cluster> | undefined {
  return all<Cluster>(store, KIND.cluster)[0];
}

export function nodesOf(store: Store): Versioned<ClusterNode>[] {
  return all<ClusterNode>(store, KIND.node);
}

export function findNode(store: Store, id: string): ClusterNode | undefined {
  return one<ClusterNode>(store, KIND.node, id);
}

export function findTask(store: Store, id: string): ClusterTask | undefined {
  return one<ClusterTask>(store, KIND.task, id);
}

export function tasksOf(store: Store): Versioned<ClusterTask>[] {
  return all<ClusterTask>(store, KIND.task);
}

export function servicesOf(store: Store): Versioned<ClusterService>[] {
  return all<ClusterService>(store, KIND.service);
}

export function networksOf(store: Store): Versioned<ClusterNetwork>[] {
  return all<ClusterNetwork>(store, KIND.network);
}

export function attachmentsOf(store: Store): Versioned<ClusterAttachment>[] {
  return all<ClusterAttachment>(store, KIND.attachment);
}

export function filesOf(store: Store): Versioned<ClusterFile>[] {
  return all<ClusterFile>(store, KIND.file);
}

export function findFile(store: Store, id: string): ClusterFile | undefined {
  return one<ClusterFile>(store, KIND.file, id);
}

/** By id, name or the beginning of an id. Throws when there is none or are several. */
export function need<T extends ObjectMeta>(
  all: readonly Versioned<T>[],
  key: string,
  what: string,
): Versioned<T> {
  const found = lookUp(
    all.map(({ value }) => value),
    key,
    what,
  );
  const hit = all.find(({ value }) => value === found);
  if (!hit) throw notFound(`${what} ${key} not found`);
  return hit;
}

/** Control ports of managers, the leader's first. */
export function managerAddresses(store: Store): string[] {
  return nodesOf(store)
    .map(({ value }) => value)
    .filter(({ role }) => role === 'manager')
    .sort((a, b) => Number(b.leader) - Number(a.leader))
    .flatMap(({ managerAddress }) => managerAddress ?? []);
}

/** How far a state is on a task's way, to compare two. */
export function progress(state: ClusterTaskState): number {
  return TASK_STATES.indexOf(state);
}

/** Whether a task in this state runs no more. */
export function isOver(state: ClusterTaskState): boolean {
  return progress(state) > progress('running');
}

/** Whether a task is to run, now or later, and has not ended. */
export function isActive({ desired, report }: ClusterTask): boolean {
  return !isOver(desired) && !isOver(report.state);
}
