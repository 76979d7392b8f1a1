import { need, tasksOf } from '../../control/cluster/cluster-state.ts';
import type { ManagerPart } from '../../control/cluster/manager.ts';
import type { ClusterMember } from '../../control/cluster/member.ts';
import { needService } from '../../control/cluster/services.ts';
import { readTaskLogs } from '../../control/cluster/task-logs.ts';
import type { ClusterTask } from '../../model/cluster.ts';
import type { Call, Route } from './http.ts';
import { beginLogs, logRequest } from './logs.ts';

/** What clients tell the lines of several tasks apart by. */
function detailsOf({ id, nodeId, serviceId }: ClusterTask): string {
  const prefix = 'com.docker.swarm';
  return `${prefix}.node.id=${nodeId},${prefix}.service.id=${serviceId},${prefix}.task.id=${id} `;
}

function stream(
  manager: ManagerPart,
  call: Call,
  tty: boolean,
  wants: (task: ClusterTask) => boolean,
): undefined {
  const request = logRequest(call);
  let begun: ReturnType<typeof beginLogs> | undefined;
  const begin = () => (begun ??= beginLogs(call, request, tty));
  const stop = readTaskLogs(
    manager,
    wants,
    request.query,
    (task, { from, timeNs, data }) => {
      const entry = { stream: from, timeNs: BigInt(timeNs), line: Buffer.from(data, 'base64') };
      begin().write(entry, request.details ? detailsOf(task) : '');
    },
    () => begin().end(),
  );
  begin().onClose(stop);
  return undefined;
}

/** Output of services and tasks, from whatever nodes they are on. */
export function taskLogRoutes(member: ClusterMember): Route[] {
  const ofService = (call: Call) => {
    const manager = member.needManager();
    const { id, spec } = needService(manager, call.parameters['id'] ?? '').value;
    const { tty } = spec.template.container;
    return stream(manager, call, tty, ({ serviceId }) => serviceId === id);
  };
  const ofTask = (call: Call) => {
    const manager = member.needManager();
    const { value } = need(tasksOf(manager.store), call.parameters['id'] ?? '', 'task');
    return stream(manager, call, value.template.container.tty, ({ id }) => id === value.id);
  };
  return [
    { method: 'GET', path: '/services/:id/logs', run: ofService },
    { method: 'GET', path: '/tasks/:id/logs', run: ofTask },
  ];
}
