import type { ClusterNode } from '../../../model/cluster.ts';
export function meets(_node: ClusterNode, _constraints: readonly string[]): boolean {
  return true;
}
