import ipaddr from 'ipaddr.js';
import type { EndpointAddress } from '../../model/address.ts';

/**
 * Whether discovery may not name an address: link-local ones (cloud metadata lives there),
 * unspecified, multicast and broadcast ones, and unix paths.
 */
export function isForbidden(address: EndpointAddress): boolean {
  if ('path' in address) return true;
  if (!ipaddr.isValid(address.host)) return false;
  const range = ipaddr.process(address.host).range();
  return ['linkLocal', 'unspecified', 'multicast', 'broadcast'].includes(range);
}
