import { networksOf, type Versioned } from '../../control/cluster/cluster-state.ts';
import type { ManagerPart } from '../../control/cluster/manager.ts';
import { shownNetwork } from '../../control/cluster/networks.ts';
import { shownSlot } from '../../control/cluster/templates.ts';
import type {
  ClusterNetwork,
  ClusterTask,
  ClusterTaskState,
  TaskTemplate,
} from '../../model/cluster.ts';
import { NS_PER_MS } from './durations.ts';
import { portView, restartView } from './service-view.ts';

/** What a task is made of; it tells what its own version of the service said. */
function specView(template: TaskTemplate) {
  const { container, files, networks, restart, constraints, spread, reservations } = template;
  const { limits } = container;
  const list = (name: string, values: readonly unknown[]) =>
    values.length > 0 && { [name]: values };
  const file = ({ kind, id, name, target, uid, gid, mode }: (typeof files)[number]) => {
    const prefix = kind === 'secret' ? 'Secret' : 'Config';
    const File = { Name: target, UID: uid, GID: gid, Mode: mode };
    return { File, [`${prefix}ID`]: id, [`${prefix}Name`]: name };
  };
  return {
    ContainerSpec: {
      Image: container.image,
      ...list('Command', container.entrypoint),
      ...list('Args', container.command),
      ...list('Env', container.env),
      ...(container.hostname !== '' && { Hostname: container.hostname }),
      ...(container.cwd !== '' && { Dir: container.cwd }),
      ...(container.user !== '' && { User: container.user }),
      ...(container.tty && { TTY: true }),
      ...(Object.keys(container.labels).length > 0 && { Labels: container.labels }),
      StopGracePeriod: template.stopGraceMs * NS_PER_MS,
      ...list('Secrets', files.filter(({ kind }) => kind === 'secret').map(file)),
      ...list('Configs', files.filter(({ kind }) => kind === 'config').map(file)),
    },
    Resources: {
      Limits: {
        ...(limits.nanoCpus && { NanoCPUs: limits.nanoCpus }),
        ...(limits.memoryBytes && { MemoryBytes: limits.memoryBytes }),
        ...(limits.pids && { Pids: limits.pids }),
      },
      Reservations: {
        ...(reservations.nanoCpus && { NanoCPUs: reservations.nanoCpus }),
        ...(reservations.memoryBytes && { MemoryBytes: reservations.memoryBytes }),
      },
    },
    RestartPolicy: restartView(restart),
    Placement: {
      ...list('Constraints', constraints),
      ...list(
        'Preferences',
        spread.map((SpreadDescriptor) => ({ Spread: { SpreadDescriptor } })),
      ),
      ...(template.maxReplicasPerNode > 0 && { MaxReplicas: template.maxReplicasPerNode }),
    },
    ...list(
      'Networks',
      networks.map(({ network, aliases }) => ({ Target: network, ...list('Aliases', aliases) })),
    ),
    ForceUpdate: template.forceUpdate,
    Runtime: 'container',
  };
}

function statusView({ report, reason = '' }: ClusterTask) {
  // What went wrong with it comes before why it was to end.
  const error = report.error || (reason && `assigned node no longer meets constraints: ${reason}`);
  const { containerId, pid, exitCode, hostPorts } = report;
  return {
    Timestamp: report.at,
    State: report.state,
    Message: report.message,
    ...(error !== '' && { Err: error }),
    ...(containerId !== '' && {
      ContainerStatus: { ContainerID: containerId, PID: pid, ExitCode: exitCode },
    }),
    PortStatus: hostPorts.length > 0 ? { Ports: hostPorts.map(portView) } : {},
  };
}

function attachmentView({ value: network, version }: Versioned<ClusterNetwork>, found: string[]) {
  const shown = shownNetwork(network);
  const { driver, attachable, internal, ingress, ipv6, ipam } = shown;
  const configs = ipam.blocks.map(({ subnet, ipRange = '', gateway = '' }) => ({
    ...{ Subnet: subnet, Range: ipRange, Gateway: gateway },
  }));
  return {
    Network: {
      ID: network.id,
      Version: { Index: version },
      CreatedAt: network.created,
      UpdatedAt: network.updated,
      Spec: {
        Name: network.name,
        Labels: network.labels,
        DriverConfiguration: { Name: driver },
        ...{ Attachable: attachable, Internal: internal, Ingress: ingress, IPv6Enabled: ipv6 },
        Scope: 'swarm',
      },
      DriverState: { Name: driver, Options: shown.options },
      IPAMOptions: { Driver: { Name: ipam.driver }, Configs: configs },
    },
    Addresses: found,
  };
}

/** What a task is to become; that of a job is to complete. */
export function desiredState({ desired, iteration }: ClusterTask): ClusterTaskState {
  return iteration !== undefined && desired === 'running' ? 'complete' : desired;
}

/** Makes views of tasks, with the networks that the cluster has now. */
export function taskViewer({ store }: ManagerPart) {
  const networks = networksOf(store);
  return ({ value: task, version }: Versioned<ClusterTask>) => {
    const { addresses, addresses6 = {} } = task;
    const attachments = networks.flatMap((network) => {
      const { id } = network.value;
      const found = [addresses[id] ?? [], addresses6[id] ?? []].flat();
      return found.length > 0 ? attachmentView(network, found) : [];
    });
    return {
      ID: task.id,
      Version: { Index: version },
      CreatedAt: task.created,
      UpdatedAt: task.updated,
      Labels: task.labels,
      Spec: specView(task.template),
      ServiceID: task.serviceId,
      ...(task.slot > 0 && { Slot: shownSlot(task) }),
      ...(task.nodeId !== '' && { NodeID: task.nodeId }),
      Status: statusView(task),
      DesiredState: desiredState(task),
      ...(task.iteration !== undefined && { JobIteration: { Index: task.iteration } }),
      ...(attachments.length > 0 && { NetworksAttachments: attachments }),
    };
  };
}
