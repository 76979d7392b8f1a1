import { createHash } from 'node:crypto';
import { errorText } from '../../base/errors.ts';
import { IpTool, type Link } from '../../kernel/ip.ts';
import { addNetns, listNetns, removeNetns } from '../../kernel/netns.ts';
import { writeSysctlsIn } from '../../kernel/sysctl.ts';
import type { ApplyFailure } from '../../link/agent-port.ts';
import { bare, derivedMac } from '../../model/address.ts';
import type {
  ClusterIntent,
  OverlayIntent,
  OverlayPeer,
  OverlaySegment,
} from '../../model/cluster-intent.ts';
import { within } from '../plane/host-content.ts';
import { type AgentTools, eachOf } from '../plane/tools.ts';
import { encryptedPort, TunnelEncryption } from './encryption.ts';
import { Entries, type EntryMap, fdbKey, neighKey } from './entries.ts';

const WIDTH = 4;

/** Where a member's link joins an overlay. */
export type OverlayPort = { readonly netns: string; readonly bridge: string };

/** The overlays of a host, as those need them who join sandboxes to networks. */
export interface OverlayPorts {
  /** Undefined: the overlay is not set up here, or has no subnet of these addresses. */
  portFor(network: string, addresses: readonly string[]): OverlayPort | undefined;
}

type Tunnel = ClusterIntent['tunnel'];

const bridgeName = ({ vni }: OverlaySegment) => `br${vni}`;
const tunnelName = ({ vni }: OverlaySegment) => `vx${vni}`;

function segmentOf(segments: readonly OverlaySegment[], addresses: readonly string[]) {
  for (const text of addresses) {
    const found = segments.find(({ subnets }) =>
      subnets.some((subnet) => within(bare(text), subnet)),
    );
    if (found) return found;
  }
  return undefined;
}

/**
 * The overlays of a host, each in a namespace of its own: their subnets may be anybody's else too,
 * and the host's rules never see their frames. Tunnels flood and learn nothing; where a member
 * lives is an entry.
 */
export class Overlays implements OverlayPorts {
  readonly #tools: AgentTools;
  readonly #ip: IpTool;
  readonly #encryption: TunnelEncryption;
  readonly #overlays = new Map<string, OverlayIntent>();
  readonly #entries = new Map<string, Entries>();

  constructor(tools: AgentTools) {
    this.#tools = tools;
    this.#ip = new IpTool(tools.exec);
    this.#encryption = new TunnelEncryption(tools);
  }

  portFor(network: string, addresses: readonly string[]): OverlayPort | undefined {
    const overlay = this.#overlays.get(network);
    const segment = overlay && segmentOf(overlay.segments, addresses);
    return segment && { netns: this.#netns(network), bridge: bridgeName(segment) };
  }

  #netns(network: string): string {
    return this.#tools.naming.overlay(network);
  }

  /** `whole`: everything is read from the kernel. Returns whether anything had to be made. */
  async update(
    intent: Pick<ClusterIntent, 'tunnel' | 'overlays' | 'peers' | 'encryption'>,
    whole: boolean,
    failures: Map<string, ApplyFailure>,
  ): Promise<boolean> {
    const present = new Set(listNetns(this.#tools.naming.overlayPrefix));
    const wanted = new Map(intent.overlays.map((one) => [this.#netns(one.id), one]));
    await eachOf(
      [...present].filter((name) => !wanted.has(name)),
      WIDTH,
      (name) => this.#remove(name),
    );
    const peers = Map.groupBy(intent.peers, ({ network }) => network);
    const encryption = await this.#encrypt(intent, whole);
    let changed = encryption.changed;
    await eachOf(intent.overlays, WIDTH, async (overlay) => {
      if (overlay.encrypted && encryption.refusal !== undefined) {
        // Nothing of it may ever leave in the clear.
        if (present.has(this.#netns(overlay.id))) await this.#remove(this.#netns(overlay.id));
        const message = `the overlay cannot be set up: ${encryption.refusal}`;
        failures.set(overlay.id, { kind: 'network', id: overlay.id, message });
        return;
      }
      try {
        const there = present.has(this.#netns(overlay.id));
        const members = peers.get(overlay.id) ?? [];
        if (await this.#make(overlay, intent.tunnel, members, there, whole)) changed = true;
      } catch (error) {
        const message = `the overlay cannot be set up: ${errorText(error)}`;
        failures.set(overlay.id, { kind: 'network', id: overlay.id, message });
      }
    });
    return changed;
  }

  /** Before any tunnel that it is about; `refusal`: why there is none. */
  async #encrypt(
    { tunnel, encryption, overlays }: Pick<ClusterIntent, 'tunnel' | 'encryption' | 'overlays'>,
    whole: boolean,
  ): Promise<{ readonly changed: boolean; readonly refusal?: string }> {
    const wanted = overlays.some(({ encrypted }) => encrypted);
    try {
      return { changed: await this.#encryption.update(tunnel, encryption, wanted, whole) };
    } catch (error) {
      return { changed: false, refusal: errorText(error) };
    }
  }

  async #remove(netns: string): Promise<void> {
    this.#entries.delete(netns);
    for (const id of this.#overlays.keys()) {
      if (this.#netns(id) === netns) this.#overlays.delete(id);
    }
    try {
      await removeNetns(this.#tools.exec, netns);
    } catch (error) {
      const message = errorText(error);
      this.#tools.logger.warn('an overlay that is not wanted could not be removed', {
        netns,
        message,
      });
    }
  }

  async #make(
    overlay: OverlayIntent,
    tunnel: Tunnel,
    peers: readonly OverlayPeer[],
    there: boolean,
    whole: boolean,
  ): Promise<boolean> {
    const netns = this.#netns(overlay.id);
    const known = this.#overlays.get(overlay.id);
    if (!there) {
      await addNetns(this.#tools, netns);
      this.#entries.delete(netns);
    }
    let mended = !there;
    if (!there || whole || JSON.stringify(known) !== JSON.stringify(overlay)) {
      mended = (await this.#makeLinks(netns, overlay, tunnel)) || mended;
    }
    this.#overlays.set(overlay.id, overlay);
    const entries = this.#entries.get(netns) ?? new Entries(this.#tools.exec, netns);
    this.#entries.set(netns, entries);
    if (whole) entries.forget();
    const links = overlay.segments.map(tunnelName);
    return (await entries.update(links, peerEntries(overlay, peers))) || mended;
  }

  async #makeLinks(netns: string, overlay: OverlayIntent, tunnel: Tunnel): Promise<boolean> {
    const links = new Map((await this.#ip.links(netns)).map((link) => [link.name, link]));
    const made = await this.#makeTunnels(netns, overlay, tunnel, links);
    await this.#settings(netns);
    const lines = overlay.segments.flatMap((segment) =>
      segmentLines(segment, overlay.mtu, links, made),
    );
    const stale = [...links.values()].filter(({ name, kind }) => {
      const ours = kind === 'vxlan' || kind === 'bridge';
      const kept = overlay.segments.some((one) =>
        [bridgeName(one), tunnelName(one)].includes(name),
      );
      return ours && !kept;
    });
    lines.push(...stale.map(({ name }) => `link delete ${name}`));
    await this.#ip.run(lines, netns);
    return lines.length > 0 || made.size > 0;
  }

  /** The tunnels are made from the host's namespace, where their packets travel. */
  async #makeTunnels(
    netns: string,
    { segments, mtu, encrypted }: OverlayIntent,
    tunnel: Tunnel,
    links: Map<string, Link>,
  ): Promise<Set<string>> {
    const { local } = tunnel;
    const port = encrypted ? encryptedPort(tunnel) : tunnel.port;
    const made = new Set<string>();
    const inside: string[] = [];
    const outside: string[] = [];
    const tags: string[] = [];
    for (const segment of segments) {
      const name = tunnelName(segment);
      const spec = `vxlan id ${segment.vni} dstport ${port} local ${local} nolearning proxy`;
      const tag = this.#tools.naming.tag('vx', digest(spec));
      const link = links.get(name);
      if (link?.alias === tag) continue;
      if (link) inside.push(`link delete ${name}`);
      outside.push(`link add ${name} mtu ${mtu} netns ${netns} type ${spec}`);
      tags.push(`link set ${name} alias ${tag}`);
      links.delete(name);
      made.add(name);
    }
    for (const [lines, where] of [
      [inside, netns],
      [outside, undefined],
      [tags, netns],
    ] as const) {
      await this.#ip.run(lines, where);
    }
    if (made.size > 0) this.#entries.delete(netns);
    return made;
  }

  async #settings(netns: string): Promise<void> {
    const wanted = {
      'net.ipv4.ip_forward': '1',
      'net.ipv6.conf.all.forwarding': '1',
      'net.bridge.bridge-nf-call-iptables': '0',
      'net.bridge.bridge-nf-call-ip6tables': '0',
    };
    for (const [name, value] of Object.entries(wanted)) {
      try {
        await writeSysctlsIn(this.#tools, netns, { [name]: value });
      } catch (error) {
        // A kernel without IPv6 or br_netfilter has none of it, and needs none.
        this.#tools.logger.debug('an overlay setting', { message: errorText(error) });
      }
    }
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

function segmentLines(
  segment: OverlaySegment,
  mtu: number,
  links: ReadonlyMap<string, Link>,
  made: ReadonlySet<string>,
): string[] {
  const [bridge, tunnel] = [bridgeName(segment), tunnelName(segment)];
  const link = links.get(bridge);
  const lines: string[] = [];
  if (!link) {
    // The same on every host: members keep their gateway's MAC when they ask anew.
    const mac = derivedMac(`gateway ${segment.vni}`);
    lines.push(
      `link add ${bridge} mtu ${mtu} address ${mac} type bridge forward_delay 0 mcast_snooping 0`,
    );
  }
  const addresses = new Set(link?.addresses);
  for (const gateway of segment.gateways) {
    const nodad = gateway.includes(':') ? ' nodad' : '';
    if (!addresses.has(gateway)) lines.push(`addr replace ${gateway} dev ${bridge}${nodad}`);
  }
  if (!link?.up) lines.push(`link set ${bridge} up`);
  const there = links.get(tunnel);
  if (made.has(tunnel) || there?.master !== bridge) {
    lines.push(`link set ${tunnel} master ${bridge}`);
  }
  if (there && there.mtu !== mtu) {
    lines.push(`link set ${tunnel} mtu ${mtu}`, `link set ${bridge} mtu ${mtu}`);
  }
  if (made.has(tunnel) || !there?.up) lines.push(`link set ${tunnel} up`);
  return lines;
}

function peerEntries(overlay: OverlayIntent, peers: readonly OverlayPeer[]): EntryMap {
  const entries: EntryMap = new Map();
  for (const { addresses, mac, tunnel } of peers) {
    const segment = segmentOf(overlay.segments, addresses);
    if (!segment) continue;
    const link = tunnelName(segment);
    entries.set(fdbKey(link, mac), tunnel);
    for (const address of addresses) entries.set(neighKey(link, address), mac);
  }
  return entries;
}
