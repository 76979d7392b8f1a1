import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/logger.ts';
import type { Rng } from '../base/rng.ts';
import type { AgentPort } from '../link/agent-port.ts';
import type { Attachment, Container, ContainerState } from '../model/container.ts';
import type { Network } from '../model/network.ts';
import type { Leases } from './attachments.ts';
import type { EventLog } from './event-log.ts';
import type { HostPlane } from './host-plane.ts';
import type { KeyedLock } from './keyed-lock.ts';
import type { PortAllocator } from './port-allocator.ts';
import type { Registry } from './registry.ts';
import type { RemoteDrivers } from './remote/remote-drivers.ts';

/** What a container gets to be on networks of the cluster. */
export type ClusterJoin = {
  /** By network id; the host shows these networks. */
  readonly leases: ReadonlyMap<string, Leases>;
  /** Those that it has, and what they imply. */
  readonly attachments: readonly Attachment[];
  /** To be called once the attachments are stored with the container, or will not be. */
  done(): void;
};

/** The networks of a cluster, for containers of this host that are no tasks. */
export interface ClusterNetworks {
  /** By id, name or the beginning of an id; undefined: there is none. Throws when none may join it. */
  find(key: string): Promise<Network | undefined>;
  /** Asks for what the container's attachments lack. Throws when it is not to be had. */
  join(container: Container, attachments: readonly Attachment[]): Promise<ClusterJoin>;
}

/** What stands for them on a host without a cluster. */
export const NO_CLUSTER_NETWORKS: ClusterNetworks = {
  find: async () => undefined,
  join: async (_, attachments) => ({ leases: new Map(), attachments, done: () => {} }),
};

/** What the parts of the control plane of one host share. */
export type ControlParts = {
  readonly registry: Registry;
  readonly plane: HostPlane;
  readonly agent: AgentPort;
  readonly remote: RemoteDrivers;
  readonly overlays: ClusterNetworks;
  readonly events: EventLog;
  readonly ports: PortAllocator;
  /** By container id: whatever changes a container or its sandbox. */
  readonly lock: KeyedLock;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly logger: Logger;
};

/** Changes a container as it is now; returns the new value, undefined: it is gone. */
export function patch(
  { registry }: Pick<ControlParts, 'registry'>,
  id: string,
  change: Partial<Omit<Container, 'id' | 'state'>> & { state?: Partial<ContainerState> },
): Container | undefined {
  const current = registry.findContainer(id);
  if (!current) return undefined;
  const next = { ...current, ...change, state: { ...current.state, ...change.state } };
  registry.putContainer(next);
  return next;
}

/** Tells what happened to a container. */
export function tell(
  { events }: Pick<ControlParts, 'events'>,
  action: string,
  { id, name, spec }: Container,
  attributes: Readonly<Record<string, string>> = {},
): void {
  events.emit('container', action, id, { ...spec.labels, image: spec.image, name, ...attributes });
}

/** Tells that a container has joined or left a network. */
export function tellJoin(
  { events, registry }: Pick<ControlParts, 'events' | 'registry'>,
  action: 'connect' | 'disconnect',
  container: Container,
  { networkId, networkName }: Attachment,
): void {
  const type = registry.findNetwork(networkId)?.driver ?? '';
  events.emit('network', action, networkId, { container: container.id, name: networkName, type });
}

/** Tells that the volumes of a container are in use, or are no longer. */
export function tellMounts(
  { events }: Pick<ControlParts, 'events'>,
  action: 'mount' | 'unmount',
  { id, spec }: Container,
): void {
  for (const { kind, source, target, readOnly } of spec.mounts) {
    if (kind !== 'volume') continue;
    const place = { destination: target, propagation: '', 'read/write': String(!readOnly) };
    const further = action === 'mount' ? place : {};
    events.emit('volume', action, source, { container: id, driver: 'local', ...further });
  }
}
