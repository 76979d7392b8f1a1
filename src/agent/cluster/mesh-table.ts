import { createHash } from 'node:crypto';
import {
  concat,
  hex,
  type SetSpec,
  type TableContent,
  type TableSpec,
} from '../../kernel/nft-table.ts';
import type { MeshIntent } from '../../model/cluster-intent.ts';
import type { NetworkIntent } from '../../model/host-intent.ts';
import {
  addFamily,
  canonical,
  canonicalPrefix,
  type Elements,
  familyOf,
  put,
} from '../plane/host-content.ts';
import {
  ACCEPT_MARK,
  balanceChainBody,
  CLEAR_SLOT,
  forwardSets,
  HERE_MARK,
  PUBLISH_ANY,
  PUBLISH_DIRECT,
  REFUSE,
} from '../plane/host-table.ts';

/** In the mark of flows that came by the mesh, above the number of the host they came by. */
export const MESH_MARK = 0x70000000;
export const MESH_MARK_MASK = 0xf0000000;
/** In the mark of flows that another host has sent here and whose answers go straight to the client. */
export const DIRECT_MARK = 0x6d000000;
/** The low half of a packet's mark is others': the number is above it. */
const NODE_SHIFT = 16;
/** Other hosts of one mesh; their numbers have 12 bits, and 0 is nobody's. */
export const MAX_MESH_NODES = 4095;
/** Of connection tracking: a client's address and port may come by several hosts. */
const FIRST_ZONE = 0x7000;
/** MAC of no host: the egress hook puts the right one in its place. */
export const BLANK_MAC = '02:42:00:ff:ff:fe';
/** The bytes of an IPv4 and a TCP header, and of an IPv6 and a TCP header. */
const HEADERS4 = 40;
const HEADERS6 = 60;

/**
 * A number for each host, from its id: flows keep theirs while hosts come and go, and over a restart
 * of the agent, but for the rare two that want the same.
 */
export function nodeNumbers(ids: readonly string[]): Map<string, number> {
  const numbers = new Map<string, number>();
  const taken = new Set<number>();
  for (const id of [...ids].sort().slice(0, MAX_MESH_NODES)) {
    let number = createHash('sha256').update(id).digest().readUInt16BE(0) % MAX_MESH_NODES;
    while (taken.has(number)) number = (number + 1) % MAX_MESH_NODES;
    taken.add(number);
    numbers.set(id, number + 1);
  }
  return numbers;
}

/** The mark of flows that came by a host. */
export function nodeMark(number: number): number {
  return MESH_MARK + number * 2 ** NODE_SHIFT;
}

/** What the chains of a mesh's table are made from. */
export type MeshShape = {
  readonly link: string;
  readonly mtu: number;
  readonly port: number;
  readonly sources: MeshIntent['sources'];
};

function sourceRules({ link, sources }: MeshShape): string[] {
  const out = `oifname "${link}" ct status dnat`;
  const to = (ip: string, address: string | undefined) =>
    address === undefined ? 'masquerade' : `snat ${ip} to ${address}`;
  return [
    `${out} ip saddr 127.0.0.0/8 ${to('ip', sources.ipv4)}`,
    `${out} ip saddr @own4 ${to('ip', sources.ipv4)}`,
    `${out} ip6 saddr @own6 ${to('ip6', sources.ipv6)}`,
    `${out} ip saddr . ip daddr @home4 ${to('ip', sources.ipv4)}`,
    `${out} ip6 saddr . ip6 daddr @home6 ${to('ip6', sources.ipv6)}`,
  ];
}

function clampRules({ link, mtu }: MeshShape): string[] {
  const syn = 'tcp flags syn / syn,rst tcp option maxseg size set';
  const families = [
    ['ipv4', mtu - HEADERS4],
    ['ipv6', mtu - HEADERS6],
  ] as const;
  const directions = [
    `iifname "${link}"`,
    `oifname "${link}"`,
    // What answers by another way is sent here by this one.
    `ct mark ${hex(DIRECT_MARK)} ct direction reply`,
  ];
  return directions.flatMap((side) =>
    families.map(([family, size]) => `${side} meta nfproto ${family} ${syn} ${size}`),
  );
}

function chainsOf(shape: MeshShape): TableSpec['chains'] {
  const { link, port } = shape;
  const chain = (name: string, head: string, rules: readonly string[]) => ({
    name,
    body: [`type ${head};`, ...rules].join('\n'),
  });
  const closed = [
    CLEAR_SLOT,
    'ct state new fib daddr type local meta l4proto . th dport @closed jump refuse',
  ];
  const take = 'fib daddr type local jump publish_any';
  const accept = `meta mark set meta mark & 0xffff0000 | ${ACCEPT_MARK}`;
  return [
    { name: 'publish_any', body: PUBLISH_ANY },
    { name: 'publish_direct', body: PUBLISH_DIRECT },
    { name: 'refuse', body: REFUSE },
    chain('raw', 'filter hook prerouting priority -300', [
      `udp dport ${port} meta nfproto ipv4 ip saddr != @tunnels4 drop`,
      `udp dport ${port} meta nfproto ipv6 ip6 saddr != @tunnels6 drop`,
      // What is inside is tracked; the tunnel's own packets need not be.
      `udp dport ${port} notrack accept`,
      `iifname "${link}" ct original zone set ether saddr map @zones`,
    ]),
    chain('raw_out', 'filter hook output priority -300', [`udp dport ${port} notrack`]),
    chain('marks', 'filter hook prerouting priority -150', [
      // A repeated opening meets the mark that the first one has left.
      `iifname "${link}" ct state new ct direction original ct mark != ${hex(DIRECT_MARK)} ct mark set ether saddr map @marks_of`,
      `iifname != "${link}" ct direction reply ct mark & ${hex(MESH_MARK_MASK)} == ${hex(MESH_MARK)} meta mark set ct mark`,
    ]),
    chain('marks_out', 'route hook output priority -150', [
      `ct direction reply ct mark & ${hex(MESH_MARK_MASK)} == ${hex(MESH_MARK)} meta mark set ct mark`,
    ]),
    chain('nat_in', 'nat hook prerouting priority -105', [
      `iifname "${link}" dnat ip to ip daddr map @task4`,
      `iifname "${link}" dnat ip6 to ip6 daddr map @task6`,
      `iifname "${link}" ct mark set ${hex(DIRECT_MARK)} goto publish_direct`,
      `meta mark ${hex(HERE_MARK)} jump publish_direct`,
      take,
    ]),
    chain('nat_out', 'nat hook output priority -105', [take]),
    // Before the host's own masquerade, which would take an address of any link.
    chain('nat_post', 'nat hook postrouting priority 90', sourceRules(shape)),
    chain('closed_in', 'filter hook prerouting priority -90', closed),
    chain('closed_out', 'filter hook output priority -90', closed),
    chain('clamp', 'filter hook forward priority -150', [
      'tcp flags & (syn | rst) != syn accept',
      ...clampRules(shape),
    ]),
    chain('forwarding', 'filter hook forward priority -5', [
      // Its task is gone: it would be led back to where it came from.
      `iifname "${link}" ct direction original ct status & dnat == 0 jump refuse`,
      `iifname "${link}" ${accept}`,
      `oifname "${link}" ${accept}`,
    ]),
  ];
}

/** The table of the mesh of a host: content as data, but for its link and its own addresses. */
export function meshTable(name: string, shape: MeshShape): TableSpec {
  const families = ([4, 6] as const).flatMap((family): SetSpec[] => {
    const address = `ipv${family}_addr` as const;
    return [
      ...forwardSets(family, ['any', 'direct']),
      { name: `task${family}`, key: [address], value: [address] },
      { name: `tunnels${family}`, key: [address] },
      { name: `own${family}`, key: [address], interval: true },
      { name: `home${family}`, key: [address, address] },
    ];
  });
  return {
    name,
    sets: [
      ...families,
      { name: 'closed', key: ['inet_proto', 'inet_service'] },
      { name: 'marks_of', key: ['ether_addr'], value: ['mark'] },
      {
        name: 'zones',
        key: ['ether_addr'],
        value: ['ct_zone'],
        typeof: 'ether saddr : ct zone',
      },
    ],
    chains: chainsOf(shape),
    chainOnDemand: balanceChainBody,
  };
}

/** What the table of a mesh holds. `networks`: the host's own, whose members are no clients. */
export function meshContent(mesh: MeshIntent, networks: Iterable<NetworkIntent>): TableContent {
  const elements: Elements = new Map();
  const chains = new Set<string>();
  const numbers = nodeNumbers(mesh.nodes.map(({ id }) => id));
  for (const { id, mac, tunnel } of mesh.nodes) {
    const number = numbers.get(id);
    if (number === undefined) continue;
    put(elements, 'marks_of', mac, String(nodeMark(number)));
    put(elements, 'zones', mac, String(FIRST_ZONE + number));
    put(elements, `tunnels${familyOf(tunnel)}`, canonical(tunnel));
  }
  const homes = new Map(mesh.nodes.map(({ id, addresses }) => [id, addresses]));
  for (const { address, node } of mesh.remote) {
    const family = familyOf(address);
    for (const home of homes.get(node) ?? []) {
      if (familyOf(home) !== family) continue;
      put(elements, `home${family}`, concat(canonical(home), canonical(address)));
    }
  }
  for (const { address, target } of mesh.local) {
    put(elements, `task${familyOf(address)}`, canonical(address), canonical(target));
  }
  for (const forward of mesh.forwards) {
    for (const family of [4, 6] as const) addFamily(elements, chains, forward, family);
    if (forward.targets.length === 0) {
      put(elements, 'closed', concat(forward.transport, forward.port));
    }
  }
  for (const forward of mesh.direct) {
    for (const family of [4, 6] as const) {
      addFamily(elements, chains, { ...forward, address: undefined }, family, 'direct');
    }
  }
  for (const { driver, subnets } of networks) {
    if (driver !== 'bridge') continue;
    for (const subnet of subnets) put(elements, `own${familyOf(subnet)}`, canonicalPrefix(subnet));
  }
  return { elements, chains };
}

/**
 * One transaction that replaces what gives packets which leave by the mesh, to the host that their
 * flow came by, its MAC. The mark goes: the tunnel's own packet would be routed by it.
 */
export function egressTable(name: string, link: string, mesh: MeshIntent): string {
  const numbers = nodeNumbers(mesh.nodes.map(({ id }) => id));
  const macs = mesh.nodes.flatMap(({ id, mac }) => {
    const number = numbers.get(id);
    return number === undefined ? [] : [`${hex(nodeMark(number))} : ${mac}`];
  });
  const elements = macs.length === 0 ? '' : ` elements = { ${macs.join(', ')} }`;
  return `table netdev ${name}
delete table netdev ${name}
table netdev ${name} {
  map macs { type mark : ether_addr;${elements} }
  chain egress {
    type filter hook egress device "${link}" priority 0;
    ether daddr ${BLANK_MAC} ether daddr set meta mark & 0xffff0000 map @macs
    meta mark set 0
  }
}
`;
}

/** An address on the link that stands for a host as the next hop; it is said to nobody. */
export function hopAddress(number: number, family: 4 | 6): string {
  if (family === 6) return `fe80::5:${number.toString(16)}`;
  return `169.254.${number >> 8}.${number & 255}`;
}

/** The next hop of what goes back by the mesh: the egress hook knows the way. */
export const BLANK_HOP = { 4: '169.254.255.253', 6: 'fe80::5:fffe' } as const;
/** The link's own: the kernel trusts no source on a link without an address. */
export const OWN_HOP = { 4: '169.254.255.254/32', 6: 'fe80::5:ffff/64' } as const;
