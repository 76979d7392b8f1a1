import { nodesOf, tasksOf, type Versioned } from '../../control/cluster/cluster-state.ts';
import type { ManagerPart } from '../../control/cluster/manager.ts';
import { isDone, isOfRun, isWanted } from '../../control/cluster/orchestration/slots.ts';
import { isJob } from '../../control/cluster/services.ts';
import { placeOf } from '../../control/cluster/templates.ts';
import type {
  ClusterService,
  ServiceMode,
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
function specView(
  { asked, mode }: ServiceSpec,
  name: string,
  labels: unknown,
  withDefaults: boolean,
) {
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
    ...(!isJob(mode) && {
      UpdateConfig: spec['UpdateConfig'] ?? updateView(DEFAULT_UPDATE),
      RollbackConfig: spec['RollbackConfig'] ?? updateView(DEFAULT_UPDATE),
    }),
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
  const { name, labels, spec, previous, previousLabels = labels, progress: update, job } = service;
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
    ...(job && {
      JobStatus: { JobIteration: { Index: job.iteration }, LastExecution: job.began },
    }),
  };
}

type Counts = { RunningTasks: number; DesiredTasks: number; CompletedTasks: number };

/** How many tasks are to run, as far as the mode alone says it; the others are counted. */
function desiredBy(mode: ServiceMode): number {
  if (mode.kind === 'replicated') return mode.replicas;
  return mode.kind === 'replicated-job' ? mode.concurrent : 0;
}

/**
 * How many tasks of each service run, are to run and, of the present run of a job, have completed,
 * by the id of the service.
 */
export function serviceStatuses(
  { store }: ManagerPart,
  services: readonly ClusterService[],
): Map<string, Counts> {
  const down = new Set(
    nodesOf(store).flatMap(({ value }) => (value.status === 'down' ? value.id : [])),
  );
  const counts = new Map<string, Counts>(
    services.map(({ id, spec: { mode } }) => {
      return [id, { RunningTasks: 0, DesiredTasks: desiredBy(mode), CompletedTasks: 0 }];
    }),
  );
  /** Where a task of a job has completed; after its node was lost, another one may have as well. */
  const completed = new Set<string>();
  const byId = new Map(services.map((service) => [service.id, service]));
  for (const task of tasksOf(store)) {
    const { serviceId, nodeId, report } = task.value;
    const [count, service] = [counts.get(serviceId), byId.get(serviceId)];
    if (!count || !service) continue;
    const done = isDone(task);
    const place = `${serviceId} ${placeOf(task.value)}`;
    if (done && isOfRun(task, service) && !completed.has(place)) {
      completed.add(place);
      count.CompletedTasks++;
    }
    if (down.has(nodeId)) continue;
    if (report.state === 'running') count.RunningTasks++;
    const counted = service.spec.mode.kind.startsWith('global');
    if (counted && isWanted(task) && !done) count.DesiredTasks++;
  }
  return counts;
}
