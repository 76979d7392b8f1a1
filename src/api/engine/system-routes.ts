import { notFound, unsupported } from '../../base/faults.ts';
import type { ClusterMember } from '../../control/cluster/member.ts';
import { describeSources } from '../../control/daemon-options.ts';
import type { Engine } from '../../control/engine.ts';
import { VOLUME_DRIVER } from '../../control/volumes.ts';
import { containerRow } from './container-view.ts';
import { type Call, ok, type Route } from './http.ts';
import { imageRow } from './image-routes.ts';
import { swarmInfo } from './swarm-view.ts';
import { API_VERSION, MIN_API_VERSION } from './versions.ts';
import { volumeUsage } from './volume-routes.ts';

/** What the daemon says of itself and of its machine. */
export type EngineFacts = {
  readonly version: string;
  readonly name: string;
  readonly id: string;
  readonly kernel: string;
  readonly os: string;
  readonly arch: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly dataRoot: string;
  readonly debug: boolean;
};

function version(facts: EngineFacts): Record<string, unknown> {
  const details = {
    ApiVersion: API_VERSION,
    MinAPIVersion: MIN_API_VERSION,
    Os: 'linux',
    Arch: facts.arch,
    KernelVersion: facts.kernel,
    GitCommit: '',
    GoVersion: '',
    BuildTime: '',
    Experimental: 'false',
  };
  return {
    Platform: { Name: 'Sluice' },
    Version: facts.version,
    ApiVersion: API_VERSION,
    MinAPIVersion: MIN_API_VERSION,
    Os: 'linux',
    Arch: facts.arch,
    KernelVersion: facts.kernel,
    GitCommit: '',
    GoVersion: '',
    BuildTime: '',
    Components: [{ Name: 'Engine', Version: facts.version, Details: details }],
  };
}

async function info(
  { registry, agent, options, remote }: Engine,
  member: ClusterMember,
  facts: EngineFacts,
) {
  const containers = [...registry.containers];
  const count = (status: string) =>
    containers.filter(({ state }) => state.status === status).length;
  const [running, paused] = [count('running'), count('paused')];
  return {
    ID: facts.id,
    Name: facts.name,
    ServerVersion: facts.version,
    Containers: containers.length,
    ContainersRunning: running,
    ContainersPaused: paused,
    ContainersStopped: containers.length - running - paused,
    Images: (await agent.images()).length,
    Driver: 'host',
    DriverStatus: [],
    Plugins: {
      Volume: [VOLUME_DRIVER],
      Network: ['bridge', 'host', 'macvlan', 'null', 'overlay', ...remote.driverNames],
      Authorization: null,
      Log: ['json-file'],
    },
    MemoryLimit: true,
    IPv4Forwarding: true,
    Debug: facts.debug,
    LoggingDriver: 'json-file',
    CgroupDriver: 'none',
    KernelVersion: facts.kernel,
    OperatingSystem: facts.os,
    OSType: 'linux',
    Architecture: facts.arch,
    NCPU: facts.cpus,
    MemTotal: facts.memoryBytes,
    DockerRootDir: facts.dataRoot,
    HttpProxy: '',
    HttpsProxy: '',
    NoProxy: '',
    Labels: options.labels,
    ExperimentalBuild: false,
    DefaultRuntime: 'process',
    Runtimes: { process: { path: 'process' }, podman: { path: 'podman' } },
    Swarm: await swarmInfo(member),
    LiveRestoreEnabled: true,
    SecurityOptions: [],
    DefaultAddressPools: describeSources(options).map(({ base, size }) => ({
      Base: base,
      Size: size,
    })),
    Warnings: [],
  };
}

async function diskUsage(engine: Engine): Promise<Record<string, unknown>> {
  const containers = [...engine.registry.containers];
  const images = await engine.images.list();
  return {
    LayersSize: images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    Images: images.map(imageRow),
    Containers: containers.map((one) => ({ ...containerRow(one, engine, Date.now()), SizeRw: 0 })),
    Volumes: await volumeUsage(engine),
    BuildCache: [],
  };
}

const ping = ({ response, request }: Call): undefined => {
  response.writeHead(200, {
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'no-cache, no-store, must-revalidate',
    pragma: 'no-cache',
  });
  response.end(request.method === 'HEAD' ? undefined : 'OK');
  return undefined;
};

/** What clients know and this engine leaves to others, with the words that say so. */
const UNSERVED: readonly (readonly [Route['method'], string, string])[] = [
  ['POST', '/auth', 'log in at the registry by `podman login`: nothing is kept here'],
  ['POST', '/build', 'images are not built here: use podman build'],
  ['POST', '/images/:name*/push', 'images are not pushed here: use podman push'],
  ['GET', '/images/search', 'there is no registry to search'],
  ['GET', '/containers/:id/changes', 'the files of a container are not compared'],
  ['POST', '/containers/:id/attach/ws', 'streams are not served over WebSocket: use attach'],
  ['GET', '/containers/:id/attach/ws', 'streams are not served over WebSocket: use attach'],
];

function unservedRoutes(): Route[] {
  return UNSERVED.map(([method, path, message]) => ({
    method,
    path,
    run: () => {
      throw unsupported(message);
    },
  }));
}

/** The daemon itself, and the resources of which it has none. */
export function systemRoutes(
  engine: Engine,
  member: ClusterMember,
  facts: () => EngineFacts,
): Route[] {
  return [
    { method: 'GET', path: '/_ping', run: ping },
    { method: 'HEAD', path: '/_ping', run: ping },
    { method: 'GET', path: '/version', run: () => ok(version(facts())) },
    { method: 'GET', path: '/info', run: async () => ok(await info(engine, member, facts())) },
    {
      method: 'GET',
      path: '/system/df',
      run: async () => ok(await diskUsage(engine)),
    },
    { method: 'GET', path: '/plugins', run: () => ok([]) },
    {
      method: 'GET',
      path: '/plugins/:name*/json',
      run: ({ parameters }) => {
        throw notFound(`plugin "${parameters['name']}" not found`);
      },
    },
    ...unservedRoutes(),
  ];
}
