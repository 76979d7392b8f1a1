import { notFound, unsupported } from '../../base/faults.ts';
import { linearRegex } from '../../base/regex.ts';
import type { Engine } from '../../control/engine.ts';
import { imageName } from '../../control/images.ts';
import type { ImageInfo } from '../../model/task-spec.ts';
import { takeBody } from './archive-routes.ts';
import { healthCheckView } from './container-view.ts';
import { type Answer, type Call, created, ok, type Route } from './http.ts';
import { Filters } from './query.ts';

/** An image as a row of the list. */
export function imageRow({
  id,
  names,
  created,
  sizeBytes,
  labels,
}: ImageInfo): Record<string, unknown> {
  return {
    Id: id,
    ParentId: '',
    RepoTags: names,
    RepoDigests: [],
    Created: Math.floor(Date.parse(created) / 1000),
    Size: sizeBytes,
    SharedSize: -1,
    Labels: labels,
    Containers: -1,
  };
}

function detail(image: ImageInfo): Record<string, unknown> {
  const { id, names, created, sizeBytes, labels, entrypoint, command, env, cwd, user } = image;
  return {
    Id: id,
    RepoTags: names,
    RepoDigests: [],
    Created: created,
    Size: sizeBytes,
    Architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    Os: 'linux',
    Config: {
      Entrypoint: entrypoint,
      Cmd: command,
      Env: env,
      WorkingDir: cwd,
      User: user,
      ...(image.stopSignal === undefined ? {} : { StopSignal: image.stopSignal }),
      Labels: labels,
      ExposedPorts: Object.fromEntries(image.exposed.map((port) => [port, {}])),
      ...volumesOf(image),
      ...(image.health === undefined ? {} : { Healthcheck: healthCheckView(image.health) }),
    },
    RootFS: { Type: 'layers', Layers: [] },
  };
}

function volumesOf({ volumes }: ImageInfo): Record<string, unknown> {
  if (volumes.length === 0) return {};
  return { Volumes: Object.fromEntries(volumes.map((path) => [path, {}])) };
}

const NO_PULL =
  'pull access denied: images are not pulled here; `host` runs commands of the host, others have to be in podman already (podman pull, docker load, docker import)';

async function load(engine: Engine, call: Call): Promise<Answer> {
  const said = await takeBody(await engine.images.upload({ kind: 'load' }), call.request);
  const names = said.split('\n').flatMap((line) => {
    const [, list] = /^Loaded image(?:\(s\))?: (.*)$/.exec(line) ?? [];
    return list?.split(',') ?? [];
  });
  const { response } = call;
  response.writeHead(200, { 'content-type': 'application/json' });
  for (const stored of names) {
    const image = await engine.images.find(stored.replace(/^localhost\//, ''));
    const name = image?.names.find((one) => stored.endsWith(one)) ?? stored;
    engine.images.uploaded('load', image?.id ?? name, name);
    response.write(`${JSON.stringify({ stream: `Loaded image: ${name}\n` })}\n`);
  }
  response.end();
  return undefined;
}

async function importImage(engine: Engine, call: Call): Promise<Answer> {
  const { query } = call;
  if (query.text('fromSrc') !== '-') {
    throw unsupported('images are imported from the client alone: use a file or "-"');
  }
  const repository = query.text('repo');
  const name = repository === '' ? '' : imageName(repository, query.text('tag'));
  const changes = query.texts('changes');
  const order = { kind: 'import', name, changes, message: query.text('message') } as const;
  const said = await takeBody(await engine.images.upload(order), call.request);
  const id = /(?:sha256:)?([0-9a-f]{64})\s*$/.exec(said)?.[1] ?? '';
  engine.images.uploaded('import', `sha256:${id}`, name);
  return ok({ status: `sha256:${id}` });
}

async function pull({ images }: Engine, { query }: Call): Promise<Answer> {
  const tag = query.text('tag');
  const name = query.text('fromImage').replace(/^docker\.io\/(library\/)?/, '');
  const full = tag === '' ? name : `${name}${tag.includes(':') ? '@' : ':'}${tag}`;
  if (!(await images.find(full))) throw notFound(`${NO_PULL} (${full})`);
  return ok({ status: `Status: Image is up to date for ${full}` });
}

async function remove({ images }: Engine, { parameters, query }: Call): Promise<Answer> {
  const key = parameters['name'] ?? '';
  const image = await images.need(key);
  const { untagged, deleted } = await images.remove(key, query.flag('force'));
  return ok([
    ...untagged.map((name) => ({ Untagged: name })),
    ...(deleted ? [{ Deleted: image.id }] : []),
  ]);
}

const LIST_FILTERS = ['dangling', 'label', 'reference'];

async function list({ images }: Engine, { query }: Call): Promise<Answer> {
  const filters = Filters.parse(query.text('filters'), LIST_FILTERS);
  const dangling = filters.flag('dangling');
  const rows = (await images.list()).filter(
    ({ names, labels }) =>
      (dangling === undefined || dangling === (names.length === 0)) &&
      filters.labels(labels) &&
      filters.any('reference', (wanted) => names.some((name) => referenceFits(wanted, name))),
  );
  return ok(rows.map(imageRow));
}

/** `*` stands for anything; without a tag every tag is meant. */
function referenceFits(wanted: string, name: string): boolean {
  const pattern = (text: string) =>
    `^${text.replaceAll(/[^\w*]/g, '\\$&').replaceAll('*', '[^/]*')}$`;
  return [wanted, `${wanted}:*`].some((text) => linearRegex(pattern(text)).test(name));
}

/** Images as the runtimes have them; none is pulled or built. */
export function imageRoutes(engine: Engine): Route[] {
  const { images } = engine;
  return [
    { method: 'GET', path: '/images/json', run: (call) => list(engine, call) },
    {
      method: 'GET',
      path: '/images/:name*/json',
      run: async ({ parameters }) => ok(detail(await images.need(parameters['name'] ?? ''))),
    },
    {
      method: 'GET',
      path: '/images/:name*/history',
      run: async ({ parameters }) => {
        await images.need(parameters['name'] ?? '');
        return ok([]);
      },
    },
    {
      method: 'POST',
      path: '/images/create',
      run: (call) =>
        call.query.text('fromSrc') === '' ? pull(engine, call) : importImage(engine, call),
    },
    { method: 'POST', path: '/images/load', run: (call) => load(engine, call) },
    {
      method: 'POST',
      path: '/images/:name*/tag',
      run: async ({ parameters, query }) => {
        const name = imageName(query.text('repo'), query.text('tag'));
        await images.tag(parameters['name'] ?? '', name);
        return created(undefined);
      },
    },
    { method: 'DELETE', path: '/images/:name*', run: (call) => remove(engine, call) },
    {
      method: 'POST',
      path: '/images/prune',
      run: async ({ query }) => {
        const filters = Filters.parse(query.text('filters'), ['dangling']);
        const { deleted, bytes } = await images.prune(filters.flag('dangling') === false);
        return ok({
          ImagesDeleted: deleted.map((id) => ({ Deleted: id })),
          SpaceReclaimed: bytes,
        });
      },
    },
    {
      method: 'POST',
      path: '/build/prune',
      run: () => ok({ CachesDeleted: [], SpaceReclaimed: 0 }),
    },
    { method: 'GET', path: '/distribution/:name*/json', run: () => ok({}) },
  ];
}
