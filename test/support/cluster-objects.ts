import { NO_REPORT } from '../../src/control/cluster/report.ts';
import { isJob } from '../../src/control/cluster/services.ts';
import type {
  Cluster,
  ClusterNode,
  ClusterService,
  ServiceSpec,
  TaskReport,
  TaskTemplate,
  UpdateRule,
} from '../../src/model/cluster.ts';

const EPOCH = '2023-11-14T22:13:20.000000000Z';

function meta(id: string, name = id) {
  return { id, name, labels: {}, created: EPOCH, updated: EPOCH };
}

const RULE: UpdateRule = {
  ...{ parallelism: 1, delayMs: 0, monitorMs: 5000, failureAction: 'pause' },
  ...{ maxFailureRatio: 0, order: 'stop-first' },
};

export function aCluster(taskHistory = 5): Cluster {
  return {
    ...meta('cluster', 'default'),
    spec: {
      ...{ labels: {}, taskHistory, heartbeatMs: 5000, certificateMs: 7_776_000_000 },
      ...{ autolock: false, forceRotate: 0 },
    },
    ...{ addressPools: ['10.0.0.0/8'], subnetBits: 24, dataPathPort: 4789 },
    ...{ joinSecrets: { worker: 'w', manager: 'm' }, sealedUnlockKey: '', sealedOverlayKeys: [] },
    ca: { certificate: '', sealedKey: '', next: undefined },
  };
}

export function aNode(id: string, more: Partial<ClusterNode> = {}): ClusterNode {
  return {
    ...{ ...meta(id, ''), role: 'worker', availability: 'active', status: 'ready' },
    description: {
      ...{ hostname: id, os: 'linux', arch: 'x86_64', nanoCpus: 64e9, memoryBytes: 2 ** 38 },
      ...{ engineVersion: '1', engineLabels: {}, networkDrivers: [], epoch: '1' },
    },
    ...{ statusMessage: '', address: '192.0.2.1', dataPathAddress: '192.0.2.1' },
    ...{ managerAddress: undefined, leader: false },
    ...more,
  };
}

export function aTemplate(more: Partial<TaskTemplate> = {}, image = 'app:1'): TaskTemplate {
  return {
    container: {
      ...{ image, entrypoint: [], command: [], env: [], cwd: '', user: '', groups: [] },
      ...{ hostname: '', domainname: '', tty: false, openStdin: false, stdinOnce: false },
      ...{ labels: {}, stopSignal: '', stopTimeoutMs: 10_000, autoRemove: false },
      ...{ restart: { when: 'no', maximum: 0 }, health: undefined, mode: { kind: 'networks' } },
      ...{ exposed: [], ports: [], publishAll: false },
      ...{ dns: { servers: [], search: [], options: [] }, extraHosts: [], sysctls: {} },
      ...{ mounts: [], capabilities: [], privileged: false, noNewPrivileges: false },
      ...{ pidHost: false },
      limits: { memoryBytes: undefined, nanoCpus: undefined, pids: undefined },
    },
    ...{ files: [], networks: [], constraints: [], spread: [], maxReplicasPerNode: 0 },
    restart: { condition: 'any', delayMs: 5000, maxAttempts: 0, windowMs: 0 },
    ...{ stopGraceMs: 10_000, reservations: { nanoCpus: 0, memoryBytes: 0 }, forceUpdate: 0 },
    ...more,
  };
}

type SpecParts = Partial<Omit<ServiceSpec, 'update' | 'rollback'>> & {
  readonly update?: Partial<UpdateRule>;
  readonly rollback?: Partial<UpdateRule>;
};

export function aSpec({ update, rollback, ...more }: SpecParts = {}): ServiceSpec {
  return {
    ...{ mode: { kind: 'replicated', replicas: 1 }, template: aTemplate() },
    ...{ update: { ...RULE, ...update }, rollback: { ...RULE, ...rollback } },
    ...{ resolution: 'vip', ports: [], asked: undefined },
    ...more,
  };
}

export function aService(name: string, spec: ServiceSpec = aSpec()): ClusterService {
  return {
    ...{ ...meta(name), spec, previous: undefined, specVersion: 1, vips: {}, ports: spec.ports },
    progress: undefined,
    ...(isJob(spec.mode) && { job: { iteration: 0, began: EPOCH } }),
  };
}

export function aReport(more: Partial<TaskReport> = {}): TaskReport {
  return { ...NO_REPORT, ...more };
}
