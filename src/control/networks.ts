import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../base/clock.ts';
import { errorText, SluiceError } from '../base/errors.ts';
import { conflict, forbidden, invalid, notFound } from '../base/faults.ts';
import type { Logger } from '../base/logger.ts';
import { type BlockRequest, blocksOfLink, checkBlocks, planBlocks } from '../ipam/block-plan.ts';
import { type Cidr, type Family, formatAddress, parseCidr, parsePrefix } from '../ipam/cidr.ts';
import type { IpamBlock, Network } from '../model/network.ts';
import type { EventLog } from './event-log.ts';
import { parseResolvConf } from './host-files.ts';
import type { HostPlane } from './host-plane.ts';
import { newId, shortId, stamp } from './ids.ts';
import {
  BRIDGE_OPTIONS,
  checkClashes,
  checkNetworkRequest,
  inheritConfiguration,
  type NetworkRequest,
} from './network-request.ts';
import { isPredefined, type Registry } from './registry.ts';
import type { RemoteDrivers } from './remote/remote-drivers.ts';
import { networkClaims, RemoteNetworks } from './remote/remote-networks.ts';
import { isRemote } from './topology.ts';

type Parts = {
  readonly registry: Registry;
  readonly plane: HostPlane;
  readonly events: EventLog;
  readonly remote: RemoteDrivers;
  readonly clock: Clock;
  readonly logger: Logger;
};

/** Networks kept at once; more are refused. */
const MAX_NETWORKS = 4096;
/** Names of the default bridge's link, the usual one first. */
const DEFAULT_LINKS = ['docker0', ...Array.from({ length: 100 }, (_, index) => `sluice${index}`)];
const NO_IPAM = { driver: 'default', options: {}, blocks: [], chosen: false };

/** The networks of this host. */
export class Networks {
  readonly #parts: Parts;
  readonly #remote: RemoteNetworks;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#remote = new RemoteNetworks(parts.remote);
  }

  /** Throws in the words that users know; then nothing is left behind. */
  async create(asked: NetworkRequest): Promise<Network> {
    const { registry, plane, events, remote } = this.#parts;
    checkNetworkRequest(asked);
    const request =
      asked.configFrom === undefined
        ? asked
        : inheritConfiguration(asked, registry.network(asked.configFrom));
    checkClashes(request, registry.networks);
    if ([...registry.networks].length >= MAX_NETWORKS) {
      throw conflict(`there are ${MAX_NETWORKS} networks, which is the maximum: remove some`);
    }
    this.#checkParent(request);
    checkBlocks(request.blocks);
    const stored = await this.#store(this.#onBridge(request));
    try {
      await plane.addNetwork(stored);
      await this.#remote.create(stored);
    } catch (error) {
      const refused = error instanceof SluiceError && error.code === 'E_PLUGIN_REFUSED';
      const claims = networkClaims(stored).filter(({ kind }) => kind !== 'network' || !refused);
      remote.debts.owe(claims);
      registry.dropNetwork(stored.id);
      await plane.removeNetwork(stored.id).catch(() => {});
      await remote.debts.pay(claims.map(({ driver }) => driver));
      throw error;
    }
    events.emit('network', 'create', stored.id, { name: stored.name, type: stored.driver });
    return stored;
  }

  /** Throws for a predefined network and for one that is in use. */
  async remove(key: string): Promise<Network> {
    const { registry, plane, events, remote } = this.#parts;
    const network = registry.network(key);
    const { id, name } = network;
    if (network.scope === 'swarm') {
      throw forbidden(`network ${name} is the cluster's: it is removed on a manager`);
    }
    if (isPredefined(name)) {
      throw forbidden(`${name} is a pre-defined network and cannot be removed`);
    }
    const users = registry.attachedTo(id);
    if (users.length > 0) {
      const list = users.map((user) => {
        const endpoint = user.attachments.find(({ networkId }) => networkId === id)?.active?.id;
        return `name:"${user.name}" id:"${shortId(endpoint ?? '')}"`;
      });
      throw forbidden(
        `error while removing network: network ${name} has active endpoints (${list.join(', ')})`,
      );
    }
    const heirs = [...registry.networks].filter(({ configFrom }) => configFrom === name);
    if (heirs.length > 0) throw forbidden(`configuration network "${name}" is in use`);
    const claims = networkClaims(network);
    remote.debts.owe(claims);
    registry.dropNetwork(id);
    try {
      await plane.removeNetwork(id);
    } finally {
      await remote.debts.pay(claims.map(({ driver }) => driver));
    }
    events.emit('network', 'destroy', id, { name, type: network.driver });
    return network;
  }

  /** Removes what nobody uses and `wanted` agrees to. Returns the names. */
  async prune(wanted: (network: Network) => boolean): Promise<string[]> {
    const { registry, events, logger } = this.#parts;
    const removed: string[] = [];
    for (const network of [...registry.networks]) {
      const used = registry.attachedTo(network.id).length > 0;
      const other = isPredefined(network.name) || network.scope === 'swarm';
      if (other || used || !wanted(network)) continue;
      try {
        await this.remove(network.id);
        removed.push(network.name);
      } catch (error) {
        logger.warn('not pruned', { network: network.name, reason: errorText(error) });
      }
    }
    events.emit('network', 'prune', '', { reclaimed: '0' });
    return removed;
  }

  /** Shows a network of the cluster on this host as it is now. Throws when the kernel refuses. */
  async adopt(network: Network): Promise<void> {
    const { registry, plane } = this.#parts;
    if (isDeepStrictEqual(registry.findNetwork(network.id), network)) return;
    registry.putNetwork(network);
    await plane.addNetwork(network);
  }

  /** Takes a network of the cluster from this host, unless somebody here is still on it. */
  async abandon(id: string): Promise<void> {
    const { registry, plane } = this.#parts;
    if (registry.attachedTo(id).length > 0) return;
    registry.dropNetwork(id);
    await plane.removeNetwork(id);
  }

  /** Makes the predefined networks, or brings the default bridge to the daemon's options. */
  ensureDefaults(): void {
    const { registry, clock, plane } = this.#parts;
    const found = new Map([...registry.networks].map((network) => [network.name, network]));
    const base = (name: string, driver: string): Network => ({
      id: newId(),
      name,
      driver,
      scope: 'local',
      created: stamp(clock),
      ipv4: true,
      ipv6: false,
      ipam: NO_IPAM,
      internal: false,
      attachable: false,
      ingress: false,
      configOnly: false,
      configFrom: undefined,
      options: {},
      labels: {},
    });
    if (!found.has('host')) registry.putNetwork(base('host', 'host'));
    if (!found.has('none')) registry.putNetwork(base('none', 'null'));
    const known = found.get('bridge');
    if (!plane.context.options.defaultBridge.enabled) {
      if (known) registry.dropNetwork(known.id);
      return;
    }
    const bridge = this.#defaultBridge(known ?? base('bridge', 'bridge'));
    if (JSON.stringify(bridge) !== JSON.stringify(known)) registry.putNetwork(bridge);
  }

  /** Chooses the addresses of a network and keeps it. */
  async #store(request: NetworkRequest): Promise<Network> {
    const { registry, clock } = this.#parts;
    const claimed = await this.#remote.claim(request);
    const { ipamDriver: driver, ipamOptions: options } = request;
    const chosen = request.blocks.some(({ subnet }) => subnet !== undefined);
    try {
      // Others may have come while a plugin was asked.
      checkClashes(request, registry.networks);
      if (claimed && !isRemote(request)) {
        this.#remote.checkOverlap(claimed.blocks, this.#taken());
      }
      const stored = this.#strip({
        ...request,
        id: newId(),
        scope: 'local',
        created: stamp(clock),
        ipam: { driver, options, blocks: claimed?.blocks ?? this.#plan(request), chosen },
      });
      registry.putNetwork(stored);
      if (claimed) this.#parts.remote.debts.settle(claimed.held);
      return stored;
    } catch (error) {
      if (claimed) await this.#remote.giveUp(claimed, driver);
      throw error;
    }
  }

  /** Blocks of networks, those of every address left out. */
  #taken(except?: string): Cidr[] {
    return [...this.#parts.registry.networks]
      .filter(({ id, configOnly }) => !configOnly && id !== except)
      .flatMap(({ ipam }) => ipam.blocks.flatMap(({ subnet }) => parseCidr(subnet) ?? []))
      .filter(({ bits }) => bits > 0);
  }

  #strip(network: Network): Network {
    const { id, name, driver, scope, created, ipv4, ipv6, ipam, internal, attachable } = network;
    const { ingress, configOnly, configFrom, options, labels, external } = network;
    return {
      ...{ id, name, driver, scope, created, ipv4, ipv6, ipam, internal, attachable },
      ...{ ingress, configOnly, configFrom, options, labels },
      ...(external ? { external } : {}),
    };
  }

  /** A bridge that is there already is the operator's: its addresses say where the network is. */
  #onBridge(request: NetworkRequest): NetworkRequest {
    const link = request.options[BRIDGE_OPTIONS.name];
    if (request.driver !== 'bridge' || request.configOnly || link === undefined) return request;
    const addresses = this.#parts.plane.context.facts.linkAddresses(link);
    if (!addresses) return request;
    return { ...request, blocks: blocksOfLink(request.blocks, addresses), external: true };
  }

  #checkParent({ driver, configOnly, options: { parent } }: NetworkRequest): void {
    if (driver !== 'macvlan' || configOnly || parent === undefined) return;
    const { facts } = this.#parts.plane.context;
    const [base = ''] = parent.split('.');
    if (facts.hasLink(parent) || (parent.includes('.') && facts.hasLink(base))) return;
    throw notFound(`the requested parent interface ${parent} was not found on the Docker host`);
  }

  #plan(request: NetworkRequest, except?: string): IpamBlock[] {
    if (request.ipamDriver === 'null') return [];
    if (request.configOnly) {
      return request.blocks.map((block) => ({ ...block, subnet: block.subnet ?? '' }));
    }
    const { plane } = this.#parts;
    const families: Family[] = [
      ...(request.ipv4 ? [4 as const] : []),
      ...(request.ipv6 ? [6 as const] : []),
    ];
    return planBlocks(request.blocks, families, {
      sources: plane.context.options.subnetSources,
      taken: this.#taken(except),
      avoided: this.#avoided(),
    });
  }

  #avoided(): Cidr[] {
    const { facts } = this.#parts.plane.context;
    const servers = parseResolvConf(facts.resolvConf()).servers.map(
      (server) => `${server}/${server.includes(':') ? 128 : 32}`,
    );
    return [...facts.routes(), ...servers].flatMap((text) => parseCidr(text) ?? []);
  }

  #defaultBridge(known: Network): Network {
    const { defaultBridge } = this.#parts.plane.context.options;
    const { icc, masquerade, mtu, ipv6 } = defaultBridge;
    const link = defaultBridge.link ?? known.options[BRIDGE_OPTIONS.name] ?? this.#freeLink();
    const blocks = this.#defaultBlocks();
    const families = known.ipv6 === ipv6;
    const keep = blocks.length === 0 && known.ipam.blocks.length > 0 && families;
    const request: NetworkRequest = {
      ...known,
      scope: '',
      ipv6,
      ipamDriver: 'default',
      ipamOptions: {},
      blocks,
    };
    checkBlocks(blocks);
    return {
      ...known,
      ipv6,
      ipam: keep ? known.ipam : { ...NO_IPAM, blocks: this.#plan(request, known.id) },
      options: {
        [BRIDGE_OPTIONS.isDefault]: 'true',
        [BRIDGE_OPTIONS.icc]: String(icc),
        [BRIDGE_OPTIONS.masquerade]: String(masquerade),
        [BRIDGE_OPTIONS.bindAddress]: this.#parts.plane.context.options.bindAddress ?? '0.0.0.0',
        [BRIDGE_OPTIONS.name]: link,
        [BRIDGE_OPTIONS.mtu]: String(mtu ?? 1500),
      },
    };
  }

  /** The usual name, unless another engine on this host has it. */
  #freeLink(): string {
    const { facts } = this.#parts.plane.context;
    const free = DEFAULT_LINKS.find((name) => !facts.hasLink(name));
    if (free === undefined) throw conflict(`no free name for the default bridge: set bridge`);
    return free;
  }

  /** What the options say about the default bridge's addresses. */
  #defaultBlocks(): BlockRequest[] {
    const { addresses, ranges, gateways } = this.#parts.plane.context.options.defaultBridge;
    const block = (family: Family): BlockRequest[] => {
      const of = (list: readonly string[]) =>
        list.find((text) => text.includes(':') === (family === 6));
      const [own, range, gateway] = [of(addresses), of(ranges), of(gateways)];
      if (own === undefined && range === undefined) {
        if (gateway !== undefined) {
          throw invalid(`default-gateway ${gateway} needs the address of the bridge: set bip`);
        }
        return [];
      }
      const parsed = own === undefined ? undefined : parsePrefix(own);
      const subnet = own === undefined ? range : own;
      const cidr = parsePrefix(subnet ?? '')?.cidr;
      const address = parsed && formatAddress(parsed.address);
      return [
        {
          subnet: cidr && `${formatAddress({ family, value: cidr.base })}/${cidr.bits}`,
          ipRange: own === undefined ? undefined : range,
          gateway: gateway ?? address,
          auxAddresses:
            gateway !== undefined && address !== undefined && gateway !== address
              ? { bridge: address }
              : {},
        },
      ];
    };
    return [...block(4), ...block(6)];
  }
}
