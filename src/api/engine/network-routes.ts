import type { Clock } from '../../base/clock.ts';
import { conflict, notFound } from '../../base/faults.ts';
import type { ClusterMember } from '../../control/cluster/member.ts';
import {
  createNetwork,
  isDangling,
  networkForService,
  networksSeen,
  pruneNetworks,
  removeNetwork,
} from '../../control/cluster/networks.ts';
import type { Engine } from '../../control/engine.ts';
import { lookUp } from '../../control/lookup.ts';
import { isPredefined } from '../../control/registry.ts';
import type { Network } from '../../model/network.ts';
import { type Answer, type Call, created, done, ok, type Route } from './http.ts';
import { attachmentRequest, networkDetail, networkRequest, networkView } from './network-view.ts';
import { Filters, nameFits } from './query.ts';

const LIST_FILTERS = ['driver', 'id', 'label', 'label!', 'name', 'scope', 'type', 'dangling'];
const PRUNE_FILTERS = ['label', 'label!', 'until'];

/** Where the networks are: the host's own, and those that the cluster has told it of. */
type Place = { readonly engine: Engine; readonly member: ClusterMember; readonly clock: Clock };

/** Every network, each once. */
function known({ engine, member }: Place): Network[] {
  const ofCluster = networksSeen(member);
  const ids = new Set(ofCluster.map(({ id }) => id));
  return [...[...engine.registry.networks].filter(({ id }) => !ids.has(id)), ...ofCluster];
}

function matcher({ engine, member }: Place, filters: Filters): (network: Network) => boolean {
  const { registry } = engine;
  const dangling = filters.flag('dangling');
  const type = (value: string) => (value === 'builtin' || value === 'custom' ? value : undefined);
  const builtin = ({ name, ingress }: Network) => isPredefined(name) || ingress;
  const unused = ({ id, scope }: Network) =>
    scope === 'swarm' ? isDangling(member, id) : registry.attachedTo(id).length === 0;
  return (network) =>
    filters.any('id', (wanted) => network.id.startsWith(wanted)) &&
    filters.any('name', (wanted) => nameFits(wanted, network.name)) &&
    filters.any('driver', (wanted) => network.driver === wanted) &&
    filters.any('scope', (wanted) => network.scope === wanted) &&
    filters.any('type', (wanted) => type(wanted) === (builtin(network) ? 'builtin' : 'custom')) &&
    filters.labels(network.labels) &&
    (dangling === undefined || dangling === (!builtin(network) && unused(network)));
}

const key = ({ parameters }: Call) => parameters['id'] ?? '';

function list(place: Place, { query }: Call): Answer {
  const fits = matcher(place, Filters.parse(query.text('filters'), LIST_FILTERS));
  return ok(known(place).filter(fits).map(networkView));
}

/** The network that a call names, within the scope that it asks for. */
function named(place: Place, wanted: string, scope: string): Network {
  const { manager } = place.member;
  if (scope === 'swarm' && manager) {
    return networkForService(manager, place.engine.registry.networks, wanted);
  }
  const all = known(place).filter((network) => scope === '' || network.scope === scope);
  const found = lookUp(all, wanted, 'network');
  if (!found) throw notFound(`network ${wanted} not found`);
  return found;
}

function inspect(place: Place, call: Call): Answer {
  const network = named(place, key(call), call.query.text('scope'));
  const members = place.engine.registry.attachedTo(network.id);
  const { assignment, membership } = place.member;
  const shown = call.query.flag('verbose') ? assignment : undefined;
  return ok(networkDetail(network, members, membership?.nodeId, shown));
}

async function create({ engine, member, clock }: Place, { body }: Call): Promise<Answer> {
  const request = networkRequest(await body());
  const { driver, scope, ingress, name } = request;
  const { manager } = member;
  const { networks, registry } = engine;
  if (manager && (driver === 'overlay' || scope === 'swarm' || ingress)) {
    return created({ Id: await createNetwork(manager, request, registry.networks, clock) });
  }
  if (networksSeen(member).some((other) => other.name === name)) {
    throw conflict(`network with name ${name} already exists`);
  }
  return created({ Id: (await networks.create(request)).id, Warning: '' });
}

async function remove(place: Place, call: Call): Promise<Answer> {
  const { id, scope } = named(place, key(call), '');
  if (scope === 'swarm') await removeNetwork(place.member.needManager(), id);
  else await place.engine.networks.remove(id);
  return done;
}

async function prune({ engine, member }: Place, { query }: Call): Promise<Answer> {
  const filters = Filters.parse(query.text('filters'), PRUNE_FILTERS);
  const until = filters.until(Date.now());
  const wanted = ({ labels, created: made }: Network) =>
    filters.labels(labels) && (until === undefined || Date.parse(made) < until);
  const local = await engine.networks.prune((one) => one.scope === 'local' && wanted(one));
  const ofCluster = member.manager ? await pruneNetworks(member.manager, wanted) : [];
  return ok({ NetworksDeleted: [...local, ...ofCluster] });
}

async function connect({ containers }: Engine, call: Call): Promise<Answer> {
  const body = await call.body();
  const request = attachmentRequest(key(call), body.fields('EndpointConfig'));
  await containers.connect(key(call), body.text('Container'), request);
  return ok(undefined);
}

async function disconnect({ containers }: Engine, call: Call): Promise<Answer> {
  const body = await call.body();
  await containers.disconnect(key(call), body.text('Container'));
  return ok(undefined);
}

/** Networks: create, list, inspect, remove, prune, connect and disconnect. */
export function networkRoutes(engine: Engine, member: ClusterMember, clock: Clock): Route[] {
  const place: Place = { engine, member, clock };
  return [
    { method: 'GET', path: '/networks/?', run: (call) => list(place, call) },
    { method: 'POST', path: '/networks/create', run: (call) => create(place, call) },
    { method: 'POST', path: '/networks/prune', run: (call) => prune(place, call) },
    { method: 'GET', path: '/networks/:id', run: (call) => inspect(place, call) },
    { method: 'DELETE', path: '/networks/:id', run: (call) => remove(place, call) },
    { method: 'POST', path: '/networks/:id/connect', run: (call) => connect(engine, call) },
    { method: 'POST', path: '/networks/:id/disconnect', run: (call) => disconnect(engine, call) },
  ];
}
