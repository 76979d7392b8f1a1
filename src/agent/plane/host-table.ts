import type { SetSpec, TableSpec } from '../../kernel/nft-table.ts';

/** Set in the low half of the mark of every packet that our forwarding accepts. */
export const ACCEPT_MARK = 0x7067;
/** Targets of one forward and family. */
export const MAX_TARGETS = 1024;
/** The mark of a packet between the choice of a slot and its target: this, and the slot's number. */
export const SLOT_MARK = 0x67540000;
/**
 * On packets that were led to this host's own targets before anything else saw them. It is a slot's
 * number, so it is gone before routing.
 */
export const HERE_MARK = SLOT_MARK;

/**
 * What a forward's key is: a port, `exact` with an address of the host before it. `direct` ones are of
 * connections that another host has sent here.
 */
export type ForwardScope = 'any' | 'exact' | 'direct';

export type BalanceChain = {
  readonly family: 4 | 6;
  readonly scope: ForwardScope;
  readonly balance: 'round-robin' | 'random' | 'source-hash';
  readonly slots: number;
};

/** The name of the chain that picks one of a number of slots. */
export function balanceChainName(chain: BalanceChain): string {
  return `${chain.balance}-${chain.slots}-${chain.scope}${chain.family}`;
}

/** The rules of a chain that `balanceChainName` has named. */
export function balanceChainBody(name: string): string {
  const [, balance, slots, scope, family] =
    /^(.+)-(\d+)-(any|exact|direct)([46])$/.exec(name) ?? [];
  const ip = family === '6' ? 'ip6' : 'ip';
  const pick = {
    'round-robin': 'numgen inc',
    random: 'numgen random',
    'source-hash': `jhash ${ip} saddr`,
  }[balance ?? ''];
  const key = `${scope === 'exact' ? `${ip} daddr . ` : ''}meta l4proto . th dport . meta mark`;
  return [
    `meta mark set ${pick} mod ${slots} offset ${SLOT_MARK}`,
    `meta l4proto { tcp, udp, sctp } dnat ${ip} to ${key} map @slot_${scope}${family}`,
  ].join('\n');
}

/** The number of a slot says nothing to routing rules, and must not look like somebody's mark. */
export const CLEAR_SLOT = `meta mark & 0x${(~(MAX_TARGETS - 1) >>> 0).toString(16)} == ${SLOT_MARK} meta mark set 0`;

/** Forwards what goes to an address that a set names. */
export const PUBLISH_EXACT = `
dnat ip to ip daddr . meta l4proto . th dport map @to_exact4
dnat ip6 to ip6 daddr . meta l4proto . th dport map @to_exact6
ip daddr . meta l4proto . th dport vmap @balance_exact4
ip6 daddr . meta l4proto . th dport vmap @balance_exact6`;

/**
 * Forwards what goes to a port on any address of the host. No IPv6 packet leaves the loopback with
 * [::1] as its source: there a socket carries.
 */
export const PUBLISH_ANY = `
meta nfproto ipv4 dnat ip to meta l4proto . th dport map @to_any4
ip6 daddr ::1 return
meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @to_any6
meta nfproto ipv4 meta l4proto . th dport vmap @balance_any4
meta nfproto ipv6 meta l4proto . th dport vmap @balance_any6`;

/** Forwards what another host, or this one's own choice, has sent to the targets here. */
export const PUBLISH_DIRECT = `
meta nfproto ipv4 dnat ip to meta l4proto . th dport map @to_direct4
meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @to_direct6
meta nfproto ipv4 meta l4proto . th dport vmap @balance_direct4
meta nfproto ipv6 meta l4proto . th dport vmap @balance_direct6`;

const PUBLISH = `
jump publish_exact
fib daddr type local jump publish_any`;

// An accept here ends this chain only: other tables' chains still decide, and may know our mark.
const FORWARD = `
type filter hook forward priority -5;
iifname != @bridges oifname != @bridges accept
meta mark set meta mark & 0xffff0000 | ${ACCEPT_MARK}
ct state vmap { established : accept, related : accept, invalid : drop }
iifname @internal oifname != @internal drop
oifname @internal iifname != @internal drop
ct status dnat accept
iifname . oifname @same accept
iifname . ip saddr . ip daddr . meta l4proto . th dport @opened4 accept
oifname @bridges drop`;

const POSTROUTING = `
type nat hook postrouting priority 95;
ct status dnat ip saddr . oifname @hairpin4 masquerade
ct status dnat ip6 saddr . oifname @hairpin6 masquerade
fib saddr type local oifname @bridges ct status dnat masquerade
ip saddr @masquerade4 oifname != @bridges masquerade
ip6 saddr @masquerade6 oifname != @bridges masquerade`;

const CLOSED = `
ip daddr . meta l4proto . th dport @closed_exact4 jump refuse
ip6 daddr . meta l4proto . th dport @closed_exact6 jump refuse
fib daddr type local meta l4proto . th dport @closed_any jump refuse`;

/** What says at once that nobody is there. */
export const REFUSE = `
meta l4proto tcp reject with tcp reset
reject with icmpx type port-unreachable`;

// Routing 127.0.0.0/8 (for published ports on the loopback) must not open it to the outside.
const MARTIAN = `
type filter hook prerouting priority -300;
iifname != "lo" ip daddr 127.0.0.0/8 fib daddr type local drop`;

const PORT = ['inet_proto', 'inet_service'] as const;

/** The maps of one family that forwarding to one or several targets reads. */
export function forwardSets(
  family: 4 | 6,
  scopes: readonly ForwardScope[] = ['exact', 'any'],
): SetSpec[] {
  const address = `ipv${family}_addr` as const;
  const target = [address, 'inet_service'] as const;
  return scopes.flatMap((scope): SetSpec[] => {
    const key = scope === 'exact' ? ([address, ...PORT] as const) : PORT;
    return [
      { name: `to_${scope}${family}`, key, value: target },
      { name: `balance_${scope}${family}`, key, value: ['verdict'] },
      { name: `slot_${scope}${family}`, key: [...key, 'mark'], value: target },
    ];
  });
}

/**
 * The one table of a host. Chains never change; networks, published ports and their targets are
 * elements. `to_*` forward to a single target, `balance_*` to one of several by a slot number in
 * the mark, `closed_*` refuse.
 */
export function hostTable(name: string): TableSpec {
  const families = ([4, 6] as const).flatMap((family): SetSpec[] => {
    const address = `ipv${family}_addr` as const;
    return [
      ...forwardSets(family),
      { name: `closed_exact${family}`, key: [address, ...PORT] },
      { name: `hairpin${family}`, key: [address, 'ifname'] as const, interval: true },
      { name: `masquerade${family}`, key: [address], interval: true },
    ];
  });
  return {
    name,
    sets: [
      ...families,
      { name: 'closed_any', key: PORT },
      { name: 'bridges', key: ['ifname'] },
      { name: 'internal', key: ['ifname'] },
      { name: 'same', key: ['ifname', 'ifname'] },
      { name: 'opened4', key: ['ifname', 'ipv4_addr', 'ipv4_addr', ...PORT] },
    ],
    chains: [
      { name: 'publish_exact', body: PUBLISH_EXACT },
      { name: 'publish_any', body: PUBLISH_ANY },
      { name: 'refuse', body: REFUSE },
      { name: 'closed', body: CLOSED },
      { name: 'nat_in', body: `type nat hook prerouting priority -105;${PUBLISH}` },
      { name: 'nat_out', body: `type nat hook output priority -105;${PUBLISH}` },
      { name: 'nat_post', body: POSTROUTING },
      { name: 'forwarding', body: `${FORWARD}` },
      // Before routing: an address of several targets may have no route of its own.
      {
        name: 'closed_in',
        body: `type filter hook prerouting priority -90;\n${CLEAR_SLOT}\nct state new jump closed`,
      },
      {
        name: 'closed_out',
        body: `type filter hook output priority -90;\n${CLEAR_SLOT}\nct state new jump closed`,
      },
      { name: 'martian', body: MARTIAN },
    ],
    chainOnDemand: balanceChainBody,
  };
}
