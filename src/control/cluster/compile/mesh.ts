import { bare, MIN_IPV6_MTU } from '../../../model/address.ts';
import type { NodeAssignment, OverlayNetwork, ServiceBackends } from '../../../model/cluster.ts';
import type { DirectForward, MeshIntent } from '../../../model/cluster-intent.ts';
import type { ForwardIntent } from '../../../model/host-intent.ts';
import { meshAddress6, meshMac } from './addresses.ts';
import type { LocalHost } from './cluster-intent.ts';

/** Label of a service that says which task of an ingress port gets a connection. */
export const BALANCE_LABEL = 'sluice.ingress.balance';
export const BALANCES = ['round-robin', 'random', 'source-hash'] as const;
/** Label of a service whose ingress ports answer only where its tasks are. */
export const POLICY_LABEL = 'sluice.ingress.policy';
export const POLICIES = ['cluster', 'local'] as const;

/** Label of a service that says which way the answers of its ingress ports take to clients. */
export const RETURN_LABEL = 'sluice.ingress.return';
export const RETURNS = ['mesh', 'direct'] as const;

type Backend = ServiceBackends['tasks'][number];

function balanceOf({ labels }: ServiceBackends): ForwardIntent['balance'] {
  return BALANCES.find((one) => one === labels[BALANCE_LABEL]) ?? 'round-robin';
}

/**
 * Mesh addresses of a task, or none when it is not of the ingress network; of IPv4 alone where that
 * one's packets are too small for IPv6.
 */
function meshAddresses({ addresses }: Backend, { id, mtu }: OverlayNetwork): string[] {
  const own = addresses[id];
  if (own === undefined) return [];
  return mtu < MIN_IPV6_MTU ? [bare(own)] : [bare(own), meshAddress6(id, own)];
}

const family = (address: string) => address.includes(':');

/** Where a connection goes here: to its mesh address, or straight to the sandbox of a task here. */
function placesOf(task: Backend, ingress: OverlayNetwork, host: LocalHost): string[] {
  const mesh = meshAddresses(task, ingress);
  if (task.nodeId !== host.nodeId) return mesh;
  const targets = host.gatewayAddresses.get(task.taskId) ?? [];
  return mesh.length === 0 ? [] : targets.map(bare);
}

function forwardsOf(
  service: ServiceBackends,
  ingress: OverlayNetwork,
  host: LocalHost,
): ForwardIntent[] {
  const local = service.labels[POLICY_LABEL] === 'local';
  const places = service.tasks
    .filter(({ draining, nodeId }) => !draining && (!local || nodeId === host.nodeId))
    .flatMap((task) => placesOf(task, ingress, host));
  return service.ports.flatMap(({ mode, transport, publishedPort, targetPort }) => {
    if (mode !== 'ingress' || publishedPort === undefined) return [];
    return [
      {
        id: `ingress-${transport}-${publishedPort}`,
        ...{ transport, address: undefined, port: publishedPort },
        targets: places.map((address) => ({ address, port: targetPort })),
        balance: balanceOf(service),
        kind: 'published' as const,
      },
    ];
  });
}

/** Answers of a service that only its tasks' own hosts take connections for need no other way. */
function directOf(
  service: ServiceBackends,
  ingress: OverlayNetwork,
  host: LocalHost,
): DirectForward[] {
  const { labels } = service;
  if (labels[RETURN_LABEL] !== 'direct' || labels[POLICY_LABEL] === 'local') return [];
  const serving = service.tasks.filter(
    (task) => !task.draining && meshAddresses(task, ingress).length > 0,
  );
  const places = serving
    .filter(({ nodeId }) => nodeId === host.nodeId)
    .flatMap((task) => placesOf(task, ingress, host));
  return service.ports.flatMap(({ mode, transport, publishedPort, targetPort }) => {
    if (mode !== 'ingress' || publishedPort === undefined) return [];
    return [
      {
        ...{ transport, port: publishedPort, balance: balanceOf(service) },
        hosts: serving.flatMap(({ nodeId }) => (nodeId === host.nodeId ? [] : nodeId)),
        targets: places.map((address) => ({ address, port: targetPort })),
      },
    ];
  });
}

/** The routing mesh of a host. Undefined: the cluster has no ingress network. */
export function meshIntent(
  { services, peers }: NodeAssignment,
  ingress: OverlayNetwork | undefined,
  host: LocalHost,
): MeshIntent | undefined {
  const vni = ingress?.segments[0]?.vni;
  if (!ingress || vni === undefined) return undefined;
  const tasks = services.flatMap((service) => service.tasks);
  const others = tasks.filter(({ nodeId }) => nodeId !== host.nodeId);
  const own = tasks.filter(({ nodeId }) => nodeId === host.nodeId);
  return {
    ...{ vni, mtu: ingress.mtu, mac: meshMac(host.nodeId), sources: host.sources },
    nodes: peers
      .filter(({ nodeId }) => nodeId !== host.nodeId)
      .map(({ nodeId, address, dataPathAddress, addresses = [] }) => ({
        id: nodeId,
        mac: meshMac(nodeId),
        tunnel: dataPathAddress,
        addresses: [...new Set([address, dataPathAddress, ...addresses])],
      })),
    remote: others.flatMap((task) =>
      meshAddresses(task, ingress).map((address) => ({ address, node: task.nodeId })),
    ),
    local: own.flatMap((task) => {
      const targets = (host.gatewayAddresses.get(task.taskId) ?? []).map(bare);
      return meshAddresses(task, ingress).flatMap((address) => {
        const target = targets.find((one) => family(one) === family(address));
        return target === undefined ? [] : [{ address, target }];
      });
    }),
    draining: tasks.flatMap((task) => (task.draining ? placesOf(task, ingress, host) : [])),
    lost: others.flatMap((task) => (task.lost ? meshAddresses(task, ingress) : [])),
    forwards: services.flatMap((service) => forwardsOf(service, ingress, host)),
    direct: services.flatMap((service) => directOf(service, ingress, host)),
  };
}
