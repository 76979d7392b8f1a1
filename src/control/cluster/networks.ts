import type { Clock } from '../../base/clock.ts';
import { conflict, forbidden, invalid, notFound, unsupported } from '../../base/faults.ts';
import { checkBlocks } from '../../ipam/block-plan.ts';
import {
  type ClusterNetwork,
  type ClusterService,
  type ClusterTask,
  KIND,
  type OverlayNetwork,
} from '../../model/cluster.ts';
import type { Network } from '../../model/network.ts';
import { transact } from '../../store/edit.ts';
import type { Store } from '../../store/store.ts';
import { stamp } from '../ids.ts';
import { lookUp } from '../lookup.ts';
import { checkGeneral, checkMtu, type NetworkRequest } from '../network-request.ts';
import { attachmentsOf, isActive, need, networksOf, servicesOf, tasksOf } from './cluster-state.ts';
import { hasHttpLabels } from './http-labels.ts';
import { newClusterId } from './identity/tokens.ts';
import type { ManagerPart } from './manager.ts';
import type { ClusterMember } from './member.ts';
import { checkRoom, claimName, releaseName } from './object-names.ts';
import { completeNetwork, OVERLAY, OVERLAY_OPTIONS } from './orchestration/network-plan.ts';
import { alreadyExists, invalidArgument, precondition } from './refusals.ts';

const DNS_NAME = /^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$/;
const MAX_NAME = 63;
/** When a node was told of a network without its time of creation. */
const NEVER = '0001-01-01T00:00:00Z';

/** Throws for what is no part of a DNS name. */
export function checkDnsName(name: string): void {
  if (name === '') throw invalidArgument('name must be provided');
  if (!DNS_NAME.test(name)) throw invalidArgument('name must be valid as a DNS name component');
  if (name.length > MAX_NAME) throw invalidArgument('name must be 63 characters or fewer');
}

/** Whether every node reaches a service: by its ports, or by a gateway. */
export function needsIngress({ spec, labels }: Pick<ClusterService, 'spec' | 'labels'>): boolean {
  if (hasHttpLabels(labels)) return true;
  return spec.resolution === 'vip' && spec.ports.some(({ mode }) => mode === 'ingress');
}

/** The network that published ports are reached over; undefined: none at present. */
export function ingressOf(store: Store): ClusterNetwork | undefined {
  return networksOf(store).find(({ value }) => value.spec.ingress)?.value;
}

function checkRequest(request: NetworkRequest): void {
  const { name, driver, ipv4, configOnly, configFrom, ipamDriver, options } = request;
  checkGeneral(request);
  if (driver !== OVERLAY) {
    throw unsupported(`networks of a cluster are overlays: the driver ${driver} is not served`);
  }
  if (request.scope === 'local') {
    throw invalid('cannot downgrade network scope for overlay networks');
  }
  if (configOnly || configFrom !== undefined) {
    throw unsupported('configuration networks of a cluster are not served');
  }
  if (ipamDriver !== 'default') {
    throw unsupported(`the IPAM driver ${ipamDriver} is not served for networks of a cluster`);
  }
  if (!ipv4) throw invalid('IPv4 cannot be disabled in a Swarm scoped network');
  checkDnsName(name);
  checkBlocks(request.blocks);
  checkMtu(options);
}

function specOf(request: NetworkRequest): ClusterNetwork['spec'] {
  const { driver, ipv4, ipv6, internal, attachable, ingress, options } = request;
  const blocks = request.blocks.map((block) => ({ ...block, subnet: block.subnet ?? '' }));
  return {
    ...{ driver, scope: 'swarm', ipv4, ipv6, internal, attachable, ingress, options },
    ipam: {
      driver: request.ipamDriver,
      options: request.ipamOptions,
      blocks,
      chosen: blocks.some(({ subnet }) => subnet !== ''),
    },
    ...{ configOnly: false, configFrom: undefined },
  };
}

/** The id of the new network; its subnets are allocated later. `local`: networks of this host. */
export async function createNetwork(
  { store, cluster }: ManagerPart,
  request: NetworkRequest,
  local: Iterable<Network>,
  clock: Clock,
): Promise<string> {
  const { name, labels } = request;
  checkRequest(request);
  const id = newClusterId();
  const now = stamp(clock);
  const value: ClusterNetwork = {
    ...{ id, name, labels, created: now, updated: now, spec: specOf(request), segments: [] },
  };
  const own = [...local].filter(({ scope }) => scope === 'local');
  const hostNames = new Set(own.map((network) => network.name));
  await transact(store, () => {
    const others = networksOf(store).map((other) => other.value);
    checkRoom(others.length, 'network');
    if (hostNames.has(name) || others.some((other) => other.name === name)) {
      throw conflict(`network with name ${name} already exists`);
    }
    const ingress = ingressOf(store);
    if (request.ingress && ingress) {
      throw alreadyExists(`ingress network (${ingress.id}) is already present`);
    }
    // Whatever is allocated for it later, this much is known to be possible now.
    completeNetwork(value, others, cluster);
    return [{ kind: KIND.network, id, value, expected: 0 }, claimName(KIND.network, name, id)];
  });
  return id;
}

/** Why a network has to stay; undefined: nothing uses it. */
function useOf(store: Store, { id, spec }: ClusterNetwork): string | undefined {
  for (const { value: service } of servicesOf(store)) {
    if (spec.ingress && needsIngress(service)) {
      return `ingress network cannot be removed because service ${service.id} depends on it`;
    }
    if (service.spec.template.networks.some(({ network }) => network === id)) {
      return `network ${id} is in use by service ${service.id}`;
    }
  }
  if (spec.ingress) return undefined;
  const user =
    tasksOf(store).find(({ value }) => holds(value, id)) ??
    attachmentsOf(store).find(({ value }) => value.network === id);
  return user && `network ${id} is in use by task ${user.value.id}`;
}

function holds(task: ClusterTask, networkId: string): boolean {
  return isActive(task) && task.template.networks.some(({ network }) => network === networkId);
}

/** By id, name or the beginning of an id. Throws while something uses it. */
export async function removeNetwork({ store }: ManagerPart, key: string): Promise<void> {
  await transact(store, () => {
    const found = need(networksOf(store), key, 'network');
    const use = useOf(store, found.value);
    if (use !== undefined) throw precondition(use);
    return [
      { kind: KIND.network, id: found.value.id, value: undefined, expected: found.version },
      releaseName(KIND.network, found.value.name),
    ];
  });
}

/** Removes what nothing uses and `wanted` agrees to, but never the ingress network; the names. */
export async function pruneNetworks(
  manager: ManagerPart,
  wanted: (network: Network) => boolean,
): Promise<string[]> {
  const unused = networksOf(manager.store)
    .map(({ value }) => value)
    .filter((network) => !network.spec.ingress && wanted(shownNetwork(network)))
    .filter((network) => useOf(manager.store, network) === undefined);
  for (const { id } of unused) await removeNetwork(manager, id);
  return unused.map(({ name }) => name);
}

/** Whether no service, no task and no container refers to a network of the cluster. */
export function isDangling({ manager }: ClusterMember, id: string): boolean {
  if (!manager) return false;
  const found = networksOf(manager.store).find(({ value }) => value.id === id);
  return found !== undefined && useOf(manager.store, found.value) === undefined;
}

/** A network as its client is shown it, with what was allocated for it. */
export function shownNetwork({ spec, segments, id, name, labels, created }: ClusterNetwork) {
  const vnis = segments.map(({ vni }) => vni).join(',');
  const options = vnis === '' ? spec.options : { ...spec.options, [OVERLAY_OPTIONS.vnis]: vnis };
  return { ...spec, id, name, labels, created, options };
}

/** What a node was told of a network, which is all that a worker knows. */
export function toldNetwork(told: OverlayNetwork): Network {
  const { id, name, segments, mtu, encrypted, internal, attachable, ingress } = told;
  const blocks = segments.map(({ subnet, gateway }) => ({
    ...{ subnet, gateway, ipRange: undefined, auxAddresses: {} },
  }));
  return {
    ...{ id, name, driver: OVERLAY, scope: 'swarm', created: NEVER, internal, ingress },
    ...{ ipv4: true, ipv6: segments.some(({ subnet }) => subnet.includes(':')) },
    ipam: { driver: 'default', options: {}, blocks, chosen: true },
    ...{ attachable, configOnly: false, configFrom: undefined, labels: {} },
    options: {
      [OVERLAY_OPTIONS.mtu]: String(mtu),
      [OVERLAY_OPTIONS.vnis]: segments.map(({ vni }) => vni).join(','),
      ...(encrypted && { [OVERLAY_OPTIONS.encrypted]: '' }),
    },
  };
}

/** Networks of the cluster that this node knows: a manager all, a worker those of its containers. */
export function networksSeen({ manager, assignment }: ClusterMember): Network[] {
  if (manager) return networksOf(manager.store).map(({ value }) => shownNetwork(value));
  return assignment.networks.map(toldNetwork);
}

/** What stands for a host's own networks in a service; the name is the id. */
function predefined(name: string): Network {
  return {
    ...{ id: name, name, driver: name, scope: 'swarm', created: NEVER, ipv4: true, ipv6: false },
    ipam: { driver: 'default', options: {}, blocks: [], chosen: false },
    ...{ internal: false, attachable: false, ingress: false, configOnly: false },
    ...{ configFrom: undefined, options: {} },
    labels: { 'com.docker.swarm.predefined': 'true' },
  };
}

/**
 * The network that a service means by a name or an id: one of the cluster, or `host` or `bridge` of
 * whatever node a task is on. Throws for one of this host alone. `local`: networks of this host.
 */
export function networkForService(
  { store }: ManagerPart,
  local: Iterable<Network>,
  key: string,
): Network {
  if (key === 'host' || key === 'bridge') return predefined(key);
  const all = networksOf(store).map(({ value }) => shownNetwork(value));
  const found = lookUp(all, key, 'network');
  if (found) return found;
  const own = lookUp(
    [...local].filter(({ scope }) => scope === 'local'),
    key,
    'network',
  );
  if (!own) throw notFound(`network ${key} not found`);
  if (own.name === 'host' || own.name === 'bridge') return predefined(own.name);
  if (own.name === 'none') {
    throw notFound(
      'could not find the corresponding predefined swarm network: network none not found',
    );
  }
  throw forbidden(
    `The network ${own.name} cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver.`,
  );
}
