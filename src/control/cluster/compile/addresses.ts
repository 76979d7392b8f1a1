import { contains, formatAddress, parseAddress, parsePrefix } from '../../../ipam/cidr.ts';
import { privateBlock } from '../../../ipam/private-block.ts';
import { bare, derivedMac } from '../../../model/address.ts';
import type { OverlayNetwork } from '../../../model/cluster.ts';
import type { OverlaySegment } from '../../../model/cluster-intent.ts';

const isIpv6 = (text: string) => text.includes(':');

/** Whether an address, with or without prefix length, is of a subnet. */
export function within(address: string, subnet: string): boolean {
  const [parsed, block] = [parseAddress(bare(address)), parsePrefix(subnet)];
  return parsed !== undefined && block !== undefined && contains(block.cidr, parsed);
}

/**
 * The segments of an overlay as links have them: an IPv6 subnet shares those of the IPv4 subnet of
 * the same place, since a member has one link for both of its addresses.
 */
export function linkSegments({ segments }: Pick<OverlayNetwork, 'segments'>): OverlaySegment[] {
  const ipv4 = segments.filter(({ subnet }) => !isIpv6(subnet));
  const ipv6 = segments.filter(({ subnet }) => isIpv6(subnet));
  const leading = ipv4.length > 0 ? ipv4 : ipv6;
  return leading.map((first, index) => {
    const rest = ipv4.length === 0 ? [] : ipv6.filter((_, at) => at % ipv4.length === index);
    const parts = [first, ...rest];
    return {
      vni: first.vni,
      subnets: parts.map(({ subnet }) => subnet),
      gateways: parts.flatMap(({ subnet, gateway }) =>
        gateway === '' ? [] : [`${bare(gateway)}/${subnet.split('/')[1]}`],
      ),
    };
  });
}

/** MAC of a host's end of the mesh: the same wherever it is worked out. */
export function meshMac(nodeId: string): string {
  return derivedMac(`mesh ${nodeId}`, '02');
}

/**
 * The IPv6 address that stands for a task's IPv4 one in the mesh; no link has it. Of a prefix of the
 * network's own.
 */
export function meshAddress6(networkId: string, address: string): string {
  const { family, base } = privateBlock(`mesh ${networkId}`);
  return formatAddress({ family, value: base + (parseAddress(bare(address))?.value ?? 0n) });
}
