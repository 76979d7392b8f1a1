import type { ClusterNode } from '../../../model/cluster.ts';
import type { ClusterView } from './view.ts';

/** Whether a node may get tasks. */
export function takesTasks({ status, availability }: ClusterNode): boolean {
  return status === 'ready' && availability === 'active';
}

/** Why the tasks of a node are to leave it; undefined: they may stay. */
export function lossOf(nodeId: string, view: ClusterView): 'gone' | 'down' | 'drained' | undefined {
  const node = view.nodes.get(nodeId)?.value;
  if (!node) return 'gone';
  if (node.status === 'down') return 'down';
  return node.availability === 'drain' ? 'drained' : undefined;
}
