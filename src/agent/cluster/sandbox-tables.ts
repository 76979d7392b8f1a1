import { errorText } from '../../base/errors.ts';
import { execIn } from '../../kernel/netns.ts';
import { NftTool } from '../../kernel/nft.ts';
import type { TableContent, TableSpec } from '../../kernel/nft-table.ts';
import type { SandboxIntent } from '../../model/host-intent.ts';
import { Firewall } from '../plane/firewall.ts';
import { type AgentTools, eachOf } from '../plane/tools.ts';

const WIDTH = 4;

/** A table of ours in every sandbox that has something to hold in it. */
export class SandboxTables {
  readonly #tools: AgentTools;
  readonly #spec: TableSpec;
  readonly #complaint: string;
  readonly #tables = new Map<string, Firewall>();

  /** `complaint`: what does not work where the table cannot be loaded. */
  constructor(tools: AgentTools, spec: TableSpec, complaint: string) {
    this.#tools = tools;
    this.#spec = spec;
    this.#complaint = complaint;
  }

  /** `read`: compares with the kernel. Returns failures by sandbox. */
  async load(
    sandboxes: readonly SandboxIntent[],
    contentOf: (sandbox: SandboxIntent) => TableContent,
    read: boolean,
  ): Promise<Map<string, string>> {
    const failures = new Map<string, string>();
    await eachOf(sandboxes, WIDTH, async (sandbox) => {
      const content = contentOf(sandbox);
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
