import { errorText } from '../../base/errors.ts';
import { execIn } from '../../kernel/netns.ts';
import { NftTool } from '../../kernel/nft.ts';
import type { TableContent, TableSpec } from '../../kernel/nft-table.ts';
import type { SandboxIntent } from '../../model/host-intent.ts';
import { Firewall } from '../plane/firewall.ts';
import type { Change, IntentStore } from '../plane/intent-store.ts';
import { type AgentTools, eachOf } from '../plane/tools.ts';

const WIDTH = 4;

/** A table of ours in every sandbox that has something to hold in it. */
export class SandboxTables {
  readonly #tools: AgentTools;
  readonly #spec: TableSpec;
  readonly #complaint: string;
  readonly #contentOf: (sandbox: SandboxIntent) => TableContent;
  readonly #tables = new Map<string, Firewall>();
  #sandboxes: ReadonlyMap<string, SandboxIntent> = new Map();

  /** `complaint`: what does not work where the table cannot be loaded. */
  constructor(
    tools: AgentTools,
    spec: TableSpec,
    complaint: string,
    contentOf: (sandbox: SandboxIntent) => TableContent,
  ) {
    this.#tools = tools;
    this.#spec = spec;
    this.#complaint = complaint;
    this.#contentOf = contentOf;
  }

  /** Takes the host's sandboxes over, and brings the tables of those that changed up to date. */
  update(intent: IntentStore, change: Change | undefined): Promise<Map<string, string>> {
    this.#sandboxes = intent.sandboxes;
    const touched = (one: SandboxIntent) => !change || change.sandboxes.has(one.id);
    return this.load(this.those(touched), change === undefined);
  }

  /** The sandboxes of the host for which something holds. */
  those(fits: (sandbox: SandboxIntent) => boolean): SandboxIntent[] {
    return [...this.#sandboxes.values()].filter(fits);
  }

  /** `read`: compares with the kernel. Returns failures by sandbox. */
  async load(sandboxes: readonly SandboxIntent[], read: boolean): Promise<Map<string, string>> {
    const failures = new Map<string, string>();
    await eachOf(sandboxes, WIDTH, async (sandbox) => {
      const content = this.#contentOf(sandbox);
      const netns = this.#tools.naming.netns(sandbox.id);
      let table = this.#tables.get(netns);
      if (!table) {
        if (content.elements.size === 0) return;
        const { exec, native } = this.#tools;
        table = new Firewall(new NftTool(execIn(exec, native, netns)), this.#spec);
        this.#tables.set(netns, table);
      }
      try {
        await (read ? table.verify(content) : table.update(content));
      } catch (error) {
        failures.set(sandbox.id, `${this.#complaint}: ${errorText(error)}`);
      }
    });
    return failures;
  }

  /** The sandbox has gone, and its table with it. */
  release(netns: string): void {
    this.#tables.delete(netns);
  }
}
