import ipaddr from 'ipaddr.js';
import type { EndpointAddress } from '../../model/address.ts';

const NEVER = ['linkLocal', 'unspecified', 'multicast', 'broadcast'];
const NAT64_PREFIX_BYTES = 12;

/** What a source may name. */
export type Fence = {
  /** Blocks that it may name whatever else is said. */
  readonly allow: readonly string[];
  /** A source on this host may name this host. */
  readonly local: boolean;
};

/** Whether a host is this one, by address or by its one well-known name. */
export function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  return ipaddr.isValid(host) && ipaddr.process(host).range() === 'loopback';
}

/**
 * Why a source may not name an address, or undefined. Link-local addresses are where clouds keep
 * credentials, and loopback is where this host keeps what it shows to nobody.
 */
export function forbiddenReason(address: EndpointAddress, fence: Fence): string | undefined {
  if ('path' in address) return 'a unix path';
  if (!ipaddr.isValid(address.host)) return undefined;
  const parsed = ipaddr.process(address.host);
  const allowed = fence.allow.some((block) => {
    const [network, bits] = ipaddr.parseCIDR(block);
    return network.kind() === parsed.kind() && parsed.match(network, bits);
  });
  if (allowed) return undefined;
  const range = parsed.range();
  if (range === 'rfc6052') {
    const inner = ipaddr.fromByteArray(parsed.toByteArray().slice(NAT64_PREFIX_BYTES)).toString();
    return forbiddenReason({ host: inner, port: address.port }, fence);
  }
  if (NEVER.includes(range)) return range;
  return range === 'loopback' && !fence.local ? range : undefined;
}
