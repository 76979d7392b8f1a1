import { invalidArgument } from '../../control/cluster/refusals.ts';
import { isJob, type ServiceOrder } from '../../control/cluster/services.ts';
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
const MODES = ['Replicated', 'Global', 'ReplicatedJob', 'GlobalJob'] as const;
/** What is counted, in words. */
const COUNTS = {
  Replicas: 'replicas',
  TotalCompletions: 'completions',
  MaxConcurrent: 'concurrent tasks',
} as const;
/** Tasks of one service at most. */
const MAX_REPLICAS = 100_000;

function mode(spec: Fields): ServiceMode {
  const fields = spec.fields('Mode');
  const given = MODES.filter((name) => fields.optionalFields(name));
  if (given.length > 1) throw invalidArgument('must specify only one service mode');
  const [name = 'Replicated'] = given;
  const own = fields.fields(name);
  switch (name) {
    case 'Global':
      return { kind: 'global' };
    case 'GlobalJob':
      return { kind: 'global-job' };
    case 'ReplicatedJob': {
      const concurrent = count(own, 'MaxConcurrent', 1);
      const completions = count(own, 'TotalCompletions', concurrent);
      return { kind: 'replicated-job', completions, concurrent };
    }
    default:
      return { kind: 'replicated', replicas: count(own, 'Replicas', 1) };
  }
}

function count(fields: Fields, name: keyof typeof COUNTS, fallback: number): number {
  const value = fields.optionalNumber(name) ?? fallback;
  if (Number.isInteger(value) && value >= 0 && value <= MAX_REPLICAS) return value;
  throw invalidArgument(`invalid number of ${COUNTS[name]} ${value}: it is 0 to ${MAX_REPLICAS}`);
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

function modeView(mode: ServiceMode) {
  switch (mode.kind) {
    case 'replicated':
      return { Replicated: { Replicas: mode.replicas } };
    case 'replicated-job': {
      const { concurrent, completions } = mode;
      return { ReplicatedJob: { MaxConcurrent: concurrent, TotalCompletions: completions } };
    }
    case 'global-job':
      return { GlobalJob: {} };
    default:
      return { Global: {} };
  }
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
    Mode: modeView(wanted),
    EndpointSpec: raw['EndpointSpec'] ?? { Mode: 'vip' },
  };
}

/** The service that a body asks for. Throws in the words that users know. */
export function serviceOrder(
  spec: Fields,
  resolve: NetworkResolver,
): Omit<ServiceOrder, 'login' | 'loginOf'> {
  const task = spec.fields('TaskTemplate');
  const own = task.objects('Networks');
  // Clients of old name networks beside the template.
  const networks = own.length > 0 ? own : spec.objects('Networks');
  const { template, networkIds } = taskTemplate(task, networks, resolve);
  const wanted = mode(spec);
  if (
    isJob(wanted) &&
    (spec.optionalFields('UpdateConfig') || spec.optionalFields('RollbackConfig'))
  ) {
    throw invalidArgument('update and rollback configuration is not supported for jobs');
  }
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
