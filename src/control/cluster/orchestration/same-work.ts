import { isDeepStrictEqual } from 'node:util';
import type { ClusterTask, TaskTemplate } from '../../../model/cluster.ts';

type Work = Pick<ClusterTask, 'template' | 'ports'>;

/** By template: the one that it was last compared with. */
const compared = new WeakMap<TaskTemplate, { readonly to: TaskTemplate; readonly same: boolean }>();

/** A value as it comes back from where it is kept: without what is undefined. */
function kept(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

function sameTemplate(a: TaskTemplate, b: TaskTemplate): boolean {
  if (a === b) return true;
  const known = compared.get(a);
  if (known?.to === b) return known.same;
  const [left, right] = [a, b].map((one) => kept({ ...one, constraints: [], login: '' }));
  const same = isDeepStrictEqual(left, right);
  compared.set(a, { to: b, same });
  return same;
}

/** Whether two tasks are made the same, wherever they may run. */
export function sameWork(a: Work, b: Work): boolean {
  if (!sameTemplate(a.template, b.template)) return false;
  return a.ports === b.ports || isDeepStrictEqual(kept(a.ports), kept(b.ports));
}
