import type { ClusterTask, ServicePort } from '../../model/cluster.ts';
import type { AttachmentRequest, ContainerSpec, PortRequest } from '../../model/container.ts';
import type { TaskMount } from '../../model/task-spec.ts';
import type { ContainerOrder } from '../container-order.ts';
import { expandSpec, type TemplateContext } from './templates.ts';

/** Label that says which task a container is of. */
export const TASK_LABEL = 'com.docker.swarm.task.id';

/** Whether a container is a task of a service. */
export function isTask({ labels }: Pick<ContainerSpec, 'labels'>): boolean {
  return labels[TASK_LABEL] !== undefined;
}

function labelsOf({ service, node, task }: TemplateContext): Record<string, string> {
  return {
    'com.docker.swarm.node.id': node.id,
    'com.docker.swarm.service.id': service.id,
    'com.docker.swarm.service.name': service.name,
    'com.docker.swarm.task': '',
    [TASK_LABEL]: task.id,
    'com.docker.swarm.task.name': task.name,
  };
}

function hostPort({ transport, targetPort, publishedPort, mode }: ServicePort): PortRequest[] {
  if (mode !== 'host') return [];
  const hostPorts = publishedPort ? ([publishedPort, publishedPort] as const) : undefined;
  return [{ port: targetPort, transport, hostAddress: undefined, hostPorts }];
}

/** How a container joins a network that asks for nothing in particular. */
export function plainAttachment(network: string): AttachmentRequest {
  return {
    network,
    ...{ ipv4: undefined, ipv6: undefined, mac: undefined },
    ...{ linkLocal: [], aliases: [], links: [], driverOptions: {}, gatewayPriority: 0 },
  };
}

/** The container that a task comes to. Throws when a template is not understood. */
export function taskOrder(
  task: ClusterTask,
  context: TemplateContext,
  mounts: readonly TaskMount[],
  attachments: readonly AttachmentRequest[],
): ContainerOrder {
  const { template, ports } = task;
  const spec = expandSpec(template.container, context);
  const { mode, entrypoint, cwd, user, stopSignal, image, mounts: own, health, ...rest } = spec;
  return {
    name: context.task.name,
    image,
    health,
    mounts: { mounts: [...own, ...mounts], from: [], anonymous: [] },
    spec: {
      ...rest,
      labels: { ...spec.labels, ...labelsOf(context) },
      ports: ports.flatMap(hostPort),
      publishAll: false,
      autoRemove: false,
      restart: { when: 'no', maximum: 0 },
      stopTimeoutMs: template.stopGraceMs,
    },
    entrypoint: entrypoint.length > 0 ? entrypoint : undefined,
    cwd: cwd || undefined,
    user: user || undefined,
    stopSignal: stopSignal || undefined,
    uts: 'own',
    networkMode: mode.kind === 'networks' ? (attachments[0]?.network ?? 'bridge') : mode.kind,
    attachments: mode.kind === 'networks' ? attachments : [],
    asked: {},
  };
}
