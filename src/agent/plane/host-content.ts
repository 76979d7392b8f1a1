import ipaddr from 'ipaddr.js';
import { concat, quoted, type TableContent } from '../../kernel/nft-table.ts';
import {
  type ForwardIntent,
  isWildcard,
  type NetworkIntent,
  type Opening,
  type SandboxIntent,
} from '../../model/host-intent.ts';
import { balanceChainName, type ForwardScope, MAX_TARGETS, SLOT_MARK } from './host-table.ts';

/** Elements by set, key to value. */
export type Elements = Map<string, Map<string, string>>;

/** Adds an element. */
export function put(elements: Elements, set: string, key: string, value = ''): void {
  let entries = elements.get(set);
  if (!entries) {
    entries = new Map();
    elements.set(set, entries);
  }
  entries.set(key, value);
}

const PLAIN_IPV4 = /^(?:(?:0|[1-9]\d{0,2})\.){3}(?:0|[1-9]\d{0,2})$/;

/** An address as the kernel writes it. */
export function canonical(address: string): string {
  return PLAIN_IPV4.test(address) ? address : ipaddr.parse(address).toString();
}

/** Whether an address is IPv4 or IPv6. */
export function familyOf(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4;
}

/** Whether an address is of a block. */
export function within(address: string, cidr: string): boolean {
  const [parsed, [block, bits]] = [ipaddr.parse(address), ipaddr.parseCIDR(cidr)];
  return parsed.kind() === block.kind() && parsed.match(block, bits);
}

/** A CIDR block as the kernel writes it: host bits clear, a single address without a length. */
export function canonicalPrefix(cidr: string): string {
  const [address, length] = ipaddr.parseCIDR(cidr);
  const v6 = address.kind() === 'ipv6';
  if (length === (v6 ? 128 : 32)) return address.toString();
  const network = v6
    ? ipaddr.IPv6.networkAddressFromCIDR(cidr)
    : ipaddr.IPv4.networkAddressFromCIDR(cidr);
  return `${network.toString()}/${length}`;
}

function addNetwork(elements: Elements, network: NetworkIntent): void {
  if (network.driver !== 'bridge' || !network.ruled) return;
  const link = quoted(network.link);
  put(elements, 'bridges', link);
  if (network.internal) put(elements, 'internal', link);
  if (network.icc) put(elements, 'same', concat(link, link));
  for (const subnet of network.subnets) {
    const family = familyOf(subnet);
    put(elements, `hairpin${family}`, concat(canonicalPrefix(subnet), link));
    if (network.masquerade && !network.internal) {
      put(elements, `masquerade${family}`, canonicalPrefix(subnet));
    }
  }
}

/**
 * Chains for so many numbers of targets are made together: most endpoints that come or go need no new
 * one, for which `nft` would have to be started.
 */
const CHAINS_AT_ONCE = 16;

/** Adds what forwards packets of one family; nothing when no target is of it. */
export function addFamily(
  elements: Elements,
  chains: Set<string>,
  forward: Omit<ForwardIntent, 'id' | 'kind'>,
  family: 4 | 6,
  kind: ForwardScope = isWildcard(forward.address) ? 'any' : 'exact',
): void {
  const targets = forward.targets.filter(({ address }) => familyOf(address) === family);
  const exact = kind === 'exact';
  const scope = `${kind}${family}`;
  const port = concat(forward.transport, forward.port);
  const key = exact ? concat(canonical(forward.address ?? ''), port) : port;
  const texts = targets
    .slice(0, MAX_TARGETS)
    .map((target) => concat(canonical(target.address), target.port));
  const [first] = texts;
  // What is for [::1] alone is carried by the socket that reserves the port.
  if (first === undefined || (exact && canonical(forward.address ?? '') === '::1')) return;
  if (texts.length === 1) {
    put(elements, `to_${scope}`, key, first);
    return;
  }
  const { balance } = forward;
  const chainFor = (slots: number) => balanceChainName({ family, scope: kind, balance, slots });
  const last = Math.ceil(texts.length / CHAINS_AT_ONCE) * CHAINS_AT_ONCE;
  for (let slots = last - CHAINS_AT_ONCE + 1; slots <= last; slots++) {
    if (slots > 1) chains.add(chainFor(slots));
  }
  put(elements, `balance_${scope}`, key, `goto ${chainFor(texts.length)}`);
  for (const [slot, text] of texts.entries()) {
    put(elements, `slot_${scope}`, concat(key, SLOT_MARK + slot), text);
  }
}

function addForward(elements: Elements, chains: Set<string>, forward: ForwardIntent): void {
  const { address, transport, port } = forward;
  for (const family of [4, 6] as const) {
    if (address === undefined || familyOf(address) === family) {
      addFamily(elements, chains, forward, family);
    }
  }
  if (forward.targets.length > 0) return;
  if (address === undefined) put(elements, 'closed_any', concat(transport, port));
  // A family alone is closed by the socket that reserves the port.
  else if (!isWildcard(address)) {
    put(elements, `closed_exact${familyOf(address)}`, concat(canonical(address), transport, port));
  }
}

function addOpening(elements: Elements, opening: Opening): void {
  const { link, source, target, transport, port } = opening;
  put(elements, 'opened4', concat(quoted(link), source, target, transport, port));
}

/** What the host's table has to hold for an intent. */
export function hostContent(
  networks: Iterable<NetworkIntent>,
  forwards: Iterable<ForwardIntent>,
  sandboxes: Iterable<SandboxIntent> = [],
): TableContent {
  const elements: Elements = new Map();
  const chains = new Set<string>();
  for (const network of networks) addNetwork(elements, network);
  for (const forward of forwards) addForward(elements, chains, forward);
  for (const { openings = [] } of sandboxes) {
    for (const opening of openings) addOpening(elements, opening);
  }
  return { elements, chains };
}
