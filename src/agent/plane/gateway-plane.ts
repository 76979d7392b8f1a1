import type { Timer } from '../../base/clock.ts';
import { errorText } from '../../base/errors.ts';
import { dropFlows, type Flow, type FlowFilter, listFlows } from '../../kernel/conntrack.ts';
import type { Nft } from '../../kernel/nft.ts';
import { readCounters } from '../../kernel/nft-counters.ts';
import { writeSysctl } from '../../kernel/sysctl.ts';
import { bare } from '../../model/address.ts';
import {
  type CarryFailure,
  type KernelListener,
  type KernelTarget,
  type ListenerTraffic,
  MAX_KERNEL_LISTENERS,
} from '../../model/kernel-listener.ts';
import { Firewall } from './firewall.ts';
import {
  GATEWAY_MARK,
  GATEWAY_MARK_MASK,
  gatewayContent,
  gatewayTable,
  LISTENER_MASK,
  listenerMarks,
} from './gateway-table.ts';
import { canonical, familyOf, within } from './host-content.ts';
import type { IntentStore } from './intent-store.ts';
import type { AgentTools } from './tools.ts';

/** How often the table is compared with what it has to be, whatever others have done to it. */
const LOOK_EVERY_MS = 10_000;
/** A gateway that has said nothing for so long follows no endpoints any more. */
const LEASE_MS = 15_000;
const OPEN_TCP = new Set(['SYN_RECV', 'ESTABLISHED', 'FIN_WAIT', 'CLOSE_WAIT']);
const NONE = { packets: 0, bytes: 0 };

const textOf = ({ address, port }: KernelTarget) => `${address} ${port}`;

/** Addresses of sandboxes whose answers to anybody come by this host: their default route. */
function routedHere({ sandboxes, networks }: IntentStore): ReadonlySet<string> {
  const found = new Set<string>();
  for (const { attachments } of sandboxes.values()) {
    for (const { network, addresses, gateways } of attachments) {
      const { driver, gateways: own = [] } = networks.get(network) ?? {};
      if (driver !== 'bridge') continue;
      const ours = gateways.filter((gateway) => own.some((one) => bare(one) === gateway));
      const families = new Set(ours.map(familyOf));
      for (const cidr of addresses) {
        const address = bare(cidr);
        if (families.has(familyOf(address))) found.add(canonical(address));
      }
    }
  }
  return found;
}

/** What the gateway has its listeners carried by: a table of its own, and the flows through it. */
export class GatewayPlane {
  readonly #tools: AgentTools;
  readonly #firewall: Firewall;
  readonly #intent: IntentStore;
  readonly #degraded: (reason: string) => void;
  readonly #table: string;
  #listeners: readonly KernelListener[] = [];
  #marks: ReadonlyMap<string, number> = new Map();
  #carries = false;
  #closed = false;
  #last: Promise<unknown> = Promise.resolve();
  #timer: Timer | undefined;
  #lease: Timer | undefined;

  constructor(
    tools: AgentTools,
    nft: Nft,
    intent: IntentStore,
    degraded: (reason: string) => void,
  ) {
    this.#tools = tools;
    this.#intent = intent;
    this.#degraded = degraded;
    this.#table = `${tools.naming.table}-gateway`;
    this.#firewall = new Firewall(nft, gatewayTable(this.#table));
    this.#renew();
  }

  /**
   * Takes all listeners of the gateway in place of those before; with none the table goes. Has to
   * be said again within `LEASE_MS`: else new connections are left to the gateway's sockets, whose
   * workers check endpoints by themselves.
   */
  carry(listeners: readonly KernelListener[]): Promise<readonly CarryFailure[]> {
    this.#renew();
    return this.#queue(() => this.#carry(listeners));
  }

  async #carry(listeners: readonly KernelListener[]): Promise<readonly CarryFailure[]> {
    const failures = new Map<string, string>();
    for (const listener of listeners) {
      const refusal = this.#refusal(listener);
      if (refusal !== undefined) failures.set(listener.name, refusal);
    }
    for (const { name } of listeners.slice(MAX_KERNEL_LISTENERS)) {
      failures.set(name, `the kernel carries at most ${MAX_KERNEL_LISTENERS} listeners`);
    }
    const before = new Map(this.#listeners.map((listener) => [listener.name, listener]));
    const fit = listeners.slice(0, MAX_KERNEL_LISTENERS);
    const carried = fit.map((one) => (failures.has(one.name) ? { ...one, slots: [] } : one));
    this.#marks = listenerMarks(carried.map(({ name }) => name));
    this.#listeners = carried;
    await this.#load();
    await this.#cut(carried.flatMap((one) => this.#deadFlows(one, before.get(one.name))));
    this.#schedule();
    return [...failures].map(([name, message]) => ({ name, message }));
  }

  /** Reads what the kernel has counted, and the flows that are open. */
  traffic(): Promise<readonly ListenerTraffic[]> {
    return this.#queue(async () => {
      if (!this.#carries) return [];
      const { exec } = this.#tools;
      const [opened, received, sent] = await Promise.all(
        ['opened', 'received', 'sent'].map((set) => readCounters(exec, this.#table, set)),
      );
      const active = activeByMark(await this.#flows());
      return this.#listeners.map(({ name }) => {
        const mark = this.#marks.get(name) ?? 0;
        return {
          name,
          opened: opened?.get(mark)?.packets ?? 0,
          received: received?.get(mark) ?? NONE,
          sent: sent?.get(mark) ?? NONE,
          active: [...(active.get(mark)?.values() ?? [])],
        };
      });
    });
  }

  /** Stops; what the kernel holds stays and works on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#lease?.cancel();
    await this.#last;
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  /** Packets that the gateway's own sockets could send and forwarded ones may not. */
  #refusal({ slots }: KernelListener): string | undefined {
    for (const { subnets, internal } of this.#intent.networks.values()) {
      if (!internal) continue;
      const inside = slots.find(({ address }) => subnets.some((net) => within(address, net)));
      if (inside) return `${inside.address} is on an internal network, which takes nothing routed`;
    }
    return undefined;
  }

  async #load(): Promise<boolean> {
    if (this.#listeners.length === 0) {
      if (this.#carries || (await this.#isThere())) await this.#firewall.remove();
      this.#carries = false;
      return false;
    }
    const slots = this.#listeners.flatMap((one) => one.slots);
    const families = new Set(slots.map(({ address }) => familyOf(address)));
    if (families.has(4)) writeSysctl('net.ipv4.ip_forward', '1');
    if (families.has(6)) writeSysctl('net.ipv6.conf.all.forwarding', '1');
    const outcome = await this.#firewall.update(this.#content());
    this.#carries = true;
    return outcome !== 'same';
  }

  #content() {
    const routed = routedHere(this.#intent);
    const slots = this.#listeners.flatMap((one) => one.slots);
    const keeping = new Set(slots.map(({ address }) => address).filter((one) => routed.has(one)));
    return gatewayContent(this.#listeners, this.#marks, keeping);
  }

  /** Whether a former agent has left the table. */
  async #isThere(): Promise<boolean> {
    const { code } = await this.#tools.exec(['nft', 'list', 'table', 'inet', this.#table]);
    return code === 0;
  }

  /** Which flows have to end: to what is newly dead, and UDP flows that sockets are to carry. */
  #deadFlows(now: KernelListener, before: KernelListener | undefined): FlowFilter[] {
    const { name, transport } = now;
    const mark = { value: this.#marks.get(name) ?? 0, mask: LISTENER_MASK };
    if (transport === 'udp' && now.slots.length === 0) {
      if (before?.slots.length === 0) return [];
      return ([4, 6] as const).map((family) => ({ transport, mark, family }));
    }
    const known = new Set(before?.dead.map(textOf));
    return now.dead
      .filter((target) => !known.has(textOf(target)))
      .map(({ address, port }) => ({ transport, mark, replySource: address, replyPort: port }));
  }

  async #cut(filters: readonly FlowFilter[]): Promise<void> {
    for (const filter of filters) {
      if (await dropFlows(this.#tools.exec, filter)) continue;
      this.#degraded(`flows to ${filter.replySource ?? 'a listener'} could not be cut`);
    }
  }

  async #flows(): Promise<Flow[]> {
    const mark = { value: GATEWAY_MARK, mask: GATEWAY_MARK_MASK };
    const kinds = new Map<string, [4 | 6, 'tcp' | 'udp']>();
    for (const { transport, binds } of this.#listeners) {
      for (const family of binds.flatMap(({ families }) => families)) {
        kinds.set(`${family} ${transport}`, [family, transport]);
      }
    }
    const lists = [...kinds.values()].map(([family, transport]) =>
      listFlows(this.#tools.exec, family, transport, mark).catch(() => []),
    );
    return (await Promise.all(lists)).flat();
  }

  #renew(): void {
    this.#lease?.cancel();
    if (this.#closed) return;
    this.#lease = this.#tools.clock.after(LEASE_MS, () => {
      void this.#queue(() => this.#letGo()).catch((error: unknown) => {
        this.#degraded(`the table ${this.#table} could not be changed: ${errorText(error)}`);
        this.#renew();
      });
    });
  }

  /** Flows that are open go on. */
  async #letGo(): Promise<void> {
    const carried = this.#listeners.some(({ slots }) => slots.length > 0);
    if (!carried && this.#listeners.length > 0) return;
    this.#listeners = this.#listeners.map((listener) => ({ ...listener, slots: [] }));
    await this.#load();
    if (carried) this.#degraded('the gateway is silent: new connections are left to its sockets');
  }

  #schedule(): void {
    if (this.#timer || this.#closed || this.#listeners.length === 0) return;
    this.#timer = this.#tools.clock.after(LOOK_EVERY_MS, async () => {
      this.#timer = undefined;
      await this.#queue(async () => {
        // What is not to be there any more would be made again.
        if (this.#listeners.length === 0) return;
        if ((await this.#firewall.verify(this.#content())) === 'same') return;
        this.#degraded(`the table ${this.#table} was repaired after a difference was found`);
      }).catch((error: unknown) => {
        this.#degraded(`the table ${this.#table} could not be compared: ${errorText(error)}`);
      });
      this.#schedule();
    });
  }
}

function activeByMark(flows: readonly Flow[]) {
  const byMark = new Map<number, Map<string, KernelTarget & { flows: number }>>();
  for (const { state, mark, replySource: address, replyPort: port } of flows) {
    if (state !== undefined && !OPEN_TCP.has(state)) continue;
    const own = (mark & LISTENER_MASK) >>> 0;
    const targets = byMark.get(own) ?? new Map<string, KernelTarget & { flows: number }>();
    const target = { address, port };
    const known = targets.get(textOf(target));
    if (known) known.flows++;
    else targets.set(textOf(target), { ...target, flows: 1 });
    byMark.set(own, targets);
  }
  return byMark;
}
