import { forbidden, invalid } from '../base/faults.ts';
import type { IpamBlock } from '../model/network.ts';
import { AddressPool } from './address-pool.ts';
import {
  type Cidr,
  contains,
  covers,
  type Family,
  formatAddress,
  formatCidr,
  overlaps,
  parseAddress,
  parsePrefix,
} from './cidr.ts';
import { chooseSubnet, type SubnetSource } from './subnet-choice.ts';

/** A block as it was asked for; whatever is undefined is chosen. */
export type BlockRequest = {
  readonly subnet: string | undefined;
  readonly ipRange: string | undefined;
  readonly gateway: string | undefined;
  readonly auxAddresses: Readonly<Record<string, string>>;
};

const EMPTY: BlockRequest = {
  subnet: undefined,
  ipRange: undefined,
  gateway: undefined,
  auxAddresses: {},
};

function addressFault(text: string, subnet: Cidr): string | undefined {
  const address = parseAddress(text);
  if (!address) return 'invalid address';
  if (address.family !== subnet.family) return `parent subnet is an IPv${subnet.family} block`;
  if (contains(subnet, address)) return undefined;
  return `parent subnet ${formatCidr(subnet)} doesn't contain this address`;
}

function rangeFault(text: string, subnet: Cidr): string | undefined {
  const range = parsePrefix(text);
  if (!range) return 'invalid CIDR block notation';
  const { cidr, address } = range;
  if (cidr.family !== subnet.family) return `parent subnet is an IPv${subnet.family} block`;
  if (address.value !== cidr.base) return `it should be ${formatCidr(cidr)}`;
  if (cidr.bits < subnet.bits) {
    return `CIDR block is bigger than its parent subnet ${formatCidr(subnet)}`;
  }
  if (covers(subnet, cidr)) return undefined;
  return `parent subnet ${formatCidr(subnet)} doesn't contain ip-range`;
}

function blockFaults(request: BlockRequest): string[] {
  const { subnet: text, ipRange, gateway, auxAddresses } = request;
  if (text === undefined) {
    const needless = ipRange === undefined && gateway === undefined;
    return needless ? [] : ['every ip-range or gateway must have a corresponding subnet'];
  }
  const parsed = parsePrefix(text);
  if (!parsed) return [`invalid subnet ${text}: invalid CIDR block notation`];
  const { cidr: subnet, address } = parsed;
  const faults: string[] = [];
  const note = (what: string, fault: string | undefined) => {
    if (fault !== undefined) faults.push(`invalid ${what}: ${fault}`);
  };
  if (address.value !== subnet.base) {
    faults.push(`invalid subnet ${text}: it should be ${formatCidr(subnet)}`);
  }
  if (ipRange !== undefined) note(`ip-range ${ipRange}`, rangeFault(ipRange, subnet));
  if (gateway !== undefined) note(`gateway ${gateway}`, addressFault(gateway, subnet));
  for (const [name, aux] of Object.entries(auxAddresses)) {
    note(`auxiliary address ${name}`, addressFault(aux, subnet));
  }
  return faults;
}

/** Throws `E_REQUEST_INVALID` with every fault of the blocks that were asked for. */
export function checkBlocks(requests: readonly BlockRequest[]): void {
  const faults = requests.flatMap(blockFaults);
  if (faults.length > 0) throw invalid(`invalid network config:\n${faults.join('\n')}`);
}

/**
 * Blocks of a network on a link that has addresses already, such as `192.0.2.1/24`: what was not
 * asked for follows them, and they are the gateways.
 */
export function blocksOfLink(
  requests: readonly BlockRequest[],
  addresses: readonly string[],
): BlockRequest[] {
  const own = addresses.flatMap((text) => parsePrefix(text) ?? []);
  const asked = requests.map((request): BlockRequest => {
    const subnet = parsePrefix(request.subnet ?? '')?.cidr;
    const inside = subnet && own.find(({ address }) => contains(subnet, address));
    if (!inside || request.gateway !== undefined) return request;
    return { ...request, gateway: formatAddress(inside.address) };
  });
  const families = new Set(
    asked.flatMap(({ subnet }) => parsePrefix(subnet ?? '')?.cidr.family ?? []),
  );
  const further = ([4, 6] as const).flatMap((family): BlockRequest[] => {
    const first = own.find(({ cidr }) => cidr.family === family);
    if (!first || families.has(family)) return [];
    const { cidr, address } = first;
    return [{ ...EMPTY, subnet: formatCidr(cidr), gateway: formatAddress(address) }];
  });
  return [...asked.filter(({ subnet }) => subnet !== undefined), ...further];
}

/** What a plan is made against. */
export type BlockSurroundings = {
  readonly sources: readonly SubnetSource[];
  /** Blocks of other networks: never overlapped. */
  readonly taken: readonly Cidr[];
  /** Routes and name servers of the host: overlapped by explicit choice only. */
  readonly avoided: readonly Cidr[];
};

function chooseGateway(subnet: Cidr, request: BlockRequest): string {
  const range = request.ipRange === undefined ? undefined : parsePrefix(request.ipRange)?.cidr;
  const pool = new AddressPool(subnet, range);
  for (const aux of Object.values(request.auxAddresses)) {
    const address = parseAddress(aux);
    if (address) pool.take(address.value);
  }
  const value = pool.next() ?? new AddressPool(subnet, undefined).next();
  if (value === undefined) {
    throw invalid(`no available addresses for a gateway in ${formatCidr(subnet)}`);
  }
  return formatAddress({ family: subnet.family, value });
}

function completeBlock(request: BlockRequest, subnet: Cidr): IpamBlock {
  return {
    subnet: formatCidr(subnet),
    ipRange: request.ipRange,
    gateway: request.gateway ?? chooseGateway(subnet, request),
    auxAddresses: request.auxAddresses,
  };
}

function checkAux({ gateway, auxAddresses }: IpamBlock): void {
  const seen = new Set(gateway === undefined ? [] : [gateway]);
  for (const address of Object.values(auxAddresses)) {
    if (seen.has(address))
      throw forbidden(
        `failed to allocate secondary ip address (${address}): Address already in use`,
      );
    seen.add(address);
  }
}

/**
 * The blocks of a new network, complete: one of each wanted family at least. The requests have
 * been checked. Throws when blocks overlap or nothing is left to choose from.
 */
export function planBlocks(
  requests: readonly BlockRequest[],
  families: readonly Family[],
  { sources, taken, avoided }: BlockSurroundings,
): IpamBlock[] {
  const mine: Cidr[] = [];
  const blocks: IpamBlock[] = [];
  const add = (request: BlockRequest, subnet: Cidr) => {
    mine.push(subnet);
    blocks.push(completeBlock(request, subnet));
  };
  for (const request of requests) {
    if (request.subnet === undefined) continue;
    const subnet = parsePrefix(request.subnet)?.cidr;
    if (!subnet || !families.includes(subnet.family)) continue;
    if ([...taken, ...mine].some((cidr) => overlaps(cidr, subnet))) {
      throw forbidden('invalid pool request: Pool overlaps with other one on this address space');
    }
    add(request, subnet);
  }
  for (const family of families) {
    if (mine.some((cidr) => cidr.family === family)) continue;
    const fitting = sources.filter(({ base }) => base.family === family);
    const subnet = chooseSubnet(fitting, [...taken, ...mine, ...avoided]);
    if (!subnet) throw invalid('all predefined address pools have been fully subnetted');
    add(requests.find((one) => one.subnet === undefined) ?? EMPTY, subnet);
  }
  for (const block of blocks) checkAux(block);
  return blocks;
}
