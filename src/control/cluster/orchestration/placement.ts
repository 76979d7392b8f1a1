import type { ClusterNetwork, ClusterNode, ClusterTask } from '../../../model/cluster.ts';
import type { Versioned } from '../cluster-state.ts';
import { type Constraint, meets, obstacleOf, readConstraint } from './constraints.ts';
import { OVERLAY } from './network-plan.ts';
import type { Obstacle } from './obstacle.ts';
import { portKey } from './ports.ts';

type Port = NonNullable<ReturnType<typeof portKey>>;

/** What a task takes of its node. */
export type Use = {
  readonly serviceId: string;
  readonly nanoCpus: number;
  readonly memoryBytes: number;
  /** Of the node itself, in host mode. */
  readonly ports: readonly Port[];
  /** It counts as one of its service's tasks; one that is on its way out does not. */
  readonly counts: boolean;
};

/** A node, and what its tasks take of it. */
export class NodeLoad {
  /** Undefined: the cluster has no such node any more. */
  node: ClusterNode | undefined;
  /** Tasks that are to run. */
  tasks = 0;
  nanoCpus = 0;
  memoryBytes = 0;
  readonly ports = new Map<Port, number>();
  readonly services = new Map<string, number>();

  add(use: Use): void {
    this.#change(use, 1);
  }

  remove(use: Use): void {
    this.#change(use, -1);
  }

  #change({ serviceId, nanoCpus, memoryBytes, ports, counts }: Use, by: 1 | -1): void {
    this.nanoCpus += by * nanoCpus;
    this.memoryBytes += by * memoryBytes;
    for (const port of ports) addTo(this.ports, port, by);
    if (!counts) return;
    this.tasks += by;
    addTo(this.services, serviceId, by);
  }
}

function addTo<K>(counts: Map<K, number>, key: K, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}

/** What tasks of one version of a service ask of their node, ready to be checked at many nodes. */
export type Ask = Omit<Use, 'counts'> & {
  readonly spread: readonly string[];
  readonly drivers: readonly (readonly [string, Obstacle])[];
  readonly constraints: readonly (readonly [Constraint, Obstacle])[];
  readonly portObstacles: readonly (readonly [Port, Obstacle])[];
  /** 0: no limit. */
  readonly maxReplicas: number;
  readonly obstacles: Readonly<Record<'memory' | 'cpus' | 'replicas', Obstacle>>;
};

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const NANO = 1e9;

function size(bytes: number): string {
  if (bytes % GIB === 0) return `${bytes / GIB} GiB`;
  return bytes >= MIB ? `${Math.round(bytes / MIB)} MiB` : `${bytes} bytes`;
}

function lacking(reason: string, what: string): Obstacle {
  return { reason, one: `lacks ${what}`, many: `lack ${what}` };
}

function driversOf(
  { template }: ClusterTask,
  networks: ReadonlyMap<string, Versioned<ClusterNetwork>>,
): string[] {
  const drivers = template.networks.flatMap(({ network }) => {
    const driver = networks.get(network)?.value.spec.driver;
    return driver === undefined || driver === OVERLAY ? [] : [driver];
  });
  return [...new Set(drivers)];
}

/** The host-mode ports of a task that have a number. */
function hostPorts({ ports }: ClusterTask): Port[] {
  return ports.flatMap((port) => (port.mode === 'host' ? (portKey(port) ?? []) : []));
}

/** What a task takes of a node that it is given. */
export function useOf(task: ClusterTask, counts: boolean): Use {
  return {
    serviceId: task.serviceId,
    ...task.template.reservations,
    ports: hostPorts(task),
    counts,
  };
}

export function askOf(
  task: ClusterTask,
  networks: ReadonlyMap<string, Versioned<ClusterNetwork>>,
): Ask {
  const { template } = task;
  const use = useOf(task, true);
  const constraints = template.constraints.map(readConstraint);
  const resources = 'insufficient resources on %';
  const most = template.maxReplicasPerNode;
  const running = `${most} of its tasks`;
  return {
    ...use,
    spread: template.spread,
    drivers: driversOf(task, networks).map((driver) => [
      driver,
      lacking('missing plugin on %', `the network driver ${driver}`),
    ]),
    constraints: constraints.map((one) => [one, obstacleOf(one)]),
    portObstacles: use.ports.map((port) => [
      port,
      {
        reason: 'host-mode port already in use on %',
        one: `has its port ${port} in use`,
        many: `have their port ${port} in use`,
      },
    ]),
    maxReplicas: most,
    obstacles: {
      memory: lacking(resources, size(use.memoryBytes)),
      cpus: lacking(resources, `${use.nanoCpus / NANO} CPUs`),
      replicas: {
        reason: 'max replicas per node limit exceed',
        one: `runs ${running}, the most for a node`,
        many: `run ${running}, the most for a node`,
      },
    },
  };
}

function unavailable(words: string): Obstacle {
  return { reason: '% not available for new tasks', one: `is ${words}`, many: `are ${words}` };
}

const UNAVAILABLE = {
  down: unavailable('down'),
  disconnected: unavailable('disconnected'),
  unknown: unavailable('not connected yet'),
  pause: unavailable('paused'),
  drain: unavailable('drained'),
} as const;
const GONE = unavailable('gone');

function availability({ status, availability: asked }: ClusterNode): Obstacle | undefined {
  if (status !== 'ready') return UNAVAILABLE[status];
  return asked === 'active' ? undefined : UNAVAILABLE[asked];
}

function resources(
  { description }: ClusterNode,
  load: NodeLoad,
  { memoryBytes, nanoCpus, obstacles }: Ask,
): Obstacle | undefined {
  if (memoryBytes > 0 && memoryBytes > description.memoryBytes - load.memoryBytes) {
    return obstacles.memory;
  }
  const short = nanoCpus > 0 && nanoCpus > description.nanoCpus - load.nanoCpus;
  return short ? obstacles.cpus : undefined;
}

function plugin({ description }: ClusterNode, { drivers }: Ask): Obstacle | undefined {
  for (const [driver, obstacle] of drivers) {
    if (!description.networkDrivers.includes(driver)) return obstacle;
  }
  return undefined;
}

function constraint(node: ClusterNode, { constraints }: Ask): Obstacle | undefined {
  for (const [one, obstacle] of constraints) if (!meets(node, one)) return obstacle;
  return undefined;
}

function usedPort({ ports }: NodeLoad, { portObstacles }: Ask): Obstacle | undefined {
  for (const [port, obstacle] of portObstacles) if (ports.has(port)) return obstacle;
  return undefined;
}

function enough({ services }: NodeLoad, ask: Ask): Obstacle | undefined {
  const { maxReplicas, serviceId } = ask;
  const full = maxReplicas > 0 && (services.get(serviceId) ?? 0) >= maxReplicas;
  return full ? ask.obstacles.replicas : undefined;
}

/** The first thing that stands between a node and a task; undefined: it fits. */
export function obstacleAt(load: NodeLoad, ask: Ask): Obstacle | undefined {
  const { node } = load;
  if (!node) return GONE;
  return (
    availability(node) ??
    resources(node, load, ask) ??
    plugin(node, ask) ??
    constraint(node, ask) ??
    usedPort(load, ask) ??
    enough(load, ask)
  );
}
