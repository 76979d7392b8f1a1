import type { SetSpec, TableContent, TableSpec } from '../../kernel/nft-table.ts';
import { concat, hex } from '../../kernel/nft-table.ts';
import type { KernelListener } from '../../model/kernel-listener.ts';
import { addFamily, canonical, type Elements, familyOf, put } from './host-content.ts';
import {
  ACCEPT_MARK,
  balanceChainBody,
  CLEAR_SLOT,
  forwardSets,
  PUBLISH_ANY,
  PUBLISH_EXACT,
} from './host-table.ts';

/** The high byte of the connection mark of every flow that the gateway's table forwards. */
export const GATEWAY_MARK = 0x67000000;
export const GATEWAY_MARK_MASK = 0xff000000;
/** The number of the listener; the bits between are left to others. */
export const LISTENER_MASK = 0xff000fff;
const LISTENER_BITS = 0xfff;

const OURS = `ct mark & ${hex(GATEWAY_MARK_MASK)} == ${hex(GATEWAY_MARK)}`;

// Only the opening of a connection: one that a socket has accepted must not be torn away from it.
const TAKE = `
meta l4proto tcp tcp flags & (fin|syn|rst|ack) != syn return
ip daddr 127.0.0.0/8 return
ip6 daddr ::1 return
jump take_exact
fib daddr type local jump take_any`;

const MARK_EXACT = `
ct mark set ip daddr . meta l4proto . th dport map @mark_exact4
ct mark set ip6 daddr . meta l4proto . th dport map @mark_exact6
${OURS} ct mark @opened`;

const MARK_ANY = `
meta nfproto ipv4 ct mark set meta l4proto . th dport map @mark_any4
meta nfproto ipv6 ct mark set meta l4proto . th dport map @mark_any6
${OURS} ct mark @opened`;

const COUNT = `
ct mark & ${hex(GATEWAY_MARK_MASK)} != ${hex(GATEWAY_MARK)} return
ct status & dnat == 0 return
ct direction original ct mark @received
ct direction reply ct mark @sent`;

function markSets(family: 4 | 6): SetSpec[] {
  const port = ['inet_proto', 'inet_service'] as const;
  return [
    { name: `mark_exact${family}`, key: [`ipv${family}_addr`, ...port], value: ['mark'] },
    { name: `mark_any${family}`, key: port, value: ['mark'] },
  ];
}

/**
 * The table of the gateway's listeners. It is apart from the host's, so that either can be replaced
 * as a whole. Endpoints see the host as their client, as they do when a socket carries,
 * but for `keeping*`: sandboxes of this host, whose answers come by it anyway.
 */
export function gatewayTable(name: string): TableSpec {
  const counted = ['opened', 'received', 'sent'] as const;
  return {
    name,
    sets: [
      ...([4, 6] as const).flatMap((family) => [...forwardSets(family), ...markSets(family)]),
      { name: 'keeping4', key: ['ipv4_addr'] },
      { name: 'keeping6', key: ['ipv6_addr'] },
      ...counted.map((set): SetSpec => ({ name: set, key: ['mark'], counter: true })),
    ],
    chains: [
      { name: 'take_exact', body: `${MARK_EXACT}${PUBLISH_EXACT}` },
      { name: 'take_any', body: `${MARK_ANY}${PUBLISH_ANY}` },
      { name: 'count', body: COUNT },
      { name: 'nat_in', body: `type nat hook prerouting priority -104;${TAKE}` },
      { name: 'nat_out', body: `type nat hook output priority -104;${TAKE}` },
      {
        name: 'nat_post',
        body: `type nat hook postrouting priority 94;
ip daddr @keeping4 return
ip6 daddr @keeping6 return
oifname != "lo" ct status dnat ${OURS} masquerade`,
      },
      {
        name: 'count_in',
        body: `type filter hook prerouting priority -90;\n${CLEAR_SLOT}\niifname != "lo" jump count`,
      },
      {
        name: 'count_out',
        body: `type filter hook output priority -90;\n${CLEAR_SLOT}\njump count`,
      },
      {
        name: 'forwarding',
        body: `type filter hook forward priority -5;\n${OURS} meta mark set meta mark & 0xffff0000 | ${ACCEPT_MARK}`,
      },
    ],
    chainOnDemand: balanceChainBody,
  };
}

function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const char of text) value = Math.imul(value ^ (char.codePointAt(0) ?? 0), 0x01000193);
  return value >>> 0;
}

/**
 * The connection mark of each listener: from its name, so that flows keep theirs while listeners
 * come and go and agents end and start.
 */
export function listenerMarks(names: readonly string[]): Map<string, number> {
  const taken = new Set<number>();
  const marks = new Map<string, number>();
  for (const name of [...names].sort()) {
    let number = hash(name) & LISTENER_BITS;
    while (number === 0 || taken.has(number)) number = (number + 1) & LISTENER_BITS;
    taken.add(number);
    marks.set(name, GATEWAY_MARK | number);
  }
  return marks;
}

function addListener(
  elements: Elements,
  chains: Set<string>,
  listener: KernelListener,
  mark: string,
): void {
  const { binds, transport, slots, balance } = listener;
  for (const { address, port, families } of binds) {
    const forward = { transport, address, port, targets: slots, balance };
    for (const family of families) {
      if (!slots.some((slot) => familyOf(slot.address) === family)) continue;
      addFamily(elements, chains, forward, family);
      const key = concat(transport, port);
      if (address === undefined) put(elements, `mark_any${family}`, key, mark);
      else put(elements, `mark_exact${family}`, concat(canonical(address), key), mark);
    }
  }
}

/** What the gateway's table has to hold. `keeping`: endpoints that see their clients. */
export function gatewayContent(
  listeners: readonly KernelListener[],
  marks: ReadonlyMap<string, number>,
  keeping: Iterable<string> = [],
): TableContent {
  const elements: Elements = new Map();
  const chains = new Set<string>();
  for (const address of keeping) put(elements, `keeping${familyOf(address)}`, address);
  for (const listener of listeners) {
    const mark = String(marks.get(listener.name) ?? GATEWAY_MARK);
    for (const set of ['opened', 'received', 'sent']) put(elements, set, mark);
    addListener(elements, chains, listener, mark);
  }
  return { elements, chains };
}
