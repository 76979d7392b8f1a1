import type { ClusterNode } from '../../../model/cluster.ts';
import type { Versioned } from '../cluster-state.ts';
import { meets, obstacleOf, readConstraint } from './constraints.ts';
import type { ClusterView } from './view.ts';

/** Nodes by id. */
export type Nodes = { readonly nodes: ReadonlyMap<string, Versioned<ClusterNode>> };

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

/** The constraint that a node does not meet, in words; undefined: it meets all. */
export function unmetBy(
  nodeId: string,
  constraints: readonly string[],
  { nodes }: Nodes,
): string | undefined {
  const node = nodes.get(nodeId)?.value;
  if (!node || constraints.length === 0) return undefined;
  const unmet = constraints.map(readConstraint).find((one) => !meets(node, one));
  return unmet && `node ${node.description.hostname} ${obstacleOf(unmet).one}`;
}
