import { dropFlows, type FlowFilter } from '../../kernel/conntrack.ts';
import { execIn } from '../../kernel/netns.ts';
import type { VipIntent } from '../../model/cluster-intent.ts';
import type { SandboxIntent } from '../../model/host-intent.ts';
import { unansweredFlows } from '../plane/flows.ts';
import type { SandboxServices } from '../plane/host-plane.ts';
import type { Change, IntentStore } from '../plane/intent-store.ts';
import { type AgentTools, eachOf } from '../plane/tools.ts';
import { SandboxTables } from './sandbox-tables.ts';
import { goneTargets, vipContent, vipTable } from './vip-table.ts';

type ByNetwork = ReadonlyMap<string, readonly VipIntent[]>;

/** The services' addresses, in every sandbox of a network that has any. */
export class Vips implements SandboxServices {
  readonly #tools: AgentTools;
  readonly #tables: SandboxTables;
  #vips: ByNetwork = new Map();
  #flows: Promise<void> = Promise.resolve();

  constructor(tools: AgentTools) {
    this.#tools = tools;
    const spec = vipTable(`${tools.naming.table}-services`);
    const content = ({ attachments }: SandboxIntent) =>
      vipContent(attachments.flatMap(({ network }) => this.#vips.get(network) ?? []));
    this.#tables = new SandboxTables(tools, spec, 'services cannot be reached', content);
  }

  /** Takes all addresses in place of those before; returns failures by sandbox. */
  async replace(vips: readonly VipIntent[], whole: boolean): Promise<Map<string, string>> {
    const former = this.#vips;
    this.#vips = Map.groupBy(vips, ({ network }) => network);
    const changed = new Set(
      [...new Set([...former.keys(), ...this.#vips.keys()])].filter(
        (id) => JSON.stringify(former.get(id)) !== JSON.stringify(this.#vips.get(id)),
      ),
    );
    const touched = this.#tables.those(
      ({ attachments }) => whole || attachments.some(({ network }) => changed.has(network)),
    );
    const failures = await this.#tables.load(touched, whole);
    this.#forget(touched, former);
    return failures;
  }

  update(intent: IntentStore, change: Change | undefined): Promise<Map<string, string>> {
    return this.#tables.update(intent, change);
  }

  /** Ends what leads to members that are gone or lost, behind the change's back. */
  #forget(sandboxes: readonly SandboxIntent[], former: ByNetwork): void {
    const orders = sandboxes.flatMap((sandbox) => {
      const netns = this.#tools.naming.netns(sandbox.id);
      return sandbox.attachments.flatMap(({ network }) => {
        const now = new Map(this.#vips.get(network)?.map((vip) => [vip.address, vip]));
        return (former.get(network) ?? []).flatMap((vip) =>
          staleFlows(vip, now.get(vip.address)).map((filter) => ({ netns, filter })),
        );
      });
    });
    if (orders.length === 0) return;
    this.#flows = this.#flows.then(() =>
      eachOf(orders, 2, async ({ netns, filter }) => {
        const inside = execIn(this.#tools.exec, this.#tools.native, netns);
        if (await dropFlows(inside, filter)) return;
        this.#tools.logger.debug('flows could not be dropped', { netns, filter });
      }),
    );
  }

  async release(netns: string): Promise<void> {
    this.#tables.release(netns);
  }

  async idle(): Promise<void> {
    await this.#flows;
  }

  close(): void {}
}

/** Flows by an address that no member of now keeps. */
function staleFlows(former: VipIntent, now: VipIntent | undefined): FlowFilter[] {
  const { address } = former;
  const known = new Set(former.lost);
  const lost = now?.lost.filter((target) => !known.has(target)) ?? [];
  return [
    ...goneTargets(former, now).flatMap((replySource) =>
      (['tcp', 'udp', 'sctp'] as const).map((transport) => ({ transport, address, replySource })),
    ),
    ...lost.flatMap(unansweredFlows).map((filter) => ({ ...filter, address })),
  ];
}

/** Several services as one. */
export function sandboxServices(all: readonly SandboxServices[]): SandboxServices {
  return {
    async update(intent, change) {
      const failures = new Map<string, string>();
      for (const one of await Promise.all(all.map((each) => each.update(intent, change)))) {
        for (const [id, message] of one) failures.set(id, message);
      }
      return failures;
    },
    async release(netns) {
      for (const one of all) await one.release(netns);
    },
    close() {
      for (const one of all) one.close();
    },
  };
}
