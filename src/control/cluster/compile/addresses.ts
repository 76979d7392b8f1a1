import { createHash } from 'node:crypto';
import ipaddr from 'ipaddr.js';
import type { OverlayNetwork } from '../../../model/cluster.ts';
import type { OverlaySegment } from '../../../model/cluster-intent.ts';

const isIpv6 = (text: string) => text.includes(':');

/** An address without its prefix length. */
export function bare(address: string): string {
  return address.split('/')[0] ?? '';
}

/** Whether an address, with or without prefix length, is of a subnet. */
export function within(address: string, subnet: string): boolean {
  const parsed = ipaddr.parse(bare(address));
  const [base, bits] = ipaddr.parseCIDR(subnet);
  return parsed.kind() === base.kind() && parsed.match(base, bits);
}

/**
 * The segments of an overlay as links have them: an IPv6 subnet shares those of the IPv4 subnet of
 * the same place, since a member has one link for both of its addresses.
 */
export function linkSegments({ segments }: OverlayNetwork): OverlaySegment[] {
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
  const digits = createHash('sha256').update(`mesh ${nodeId}`).digest('hex').slice(0, 10);
  return `02:${digits.replaceAll(/(..)(?!$)/g, '$1:')}`;
}

/**
 * The IPv6 address that stands for a task's IPv4 one in the mesh; no link has it. Of a prefix of the
 * network's own (`fd` and 40 bits). Source: RFC 4193 section 3.2
 */
export function meshAddress6(networkId: string, address: string): string {
  const digits = createHash('sha256').update(`mesh ${networkId}`).digest('hex').slice(0, 10);
  const [a = 0, b = 0, c = 0, d = 0] = ipaddr.parse(bare(address)).toByteArray();
  const pair = (high: number, low: number) => ((high << 8) | low).toString(16);
  const prefix = `fd${digits.slice(0, 2)}:${digits.slice(2, 6)}:${digits.slice(6)}`;
  return ipaddr.parse(`${prefix}::${pair(a, b)}:${pair(c, d)}`).toString();
}
