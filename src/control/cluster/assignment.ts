import type { ServiceHead } from '../../link/assignment.ts';
import type {
  ClusterAttachment,
  ClusterNetwork,
  ClusterNode,
  ClusterService,
  ClusterTask,
  OverlayEndpoint,
  OverlayNetwork,
  ServiceBackends,
  ServiceMember,
  TaskTemplate,
} from '../../model/cluster.ts';
import { macOf } from '../attachments.ts';
import { isOver } from './cluster-state.ts';
import { attachedAddresses, both4and6 } from './compile/names.ts';
import { hasHttpLabels } from './http-labels.ts';
import { OVERLAY_OPTIONS } from './orchestration/network-plan.ts';
import type { ClusterView } from './orchestration/view.ts';

/** What fits into 1500 bytes beside a tunnel's headers, and beside ESP's with AES-GCM as well. */
const TUNNEL_MTU = 1450;
const ENCRYPTED_MTU = 1416;

/** Whether a task is on a node and may have a sandbox there. */
export function isPlaced({ nodeId, report }: ClusterTask): boolean {
  return nodeId !== '' && !isOver(report.state);
}

/** Whether new connections may be sent to a task. */
function isServing({ desired, report }: ClusterTask, node: ClusterNode | undefined): boolean {
  return report.serving && !isOver(desired) && node !== undefined && node.status !== 'down';
}

/** A network of the cluster as its members' nodes build it. */
export function overlayNetwork({ id, name, spec, segments }: ClusterNetwork): OverlayNetwork {
  const { options, internal, attachable, ingress } = spec;
  const encrypted = options[OVERLAY_OPTIONS.encrypted] !== undefined;
  const mtu = Number(options[OVERLAY_OPTIONS.mtu] || (encrypted ? ENCRYPTED_MTU : TUNNEL_MTU));
  return { id, name, segments, mtu, encrypted, internal, attachable, ingress };
}

/** Networks of a task that are overlays: all but the ingress network, which is the mesh. */
export function overlaysOf({ addresses }: ClusterTask, { networks }: ClusterView): string[] {
  return Object.keys(addresses).filter((id) => !networks.get(id)?.value.spec.ingress);
}

/** Where the addresses of a task live. */
export function endpointsOf(task: ClusterTask, view: ClusterView): OverlayEndpoint[] {
  const { addresses, addresses6, nodeId } = task;
  return overlaysOf(task, view).flatMap((network) => {
    const own = both4and6(addresses, addresses6, network);
    // One link has both of them.
    return own.map((address) => ({ network, address, mac: macOf(own[0] ?? ''), nodeId }));
  });
}

/** Where the addresses of a container live; none: it has yet to get one. */
export function attachedEndpoints(attachment: ClusterAttachment): OverlayEndpoint[] {
  const { network, nodeId, mac } = attachment;
  const own = attachedAddresses(attachment);
  const link = mac ?? macOf(own[0] ?? '');
  return own.map((one) => ({ network, address: one, mac: link, nodeId }));
}

function aliasesOf(
  { networks: asked }: TaskTemplate,
  { networks }: ClusterView,
): Record<string, readonly string[]> {
  const named = asked.filter(({ aliases }) => aliases.length > 0);
  return Object.fromEntries(
    named.flatMap(({ network, aliases }) => (networks.has(network) ? [[network, aliases]] : [])),
  );
}

/**
 * A task of a service that has an address. One that does not serve yet is told as draining: its way is
 * laid before the first connection.
 */
export function memberOf(task: ClusterTask, { nodes }: ClusterView): ServiceMember | undefined {
  const { id: taskId, serviceId, name, nodeId, addresses, addresses6 = {} } = task;
  const node = nodes.get(nodeId)?.value;
  if (!isPlaced(task) || !node || Object.keys(addresses).length === 0) return undefined;
  const draining = !isServing(task, node);
  const lost = node.status === 'down';
  return { serviceId, taskId, name, nodeId, addresses, addresses6, draining, lost };
}

/** A service, whose tasks are told each for itself. */
export function headOf(service: ClusterService, view: ClusterView): ServiceHead {
  const { id, name, created, labels, spec, vips, vips6 = {}, ports } = service;
  const tasks = [...view.tasksOfService(id).values()].map(({ value }) => value);
  const networks = new Set(
    tasks.filter(isPlaced).flatMap(({ addresses }) => Object.keys(addresses)),
  );
  return {
    ...{ serviceId: id, name, created, resolution: spec.resolution, vips, vips6, ports, labels },
    aliases: aliasesOf(spec.template, view),
    networkNames: Object.fromEntries(
      [...networks].sort().map((one) => [one, view.networks.get(one)?.value.name ?? one]),
    ),
  };
}

/** Whether every node reaches the tasks of a service: by its ports, or by a gateway. */
export function isPublished({ ports, labels }: Pick<ServiceBackends, 'ports' | 'labels'>): boolean {
  return hasHttpLabels(labels) || ports.some(({ mode }) => mode === 'ingress');
}
