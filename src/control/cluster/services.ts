import type { Clock } from '../../base/clock.ts';
import { unsupported } from '../../base/faults.ts';
import { checkPair } from '../../base/pem.ts';
import type { Rng } from '../../base/rng.ts';
import {
  type ClusterService,
  type JobRun,
  KIND,
  type ServiceMode,
  type ServiceSpec,
  type UpdateProgress,
} from '../../model/cluster.ts';
import { transact } from '../../store/edit.ts';
import { stamp } from '../ids.ts';
import { generateName } from '../names.ts';
import { findFile, need, servicesOf, type Versioned } from './cluster-state.ts';
import { listFiles } from './files.ts';
import { hasHttpLabels, readHttpLabels } from './http-labels.ts';
import { newClusterId } from './identity/tokens.ts';
import type { ManagerPart } from './manager.ts';
import { checkDnsName, ingressOf, needsIngress } from './networks.ts';
import { checkRoom, claimName, releaseName } from './object-names.ts';
import { parseConstraint } from './orchestration/constraints.ts';
import { clashingPort } from './orchestration/ports.ts';
import {
  alreadyExists,
  invalidArgument,
  outOfSequence,
  precondition,
  replace,
} from './refusals.ts';
import { checkLabels } from './service-labels.ts';

/** A service as it is asked for; an empty name: one is made up. Its networks are ids. */
export type ServiceOrder = Pick<ClusterService, 'name' | 'labels' | 'spec'> & {
  /** `user:password` for the registry of its image; empty: that of `loginOf`. */
  readonly login: string;
  /** The specification that keeps its login. */
  readonly loginOf: 'spec' | 'previous-spec';
};

/** What commands need beside the manager. */
export type ServiceTools = { readonly clock: Clock; readonly rng: Rng };

/** Docker's refusal of what no swarm can do, in its words. */
function notSupported(text: string) {
  return unsupported(`rpc error: code = Unimplemented desc = ${text}`);
}

/** By id, by name or by the beginning of an id. Throws when there is none or are several. */
export function needService({ store }: ManagerPart, key: string): Versioned<ClusterService> {
  return need(servicesOf(store), key, 'service');
}

function checkFiles({ store }: ManagerPart, { template }: ServiceSpec): void {
  for (const kind of ['secret', 'config'] as const) {
    const names = template.files
      .filter((file) => file.kind === kind && findFile(store, file.id)?.kind !== kind)
      .map(({ name }) => name);
    if (names.length === 0) continue;
    const what = names.length === 1 ? kind : `${kind}s`;
    throw invalidArgument(`${what} not found: ${names.join(', ')}`);
  }
}

/** Throws when gateways could not do what labels ask of them. */
function checkHttp(manager: ManagerPart, { labels, spec }: Order): void {
  if (!hasHttpLabels(labels)) return;
  const { faults, certificate } = readHttpLabels(labels, spec.ports);
  const all = [...faults];
  if (spec.template.container.mode.kind !== 'networks') {
    all.push('labels for gateways need tasks with a network of their own');
  }
  const text = (name: string) => {
    const file = listFiles(manager, 'secret').find(({ value }) => value.name === name)?.value;
    if (!file) all.push(`secret not found: ${name}`);
    return file && Buffer.from(manager.keys.openFile(file).data, 'base64').toString();
  };
  const [cert, key] = certificate ? [text(certificate.cert), text(certificate.key)] : [];
  const wrong = cert !== undefined && key !== undefined ? checkPair(cert, key) : undefined;
  if (wrong) all.push(`secret ${certificate?.[wrong.key]} ${wrong.message}`);
  if (all.length > 0) throw invalidArgument(all.join('; '));
}

type Order = Pick<ServiceOrder, 'labels' | 'spec'>;

/** Throws when the cluster as it is cannot carry out what is asked of this service. */
function checkOrder(manager: ManagerPart, order: Order, serviceId: string): void {
  const { labels, spec } = order;
  checkLabels(labels);
  checkFiles(manager, spec);
  checkHttp(manager, order);
  for (const constraint of spec.template.constraints) parseConstraint(constraint);
  const services = servicesOf(manager.store).map(({ value }) => value);
  const clash = clashingPort(services, spec, serviceId);
  if (clash !== undefined) throw invalidArgument(clash);
  if (needsIngress(order) && !ingressOf(manager.store)) {
    throw precondition('service needs ingress network, but no ingress network is present');
  }
}

/** The specification that is asked for, with its login sealed. */
function withLogin(
  { keys }: ManagerPart,
  { spec, login, loginOf }: ServiceOrder,
  service?: ClusterService,
): ServiceSpec {
  const { template } = (loginOf === 'spec' ? service?.spec : service?.previous) ?? {};
  const known = template?.login;
  const same = login === '' || (known !== undefined && keys.login(known) === login);
  const sealed = same ? known : keys.sealLogin(login);
  return sealed === undefined ? spec : { ...spec, template: { ...spec.template, login: sealed } };
}

/** The id of the new service. */
export async function createService(
  manager: ManagerPart,
  order: ServiceOrder,
  { clock, rng }: ServiceTools,
): Promise<string> {
  const { store } = manager;
  const id = newClusterId();
  const now = stamp(clock);
  const { labels } = order;
  const spec = withLogin(manager, order);
  await transact(store, () => {
    const taken = new Set(servicesOf(store).map(({ value }) => value.name));
    checkRoom(taken.size, 'service');
    const name = order.name || generateName(rng, (one) => taken.has(one));
    checkDnsName(name);
    if (taken.has(name)) {
      throw alreadyExists(`name conflicts with an existing object: service ${name} already exists`);
    }
    checkOrder(manager, order, id);
    const value: ClusterService = {
      ...{ id, name, labels, created: now, updated: now, spec, previous: undefined },
      ...{ specVersion: 1, vips: {}, ports: [], progress: undefined },
      ...(isJob(spec.mode) && { job: { iteration: 0, began: now } }),
    };
    return [{ kind: KIND.service, id, value, expected: 0 }, claimName(KIND.service, name, id)];
  });
  return id;
}

/** Whether tasks made by one specification are none of the other. */
function makesOtherTasks(a: Order, b: Order): boolean {
  const ofTasks = ({ spec: { template, ports, resolution }, labels }: Order) =>
    JSON.stringify([{ ...template, login: '' }, ports, resolution, hasHttpLabels(labels)]);
  return ofTasks(a) !== ofTasks(b);
}

/** Whether tasks of a service are to complete, instead of going on. */
export function isJob({ kind }: ServiceMode): boolean {
  return kind === 'replicated-job' || kind === 'global-job';
}

/** The run of a job once it has another specification: a forced update begins the next one. */
export function nextRun(job: JobRun, before: ServiceSpec, after: ServiceSpec, now: string): JobRun {
  if (before.template.forceUpdate === after.template.forceUpdate) return job;
  return { iteration: job.iteration + 1, began: now };
}

/** Writes a service with another specification in place of the version that was read. */
async function replaceSpec(
  { store }: ManagerPart,
  { value: service, version }: Versioned<ClusterService>,
  order: Order,
  now: string,
  progress: UpdateProgress | undefined,
): Promise<void> {
  const replaces = makesOtherTasks(service, order);
  const value: ClusterService = {
    ...service,
    ...{ labels: order.labels, spec: order.spec, updated: now },
    ...{ previous: service.spec, previousLabels: service.labels },
    specVersion: replaces ? service.specVersion + 1 : service.specVersion,
    progress: replaces && !service.job ? progress : undefined,
    ...(service.job && { job: nextRun(service.job, service.spec, order.spec, now) }),
  };
  await replace(store, { kind: KIND.service, id: service.id, value, expected: version });
}

/** Gives a service another specification. Throws when its version is not the one that is named. */
export async function updateService(
  manager: ManagerPart,
  key: string,
  version: number,
  order: ServiceOrder,
  { clock }: ServiceTools,
): Promise<void> {
  const found = needService(manager, key);
  const { name, spec } = found.value;
  if (found.version !== version) throw outOfSequence();
  if (order.name !== name) throw notSupported('renaming services is not supported');
  if (order.spec.mode.kind !== spec.mode.kind) {
    throw notSupported('service mode change is not allowed');
  }
  checkOrder(manager, order, found.value.id);
  const { labels } = order;
  const asked = { labels, spec: withLogin(manager, order, found.value) };
  await replaceSpec(manager, found, asked, stamp(clock), undefined);
}

/** Gives a service its previous specification and labels back. */
export async function rollBackService(
  manager: ManagerPart,
  key: string,
  version: number,
  { clock }: ServiceTools,
): Promise<void> {
  const found = needService(manager, key);
  if (found.version !== version) throw outOfSequence();
  const { id, previous, labels, previousLabels = labels } = found.value;
  if (!previous) throw precondition(`service ${id} does not have a previous spec`);
  const now = stamp(clock);
  const progress: UpdateProgress = {
    ...{ state: 'rollback_started', started: now, completed: undefined },
    message: 'manually requested rollback',
  };
  const order = { labels: previousLabels, spec: previous };
  checkOrder(manager, order, id);
  await replaceSpec(manager, found, order, now, progress);
}

/** Its tasks end after it. */
export async function removeService(manager: ManagerPart, key: string): Promise<void> {
  const { id } = needService(manager, key).value;
  await transact(manager.store, () => {
    const { value, version } = needService(manager, id);
    return [
      { kind: KIND.service, id, value: undefined, expected: version },
      releaseName(KIND.service, value.name),
    ];
  });
}
