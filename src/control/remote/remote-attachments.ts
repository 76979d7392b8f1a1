import { failed } from '../../base/faults.ts';
import { parseCidr } from '../../ipam/cidr.ts';
import type {
  ActiveAttachment,
  Attachment,
  AttachmentLease,
  Container,
} from '../../model/container.ts';
import type { Transport } from '../../model/host-intent.ts';
import type { Network } from '../../model/network.ts';
import {
  activateAll,
  checkAttachment,
  type Leases,
  leaseOf,
  networkOf,
  portRequests,
} from '../attachments.ts';
import { newId } from '../ids.ts';
import { type ClusterJoin, type ControlParts, patch } from '../parts.ts';
import { gatewayAttachment, isRemote, isRemoteIpam } from '../topology.ts';
import type { Claim } from './debts.ts';

const EXPOSED = 'com.docker.network.endpoint.exposedports';
const PORT_MAP = 'com.docker.network.portmap';
const MAC = 'com.docker.network.endpoint.macaddress';
const MAC_TEXT = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i;
/** Source: IANA, Assigned Internet Protocol Numbers. */
const PROTOCOL: Readonly<Record<Transport, number>> = { tcp: 6, udp: 17, sctp: 132 };

function text(one: AttachmentLease | undefined): string | undefined {
  return one && `${one.address}/${one.prefixLength}`;
}

function portOptions(container: Container): Record<string, unknown> {
  const ports = portRequests(container);
  return {
    [EXPOSED]: [...container.spec.exposed, ...ports].map(({ port, transport }) => ({
      Proto: PROTOCOL[transport],
      Port: port,
    })),
    [PORT_MAP]: ports.map(({ port, transport, hostAddress, hostPorts }) => ({
      Proto: PROTOCOL[transport],
      IP: '',
      Port: port,
      HostIP: hostAddress ?? '',
      HostPort: hostPorts?.[0] ?? 0,
      HostPortEnd: hostPorts?.[1] ?? 0,
    })),
  };
}

/** Locally administered, from chance. */
function randomMac(): string {
  const id = newId();
  return `02:42:${[0, 2, 4, 6].map((at) => id.slice(at, at + 2)).join(':')}`;
}

function freeName(prefix: string, taken: ReadonlySet<string>): string {
  for (let index = 0; ; index++) if (!taken.has(`${prefix}${index}`)) return `${prefix}${index}`;
}

/** What is noted of attachments that leave. */
export type Owed = { readonly ids: readonly string[]; readonly drivers: readonly string[] };

/** The joins of containers to networks that third-party drivers take part in. */
export class RemoteAttachments {
  readonly #parts: ControlParts;

  constructor(parts: ControlParts) {
    this.#parts = parts;
  }

  /**
   * Gives every attachment its addresses and hands the whole to `store`, which keeps it with the
   * container. All or none.
   */
  async activate(
    container: Container,
    wanted: readonly Attachment[],
    store: (attachments: Attachment[]) => Container | undefined,
  ): Promise<Container | undefined> {
    const join = await this.#parts.overlays.join(container, wanted);
    try {
      return await this.#activate(join, store);
    } finally {
      join.done();
    }
  }

  async #activate(
    { leases: given, attachments }: ClusterJoin,
    store: (attachments: Attachment[]) => Container | undefined,
  ): Promise<Container | undefined> {
    const { registry, remote } = this.#parts;
    const leases = new Map(given);
    const claims: Claim[] = [];
    const held: string[] = [];
    const take = (claim: Claim) => {
      claims.push(claim);
      held.push(...remote.debts.hold([claim]));
    };
    try {
      for (const attachment of attachments) {
        if (attachment.active) continue;
        const network = networkOf(attachment, registry);
        if (!isRemoteIpam(network.ipam.driver)) continue;
        checkAttachment(attachment.request, network);
        leases.set(network.id, await this.#lease(attachment, network, take));
      }
      const active = activateAll(attachments, registry, leases);
      const stored = store(active);
      remote.debts.settle(held);
      return stored;
    } catch (error) {
      remote.debts.owe(claims);
      remote.debts.settle(held);
      await remote.debts.pay(claims.map(({ driver }) => driver));
      throw error;
    }
  }

  /** Whether drivers have to be asked before the sandbox is complete. */
  pending({ attachments }: Container): boolean {
    return attachments.some((one) => one.active && !one.active.remote && this.#network(one));
  }

  /** Lets the sandbox, which must exist, join; returns the container as it is then. */
  async join(container: Container): Promise<Container> {
    let current = container;
    for (const attachment of container.attachments) {
      const network = this.#network(attachment);
      if (!network || !attachment.active || attachment.active.remote) continue;
      const active = await this.#joinOne(current, attachment, attachment.active, network);
      const attachments = current.attachments.map((one) =>
        one.networkId === network.id ? { ...one, active } : one,
      );
      const next = patch(this.#parts, container.id, { attachments });
      if (!next) throw failed(`container ${container.id} is gone`);
      current = next;
    }
    return current;
  }

  /** Tells the driver of the gateway to publish ports, and a former one to stop. */
  async program(container: Container): Promise<Container> {
    const { registry, remote } = this.#parts;
    const gateways = (['ipv4', 'ipv6'] as const).flatMap(
      (family) => gatewayAttachment(container, registry, family)?.attachment.networkId ?? [],
    );
    let changed = false;
    const attachments: Attachment[] = [];
    for (const attachment of container.attachments) {
      const { active } = attachment;
      const network = this.#network(attachment);
      const wanted = gateways.includes(attachment.networkId);
      if (!network || !active?.remote || active.remote.external === wanted) {
        attachments.push(attachment);
        continue;
      }
      const { driver, id } = network;
      if (wanted) {
        await remote.networks.programExternal(driver, id, active.id, portOptions(container));
      } else await remote.networks.revokeExternal(driver, id, active.id);
      const told = { ...active.remote, external: wanted };
      attachments.push({ ...attachment, active: { ...active, remote: told } });
      changed = true;
    }
    if (!changed) return container;
    return patch(this.#parts, container.id, { attachments }) ?? container;
  }

  /**
   * Notes what attachments have to give back, before they are forgotten. `settle` does it, once
   * their links have left the sandbox.
   */
  owe(attachments: readonly Attachment[]): Owed {
    const claims = attachments.flatMap((attachment) => this.#claims(attachment));
    const ids = this.#parts.remote.debts.hold(claims);
    return { ids, drivers: [...new Set(claims.map(({ driver }) => driver))] };
  }

  /** Gives it back; a driver that does not answer is told later. */
  async settle({ ids, drivers }: Owed): Promise<void> {
    const { debts } = this.#parts.remote;
    debts.due(ids);
    if (drivers.length > 0) await debts.pay(drivers);
  }

  /** The network of an attachment, when a third party's driver makes its links. */
  #network({ networkId }: Attachment): Network | undefined {
    const network = this.#parts.registry.findNetwork(networkId);
    return network && isRemote(network) ? network : undefined;
  }

  #claims(attachment: Attachment): Claim[] {
    const { active, networkId } = attachment;
    const network = this.#parts.registry.findNetwork(networkId);
    if (!active || !network) return [];
    const { driver, ipam } = network;
    const endpoint: Claim = {
      ...{ kind: 'endpoint', driver, network: networkId, endpoint: active.id },
      ...{ joined: active.remote !== undefined, external: active.remote?.external ?? false },
    };
    const addresses = [active.ipv4, active.ipv6].flatMap((one): Claim[] =>
      one?.pool === undefined
        ? []
        : [{ kind: 'address', driver: ipam.driver, pool: one.pool, address: one.address }],
    );
    return [...(isRemote(network) ? [endpoint] : []), ...addresses];
  }

  async #lease(
    { request }: Attachment,
    network: Network,
    take: (claim: Claim) => void,
  ): Promise<Leases> {
    const { ipam } = this.#parts.remote;
    const { driver, options } = network.ipam;
    const { needsMac } = await ipam.capabilities(driver);
    const mac = needsMac ? (request.mac ?? randomMac()) : undefined;
    const ask = async (family: 4 | 6, address: string | undefined) => {
      const block = network.ipam.blocks.find(
        ({ subnet, pool }) => pool !== undefined && parseCidr(subnet)?.family === family,
      );
      if (block?.pool === undefined) return undefined;
      const { pool } = block;
      const order = { pool, address, options, mac, purpose: 'endpoint' as const };
      const given = leaseOf(await ipam.requestAddress(driver, order), pool);
      if (given) take({ kind: 'address', driver, pool, address: given.address });
      return given;
    };
    return { ipv4: await ask(4, request.ipv4), ipv6: await ask(6, request.ipv6), mac };
  }

  async #joinOne(
    container: Container,
    { request }: Attachment,
    active: ActiveAttachment,
    network: Network,
  ): Promise<ActiveAttachment> {
    const { remote, plane } = this.#parts;
    const { driver, id } = network;
    const wanted = {
      ipv4: text(active.ipv4),
      ipv6: text(active.ipv6),
      mac: active.mac === '' ? undefined : active.mac,
    };
    const options = { ...request.driverOptions, ...portOptions(container) };
    const made = await remote.networks.createEndpoint(driver, id, active.id, wanted, options);
    const sandbox = plane.context.facts.sandboxPath(container.id);
    const answer = await remote.networks.join(driver, id, active.id, sandbox, options);
    const others = new Set(
      container.attachments.flatMap((one) =>
        one.active && one.active.id !== active.id ? one.active.link : [],
      ),
    );
    const fits = active.link.replace(/\d+$/, '') === answer.prefix;
    const { source, gateway4, gateway6, routes } = answer;
    return {
      ...active,
      link: fits ? active.link : freeName(answer.prefix, others),
      mac: made.mac ?? (await this.#told(driver, id, active.id)),
      ipv4: active.ipv4 ?? leaseOf(made.ipv4),
      ipv6: active.ipv6 ?? leaseOf(made.ipv6),
      remote: { source, gateway4, gateway6, routes, external: false },
    };
  }

  /** The MAC that a driver tells of an endpoint only when it is asked; empty: none. */
  async #told(driver: string, network: string, endpoint: string): Promise<string> {
    try {
      const info = await this.#parts.remote.networks.operationalInfo(driver, network, endpoint);
      const mac = info[MAC];
      return typeof mac === 'string' && MAC_TEXT.test(mac) ? mac.toLowerCase() : '';
    } catch {
      // Drivers need not serve it; nothing depends on it.
      return '';
    }
  }
}
