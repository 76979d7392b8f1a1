import { UNDESCRIBED } from '../../src/control/cluster/manager.ts';
import { NO_REPORT } from '../../src/control/cluster/report.ts';
import type {
  ClusterAttachment,
  ClusterNetwork,
  ClusterNode,
  ClusterService,
  ClusterTask,
  ServicePort,
  TaskTemplate,
  UpdateRule,
} from '../../src/model/cluster.ts';
import type { AttachmentRequest, ContainerSpec } from '../../src/model/container.ts';

const meta = (id: string, name = id) => ({ id, name, labels: {}, created: '', updated: '' });

export function nodeObject(id: string, more: Partial<ClusterNode> = {}): ClusterNode {
  return {
    ...meta(id, ''),
    ...{ role: 'worker', availability: 'active', description: { ...UNDESCRIBED, hostname: id } },
    ...{ status: 'ready', statusMessage: '', address: '192.0.2.1', dataPathAddress: '192.0.2.1' },
    ...{ managerAddress: undefined, leader: false },
    ...more,
  };
}

/** An overlay of one subnet a VNI, the first address of each its gateway. */
export function networkObject(
  id: string,
  subnets: Readonly<Record<number, string>>,
  more: Partial<ClusterNetwork['spec']> = {},
): ClusterNetwork {
  const segments = Object.entries(subnets).map(([vni, subnet]) => {
    const [base = ''] = subnet.split('/');
    const gateway = base.includes(':') ? `${base}1` : base.replace(/\.0$/, '.1');
    return { vni: Number(vni), subnet, gateway };
  });
  const blocks = segments.map(({ subnet, gateway }) => ({
    ...{ subnet, gateway, ipRange: undefined, auxAddresses: {} },
  }));
  return {
    ...meta(id, `net-${id}`),
    segments,
    spec: {
      ...{ driver: 'overlay', scope: 'swarm', ipv4: true, ipv6: false, internal: false },
      ...{ attachable: false, ingress: false, configOnly: false, configFrom: undefined },
      ...{ ipam: { driver: 'default', options: {}, blocks, chosen: true }, options: {} },
      ...more,
    },
  };
}

/** How a service asks for a network. */
export function joinOf(network: string, ...aliases: string[]): AttachmentRequest {
  return {
    ...{ network, ipv4: undefined, ipv6: undefined, mac: undefined, aliases, linkLocal: [] },
    ...{ links: [], driverOptions: {}, gatewayPriority: 0 },
  };
}

export function templateObject(more: Partial<TaskTemplate> = {}): TaskTemplate {
  return {
    // exempt(as): only a task that is run needs more
    container: { image: 'host' } as ContainerSpec,
    ...{ files: [], networks: [], stopGraceMs: 1000, constraints: [], spread: [] },
    restart: { condition: 'any', delayMs: 5000, maxAttempts: 0, windowMs: 0 },
    ...{ maxReplicasPerNode: 0, reservations: { nanoCpus: 0, memoryBytes: 0 }, forceUpdate: 0 },
    ...more,
  };
}

export function serviceObject(
  id: string,
  vips: Readonly<Record<string, string>>,
  more: Partial<ClusterService> = {},
): ClusterService {
  const rule: UpdateRule = {
    ...{ parallelism: 1, delayMs: 0, monitorMs: 0, maxFailureRatio: 0 },
    ...{ failureAction: 'pause', order: 'stop-first' },
  };
  const template = templateObject({ networks: Object.keys(vips).map((one) => joinOf(one)) });
  const { ports = [] } = more;
  return {
    ...meta(id, `svc-${id}`),
    spec: {
      ...{ mode: { kind: 'replicated', replicas: 1 }, template, update: rule, rollback: rule },
      ...{ resolution: 'vip', ports, asked: {} },
    },
    ...{ previous: undefined, specVersion: 1, vips, ports, progress: undefined },
    ...more,
  };
}

export function taskObject(
  id: string,
  { id: serviceId, name, spec, ports }: ClusterService,
  nodeId: string,
  addresses: Readonly<Record<string, string>>,
  more: Partial<ClusterTask> = {},
): ClusterTask {
  return {
    ...meta(id, `${name}.1.${id}`),
    ...{ serviceId, slot: 1, nodeId, specVersion: 1, template: spec.template, ports, addresses },
    ...{ desired: 'running', report: { ...NO_REPORT, state: 'assigned' } },
    ...more,
  };
}

export function ingressPort(
  publishedPort: number,
  targetPort = 80,
  transport: ServicePort['transport'] = 'tcp',
): ServicePort {
  return { name: '', transport, targetPort, publishedPort, mode: 'ingress' };
}

/** A container of a node on an attachable network, without an address unless it is said. */
export function attachmentObject(
  id: string,
  nodeId: string,
  network: string,
  more: Partial<ClusterAttachment> = {},
): ClusterAttachment {
  return {
    ...{ id, endpointId: `e-${id}`, containerId: `c-${id}`, nodeId, network, names: [id] },
    ...{ ipv4: undefined, ipv6: undefined, mac: undefined },
    ...{ address: '', address6: '', error: '' },
    ...more,
  };
}
