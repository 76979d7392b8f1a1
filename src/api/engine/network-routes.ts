import { notFound, unsupported } from '../../base/faults.ts';
import type { ClusterMember } from '../../control/cluster/member.ts';
import type { Engine } from '../../control/engine.ts';
import { isPredefined } from '../../control/registry.ts';
import type { Network } from '../../model/network.ts';
import { type Answer, type Call, created, done, ok, type Route } from './http.ts';
import { attachmentRequest, networkDetail, networkRequest, networkView } from './network-view.ts';
import { Filters, nameFits } from './query.ts';
import { NO_SERVICES } from './swarm-routes.ts';

const LIST_FILTERS = ['driver', 'id', 'label', 'label!', 'name', 'scope', 'type', 'dangling'];
const PRUNE_FILTERS = ['label', 'label!', 'until'];

function matcher({ registry }: Engine, filters: Filters): (network: Network) => boolean {
  const dangling = filters.flag('dangling');
  const type = (value: string) => (value === 'builtin' || value === 'custom' ? value : undefined);
  return ({ id, name, driver, scope, labels }) =>
    filters.any('id', (wanted) => id.startsWith(wanted)) &&
    filters.any('name', (wanted) => nameFits(wanted, name)) &&
    filters.any('driver', (wanted) => driver === wanted) &&
    filters.any('scope', (wanted) => scope === wanted) &&
    filters.any('type', (wanted) => type(wanted) === (isPredefined(name) ? 'builtin' : 'custom')) &&
    filters.labels(labels) &&
    (dangling === undefined ||
      dangling === (!isPredefined(name) && registry.attachedTo(id).length === 0));
}

const key = ({ parameters }: Call) => parameters['id'] ?? '';

function list(engine: Engine, { query }: Call): Answer {
  const fits = matcher(engine, Filters.parse(query.text('filters'), LIST_FILTERS));
  return ok([...engine.registry.networks].filter(fits).map(networkView));
}

function inspect({ registry }: Engine, call: Call): Answer {
  const network = registry.network(key(call));
  const scope = call.query.text('scope');
  if (scope !== '' && scope !== network.scope) throw notFound(`network ${key(call)} not found`);
  return ok(networkDetail(network, registry.attachedTo(network.id), call.query.flag('verbose')));
}

async function prune({ networks }: Engine, { query }: Call): Promise<Answer> {
  const filters = Filters.parse(query.text('filters'), PRUNE_FILTERS);
  const until = filters.until(Date.now());
  const removed = await networks.prune(
    ({ labels, created: made }) =>
      filters.labels(labels) && (until === undefined || Date.parse(made) < until),
  );
  return ok({ NetworksDeleted: removed });
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
export function networkRoutes(engine: Engine, member: ClusterMember): Route[] {
  const { networks } = engine;
  return [
    { method: 'GET', path: '/networks/?', run: (call) => list(engine, call) },
    {
      method: 'POST',
      path: '/networks/create',
      run: async ({ body }) => {
        const request = networkRequest(await body());
        const { driver, scope, ingress } = request;
        if (member.manager && (driver === 'overlay' || scope === 'swarm' || ingress)) {
          throw unsupported(NO_SERVICES);
        }
        const { id } = await networks.create(request);
        return created({ Id: id, Warning: '' });
      },
    },
    { method: 'POST', path: '/networks/prune', run: (call) => prune(engine, call) },
    { method: 'GET', path: '/networks/:id', run: (call) => inspect(engine, call) },
    {
      method: 'DELETE',
      path: '/networks/:id',
      run: async (call) => {
        await networks.remove(key(call));
        return done;
      },
    },
    { method: 'POST', path: '/networks/:id/connect', run: (call) => connect(engine, call) },
    { method: 'POST', path: '/networks/:id/disconnect', run: (call) => disconnect(engine, call) },
  ];
}
