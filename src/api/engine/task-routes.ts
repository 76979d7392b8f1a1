import { invalid } from '../../base/faults.ts';
import {
  need,
  nodesOf,
  servicesOf,
  tasksOf,
  type Versioned,
} from '../../control/cluster/cluster-state.ts';
import { needNode } from '../../control/cluster/commands.ts';
import type { ManagerPart } from '../../control/cluster/manager.ts';
import type { ClusterMember } from '../../control/cluster/member.ts';
import { isCurrent } from '../../control/cluster/orchestration/slots.ts';
import { needService } from '../../control/cluster/services.ts';
import { type ClusterTask, TASK_STATES } from '../../model/cluster.ts';
import { type Call, ok, type Route } from './http.ts';
import { Filters } from './query.ts';
import { desiredState, taskViewer } from './task-view.ts';

const FILTERS = [
  ...['_up-to-date', 'desired-state', 'id', 'label', 'name', 'node', 'runtime', 'service'],
];

function matcher(
  manager: ManagerPart,
  filters: Filters,
): (task: Versioned<ClusterTask>) => boolean {
  const services = new Map(servicesOf(manager.store).map(({ value }) => [value.id, value]));
  const ofServices = new Set(
    filters.values('service').map((key) => needService(manager, key).value.id),
  );
  const ofNodes = new Set(filters.values('node').map((key) => needNode(manager, key).value.id));
  const current = filters.flag('_up-to-date');
  const nodes = new Map(nodesOf(manager.store).map((node) => [node.value.id, node]));
  for (const state of filters.values('desired-state')) {
    if (!TASK_STATES.some((one) => one === state)) {
      throw invalid(`invalid filter 'desired-state=[${state}]'`);
    }
  }
  return (task) => {
    const { id, name, serviceId, nodeId } = task.value;
    const desired = desiredState(task.value);
    const service = services.get(serviceId);
    return (
      (ofServices.size === 0 || ofServices.has(serviceId)) &&
      (ofNodes.size === 0 || ofNodes.has(nodeId)) &&
      filters.any('id', (text) => id.startsWith(text)) &&
      filters.any('name', (text) => name.startsWith(text)) &&
      filters.any('desired-state', (text) => desired === text) &&
      filters.any('runtime', (text) => text === 'container') &&
      filters.labels(service?.labels ?? {}) &&
      (!current || (service !== undefined && isCurrent(task, service, { nodes })))
    );
  };
}

/** Tasks of a cluster. */
export function taskRoutes(member: ClusterMember): Route[] {
  const list = ({ query }: Call) => {
    const manager = member.needManager();
    const fits = matcher(manager, Filters.parse(query.text('filters'), FILTERS));
    const tasks = tasksOf(manager.store).filter(fits);
    return ok(tasks.map(taskViewer(manager)));
  };
  const inspect = ({ parameters: { id = '' } }: Call) => {
    const manager = member.needManager();
    return ok(taskViewer(manager)(need(tasksOf(manager.store), id, 'task')));
  };
  return [
    { method: 'GET', path: '/tasks', run: list },
    { method: 'GET', path: '/tasks/:id', run: inspect },
  ];
}
