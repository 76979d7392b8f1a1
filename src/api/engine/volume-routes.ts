import type { Engine } from '../../control/engine.ts';
import { ANONYMOUS, VOLUME_DRIVER, type Volumes } from '../../control/volumes.ts';
import type { Volume } from '../../model/volume.ts';
import { type Answer, type Call, created, done, ok, type Route } from './http.ts';
import { Filters, nameFits } from './query.ts';

const LIST_FILTERS = ['dangling', 'driver', 'label', 'label!', 'name'];
const PRUNE_FILTERS = ['all', 'label', 'label!'];
/** Since 1.42 a cleaning takes only what has no name, unless it is told otherwise. */
const PRUNE_ANONYMOUS = 42;

const key = ({ parameters }: Call) => parameters['name'] ?? '';

/** A volume as inspection and the list show it. */
function view({ name, created: at, labels, path }: Volume): Record<string, unknown> {
  return {
    CreatedAt: at,
    Driver: VOLUME_DRIVER,
    Labels: Object.keys(labels).length > 0 ? labels : null,
    Mountpoint: path,
    Name: name,
    Options: null,
    Scope: 'local',
  };
}

/** Volumes with what they take, for an account of the disk. */
export async function volumeUsage({ registry, volumes, agent }: Engine): Promise<unknown[]> {
  const rows: unknown[] = [];
  for (const volume of registry.volumes) {
    const Size = await agent.volumeBytes(volume.name).catch(() => -1);
    rows.push({
      ...view(volume),
      UsageData: { Size, RefCount: volumes.users(volume.name).length },
    });
  }
  return rows;
}

function list({ registry, volumes }: Engine, { query }: Call): Answer {
  const filters = Filters.parse(query.text('filters'), LIST_FILTERS);
  const dangling = filters.flag('dangling');
  const found = [...registry.volumes].filter(
    ({ name, labels }) =>
      filters.any('name', (wanted) => nameFits(wanted, name)) &&
      filters.any('driver', (wanted) => wanted === VOLUME_DRIVER) &&
      filters.labels(labels) &&
      (dangling === undefined || dangling === (volumes.users(name).length === 0)),
  );
  return ok({ Volumes: found.map(view), Warnings: null });
}

async function create(volumes: Volumes, { body }: Call): Promise<Answer> {
  const fields = await body();
  const volume = await volumes.create({
    name: fields.text('Name'),
    driver: fields.text('Driver'),
    options: fields.textMap('DriverOpts'),
    labels: fields.textMap('Labels'),
  });
  return created(view(volume));
}

async function remove({ registry, volumes }: Engine, call: Call): Promise<Answer> {
  const name = key(call);
  if (call.query.flag('force') && !registry.findVolume(name)) return done;
  await volumes.remove(name);
  return done;
}

async function prune(volumes: Volumes, { query, version }: Call): Promise<Answer> {
  const filters = Filters.parse(query.text('filters'), PRUNE_FILTERS);
  const all = version < PRUNE_ANONYMOUS || filters.flag('all') === true;
  const { names, bytes } = await volumes.prune(
    ({ labels }) => (all || Object.hasOwn(labels, ANONYMOUS)) && filters.labels(labels),
  );
  return ok({ VolumesDeleted: names, SpaceReclaimed: bytes });
}

/** Volumes: create, list, inspect, remove and prune. */
export function volumeRoutes(engine: Engine): Route[] {
  const { registry, volumes } = engine;
  return [
    { method: 'GET', path: '/volumes', run: (call) => list(engine, call) },
    { method: 'POST', path: '/volumes/create', run: (call) => create(volumes, call) },
    { method: 'POST', path: '/volumes/prune', run: (call) => prune(volumes, call) },
    { method: 'GET', path: '/volumes/:name', run: (call) => ok(view(registry.volume(key(call)))) },
    { method: 'DELETE', path: '/volumes/:name', run: (call) => remove(engine, call) },
  ];
}
