import { errorText } from '../../base/errors.ts';
import { invalid, notFound, unsupported } from '../../base/faults.ts';
import { linearRegex } from '../../base/regex.ts';
import type { Engine } from '../../control/engine.ts';
import { imageName, isDangling } from '../../control/images.ts';
import type { ImageInfo } from '../../model/task-spec.ts';
import { healthCheckView } from './container-view.ts';
import { type Answer, type Call, created, ok, type Route } from './http.ts';
import { Filters } from './query.ts';
import { registryLogin } from './registry-login.ts';
import { sendStream, takeBody } from './streams.ts';

/** An image as a row of the list. */
export function imageRow({
  id,
  names,
  digests,
  created,
  sizeBytes,
  labels,
}: ImageInfo): Record<string, unknown> {
  return {
    Id: id,
    ParentId: '',
    RepoTags: names,
    RepoDigests: digests,
    Created: Math.floor(Date.parse(created) / 1000),
    Size: sizeBytes,
    SharedSize: -1,
    Labels: labels,
    Containers: -1,
  };
}

function detail(image: ImageInfo): Record<string, unknown> {
  const { id, names, digests, created, sizeBytes, labels } = image;
  const { entrypoint, command, env, cwd, user } = image;
  return {
    Id: id,
    RepoTags: names,
    RepoDigests: digests,
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

/** What a registry says of an image that is not there, or not for everybody. */
const NOT_THERE =
  /manifest unknown|not found|access to the resource is denied|unauthorized|denied:/i;

async function pull({ images }: Engine, call: Call): Promise<Answer> {
  const { query } = call;
  const tag = query.text('tag');
  const name = query.text('fromImage').replace(/^docker\.io\/(library\/)?/, '');
  const full = tag === '' ? name : `${name}${tag.includes(':') ? '@' : ':'}${tag}`;
  const before = await images.find(full);
  if (before?.runtime === 'process')
    return ok({ status: `Status: Image is up to date for ${full}` });
  const [platform, login] = [query.text('platform'), registryLogin(call)];
  try {
    await images.pull({ name: full, platform, credentials: login });
  } catch (error) {
    const reason = errorText(error);
    if (!NOT_THERE.test(reason)) throw error;
    throw notFound(
      `pull access denied for ${name}, repository does not exist or may require 'docker login': ${reason}`,
    );
  }
  const same = before !== undefined && before.id === (await images.find(full))?.id;
  const status = same ? 'Image is up to date for' : 'Downloaded newer image for';
  return ok({ status: `Status: ${status} ${full}` });
}

/** What a service's image is pinned to; nothing where no registry is concerned. */
async function distribution({ images }: Engine, call: Call): Promise<Answer> {
  const name = call.parameters['name'] ?? '';
  if ((await images.find(name))?.runtime === 'process') return ok({});
  const { platforms, ...descriptor } = await images.distribution(name, registryLogin(call));
  return ok({ Descriptor: descriptor, Platforms: platforms });
}

async function save({ images }: Engine, call: Call, keys: readonly string[]): Promise<Answer> {
  if (keys.length === 0) throw invalid('no images to save');
  const streams = await images.save(keys);
  return sendStream(streams, call.response, { 'content-type': 'application/x-tar' });
}

async function commit({ files }: Engine, { query }: Call): Promise<Answer> {
  const repository = query.text('repo');
  const id = await files.commit(query.text('container'), {
    name: repository === '' ? '' : imageName(repository, query.text('tag')),
    ...{ author: query.text('author'), message: query.text('comment') },
    changes: query.texts('changes').flatMap((text) => text.split('\n').filter(Boolean)),
    pause: !query.has('pause') || query.flag('pause'),
  });
  return created({ Id: id });
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
    (image) =>
      (dangling === undefined || dangling === isDangling(image)) &&
      filters.labels(image.labels) &&
      filters.any('reference', (wanted) => image.names.some((name) => referenceFits(wanted, name))),
  );
  return ok(rows.map(imageRow));
}

/** `*` stands for anything; without a tag every tag is meant. */
function referenceFits(wanted: string, name: string): boolean {
  const pattern = (text: string) =>
    `^${text.replaceAll(/[^\w*]/g, '\\$&').replaceAll('*', '[^/]*')}$`;
  return [wanted, `${wanted}:*`].some((text) => linearRegex(pattern(text)).test(name));
}

/** Images as the runtimes have them; none is built. */
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
    { method: 'POST', path: '/commit', run: (call) => commit(engine, call) },
    {
      method: 'GET',
      path: '/images/get',
      run: (call) => save(engine, call, call.query.texts('names')),
    },
    {
      method: 'GET',
      path: '/images/:name*/get',
      run: (call) => save(engine, call, [call.parameters['name'] ?? '']),
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
    { method: 'GET', path: '/distribution/:name*/json', run: (call) => distribution(engine, call) },
  ];
}
