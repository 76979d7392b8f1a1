import { forbidden } from '../../base/faults.ts';
import type { BlockRequest } from '../../ipam/block-plan.ts';
import { type Cidr, type Family, overlaps, parseCidr, parsePrefix } from '../../ipam/cidr.ts';
import { bare } from '../../model/address.ts';
import type { IpamBlock, Network } from '../../model/network.ts';
import type { NetworkBlock } from '../../plugin/network-driver.ts';
import type { NetworkRequest } from '../network-request.ts';
import { isRemote, isRemoteIpam } from '../topology.ts';
import type { Claim } from './debts.ts';
import type { RemoteDrivers } from './remote-drivers.ts';

const GENERIC = 'com.docker.network.generic';
const ENABLE_IPV4 = 'com.docker.network.enable_ipv4';
const ENABLE_IPV6 = 'com.docker.network.enable_ipv6';
const INTERNAL = 'com.docker.network.internal';
const ADDRESS_SPACE = 'LocalDefault';

const EMPTY: BlockRequest = {
  ...{ subnet: undefined, ipRange: undefined, gateway: undefined },
  auxAddresses: {},
};

function blockClaims(driver: string, { pool, gateway, auxAddresses }: IpamBlock): Claim[] {
  if (pool === undefined) return [];
  const addresses = [...(gateway === undefined ? [] : [gateway]), ...Object.values(auxAddresses)];
  return [
    ...addresses.map((address): Claim => ({ kind: 'address', driver, pool, address })),
    { kind: 'pool', driver, pool },
  ];
}

/** What third-party drivers hold for a network, in the order in which it is given back. */
export function networkClaims(network: Network): Claim[] {
  const { id, driver, ipam, configOnly } = network;
  const own: Claim[] =
    isRemote(network) && !configOnly ? [{ kind: 'network', driver, network: id }] : [];
  return [...own, ...ipam.blocks.flatMap((block) => blockClaims(ipam.driver, block))];
}

/** Blocks that a third-party IPAM driver handed out, and the notes that keep them from loss. */
export type RemoteBlocks = { readonly blocks: IpamBlock[]; readonly held: readonly string[] };

function familiesOf({ ipv4, ipv6 }: NetworkRequest): Family[] {
  return [...(ipv4 ? [4 as const] : []), ...(ipv6 ? [6 as const] : [])];
}

function requestsOf(request: NetworkRequest, family: Family): BlockRequest[] {
  const own = request.blocks.filter(
    ({ subnet }) => subnet !== undefined && parsePrefix(subnet)?.cidr.family === family,
  );
  if (own.length > 0) return own;
  return [request.blocks.find(({ subnet }) => subnet === undefined) ?? EMPTY];
}

/** Networks that third-party drivers take part in. */
export class RemoteNetworks {
  readonly #remote: RemoteDrivers;

  constructor(remote: RemoteDrivers) {
    this.#remote = remote;
  }

  /**
   * Checks the drivers and asks a third-party IPAM driver for the blocks; undefined: there is
   * none. All or none.
   */
  async claim(request: NetworkRequest): Promise<RemoteBlocks | undefined> {
    await this.#remote.check(request);
    if (!isRemoteIpam(request.ipamDriver) || request.configOnly) return undefined;
    const blocks: IpamBlock[] = [];
    const held: string[] = [];
    const taken: Claim[] = [];
    const take = (claim: Claim) => {
      taken.unshift(claim);
      held.push(...this.#remote.debts.hold([claim]));
    };
    try {
      const space = await this.#remote.ipam.localSpace(request.ipamDriver);
      for (const family of familiesOf(request)) {
        for (const one of requestsOf(request, family)) {
          blocks.push(await this.#block(request, one, family, space, take));
        }
      }
      return { blocks, held };
    } catch (error) {
      await this.#release(held, taken);
      throw error;
    }
  }

  /** Gives blocks back that no network came of. */
  async giveUp({ blocks, held }: RemoteBlocks, ipamDriver: string): Promise<void> {
    const claims = blocks.flatMap((block) => blockClaims(ipamDriver, block));
    await this.#release(held, claims);
  }

  async #release(held: readonly string[], claims: readonly Claim[]): Promise<void> {
    const { debts } = this.#remote;
    debts.owe(claims);
    debts.settle(held);
    await debts.pay(claims.map(({ driver }) => driver));
  }

  /** Throws when pools of a third party lie across networks of the built-in drivers. */
  checkOverlap(blocks: readonly IpamBlock[], taken: readonly Cidr[]): void {
    const mine = blocks.flatMap(({ subnet }) => parseCidr(subnet) ?? []);
    if (!mine.some((one) => taken.some((cidr) => overlaps(cidr, one)))) return;
    throw forbidden('invalid pool request: Pool overlaps with other one on this address space');
  }

  /** Tells a third-party network driver of its network. Throws when it does not take it. */
  async create(network: Network): Promise<void> {
    if (!isRemote(network) || network.configOnly) return;
    const { debts } = this.#remote;
    const { driver, id } = network;
    // A death before the answer leaves the note, and with it the network is taken back.
    const held = debts.hold([{ kind: 'network', driver, network: id }]);
    try {
      await this.#create(network);
    } finally {
      debts.settle(held);
    }
  }

  async #create(network: Network): Promise<void> {
    const { driver, id, ipv4, ipv6, internal, options } = network;
    const told = {
      [ENABLE_IPV4]: ipv4,
      [ENABLE_IPV6]: ipv6,
      [GENERIC]: options,
      ...(internal ? { [INTERNAL]: true } : {}),
    };
    const [four, six] = ([4, 6] as const).map((family) => this.#told(network, family));
    await this.#remote.networks.createNetwork(driver, id, told, four ?? [], six ?? []);
  }

  #told({ ipam }: Network, family: Family): NetworkBlock[] {
    return ipam.blocks.flatMap(({ subnet, gateway, auxAddresses }) => {
      const cidr = parseCidr(subnet);
      if (cidr?.family !== family) return [];
      const long = (address: string) => `${bare(address)}/${cidr.bits}`;
      const aux = Object.entries(auxAddresses).map(([name, address]) => [name, long(address)]);
      return {
        AddressSpace: ADDRESS_SPACE,
        Pool: subnet,
        ...(gateway === undefined ? {} : { Gateway: long(gateway) }),
        AuxAddresses: Object.fromEntries(aux),
      };
    });
  }

  async #block(
    { ipamDriver: driver, ipamOptions: options }: NetworkRequest,
    { subnet, ipRange, gateway: wanted, auxAddresses }: BlockRequest,
    family: Family,
    space: string,
    take: (claim: Claim) => void,
  ): Promise<IpamBlock> {
    const { ipam } = this.#remote;
    const request = { space, subnet, range: ipRange, options, family };
    const { id: pool, subnet: given, gateway: named } = await ipam.requestPool(driver, request);
    take({ kind: 'pool', driver, pool });
    let gateway = named;
    if (wanted !== undefined || gateway === undefined) {
      const order = { pool, address: wanted, options, mac: undefined };
      gateway = await ipam.requestAddress(driver, { ...order, purpose: 'gateway' });
    }
    if (gateway !== undefined) {
      take({ kind: 'address', driver, pool, address: bare(gateway) });
    }
    for (const address of Object.values(auxAddresses)) {
      const order = { pool, address, options, mac: undefined };
      await ipam.requestAddress(driver, { ...order, purpose: 'auxiliary' });
      take({ kind: 'address', driver, pool, address });
    }
    const own = gateway === undefined ? undefined : bare(gateway);
    return { subnet: given, ipRange, gateway: own, auxAddresses, pool };
  }
}
