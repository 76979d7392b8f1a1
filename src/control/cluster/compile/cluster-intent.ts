import { bare } from '../../../model/address.ts';
import type { NodeAssignment, OverlayNetwork, ServiceBackends } from '../../../model/cluster.ts';
import type {
  ClusterIntent,
  MeshIntent,
  OverlayPeer,
  VipIntent,
} from '../../../model/cluster-intent.ts';
import type { AttachmentIntent, NameRecord } from '../../../model/host-intent.ts';
import type { IpamBlock } from '../../../model/network.ts';
import { linkSegments, within } from './addresses.ts';
import { meshIntent } from './mesh.ts';
import { attachedNames, serviceNames } from './names.ts';
import { admissionsOf } from './policy.ts';

/** What a host knows of itself that its assignment does not say. */
export type LocalHost = {
  readonly nodeId: string;
  /** Its end of the tunnels, and the port of all. */
  readonly tunnel: ClusterIntent['tunnel'];
  readonly sources: MeshIntent['sources'];
  /** As its description says. */
  readonly epoch: string;
  /** Addresses of tasks here on the gateway bridge, by task id. */
  readonly gatewayAddresses: ReadonlyMap<string, readonly string[]>;
};

/** Networks that a sandbox here joins; the ingress network is no overlay but the mesh. */
export function joined({ networks, tasks, attachments }: NodeAssignment): OverlayNetwork[] {
  const used = new Set(tasks.flatMap(({ addresses }) => Object.keys(addresses)));
  for (const { network } of attachments) used.add(network);
  return networks.filter(({ id, ingress }) => !ingress && used.has(id));
}

/** What the kernel of a host has to show of its cluster, beside sandboxes and names. */
export function clusterIntent(assignment: NodeAssignment, host: LocalHost): ClusterIntent {
  const networks = joined(assignment);
  const ids = new Set(networks.map(({ id }) => id));
  return {
    tunnel: host.tunnel,
    overlays: networks.map((network) => ({
      id: network.id,
      segments: linkSegments(network),
      mtu: network.mtu,
      encrypted: network.encrypted,
    })),
    peers: peersOf(assignment, ids, host.nodeId),
    encryption: encryptionOf(assignment, networks, host),
    vips: [...ids].flatMap((network) =>
      assignment.services.flatMap((service) => vipsOf(service, network)),
    ),
    admissions: admissionsOf(assignment, networks, host.nodeId),
    mesh: meshIntent(
      assignment,
      assignment.networks.find(({ ingress }) => ingress),
      host,
    ),
  };
}

/** Hosts count as long as they have a member of an encrypted network that is also here. */
function encryptionOf(
  { keys, peers, endpoints }: NodeAssignment,
  networks: readonly OverlayNetwork[],
  { nodeId: self, epoch }: LocalHost,
): ClusterIntent['encryption'] {
  const encrypted = new Set(networks.flatMap(({ id, encrypted }) => (encrypted ? id : [])));
  const nodes = new Set(
    endpoints.flatMap(({ network, nodeId }) => (encrypted.has(network) ? nodeId : [])),
  );
  const others = peers.filter(({ nodeId }) => nodeId !== self && nodes.has(nodeId));
  return {
    ...{ epoch, keys },
    peers: others.map((peer) => ({ tunnel: peer.dataPathAddress, epoch: peer.epoch })),
  };
}

/** The addresses of a service inside a network, each with those of its tasks of the same family. */
function vipsOf({ resolution, vips, vips6, tasks }: ServiceBackends, network: string): VipIntent[] {
  if (resolution !== 'vip') return [];
  const families = [
    [vips, 'addresses'],
    [vips6, 'addresses6'],
  ] as const;
  return families.flatMap(([own, family]) => {
    const vip = own?.[network];
    if (vip === undefined) return [];
    const pick = (fits: (task: (typeof tasks)[number]) => boolean | undefined) =>
      tasks
        .filter(fits)
        .flatMap((task) => task[family]?.[network] ?? [])
        .map(bare);
    return [
      {
        ...{ network, address: bare(vip) },
        targets: pick(({ draining }) => !draining),
        draining: pick(({ draining }) => draining),
        lost: pick(({ lost }) => lost),
      },
    ];
  });
}

/** A member's addresses of one network and MAC, on other hosts whose tunnel's end is known. */
function peersOf(
  { endpoints, peers }: NodeAssignment,
  networks: ReadonlySet<string>,
  self: string,
): OverlayPeer[] {
  const tunnels = new Map(peers.map(({ nodeId, dataPathAddress }) => [nodeId, dataPathAddress]));
  const members = Map.groupBy(
    endpoints.filter(({ network, nodeId }) => nodeId !== self && networks.has(network)),
    ({ network, mac, nodeId }) => `${network} ${mac} ${nodeId}`,
  );
  return [...members.values()].flatMap((parts) => {
    const [first] = parts;
    const tunnel = first && tunnels.get(first.nodeId);
    if (!first || tunnel === undefined) return [];
    // IPv4 first: it says which segment the link is of.
    const addresses = parts.map(({ address }) => bare(address));
    addresses.sort((a, b) => Number(a.includes(':')) - Number(b.includes(':')));
    return [{ network: first.network, addresses, mac: first.mac, tunnel }];
  });
}

/** Ways from a member of an overlay to the overlay's other segments, by its own one's gateways. */
export function overlayRoutes(
  blocks: readonly Pick<IpamBlock, 'subnet' | 'gateway'>[],
  addresses: readonly string[],
): NonNullable<AttachmentIntent['routes']> {
  const segments = linkSegments({
    segments: blocks.map(({ subnet, gateway = '' }) => ({ vni: 0, subnet, gateway })),
  });
  const own = segments.find(({ subnets }) =>
    subnets.some((subnet) => addresses.some((address) => within(address, subnet))),
  );
  if (!own) return [];
  return segments
    .filter((segment) => segment !== own)
    .flatMap(({ subnets }) =>
      subnets.flatMap((destination) => {
        const nextHop = own.gateways.find((one) => one.includes(':') === destination.includes(':'));
        return nextHop === undefined ? [] : [{ destination, nextHop: bare(nextHop) }];
      }),
    );
}

/** The names of every network that a sandbox here joins, but for those of this host's containers. */
export function clusterNames(
  assignment: NodeAssignment,
  { nodeId: self }: Pick<LocalHost, 'nodeId'>,
): NameRecord[] {
  const others = assignment.attachments.filter(({ nodeId }) => nodeId !== self);
  return joined(assignment).flatMap((network) => [
    ...serviceNames(network, assignment.services),
    ...attachedNames(network, others),
  ]);
}
