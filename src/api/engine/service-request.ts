import { unsupported } from '../../base/faults.ts';
import { invalidArgument } from '../../control/cluster/refusals.ts';
import type { ServiceOrder } from '../../control/cluster/services.ts';
import type { ServiceMode, ServicePort, UpdateRule } from '../../model/cluster.ts';
import { Fields } from './fields.ts';
import { spelled } from './service-names.ts';
import { type NetworkResolver, span, taskTemplate } from './task-template.ts';

export const DEFAULT_UPDATE: UpdateRule = {
  ...{ parallelism: 1, delayMs: 0, monitorMs: 5000, failureAction: 'pause' },
  ...{ maxFailureRatio: 0, order: 'stop-first' },
};
const ACTIONS = ['pause', 'continue', 'rollback'] as const;
const ORDERS = ['stop-first', 'start-first'] as const;
const TRANSPORTS = ['tcp', 'udp', 'sctp'] as const;
const PUBLISH_MODES = ['ingress', 'host'] as const;
const MAX_PORT = 65_535;
/** Tasks of one service at most. */
const MAX_REPLICAS = 100_000;

function mode(spec: Fields): ServiceMode {
  const fields = spec.fields('Mode');
  for (const job of ['ReplicatedJob', 'GlobalJob']) {
    if (fields.optionalFields(job)) {
      throw unsupported('jobs are not served: the modes of a service are replicated and global');
    }
  }
  const replicated = fields.optionalFields('Replicated');
  if (fields.optionalFields('Global')) {
    if (replicated) throw invalidArgument('must specify only one service mode');
    return { kind: 'global' };
  }
  const replicas = replicated?.optionalNumber('Replicas') ?? 1;
  if (Number.isInteger(replicas) && replicas >= 0 && replicas <= MAX_REPLICAS) {
    return { kind: 'replicated', replicas };
  }
  throw invalidArgument(`invalid number of replicas ${replicas}: it is 0 to ${MAX_REPLICAS}`);
}

function updateRule(spec: Fields, name: string): UpdateRule {
  const what = name === 'UpdateConfig' ? 'update' : 'rollback';
  const fields = spec.optionalFields(name);
  if (!fields) return DEFAULT_UPDATE;
  const action = fields.text('FailureAction') || DEFAULT_UPDATE.failureAction;
  const failureAction = ACTIONS.find((one) => one === action);
  if (!failureAction || (what === 'rollback' && failureAction === 'rollback')) {
    throw invalidArgument(`unrecognized ${what} failure action ${action}`);
  }
  const wanted = fields.text('Order') || DEFAULT_UPDATE.order;
  const order = ORDERS.find((one) => one === wanted);
  if (!order) throw invalidArgument(`unrecognized ${what} order ${wanted}`);
  const parallelism = fields.number('Parallelism');
  if (!Number.isInteger(parallelism) || parallelism < 0) {
    throw invalidArgument(`TaskSpec: ${what}-parallelism ${parallelism} is no number of tasks`);
  }
  const maxFailureRatio = fields.number('MaxFailureRatio');
  if (maxFailureRatio < 0 || maxFailureRatio > 1) {
    throw invalidArgument(
      `TaskSpec: ${what}-maxfailureratio cannot be less than 0 or bigger than 1`,
    );
  }
  const delayMs = span(fields, 'Delay', `${what}-delay`, DEFAULT_UPDATE.delayMs);
  const monitor = span(fields, 'Monitor', `${what}-monitor`, 0);
  const monitorMs = monitor || DEFAULT_UPDATE.monitorMs;
  return { parallelism, delayMs, monitorMs, failureAction, maxFailureRatio, order };
}

function port(fields: Fields): ServicePort {
  const protocol = fields.text('Protocol') || 'tcp';
  const transport = TRANSPORTS.find((one) => one === protocol.toLowerCase());
  if (!transport) throw invalidArgument(`invalid protocol value "${protocol}"`);
  const publish = fields.text('PublishMode') || 'ingress';
  const publishMode = PUBLISH_MODES.find((one) => one === publish);
  if (!publishMode) throw invalidArgument(`invalid publish mode "${publish}"`);
  const [targetPort, published] = [fields.number('TargetPort'), fields.number('PublishedPort')];
  const fits = (number: number) => Number.isInteger(number) && number >= 0 && number <= MAX_PORT;
  if (!fits(targetPort) || targetPort === 0 || !fits(published)) {
    throw invalidArgument(`EndpointSpec: ports are 1 to ${MAX_PORT}`);
  }
  const publishedPort = published || undefined;
  return { name: fields.text('Name'), transport, targetPort, publishedPort, mode: publishMode };
}

function endpoint(spec: Fields) {
  const fields = spec.fields('EndpointSpec');
  const resolution = fields.text('Mode').toLowerCase() || 'vip';
  if (resolution !== 'vip' && resolution !== 'dnsrr') {
    throw invalidArgument(`invalid endpoint mode "${resolution}": it is vip or dnsrr`);
  }
  const ports = fields.objects('Ports').map(port);
  if (resolution === 'dnsrr' && ports.some((one) => one.mode === 'ingress')) {
    throw invalidArgument(
      "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
    );
  }
  const keys = ports
    .filter(({ publishedPort }) => publishedPort !== undefined)
    .map((one) => `${one.transport}/${one.publishedPort}`);
  if (new Set(keys).size < keys.length) {
    throw invalidArgument('EndpointSpec: duplicate published ports provided');
  }
  return { resolution, ports } as const;
}

/** The request to be shown again: complete, its networks by their ids. */
function askedOf(spec: Fields, wanted: ServiceMode, ids: readonly string[]) {
  const { Networks, ...raw } = new Fields(spelled(spec.raw)).raw;
  const { Networks: own, ...template } = new Fields(raw['TaskTemplate']).raw;
  const targets = new Fields({ list: own ?? Networks })
    .objects('list')
    .map((one, index) => ({ ...one.raw, Target: ids[index] }));
  return {
    ...raw,
    TaskTemplate: {
      ...template,
      ...(targets.length > 0 && { Networks: targets }),
      ForceUpdate: template['ForceUpdate'] ?? 0,
      Runtime: template['Runtime'] ?? 'container',
    },
    Mode:
      wanted.kind === 'replicated' ? { Replicated: { Replicas: wanted.replicas } } : { Global: {} },
    EndpointSpec: raw['EndpointSpec'] ?? { Mode: 'vip' },
  };
}

/** The service that a body asks for. Throws in the words that users know. */
export function serviceOrder(spec: Fields, resolve: NetworkResolver): ServiceOrder {
  const task = spec.fields('TaskTemplate');
  const own = task.objects('Networks');
  // Clients of old name networks beside the template.
  const networks = own.length > 0 ? own : spec.objects('Networks');
  const { template, networkIds } = taskTemplate(task, networks, resolve);
  const wanted = mode(spec);
  return {
    name: spec.text('Name'),
    labels: spec.textMap('Labels'),
    spec: {
      mode: wanted,
      template,
      update: updateRule(spec, 'UpdateConfig'),
      rollback: updateRule(spec, 'RollbackConfig'),
      ...endpoint(spec),
      asked: askedOf(spec, wanted, networkIds),
    },
  };
}
