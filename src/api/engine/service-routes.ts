import { invalid } from '../../base/faults.ts';
import { servicesOf, type Versioned } from '../../control/cluster/cluster-state.ts';
import type { ManagerPart } from '../../control/cluster/manager.ts';
import type { ClusterMember } from '../../control/cluster/member.ts';
import { networkForService } from '../../control/cluster/networks.ts';
import {
  createService,
  needService,
  removeService,
  rollBackService,
  type ServiceOrder,
  type ServiceTools,
  updateService,
} from '../../control/cluster/services.ts';
import type { Engine } from '../../control/engine.ts';
import type { ClusterService } from '../../model/cluster.ts';
import type { Fields } from './fields.ts';
import { type Call, created, ok, type Route } from './http.ts';
import { Filters } from './query.ts';
import { registryLogin } from './registry-login.ts';
import { serviceOrder } from './service-request.ts';
import { serviceStatuses, serviceView } from './service-view.ts';
import { warningsOf } from './task-template.ts';

const FILTERS = ['id', 'label', 'mode', 'name', 'runtime'];

type Place = {
  readonly engine: Engine;
  readonly member: ClusterMember;
  readonly tools: ServiceTools;
};

const key = ({ parameters }: Call) => parameters['id'] ?? '';

function list({ member }: Place, { query }: Call) {
  const manager = member.needManager();
  const filters = Filters.parse(query.text('filters'), FILTERS);
  const fits = ({ value: { id, name, labels, spec } }: Versioned<ClusterService>) =>
    filters.any('id', (text) => id.startsWith(text)) &&
    filters.any('name', (text) => name.startsWith(text)) &&
    filters.any('mode', (text) => spec.mode.kind === text) &&
    filters.any('runtime', (text) => text === 'container') &&
    filters.labels(labels);
  const services = servicesOf(manager.store).filter(fits);
  if (!query.strictFlag('status')) return ok(services.map((service) => serviceView(service)));
  const statuses = serviceStatuses(
    manager,
    services.map(({ value }) => value),
  );
  return ok(
    services.map((service) => ({
      ...serviceView(service),
      ServiceStatus: statuses.get(service.value.id),
    })),
  );
}

const LOGINS = ['spec', 'previous-spec'] as const;

function readOrder(
  { engine }: Place,
  manager: ManagerPart,
  body: Fields,
  call: Call,
): ServiceOrder {
  const { networks } = engine.registry;
  const from = call.query.text('registryAuthFrom') || 'spec';
  const loginOf = LOGINS.find((one) => one === from);
  if (!loginOf)
    throw invalid(`unsupported registryAuthFrom value ${from}: it is ${LOGINS.join(' or ')}`);
  const order = serviceOrder(body, (name) => networkForService(manager, networks, name));
  return { ...order, login: registryLogin(call), loginOf };
}

async function create(place: Place, call: Call) {
  const manager = place.member.needManager();
  const body = await call.body();
  const id = await createService(manager, readOrder(place, manager, body, call), place.tools);
  return created({ ID: id, Warnings: warningsOf(body.fields('TaskTemplate')) });
}

async function update(place: Place, call: Call) {
  const { member, tools } = place;
  const manager = member.needManager();
  const body = await call.body();
  const version = call.query.version();
  const rollback = call.query.text('rollback');
  if (rollback === 'previous') {
    await rollBackService(manager, key(call), version, tools);
    return ok({ Warnings: [] });
  }
  if (rollback !== '' && rollback !== 'none') {
    throw invalid(`unrecognized rollback option ${rollback}`);
  }
  await updateService(manager, key(call), version, readOrder(place, manager, body, call), tools);
  return ok({ Warnings: warningsOf(body.fields('TaskTemplate')) });
}

/** Services of a cluster. */
export function serviceRoutes(engine: Engine, member: ClusterMember, tools: ServiceTools): Route[] {
  const place: Place = { engine, member, tools };
  const inspect = (call: Call) => {
    const service = needService(member.needManager(), key(call));
    return ok(serviceView(service, call.query.strictFlag('insertDefaults')));
  };
  const remove = async (call: Call) => {
    await removeService(member.needManager(), key(call));
    return { status: 200 };
  };
  return [
    { method: 'GET', path: '/services', run: (call) => list(place, call) },
    { method: 'POST', path: '/services/create', run: (call) => create(place, call) },
    { method: 'GET', path: '/services/:id', run: inspect },
    { method: 'POST', path: '/services/:id/update', run: (call) => update(place, call) },
    { method: 'DELETE', path: '/services/:id', run: remove },
  ];
}
