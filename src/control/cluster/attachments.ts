import type { Clock } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import { failed, isUnavailable, unavailable } from '../../base/faults.ts';
import type { Logger } from '../../base/logger.ts';
import type {
  AttachmentWish,
  ClusterAttachment,
  NodeAssignment,
  OverlayNetwork,
} from '../../model/cluster.ts';
import type { Attachment, Container } from '../../model/container.ts';
import type { Network } from '../../model/network.ts';
import { checkAttachment, type Leases, leaseOf } from '../attachments.ts';
import { dnsNames } from '../compile.ts';
import type { Engine } from '../engine.ts';
import { newId } from '../ids.ts';
import type { ClusterJoin, ClusterNetworks } from '../parts.ts';
import { toldNetwork } from './networks.ts';
import { OVERLAY } from './orchestration/network-plan.ts';
import { isTask, plainAttachment } from './task-order.ts';

/** How long a container waits for its addresses. */
const JOIN_MS = 20_000;

export type AttachmentDeps = {
  readonly engine: Engine;
  /** Whether this host is of a cluster. */
  isMember(): boolean;
  /** Asks the manager for an attachable network; undefined: there is none. Throws when it refuses. */
  ask(key: string): Promise<OverlayNetwork | undefined>;
  /** What is wished for is another than before. */
  changed(): void;
  /** The bridge to the outside for containers whose networks have none, made if need be. */
  gateway(): Promise<Network>;
  /** Shows networks as they are needed now. */
  refresh(): Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
};

type Pending = {
  readonly wish: AttachmentWish;
  readonly given: PromiseWithResolvers<ClusterAttachment>;
};

function leasesOf({ endpointId, address, address6 }: ClusterAttachment): Leases {
  // Of a network that has only IPv6, that is the first one.
  const [ipv4, ipv6] = [false, true].map((six) =>
    leaseOf([address, address6].find((one) => one !== '' && one.includes(':') === six)),
  );
  return { ipv4, ipv6, mac: undefined, id: endpointId };
}

function wishOf(
  container: Container,
  attachment: Attachment,
  endpointId: string,
  network: string,
): AttachmentWish {
  const { request, active } = attachment;
  return {
    ...{ endpointId, containerId: container.id, network, names: dnsNames(container, attachment) },
    ipv4: active?.ipv4?.address ?? request.ipv4,
    ipv6: active?.ipv6?.address ?? request.ipv6,
    mac: request.mac?.toLowerCase(),
  };
}

/**
 * The containers of this host that are no tasks, on networks of its cluster: the manager is told
 * all of them and gives each its addresses.
 */
export class ClusterAttachments implements ClusterNetworks {
  readonly #deps: AttachmentDeps;
  /** Joins that are not yet stored with their containers, by endpoint. */
  readonly #pending = new Map<string, Pending>();

  constructor(deps: AttachmentDeps) {
    this.#deps = deps;
    deps.engine.events.subscribe(({ type, action, id }) => {
      if (type === 'container' && (action === 'rename' || action === 'destroy')) deps.changed();
      const left = type === 'network' && action === 'disconnect';
      if (left && deps.engine.registry.findNetwork(id)?.scope === 'swarm') this.#left();
    });
  }

  /** Everything that this host has or is about to have on attachable networks. */
  wishes(): readonly AttachmentWish[] {
    const { registry } = this.#deps.engine;
    const all = new Map([...this.#pending].map(([id, { wish }]) => [id, wish]));
    for (const container of registry.containers) {
      for (const one of isTask(container.spec) ? [] : container.attachments) {
        if (!one.active || registry.findNetwork(one.networkId)?.scope !== 'swarm') continue;
        all.set(one.active.id, wishOf(container, one, one.active.id, one.networkId));
      }
    }
    return [...all.values()];
  }

  /** This is in place now, as far as the host can show it. */
  assigned({ attachments }: NodeAssignment): void {
    for (const attachment of attachments) {
      const { error, address, containerId } = attachment;
      const { given } = this.#pending.get(attachment.endpointId) ?? {};
      if (address !== '') given?.resolve(attachment);
      else if (error !== '' && given) given.reject(failed(error));
      else if (error !== '') {
        // It was given up while this node was away, and cannot be had again.
        const fields = { container: containerId, reason: error };
        this.#deps.logger.warn('a container is not known to its network any more', fields);
      }
    }
  }

  async find(key: string): Promise<Network | undefined> {
    if (!this.#deps.isMember()) return undefined;
    const told = await this.#deps.ask(key);
    return told && toldNetwork(told);
  }

  async join(container: Container, attachments: readonly Attachment[]): Promise<ClusterJoin> {
    const leases = new Map<string, Leases>();
    const endpoints: string[] = [];
    const done = () => {
      for (const id of endpoints) this.#pending.delete(id);
      if (endpoints.length > 0) this.#deps.changed();
    };
    try {
      for (const attachment of isTask(container.spec) ? [] : attachments) {
        const network = attachment.active ? undefined : await this.#overlayOf(attachment);
        if (!network) continue;
        checkAttachment(attachment.request, network);
        const endpointId = newId();
        endpoints.push(endpointId);
        const wish = wishOf(container, attachment, endpointId, network.id);
        leases.set(network.id, leasesOf(await this.#given(wish, network.name)));
      }
      return { leases, attachments: await this.#withGateway(container, attachments), done };
    } catch (error) {
      done();
      throw error;
    }
  }

  /** The network of an attachment as this host has it: by id, or by name when it was made anew since. */
  #known({ networkId, networkName }: Pick<Attachment, 'networkId' | 'networkName'>) {
    const { registry } = this.#deps.engine;
    return registry.findNetwork(networkId) ?? registry.findNetworkNamed(networkName);
  }

  /** The network of the cluster that an attachment means; undefined: it is of this host. */
  async #overlayOf({ networkId, networkName }: Attachment): Promise<Network | undefined> {
    const known = this.#known({ networkId, networkName });
    if (known && known.scope !== 'swarm') return undefined;
    return (await this.find(networkId)) ?? (await this.find(networkName));
  }

  async #given(wish: AttachmentWish, name: string): Promise<ClusterAttachment> {
    const given = Promise.withResolvers<ClusterAttachment>();
    this.#pending.set(wish.endpointId, { wish, given });
    this.#deps.changed();
    const refusal = (text: string) => `Could not attach to network ${name}: ${text}`;
    const late = this.#deps.clock.after(JOIN_MS, () => {
      given.reject(unavailable('no manager has given an address'));
    });
    try {
      return await given.promise;
    } catch (error) {
      throw isUnavailable(error)
        ? unavailable(refusal(errorText(error)))
        : failed(refusal(errorText(error)), error);
    } finally {
      late.cancel();
    }
  }

  /** With a way to the outside where overlays are to have one and no other network leads there. */
  async #withGateway(
    { spec }: Container,
    attachments: readonly Attachment[],
  ): Promise<readonly Attachment[]> {
    const networks = attachments.flatMap((one) => this.#known(one) ?? []);
    const open = networks.filter(({ internal }) => !internal);
    const needed = open.length > 0 && open.every(({ driver }) => driver === OVERLAY);
    if (!needed || isTask(spec)) return attachments;
    const { id, name } = await this.#deps.gateway();
    const request = plainAttachment(name);
    const added = { request, networkId: id, networkName: name, active: undefined, implied: true };
    return [...attachments, added];
  }

  #left(): void {
    this.#deps.changed();
    this.#deps.refresh().catch((error: unknown) => {
      const reason = errorText(error);
      this.#deps.logger.warn('not all of the cluster is shown', { reason });
    });
  }
}
