import { errorText } from '../../base/errors.ts';
import { IpTool, type Link, type OwnedLine } from '../../kernel/ip.ts';
import { addNetns, listNetns, removeNetns } from '../../kernel/netns.ts';
import { readSysctl, writeSysctl, writeSysctlsIn } from '../../kernel/sysctl.ts';
import type { ApplyFailure } from '../../link/agent-port.ts';
import type { AttachmentIntent, NetworkIntent, SandboxIntent } from '../../model/host-intent.ts';
import type { OverlayPorts } from '../cluster/overlays.ts';
import type { Change, IntentStore } from './intent-store.ts';
import {
  aliasOf,
  attachmentPlan,
  bridgePlan,
  innerPlan,
  linkSysctls,
  overlayPortPlan,
  type Plan,
  parentPlan,
} from './link-plan.ts';
import { type AgentTools, eachOf } from './tools.ts';

/** Commands that run side by side. */
const WIDTH = 4;
/** A new port of a bridge carries nothing until the kernel has noticed, in the background, that it is up. */
const ANNOUNCE_AFTER_MS = 20;

type Links = ReadonlyMap<string, Link>;
type Failures = Map<string, ApplyFailure>;

const byName = (links: readonly Link[]): Links => new Map(links.map((link) => [link.name, link]));

/** Whether frames within a bridge pass the firewall as well (br_netfilter), of both families. */
function bridgedFramesFiltered(): boolean {
  return ['iptables', 'ip6tables'].every(
    (name) => readSysctl(`net.bridge.bridge-nf-call-${name}`) === '1',
  );
}

/** The links, addresses, routes and namespaces of a host: read, compared, and what lacks is made. */
export class LinkReconciler {
  readonly #tools: AgentTools;
  readonly #ip: IpTool;
  readonly #intent: IntentStore;
  /** Called before a namespace goes: a socket in it would keep it alive. */
  readonly #release: (sandbox: string) => Promise<void>;
  readonly #overlays: OverlayPorts;

  constructor(
    tools: AgentTools,
    intent: IntentStore,
    overlays: OverlayPorts,
    release: (sandbox: string) => Promise<void>,
  ) {
    this.#tools = tools;
    this.#overlays = overlays;
    this.#ip = new IpTool(tools.exec);
    this.#intent = intent;
    this.#release = release;
  }

  /**
   * Looks at what a change touched, at the host's side of everything, or at all that there is.
   * `inNamespaces` is done beside the rest, once all namespaces are there. Returns whether anything
   * had to be made or mended.
   */
  async reconcile(
    scope: Change | 'host' | 'all',
    failures: Failures,
    inNamespaces: () => Promise<void>,
  ): Promise<boolean> {
    const change = typeof scope === 'object' ? scope : undefined;
    const links = byName(await this.#ip.links());
    const removed = await this.#removeLinks(links, change);
    const netns = new Set(listNetns(this.#tools.naming.netnsPrefix));
    await this.#removeNamespaces(netns);
    const present = new Map([...links].filter(([name]) => !removed.has(name)));
    const mendedNetworks = await this.#makeNetworks(present, failures);
    const wanted = (sandbox: SandboxIntent) => {
      if (change) return change.sandboxes.has(sandbox.id);
      return scope === 'all' || this.#lacks(sandbox, present, netns);
    };
    const sandboxes = [...this.#intent.sandboxes.values()].filter(wanted);
    const fresh = sandboxes.filter(({ id }) => !netns.has(this.#tools.naming.netns(id)));
    await eachOf(fresh, WIDTH, (sandbox) => this.#makeNamespace(sandbox, failures));
    const [mended] = await Promise.all([
      this.#makeSandboxes(sandboxes, present, netns, change, failures),
      inNamespaces(),
    ]);
    return removed.size > 0 || fresh.length > 0 || mendedNetworks || mended;
  }

  async #run(lines: readonly OwnedLine[], failures: Failures, kind: ApplyFailure['kind']) {
    for (const [id, message] of await this.#ip.batch(lines)) {
      failures.set(id, { kind, id, message });
    }
  }

  /** Removes what carries our tag and is not wanted, and what has to be made anew. */
  async #removeLinks(links: Links, change: Change | undefined): Promise<Set<string>> {
    const attachments = new Set<string>();
    for (const sandbox of this.#intent.sandboxes.values()) {
      for (const { id } of sandbox.attachments) attachments.add(id);
    }
    const wanted = (kind: string, id: string, name: string) => {
      if (kind === 'net') return this.#intent.networks.get(id)?.link === name;
      return kind !== 'ep' || (attachments.has(id) && !change?.remade.has(id));
    };
    const gone = [...links.values()].filter((link) => {
      const tag = this.#tools.naming.tagged(link.alias);
      return tag !== undefined && !wanted(tag.kind, tag.id, link.name);
    });
    // Ports go before their bridge, sub-interfaces before nothing: the order does not matter.
    const lines = gone.map(({ name }) => ({ owner: name, line: `link delete ${name}` }));
    for (const [name, message] of await this.#ip.batch(lines)) {
      this.#tools.logger.warn('a link that is not wanted could not be removed', { name, message });
    }
    return new Set(gone.map(({ name }) => name));
  }

  async #removeNamespaces(netns: Set<string>): Promise<void> {
    const wanted = new Set(
      [...this.#intent.sandboxes.keys()].map((id) => this.#tools.naming.netns(id)),
    );
    await eachOf(
      [...netns].filter((name) => !wanted.has(name)),
      WIDTH,
      async (name) => {
        await this.#release(name);
        try {
          await this.#giveBack(name, () => true);
          await removeNetns(this.#tools.exec, name);
        } catch (error) {
          this.#tools.logger.warn('a namespace that is not wanted could not be removed', {
            name,
            message: errorText(error),
          });
        }
        netns.delete(name);
      },
    );
  }

  /**
   * Moves links that somebody else made out of a namespace again, under their own names and down,
   * so that their makers find them. Links without a device go with their other end.
   */
  async #giveBack(netns: string, wanted: (link: Link) => boolean): Promise<void> {
    const { naming, logger } = this.#tools;
    const lent = (await this.#ip.links(netns)).filter(
      (link) => naming.lentName(link.alias) !== undefined && wanted(link),
    );
    const lines = lent.flatMap(({ name, alias }) =>
      [
        `${name} down`,
        `${name} alias ""`,
        `${name} netns ${process.pid} name ${naming.lentName(alias)}`,
      ].map((line) => ({ owner: name, line: `link set ${line}` })),
    );
    for (const [name, message] of await this.#ip.batch(lines, netns)) {
      logger.warn('a link could not be given back to its maker', { netns, name, message });
    }
  }

  async #makeNetworks(links: Links, failures: Failures): Promise<boolean> {
    const lines: OwnedLine[] = [];
    const made: NetworkIntent[] = [];
    for (const network of this.#intent.networks.values()) {
      const plan = this.#networkPlan(network, links);
      if (plan.refusal !== undefined) {
        failures.set(network.id, { kind: 'network', id: network.id, message: plan.refusal });
      }
      lines.push(...plan.lines);
      if (network.driver === 'bridge' && plan.refusal === undefined) made.push(network);
    }
    await this.#run(lines, failures, 'network');
    if (made.length > 0) {
      writeSysctl('net.ipv4.ip_forward', '1');
      this.#tryForwarding6();
    }
    for (const network of made) this.#bridgeSettings(network, failures);
    return lines.length > 0;
  }

  #tryForwarding6(): void {
    const wanted = [...this.#intent.networks.values()].some(({ subnets }) =>
      subnets.some((subnet) => subnet.includes(':')),
    );
    if (wanted) writeSysctl('net.ipv6.conf.all.forwarding', '1');
  }

  #bridgeSettings({ id, link, icc, ruled, external }: NetworkIntent, failures: Failures): void {
    const name = link.replaceAll('.', '/');
    try {
      // For ports published on 127.0.0.1; the table's guard keeps the outside off.
      writeSysctl(`net.ipv4.conf.${name}.route_localnet`, '1');
      if (icc || !ruled || external) return;
      // Members whose ports are isolated reach each other by the host, where the table decides.
      writeSysctl(`net.ipv4.neigh.${name}.proxy_delay`, '0');
      writeSysctl(`net.ipv4.conf.${name}.proxy_arp_pvlan`, bridgedFramesFiltered() ? '0' : '1');
    } catch (error) {
      if (failures.has(id)) return;
      failures.set(id, { kind: 'network', id, message: errorText(error) });
    }
  }

  #networkPlan(network: NetworkIntent, links: Links): Plan {
    if (network.driver === 'bridge') {
      return bridgePlan(this.#tools.naming, network, links.get(network.link));
    }
    if (network.driver === 'macvlan') return parentPlan(this.#tools.naming, network, links);
    return { lines: [] };
  }

  /** Whether something of a sandbox that the host's side shows is not as it has to be. */
  #lacks(sandbox: SandboxIntent, links: Links, netns: ReadonlySet<string>): boolean {
    if (!netns.has(this.#tools.naming.netns(sandbox.id))) return true;
    return sandbox.attachments.some((attachment) => {
      const network = this.#intent.networks.get(attachment.network);
      if (network?.driver !== 'bridge') return false;
      const link = links.get(this.#tools.naming.veth(attachment.id));
      return !link?.up || link.master !== network.link;
    });
  }

  async #makeSandboxes(
    sandboxes: readonly SandboxIntent[],
    links: Links,
    netns: Set<string>,
    change: Change | undefined,
    failures: Failures,
  ): Promise<boolean> {
    const before = new Map<string, Links>();
    await eachOf(sandboxes, WIDTH, async ({ id }) => {
      if (failures.has(id) || !netns.has(this.#tools.naming.netns(id))) return;
      before.set(id, byName(await this.#ip.links(this.#tools.naming.netns(id))));
    });
    await eachOf(sandboxes, WIDTH, (sandbox) =>
      this.#dropInner(sandbox, before.get(sandbox.id), change),
    );
    const outer = sandboxes.flatMap((sandbox) =>
      failures.has(sandbox.id)
        ? []
        : sandbox.attachments.flatMap((attachment) =>
            this.#outerLines(sandbox, attachment, links, before.get(sandbox.id), change, failures),
          ),
    );
    await this.#run(outer, failures, 'attachment');
    let mended = outer.length > 0;
    await eachOf(sandboxes, WIDTH, async (sandbox) => {
      const there = before.get(sandbox.id);
      if (await this.#joinOverlays(sandbox, there, change, failures)) mended = true;
    });
    await eachOf(sandboxes, WIDTH, async (sandbox) => {
      if (failures.has(sandbox.id)) return;
      const there = before.get(sandbox.id);
      if (await this.#makeInner(sandbox, there, change, failures)) mended = true;
    });
    return mended;
  }

  async #makeNamespace(sandbox: SandboxIntent, failures: Failures): Promise<void> {
    const name = this.#tools.naming.netns(sandbox.id);
    try {
      await addNetns(this.#tools, name);
      await writeSysctlsIn(this.#tools, name, {
        'net.ipv4.conf.all.rp_filter': '0',
        ...sandbox.sysctls,
      });
    } catch (error) {
      failures.set(sandbox.id, { kind: 'sandbox', id: sandbox.id, message: errorText(error) });
    }
  }

  /** Links that the host does not see (macvlan, overlays) and that are not wanted or made anew. */
  async #dropInner(
    sandbox: SandboxIntent,
    inner: Links | undefined,
    change: Change | undefined,
  ): Promise<void> {
    const wanted = new Set(sandbox.attachments.map(({ id }) => id));
    const gone = [...(inner?.values() ?? [])].filter((link) => {
      const tag = this.#tools.naming.tagged(link.alias);
      return tag && (!wanted.has(tag.id) || change?.remade.has(tag.id));
    });
    const netns = this.#tools.naming.netns(sandbox.id);
    const stays = new Set(sandbox.attachments.map((one) => aliasOf(this.#tools.naming, one)));
    const strayed = [...(inner?.values() ?? [])].some(
      ({ alias = '' }) => this.#tools.naming.lentName(alias) !== undefined && !stays.has(alias),
    );
    if (strayed) await this.#giveBack(netns, ({ alias = '' }) => !stays.has(alias));
    await this.#ip.batch(
      gone.map(({ name }) => ({ owner: name, line: `link delete ${name}` })),
      netns,
    );
  }

  /** Joins a sandbox to overlays, in whose namespaces the other ends of its links are. */
  async #joinOverlays(
    sandbox: SandboxIntent,
    inner: Links | undefined,
    change: Change | undefined,
    failures: Failures,
  ): Promise<boolean> {
    let mended = false;
    for (const attachment of failures.has(sandbox.id) ? [] : sandbox.attachments) {
      const { id } = attachment;
      const network = this.#intent.networks.get(attachment.network);
      if (network?.driver !== 'overlay' || failures.has(id)) continue;
      const ours = this.#ours(attachment, inner?.get(attachment.link));
      if (ours && !change?.remade.has(id)) continue;
      const port = this.#overlays.portFor(network.id, attachment.addresses);
      if (!port) {
        const message = `the overlay ${network.id} is not set up on this host for ${attachment.addresses.join(', ')}`;
        failures.set(id, { kind: 'attachment', id, message });
        continue;
      }
      const { naming } = this.#tools;
      const lines = overlayPortPlan(naming, naming.netns(sandbox.id), attachment, network, port);
      for (const [owner, message] of await this.#ip.batch(lines, port.netns)) {
        failures.set(owner, { kind: 'attachment', id: owner, message });
      }
      mended = true;
    }
    return mended;
  }

  #outerLines(
    sandbox: SandboxIntent,
    attachment: AttachmentIntent,
    links: Links,
    inner: Links | undefined,
    change: Change | undefined,
    failures: Failures,
  ): readonly OwnedLine[] {
    const network = this.#intent.networks.get(attachment.network);
    if (!network || failures.has(network.id)) {
      const message = network
        ? (failures.get(network.id)?.message ?? '')
        : `network ${attachment.network} is not part of the intent`;
      failures.set(attachment.id, { kind: 'attachment', id: attachment.id, message });
      return [];
    }
    if (network.driver === 'overlay') return [];
    const tag = aliasOf(this.#tools.naming, attachment);
    const there = inner?.get(attachment.link);
    const remade = change?.remade.has(attachment.id) ?? false;
    const hidden = network.driver === 'macvlan' || attachment.source !== undefined;
    if (hidden && there?.alias === tag && !remade) return [];
    const netns = this.#tools.naming.netns(sandbox.id);
    const { naming } = this.#tools;
    const filtered = bridgedFramesFiltered();
    const plan = attachmentPlan(naming, netns, attachment, network, links, filtered);
    if (plan.refusal !== undefined) {
      const { id } = attachment;
      failures.set(id, { kind: 'attachment', id, message: plan.refusal });
    }
    return plan.lines;
  }

  async #makeInner(
    sandbox: SandboxIntent,
    inner: Links | undefined,
    change: Change | undefined,
    failures: Failures,
  ): Promise<boolean> {
    const netns = this.#tools.naming.netns(sandbox.id);
    const lines: OwnedLine[] = [];
    const made: AttachmentIntent[] = [];
    if (inner && !inner.get('lo')?.up) lines.push({ owner: sandbox.id, line: 'link set lo up' });
    for (const attachment of sandbox.attachments) {
      if (failures.has(attachment.id)) continue;
      const link = change?.remade.has(attachment.id) ? undefined : inner?.get(attachment.link);
      const plan = innerPlan(this.#tools.naming, attachment, this.#ours(attachment, link)).lines;
      if (plan.length > 0) {
        try {
          await writeSysctlsIn(this.#tools, netns, linkSysctls(attachment));
        } catch (error) {
          // A kernel without IPv6 has none of these settings.
          this.#tools.logger.debug('link settings', { message: errorText(error) });
        }
        made.push(attachment);
      }
      lines.push(...plan);
    }
    lines.push(...(await this.#routeLines(sandbox, netns, inner !== undefined, change, failures)));
    for (const [id, message] of await this.#ip.batch(lines, netns)) {
      const kind = id === sandbox.id ? 'sandbox' : 'attachment';
      failures.set(id, { kind, id, message });
    }
    if (made.length > 0) this.#announce(netns, made);
    return lines.length > 0;
  }

  /**
   * Lets new links tell their neighbours where they are. One who has asked a moment too early would
   * keep all packets for a second until it asks again.
   */
  #announce(netns: string, attachments: readonly AttachmentIntent[]): void {
    // An address that is set anew, though it is the same, is announced (arp_notify, ndisc_notify).
    const lines = attachments.flatMap(({ id, link, mac }) =>
      mac === '' ? [] : [{ owner: id, line: `link set ${link} address ${mac}` }],
    );
    this.#tools.clock.after(ANNOUNCE_AFTER_MS, () => {
      this.#ip.batch(lines, netns).catch((error: unknown) => {
        this.#tools.logger.debug('links not announced', { netns, message: errorText(error) });
      });
    });
  }

  /** A link of the wanted name that another attachment left is no basis for a comparison. */
  #ours(attachment: AttachmentIntent, link: Link | undefined): Link | undefined {
    return link?.alias === aliasOf(this.#tools.naming, attachment) ? link : undefined;
  }

  async #routeLines(
    sandbox: SandboxIntent,
    netns: string,
    known: boolean,
    change: Change | undefined,
    failures: Failures,
  ): Promise<OwnedLine[]> {
    const routes = known ? await this.#ip.routes(netns) : [];
    const lines: OwnedLine[] = [];
    for (const attachment of sandbox.attachments) {
      if (failures.has(attachment.id)) continue;
      for (const { destination, nextHop } of attachment.routes ?? []) {
        const there = routes.some(
          (route) => route.destination === destination && route.link === attachment.link,
        );
        if (there) continue;
        const way = nextHop === undefined ? '' : ` via ${nextHop}`;
        lines.push({
          owner: attachment.id,
          line: `route replace ${destination}${way} dev ${attachment.link}`,
        });
      }
      for (const gateway of attachment.gateways) {
        const there = routes.some(
          (route) =>
            route.destination === 'default' &&
            route.gateway === gateway &&
            route.link === attachment.link,
        );
        if (there) continue;
        const family = gateway.includes(':') ? '::/0' : 'default';
        lines.push({
          owner: attachment.id,
          line: `route replace ${family} via ${gateway} dev ${attachment.link}`,
        });
      }
    }
    if (!change?.gatewayless.has(sandbox.id)) return lines;
    const stale = routes.filter(({ destination }) => destination === 'default');
    return stale.map(({ gateway, link }) => ({
      owner: sandbox.id,
      line: `route delete ${gateway.includes(':') ? '::/0' : 'default'} via ${gateway} dev ${link}`,
    }));
  }
}
