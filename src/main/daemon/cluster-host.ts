import { readFileSync, readlinkSync, rmSync } from 'node:fs';
import { arch, cpus, hostname, networkInterfaces, totalmem } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { systemRng } from '../../base/rng.ts';
import type { LinkAddresses } from '../../control/cluster/addresses.ts';
import { ClusterAttachments } from '../../control/cluster/attachments.ts';
import { tellEvents } from '../../control/cluster/cluster-events.ts';
import { ClusterMember } from '../../control/cluster/member.ts';
import { MembershipFile } from '../../control/cluster/membership.ts';
import { lead } from '../../control/cluster/orchestration/orchestration.ts';
import { HostClusterPlane } from '../../control/cluster/plane.ts';
import { TaskWorker } from '../../control/cluster/worker.ts';
import type { Engine } from '../../control/engine.ts';
import { stamp } from '../../control/ids.ts';
import { NO_ASSIGNMENT } from '../../link/assignment.ts';
import { MAX_ADDRESSES } from '../../link/cluster-protocol.ts';
import type { NodeDescription } from '../../model/cluster.ts';
import type { EmbeddedStore } from '../../store/embedded-store.ts';
import { LocalStore } from '../../store/local-store.ts';
import type { ClusterEdge } from '../cluster-edge.ts';
import { VERSION } from '../version.ts';
import { prefixOf } from './agent-process.ts';
import { openClusterStore } from './cluster-store.ts';
import type { DaemonSettings } from './settings.ts';
import { taskFiles } from './task-files.ts';

function describe(engine: Engine, edge: ClusterEdge | undefined): NodeDescription {
  const labels = engine.options.labels.map((one): [string, string] => {
    const [key = '', value = ''] = one.split(/=(.*)/s, 2);
    return [key, value];
  });
  return {
    hostname: hostname(),
    os: 'linux',
    arch: arch() === 'x64' ? 'amd64' : arch(),
    nanoCpus: cpus().length * 1e9,
    memoryBytes: totalmem(),
    engineVersion: VERSION,
    engineLabels: Object.fromEntries(labels),
    networkDrivers: ['bridge', 'host', 'macvlan', 'null', 'overlay', ...engine.remote.driverNames],
    epoch: networkEpoch(),
    addresses: links(engine)
      .flatMap(({ addresses }) => addresses)
      .slice(0, MAX_ADDRESSES),
    ...(edge?.wanted ? { gateway: true } : {}),
  };
}

/** Lives as long as this network namespace, as do the numbers of encrypted tunnels. */
function networkEpoch(): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return `${boot} ${readlinkSync('/proc/self/ns/net')}`;
}

/** Addresses that others may reach this host at: none of the loopback or of our own networks. */
function links({ registry }: Engine): LinkAddresses[] {
  const own = new Set(
    [...registry.networks].flatMap(({ ipam }) =>
      ipam.blocks.flatMap(({ gateway }) => gateway ?? []),
    ),
  );
  return Object.entries(networkInterfaces()).flatMap(([link, all = []]) => {
    const usable = all.filter(
      ({ internal, address }) => !internal && !own.has(address) && !address.startsWith('fe80:'),
    );
    const addresses = usable.map(({ address }) => address);
    return addresses.length > 0 ? [{ link, addresses }] : [];
  });
}

/**
 * This host as a node of a cluster, over its engine; both yet to be started. The engine's start
 * shows at once what was shown last.
 */
export function clusterMember(
  engine: Engine,
  store: EmbeddedStore,
  settings: DaemonSettings,
  logger: Logger,
  edge: ClusterEdge | undefined,
): ClusterMember {
  const { clusterStore, dataRoot, execRoot, advertise } = settings;
  const path = join(dataRoot, 'cluster.db');
  const file = new MembershipFile(store);
  const plane = new HostClusterPlane({
    engine,
    epoch: networkEpoch(),
    nodeId: () => file.nodeId,
    links: () => links(engine),
    edge,
  });
  if (file.nodeId !== undefined) plane.hold(file.readAssignment() ?? NO_ASSIGNMENT);
  const attachments = new ClusterAttachments({
    ...{ engine, clock: systemClock, logger },
    isMember: () => file.nodeId !== undefined,
    ask: (key) => member.findNetwork(key),
    changed: () => member.attachmentsChanged(),
    gateway: () => plane.gateway(),
    refresh: () => plane.refresh(),
  });
  engine.overlays = attachments;
  const runner = new TaskWorker({
    ...{ engine, attachments },
    files: taskFiles(execRoot, prefixOf(settings)),
    plane,
    describe: () => describe(engine, edge),
    now: () => stamp(systemClock),
    logger,
  });
  const member: ClusterMember = new ClusterMember({
    file,
    openStore: async () =>
      clusterStore ? openClusterStore(clusterStore, logger) : new LocalStore(path),
    shared: clusterStore !== undefined,
    dropStore: () => {
      for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
    },
    orchestration: { lead: (state) => lead({ store: state, clock: systemClock, logger }) },
    runner,
    describe: () => describe(engine, edge),
    managing: (state) => tellEvents(state, engine.events),
    links: () => links(engine),
    ...{ advertise, clock: systemClock, rng: systemRng, logger },
  });
  if (edge) edge.onWanted = () => member.introduce();
  return member;
}
