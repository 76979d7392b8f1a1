import { notFound, unsupported } from '../../base/faults.ts';
import { findImage, needImage } from '../../control/container-order.ts';
import type { Engine } from '../../control/engine.ts';
import type { ImageInfo } from '../../model/task-spec.ts';
import { ok, type Route } from './http.ts';

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
      Labels: labels,
      ExposedPorts: Object.fromEntries(image.exposed.map((port) => [port, {}])),
    },
    RootFS: { Type: 'layers', Layers: [] },
  };
}

const NO_PULL =
  'pull access denied: images are not pulled here; `host` runs commands of the host, others have to be in the runtime already';

/** Images as the runtimes have them; none is pulled, built or removed. */
export function imageRoutes({ agent }: Engine): Route[] {
  return [
    {
      method: 'GET',
      path: '/images/json',
      run: async () => ok((await agent.images()).map(imageRow)),
    },
    {
      method: 'GET',
      path: '/images/:name*/json',
      run: async ({ parameters }) =>
        ok(detail(needImage(await agent.images(), parameters['name'] ?? ''))),
    },
    {
      method: 'GET',
      path: '/images/:name*/history',
      run: async ({ parameters }) => {
        needImage(await agent.images(), parameters['name'] ?? '');
        return ok([]);
      },
    },
    {
      method: 'POST',
      path: '/images/create',
      run: async ({ query }) => {
        const tag = query.text('tag');
        const name = query.text('fromImage').replace(/^docker\.io\/(library\/)?/, '');
        const full = tag === '' ? name : `${name}${tag.includes(':') ? '@' : ':'}${tag}`;
        if (!findImage(await agent.images(), full)) {
          throw notFound(`${NO_PULL} (${full})`);
        }
        return ok({ status: `Status: Image is up to date for ${full}` });
      },
    },
    {
      method: 'DELETE',
      path: '/images/:name*',
      run: async ({ parameters }) => {
        needImage(await agent.images(), parameters['name'] ?? '');
        throw unsupported('images are not removed here: use the tools of their runtime');
      },
    },
    {
      method: 'POST',
      path: '/images/prune',
      run: () => ok({ ImagesDeleted: [], SpaceReclaimed: 0 }),
    },
    {
      method: 'POST',
      path: '/build/prune',
      run: () => ok({ CachesDeleted: [], SpaceReclaimed: 0 }),
    },
    { method: 'GET', path: '/distribution/:name*/json', run: () => ok({}) },
  ];
}
