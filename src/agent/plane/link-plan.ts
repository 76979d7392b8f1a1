import type { Link, OwnedLine } from '../../kernel/ip.ts';
import { derivedMac, MIN_IPV6_MTU } from '../../model/address.ts';
import type { AttachmentIntent, NetworkIntent } from '../../model/host-intent.ts';
import type { OverlayPort } from '../cluster/overlays.ts';
import type { Naming } from './naming.ts';

/** Marks our links for `ip link show group`; the alias says whose they are. */
const LINK_GROUP = 4242;
const DEFAULT_MTU = 1500;
/** Needed to find neighbours; the kernel's own would be probed for a second before it is used. */
const LINK_LOCAL = 'fe80::1/64';

/** Lines that bring a link about, or why that cannot be. */
export type Plan = { readonly lines: readonly OwnedLine[]; readonly refusal?: string };

const NOTHING: Plan = { lines: [] };

function owned(owner: string, lines: readonly string[]): Plan {
  return { lines: lines.map((line) => ({ owner, line })) };
}

function addressLine(address: string, link: string): string {
  const nodad = address.includes(':') ? ' nodad' : '';
  return `addr replace ${address} dev ${link}${nodad}`;
}

/** Compared as text: both sides are as the kernel writes them, but for the case of IPv6. */
function missingAddresses(wanted: readonly string[], link: Link | undefined): string[] {
  const there = new Set(link?.addresses.map((address) => address.toLowerCase()));
  return wanted.filter((address) => !there.has(address.toLowerCase()));
}

function finish(network: NetworkIntent, link: Link | undefined, made: string[]): Plan {
  const lines = [...made];
  const mtu = network.mtu ?? DEFAULT_MTU;
  if (link && network.mtu !== undefined && link.mtu !== mtu) {
    lines.push(`link set ${network.link} mtu ${mtu}`);
  }
  const v6 = network.gateways.some((address) => address.includes(':'));
  const wanted = v6 ? [...network.gateways, LINK_LOCAL] : network.gateways;
  for (const address of missingAddresses(wanted, link)) {
    lines.push(addressLine(address, network.link));
  }
  if (!link?.up) lines.push(`link set ${network.link} up`);
  return owned(network.id, lines);
}

/** What members need of a bridge that is another's: its addresses stay beside the gateway's. */
function joinBridge(network: NetworkIntent, link: Link): Plan {
  const lines = missingAddresses(network.gateways, link).map((address) =>
    addressLine(address, network.link),
  );
  return owned(network.id, link.up ? lines : [...lines, `link set ${network.link} up`]);
}

/** The bridge of a network. */
export function bridgePlan(naming: Naming, network: NetworkIntent, link: Link | undefined): Plan {
  const name = network.link;
  if (network.external) {
    if (link?.kind === 'bridge') return joinBridge(network, link);
    const what = link ? 'is not a bridge' : 'does not exist';
    return { lines: [], refusal: `the bridge ${name}, which the operator provides, ${what}` };
  }
  const tag = naming.tag('net', network.id);
  if (link && link.alias !== tag) {
    return {
      lines: [],
      refusal: `a link named ${name} exists already and belongs to somebody else`,
    };
  }
  if (link) return finish(network, link, []);
  const mtu = network.mtu === undefined ? '' : ` mtu ${network.mtu}`;
  return finish(network, undefined, [
    // A bridge that takes the MAC of a port changes it, and its members' caches are wrong.
    `link add ${name} address ${derivedMac(network.id)}${mtu} type bridge stp_state 0 forward_delay 0`,
    `link set ${name} alias ${tag} group ${LINK_GROUP}`,
  ]);
}

/**
 * The parent of a macvlan network: an 802.1q sub-interface `PARENT.VLAN` or, for a network without
 * a parent, a dummy is made when it is not there.
 */
export function parentPlan(
  naming: Naming,
  network: NetworkIntent,
  links: ReadonlyMap<string, Link>,
): Plan {
  const link = links.get(network.link);
  if (link) {
    return link.up ? NOTHING : owned(network.id, [`link set ${network.link} up`]);
  }
  const tag = `alias ${naming.tag('net', network.id)} group ${LINK_GROUP}`;
  if (/^dm-[0-9a-f]+$/.test(network.link)) {
    return owned(network.id, [
      `link add ${network.link} type dummy`,
      `link set ${network.link} ${tag}`,
      `link set ${network.link} up`,
    ]);
  }
  const [, parent = '', vlan = ''] = /^(.+)\.(\d{1,4})$/.exec(network.link) ?? [];
  if (!links.has(parent) || Number(vlan) < 1 || Number(vlan) > 4094) {
    return {
      lines: [],
      refusal: `the parent link ${network.link} does not exist; valid are a link of the host and LINK.VLAN with a VLAN from 1 to 4094`,
    };
  }
  return owned(network.id, [
    `link add link ${parent} name ${network.link} type vlan id ${vlan}`,
    `link set ${network.link} ${tag}`,
    `link set ${network.link} up`,
  ]);
}

/** Alias of an attachment's link inside its sandbox. */
export function aliasOf(naming: Naming, { id, source }: AttachmentIntent): string {
  return source === undefined ? naming.tag('ep', id) : naming.lentTag(id, source);
}

/** Moves a link that somebody else made into the sandbox, under its name there. */
function lentPlan(
  { id, link, mac, source = '' }: AttachmentIntent,
  netns: string,
  links: ReadonlyMap<string, Link>,
): Plan {
  if (!links.has(source)) {
    return {
      lines: [],
      refusal: `the interface ${source}, which the network driver named, is not there`,
    };
  }
  const address = mac === '' || links.get(source)?.mac === mac ? '' : ` address ${mac}`;
  const down = `link set ${source} down`;
  return owned(id, [down, `link set ${source} netns ${netns} name ${link}${address}`]);
}

/** The host's side of an attachment, and its making on both sides. */
export function attachmentPlan(
  naming: Naming,
  netns: string,
  attachment: AttachmentIntent,
  network: NetworkIntent,
  links: ReadonlyMap<string, Link>,
  bridgedFramesFiltered: boolean,
): Plan {
  if (attachment.source !== undefined) return lentPlan(attachment, netns, links);
  const mtu = network.mtu === undefined ? '' : ` mtu ${network.mtu}`;
  if (network.driver === 'macvlan') {
    return owned(attachment.id, [
      `link add link ${network.link} name ${attachment.link} netns ${netns} address ${attachment.mac}${mtu} type macvlan mode bridge`,
    ]);
  }
  const name = naming.veth(attachment.id);
  // The kernel takes IPv6 off a link whose MTU is too small for it, and the setting with it.
  const noAddress = (network.mtu ?? DEFAULT_MTU) < MIN_IPV6_MTU ? '' : ' addrgenmode none';
  const link = links.get(name);
  const lines: string[] = [];
  if (!link) {
    lines.push(
      `link add ${name}${mtu} type veth peer name ${attachment.link}${mtu} address ${attachment.mac} netns ${netns}`,
      `link set ${name} alias ${naming.tag('ep', attachment.id)} group ${LINK_GROUP}${noAddress}`,
    );
  }
  if (link?.master !== network.link) lines.push(`link set ${name} master ${network.link}`);
  // Hairpin lets a sandbox reach itself by its published port where bridged frames pass netfilter.
  // There the table itself keeps members apart; an isolated port would also drop what comes to one
  // of them by a published port, which the kernel then bridges.
  const isolated = network.ruled && !network.icc && !bridgedFramesFiltered;
  if (!link?.hairpin || link.isolated !== isolated) {
    lines.push(`link set ${name} type bridge_slave hairpin on isolated ${isolated ? 'on' : 'off'}`);
  }
  if (!link?.up) lines.push(`link set ${name} up`);
  return owned(attachment.id, lines);
}

/** Both ends of a link between a sandbox and an overlay, run in the overlay's namespace. */
export function overlayPortPlan(
  naming: Naming,
  netns: string,
  { id, link, mac }: AttachmentIntent,
  network: NetworkIntent,
  { bridge }: OverlayPort,
): readonly OwnedLine[] {
  const name = naming.veth(id);
  const mtu = ` mtu ${network.mtu ?? DEFAULT_MTU}`;
  return owned(id, [
    `link add ${name}${mtu} type veth peer name ${link}${mtu} address ${mac} netns ${netns}`,
    `link set ${name} alias ${naming.tag('ep', id)} addrgenmode none master ${bridge}`,
    `link set ${name} up`,
  ]).lines;
}

/** The sandbox's side of an attachment whose link is there. */
export function innerPlan(
  naming: Naming,
  attachment: AttachmentIntent,
  link: Link | undefined,
): Plan {
  const lines: string[] = [];
  const tag = aliasOf(naming, attachment);
  if (link?.alias !== tag) lines.push(`link set ${attachment.link} alias ${tag}`);
  for (const address of missingAddresses(attachment.addresses, link)) {
    lines.push(addressLine(address, attachment.link));
  }
  if (!link?.up) lines.push(`link set ${attachment.link} up`);
  return owned(attachment.id, lines);
}

/** Settings of a sandbox's link that hold before it goes up. */
export function linkSysctls(attachment: AttachmentIntent): Record<string, string> {
  const link = attachment.link.replaceAll('.', '/');
  const conf = `net.ipv6.conf.${link}`;
  const v6 = attachment.addresses.some((address) => address.includes(':'));
  const own = v6
    ? { [`${conf}.disable_ipv6`]: '0', [`${conf}.accept_ra`]: '0', [`${conf}.ndisc_notify`]: '1' }
    : { [`${conf}.disable_ipv6`]: '1' };
  return { [`net.ipv4.conf.${link}.arp_notify`]: '1', ...own };
}
