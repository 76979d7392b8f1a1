import { NO_ASSIGNMENT } from '../../link/assignment.ts';
import type { NodeAssignment } from '../../model/cluster.ts';
import type { Store } from '../../store/store.ts';
import { findFile, nodesOf, tasksOf } from './cluster-state.ts';

/** What a node gets of the state by itself: its tasks with their files, and its peers. */
export function plainAssignment(store: Store, nodeId: string): NodeAssignment {
  const tasks = tasksOf(store).flatMap(({ value }) => (value.nodeId === nodeId ? value : []));
  const ids = new Set(tasks.flatMap(({ template }) => template.files.map(({ id }) => id)));
  return {
    ...NO_ASSIGNMENT,
    tasks,
    files: [...ids].flatMap((id) => findFile(store, id) ?? []),
    peers: nodesOf(store).map(({ value: { id, address, dataPathAddress, description } }) => ({
      ...{ nodeId: id, address, dataPathAddress, epoch: description.epoch },
    })),
  };
}
