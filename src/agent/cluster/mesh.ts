import { createHash } from 'node:crypto';
import { must } from '../../kernel/exec.ts';
import { IpTool } from '../../kernel/ip.ts';
import type { NftTool } from '../../kernel/nft.ts';
import { hex } from '../../kernel/nft-table.ts';
import { writeSysctl } from '../../kernel/sysctl.ts';
import type { ApplyFailure } from '../../link/agent-port.ts';
import { MIN_IPV6_MTU } from '../../model/address.ts';
import type { ClusterIntent, MeshIntent } from '../../model/cluster-intent.ts';
import type { ForwardIntent, NetworkIntent } from '../../model/host-intent.ts';
import { Firewall } from '../plane/firewall.ts';
import { FlowCutter, staleFlows, unansweredFlows } from '../plane/flows.ts';
import { familyOf } from '../plane/host-content.ts';
import { Reservations } from '../plane/reservations.ts';
import type { AgentTools } from '../plane/tools.ts';
import { DirectReturn } from './direct-return.ts';
import { Entries, type EntryMap, fdbKey, neighKey, routeKey } from './entries.ts';
import {
  BLANK_HOP,
  BLANK_MAC,
  egressTable,
  hopAddress,
  MESH_MARK,
  MESH_MARK_MASK,
  type MeshShape,
  meshContent,
  meshTable,
  nodeNumbers,
  OWN_HOP,
} from './mesh-table.ts';

/** Routing table and place among the rules of what goes back by the mesh. */
const TABLE = 7001;

/** What a link with packets of this size carries. */
function familiesOf(mtu: number): readonly (4 | 6)[] {
  return mtu < MIN_IPV6_MTU ? [4] : [4, 6];
}

type Forwards = ReadonlyMap<string, ForwardIntent>;

/** Ports that answer on every host of a cluster, and their way to a task on any of them. */
export class Mesh {
  readonly #tools: AgentTools;
  readonly #nft: NftTool;
  readonly #ip: IpTool;
  readonly #entries: Entries;
  readonly #reservations: Reservations;
  readonly #flows: FlowCutter;
  readonly #direct: DirectReturn;
  readonly #table: string;
  #firewall: { readonly key: string; readonly table: Firewall } | undefined;
  #egress = '';
  #linkMade = '';
  #forwards: Forwards = new Map();
  #local: MeshIntent['local'] = [];
  #draining: readonly string[] = [];
  #lost: readonly string[] = [];

  constructor(tools: AgentTools, nft: NftTool) {
    this.#tools = tools;
    this.#nft = nft;
    this.#ip = new IpTool(tools.exec);
    this.#entries = new Entries(tools.exec);
    this.#reservations = new Reservations(tools.exec);
    this.#flows = new FlowCutter(tools);
    this.#direct = new DirectReturn(tools, nft);
    this.#table = `${tools.naming.table}-mesh`;
  }

  get #link(): string {
    return this.#tools.naming.mesh;
  }

  /** Returns whether anything had to be made or mended. `whole`: the kernel is read. */
  async update(
    tunnel: ClusterIntent['tunnel'],
    mesh: MeshIntent | undefined,
    networks: Iterable<NetworkIntent>,
    whole: boolean,
    failures: Map<string, ApplyFailure>,
  ): Promise<boolean> {
    if (!mesh) {
      await this.#remove(whole);
      return false;
    }
    const wanted = new Map(mesh.forwards.map((forward) => [forward.id, forward]));
    await this.#flows.settled(mesh.forwards);
    const refused = await this.#reservations.update(wanted);
    for (const [id, message] of refused) failures.set(id, { kind: 'forward', id, message });
    const usable = mesh.forwards.filter(({ id }) => !refused.has(id));
    const made = await this.#makeLink(tunnel, mesh, whole);
    const entries = this.#wantedEntries(mesh);
    if (whole) this.#entries.forget();
    // A route is there before its task is chosen, and until it is not chosen any more.
    const shown = {
      ...{ ...mesh, forwards: usable },
      direct: mesh.direct.filter((one) =>
        usable.some(({ transport, port }) => one.transport === transport && one.port === port),
      ),
    };
    const outcomes = [
      made,
      await this.#entries.put([this.#link], entries),
      await this.#loadTables(tunnel, shown, networks, whole),
      await this.#direct.update(tunnel.local, shown, whole),
      await this.#entries.drop([this.#link], entries),
    ];
    this.#reservations.serve();
    this.#cut(wanted, mesh);
    return outcomes.includes(true);
  }

  async #makeLink(
    { local, port }: ClusterIntent['tunnel'],
    { vni, mtu, mac }: MeshIntent,
    whole: boolean,
  ): Promise<boolean> {
    const spec = `address ${mac} mtu ${mtu} type vxlan id ${vni} dstport ${port} local ${local} nolearning`;
    if (!whole && this.#linkMade === spec) return false;
    const name = this.#link;
    const digest = createHash('sha256').update(spec).digest('hex').slice(0, 16);
    const tag = this.#tools.naming.tag('vx', digest);
    const link = (await this.#ip.links()).find((one) => one.name === name);
    const lines: string[] = [];
    const there = link?.alias === tag;
    if (!there) {
      if (link && this.#tools.naming.tagged(link.alias)?.kind !== 'vx') {
        throw new Error(`a link named ${name} exists already and belongs to somebody else`);
      }
      if (link) lines.push(`link delete ${name}`);
      lines.push(`link add ${name} ${spec}`, `link set ${name} alias ${tag}`);
    }
    for (const address of familiesOf(mtu).map((family) => OWN_HOP[family])) {
      if (there && link.addresses.includes(address)) continue;
      lines.push(`addr replace ${address} dev ${name} scope link`);
    }
    if (!there || !link.up) lines.push(`link set ${name} up`);
    await this.#ip.run(lines);
    await this.#makeRules(mtu);
    if (!there) this.#entries.forget();
    this.#linkSettings();
    if (!there) this.#egress = '';
    this.#linkMade = spec;
    return lines.length > 0;
  }

  #linkSettings(): void {
    const conf = `net.ipv4.conf.${this.#link.replaceAll('.', '/')}`;
    // Clients' addresses arrive here whose own way is by another link.
    writeSysctl(`${conf}.rp_filter`, '2');
    // For the mesh's ports on 127.0.0.1; the table's guard keeps the outside off.
    writeSysctl(`${conf}.route_localnet`, '1');
    writeSysctl('net.ipv4.ip_forward', '1');
    writeSysctl('net.ipv6.conf.all.forwarding', '1');
  }

  /** What goes back by the mesh is told by its mark, whatever the other routes say. */
  async #makeRules(mtu: number): Promise<void> {
    const mark = `${hex(MESH_MARK)}/${hex(MESH_MARK_MASK)}`;
    for (const family of [4, 6] as const) {
      const flag = `-${family}`;
      const rules = await must(this.#tools.exec, ['ip', flag, 'rule', 'show', 'pref', `${TABLE}`]);
      if (!rules.includes(`fwmark ${mark}`)) {
        const rule = ['rule', 'add', 'pref', `${TABLE}`, 'fwmark', mark, 'lookup', `${TABLE}`];
        await must(this.#tools.exec, ['ip', flag, ...rule]);
      }
    }
    const every = { 4: 'default', 6: '::/0' } as const;
    const ways = familiesOf(mtu).map(
      (family) =>
        `route replace ${every[family]} via ${BLANK_HOP[family]} dev ${this.#link} onlink table ${TABLE}`,
    );
    await this.#ip.run(ways);
  }

  #wantedEntries(mesh: MeshIntent): EntryMap {
    const link = this.#link;
    const entries: EntryMap = new Map();
    const numbers = nodeNumbers(mesh.nodes.map(({ id }) => id));
    const families = familiesOf(mesh.mtu);
    for (const family of families) entries.set(neighKey(link, BLANK_HOP[family]), BLANK_MAC);
    for (const { id, mac, tunnel } of mesh.nodes) {
      const number = numbers.get(id);
      if (number === undefined) continue;
      entries.set(fdbKey(link, mac), tunnel);
      for (const family of families) entries.set(neighKey(link, hopAddress(number, family)), mac);
    }
    for (const { address, node } of mesh.remote) {
      const number = numbers.get(node);
      if (number === undefined) continue;
      const family = familyOf(address);
      const source = family === 4 ? mesh.sources.ipv4 : mesh.sources.ipv6;
      const hop = hopAddress(number, family);
      entries.set(routeKey(link, address), source === undefined ? hop : `${hop} ${source}`);
    }
    return entries;
  }

  async #loadTables(
    { port }: ClusterIntent['tunnel'],
    mesh: MeshIntent,
    networks: Iterable<NetworkIntent>,
    whole: boolean,
  ): Promise<boolean> {
    const shape: MeshShape = { link: this.#link, mtu: mesh.mtu, port, sources: mesh.sources };
    const key = JSON.stringify(shape);
    if (this.#firewall?.key !== key) {
      const table = new Firewall(this.#nft, meshTable(this.#table, shape));
      this.#firewall = { key, table };
    }
    const egress = egressTable(this.#table, this.#link, mesh);
    const lacksEgress = whole && !(await this.#egressThere());
    if (egress !== this.#egress || lacksEgress) {
      await this.#nft.run(egress);
      this.#egress = egress;
    }
    const content = meshContent(mesh, networks);
    const { table } = this.#firewall;
    const outcome = await (whole ? table.verify(content) : table.update(content));
    return outcome !== 'same' || lacksEgress;
  }

  async #egressThere(): Promise<boolean> {
    const argv = ['nft', 'list', 'chain', 'netdev', this.#table, 'egress'];
    const { code, stdout } = await this.#tools.exec(argv);
    return code === 0 && stdout.includes('@macs') && stdout.includes('meta mark set 0x00000000');
  }

  /** Ends what leads to tasks that are gone, and what began before its port was published. */
  #cut(wanted: Forwards, mesh: MeshIntent): void {
    const former = [...this.#forwards.values()].filter((one) => !same(one, wanted.get(one.id)));
    const fresh = mesh.forwards.filter((one) => !same(one, this.#forwards.get(one.id)));
    const local = new Map(mesh.local.map(({ address, target }) => [address, target]));
    const gone = this.#local.filter(({ address, target }) => local.get(address) !== target);
    const kept = new Set(mesh.draining);
    const drained = this.#draining.filter((address) => !kept.has(address));
    const lost = new Set(this.#lost);
    const live = new Set(mesh.forwards.flatMap(({ targets }) => targets.map((one) => one.address)));
    const everyTransport = (filter: { address?: string; replySource: string }) =>
      (['tcp', 'udp', 'sctp'] as const).map((transport) => ({ transport, ...filter }));
    this.#flows.cut([
      ...staleFlows({ formerForwards: former, newForwards: fresh }, wanted, kept),
      ...drained.flatMap((address) =>
        live.has(address) ? [] : everyTransport({ replySource: address }),
      ),
      ...mesh.lost.filter((one) => !lost.has(one)).flatMap(unansweredFlows),
      ...gone.flatMap(({ address, target }) => everyTransport({ address, replySource: target })),
    ]);
    this.#draining = mesh.draining;
    this.#lost = mesh.lost;
    this.#forwards = wanted;
    this.#local = mesh.local;
  }

  async #remove(whole: boolean): Promise<void> {
    if (this.#linkMade === '' && !whole) return;
    const links = (await this.#ip.links()).filter(({ name }) => name === this.#link);
    const ours = links.filter(({ alias }) => this.#tools.naming.tagged(alias)?.kind === 'vx');
    await this.#reservations.update(new Map());
    await this.#direct.remove(whole);
    if (ours.length > 0) {
      const { exec } = this.#tools;
      await this.#ip.run([`link delete ${this.#link}`]);
      for (const family of ['-4', '-6']) {
        await exec(['ip', family, 'rule', 'del', 'pref', `${TABLE}`, 'lookup', `${TABLE}`]);
      }
      await exec(['nft', 'delete', 'table', 'netdev', this.#table]);
      await exec(['nft', 'delete', 'table', 'inet', this.#table]);
    }
    this.#linkMade = '';
    this.#egress = '';
    this.#firewall = undefined;
    this.#entries.forget();
  }

  async close(): Promise<void> {
    await this.#flows.idle();
    this.#reservations.close();
  }
}

function same(a: ForwardIntent, b: ForwardIntent | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
