import { nodesOf, progress, tasksOf, type Versioned } from '../../control/cluster/cluster-state.ts';
import type { ManagerPart } from '../../control/cluster/manager.ts';
import type {
  ClusterService,
  ServicePort,
  ServiceSpec,
  UpdateProgress,
  UpdateRule,
} from '../../model/cluster.ts';
import { NS_PER_MS } from './durations.ts';
import { Fields } from './fields.ts';
import { DEFAULT_UPDATE } from './service-request.ts';
import { DEFAULT_GRACE_MS, DEFAULT_RESTART } from './task-template.ts';

/** A port as the API writes it; one that nothing was chosen for yet has no number. */
export function portView({ name, transport, targetPort, publishedPort, mode }: ServicePort) {
  return {
    ...(name !== '' && { Name: name }),
    Protocol: transport,
    TargetPort: targetPort,
    ...(publishedPort && { PublishedPort: publishedPort }),
    PublishMode: mode,
  };
}

/** The words for how a task that has ended is followed. */
export function restartView(rule: typeof DEFAULT_RESTART) {
  return {
    Condition: rule.condition,
    Delay: rule.delayMs * NS_PER_MS,
    MaxAttempts: rule.maxAttempts,
    ...(rule.windowMs > 0 && { Window: rule.windowMs * NS_PER_MS }),
  };
}

function updateView(rule: UpdateRule) {
  return {
    Parallelism: rule.parallelism,
    ...(rule.delayMs > 0 && { Delay: rule.delayMs * NS_PER_MS }),
    FailureAction: rule.failureAction,
    Monitor: rule.monitorMs * NS_PER_MS,
    MaxFailureRatio: rule.maxFailureRatio,
    Order: rule.order,
  };
}

/** A specification as it was asked for; with defaults for what its client has left out. */
function specView({ asked }: ServiceSpec, name: string, labels: unknown, withDefaults: boolean) {
  const spec = new Fields(asked).raw;
  const shown = { ...spec, Name: name, Labels: labels };
  if (!withDefaults) return shown;
  const template = new Fields(spec['TaskTemplate']).raw;
  const container = new Fields(template['ContainerSpec']).raw;
  return {
    ...shown,
    TaskTemplate: {
      Resources: { Limits: {}, Reservations: {} },
      RestartPolicy: restartView(DEFAULT_RESTART),
      Placement: {},
      ...template,
      ContainerSpec: {
        StopGracePeriod: DEFAULT_GRACE_MS * NS_PER_MS,
        DNSConfig: {},
        ...container,
      },
    },
    UpdateConfig: spec['UpdateConfig'] ?? updateView(DEFAULT_UPDATE),
    RollbackConfig: spec['RollbackConfig'] ?? updateView(DEFAULT_UPDATE),
  };
}

function endpointView({ spec, ports, vips, vips6 = {} }: ClusterService) {
  const addresses = [...Object.entries(vips), ...Object.entries(vips6)];
  return {
    Spec: {
      Mode: spec.resolution,
      ...(spec.ports.length > 0 && { Ports: spec.ports.map(portView) }),
    },
    ...(ports.length > 0 && { Ports: ports.map(portView) }),
    ...(addresses.length > 0 && {
      VirtualIPs: addresses.map(([NetworkID, Addr]) => ({ NetworkID, Addr })),
    }),
  };
}

function progressView({ state, started, completed, message }: UpdateProgress) {
  return {
    State: state,
    StartedAt: started,
    ...(completed !== undefined && { CompletedAt: completed }),
    Message: message,
  };
}

/** A service as clients know it. */
export function serviceView(
  { value: service, version }: Versioned<ClusterService>,
  withDefaults = false,
) {
  const { name, labels, spec, previous, previousLabels = labels, progress: update } = service;
  return {
    ID: service.id,
    Version: { Index: version },
    CreatedAt: service.created,
    UpdatedAt: service.updated,
    Spec: specView(spec, name, labels, withDefaults),
    ...(previous && {
      PreviousSpec: specView(previous, name, previousLabels, withDefaults),
    }),
    Endpoint: endpointView(service),
    ...(update && { UpdateStatus: progressView(update) }),
  };
}

type Counts = { RunningTasks: number; DesiredTasks: number; CompletedTasks: number };

/** How many tasks of each service run and are to run, by the id of the service. */
export function serviceStatuses(
  { store }: ManagerPart,
  services: readonly ClusterService[],
): Map<string, Counts> {
  const down = new Set(
    nodesOf(store).flatMap(({ value }) => (value.status === 'down' ? value.id : [])),
  );
  const counts = new Map<string, Counts>(
    services.map(({ id, spec: { mode } }) => {
      const desired = mode.kind === 'replicated' ? mode.replicas : 0;
      return [id, { RunningTasks: 0, DesiredTasks: desired, CompletedTasks: 0 }];
    }),
  );
  const global = new Set(
    services.flatMap(({ id, spec }) => (spec.mode.kind === 'global' ? id : [])),
  );
  for (const { value: task } of tasksOf(store)) {
    const count = counts.get(task.serviceId);
    if (!count || down.has(task.nodeId)) continue;
    const wanted = progress(task.desired) <= progress('running');
    if (task.report.state === 'running') count.RunningTasks++;
    if (wanted && global.has(task.serviceId)) count.DesiredTasks++;
  }
  return counts;
}
