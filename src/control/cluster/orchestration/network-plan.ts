import { invalid } from '../../../base/faults.ts';
import { planBlocks } from '../../../ipam/block-plan.ts';
import { type Cidr, type Family, parseCidr } from '../../../ipam/cidr.ts';
import { privateBlock } from '../../../ipam/private-block.ts';
import type { SubnetSource } from '../../../ipam/subnet-choice.ts';
import type { Cluster, ClusterNetwork } from '../../../model/cluster.ts';
import type { IpamBlock } from '../../../model/network.ts';
import { BRIDGE_OPTIONS } from '../../network-request.ts';

/** Options of overlays; `vnis`: those of its subnets in their order, with commas between them. */
export const OVERLAY_OPTIONS = {
  encrypted: 'encrypted',
  mtu: BRIDGE_OPTIONS.mtu,
  vnis: 'com.docker.network.driver.overlay.vxlanid_list',
} as const;

/** The driver whose networks have their subnets, VNIs and addresses from the cluster. */
export const OVERLAY = 'overlay';
/** The first that is chosen; those below are given to whom asks for them. */
const FIRST_VNI = 4096;
const LAST_VNI = 2 ** 24 - 1;
const IPV6_SUBNET_BITS = 64;

/** The network that ports published in ingress mode are of, as a new cluster has it. */
export function defaultIngress(id: string, now: string): ClusterNetwork {
  return {
    ...{ id, name: 'ingress', labels: {}, created: now, updated: now, segments: [] },
    spec: {
      ...{ driver: OVERLAY, scope: 'swarm', ipv4: true, ipv6: false, ingress: true },
      ipam: { driver: 'default', options: {}, blocks: [], chosen: false },
      ...{ internal: false, attachable: false, configOnly: false, configFrom: undefined },
      options: {},
    },
  };
}

/** Whether subnets and VNIs of a network are still to be chosen. */
export function lacksSegments({ spec, segments }: ClusterNetwork): boolean {
  return spec.driver === OVERLAY && !spec.configOnly && segments.length === 0;
}

function sourcesOf({ id, addressPools, subnetBits }: PoolsOfCluster): SubnetSource[] {
  const pools = addressPools.flatMap((text) => parseCidr(text) ?? []);
  return [
    ...pools.map((base) => ({ base, bits: base.family === 4 ? subnetBits : IPV6_SUBNET_BITS })),
    { base: privateBlock(id), bits: IPV6_SUBNET_BITS },
  ];
}

type PoolsOfCluster = Pick<Cluster, 'id' | 'addressPools' | 'subnetBits'>;

function blocksOf(network: ClusterNetwork, taken: readonly Cidr[], cluster: PoolsOfCluster) {
  const { ipv4, ipv6, ipam } = network.spec;
  const requests = ipam.blocks.map(({ subnet, gateway, ...rest }) => ({
    ...rest,
    subnet: subnet || undefined,
    gateway: gateway || undefined,
  }));
  const families: Family[] = [...(ipv4 ? [4 as const] : []), ...(ipv6 ? [6 as const] : [])];
  const sources = sourcesOf(cluster);
  const blocks = planBlocks(requests, families, { sources, taken, avoided: [] });
  if (!ipv4 || !ipv6 || requests.some(({ subnet }) => subnet?.includes(':'))) return blocks;
  // A member has one link for both of its addresses: each IPv4 subnet gets an IPv6 one.
  const parse = (all: readonly IpamBlock[]) => all.flatMap(({ subnet }) => parseCidr(subnet) ?? []);
  const partners = blocks.filter(({ subnet }) => !subnet.includes(':')).length - 1;
  for (let count = 0; count < partners; count++) {
    const surroundings = { sources, taken: [...taken, ...parse(blocks)], avoided: [] };
    blocks.push(...planBlocks([], [6], surroundings));
  }
  return blocks;
}

function askedVnis(network: ClusterNetwork, used: ReadonlySet<number>): number[] {
  const text = network.spec.options[OVERLAY_OPTIONS.vnis] ?? '';
  const vnis = text === '' ? [] : text.split(',').map((one) => Number(one.trim() || Number.NaN));
  for (const [index, vni] of vnis.entries()) {
    const fits = Number.isInteger(vni) && vni >= 1 && vni <= LAST_VNI;
    const why = fits ? 'it is in use' : `it is not from 1 to ${LAST_VNI}`;
    if (fits && !used.has(vni) && vnis.indexOf(vni) === index) continue;
    throw invalid(
      `invalid value for option ${OVERLAY_OPTIONS.vnis}: "${text}": no VNI ${vni}: ${why}`,
    );
  }
  return vnis;
}

function nextVni(used: ReadonlySet<number>, after: number): number {
  for (let vni = after + 1, looked = 0; looked <= LAST_VNI - FIRST_VNI; vni++, looked++) {
    if (vni < FIRST_VNI || vni > LAST_VNI) vni = FIRST_VNI;
    if (!used.has(vni)) return vni;
  }
  throw invalid(`all VNIs from ${FIRST_VNI} to ${LAST_VNI} are in use`);
}

/**
 * A network of the cluster with its subnets, gateways and VNIs, among the others that there are; a
 * VNI that was not asked for is the next free one after `lastVni`. Throws, in words for the
 * operator, when what it asks for is another's or nothing is left.
 */
export function completeNetwork(
  network: ClusterNetwork,
  others: readonly ClusterNetwork[],
  cluster: PoolsOfCluster,
  lastVni = 0,
): ClusterNetwork {
  const taken = others.flatMap(({ segments }) => segments);
  const subnets = taken.flatMap(({ subnet }) => parseCidr(subnet) ?? []);
  const blocks = blocksOf(network, subnets, cluster);
  const used = new Set(taken.map(({ vni }) => vni));
  const asked = askedVnis(network, used);
  for (const vni of asked) used.add(vni);
  let last = lastVni;
  const segments = blocks.map(({ subnet, gateway = '' }, index) => {
    const vni = asked[index] ?? nextVni(used, last);
    used.add(vni);
    if (index >= asked.length) last = vni;
    return { vni, subnet, gateway };
  });
  const { spec } = network;
  return { ...network, spec: { ...spec, ipam: { ...spec.ipam, blocks } }, segments };
}
