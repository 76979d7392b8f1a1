import { type Exec, must } from './exec.ts';
import { type ListedTable, parseListing } from './nft-listing.ts';
import type { TableSpec } from './nft-table.ts';

const TRANSACTION_TIMEOUT_MS = 30_000;
/** Transactions whose events may still be on their way. */
const MAX_RECENT = 64;

/** The firewall of one network namespace; a fake stands in for it in unit tests. */
export interface Nft {
  /** Runs one transaction: all of it or nothing. */
  run(text: string): Promise<void>;
  /** The table as the kernel shows it; undefined when it is not there. */
  list(spec: TableSpec): Promise<ListedTable | undefined>;
}

/** By the `nft` command, in the network namespace that `exec` runs commands in. */
export class NftTool implements Nft {
  readonly #exec: Exec;
  readonly #recent: number[] = [];

  constructor(exec: Exec) {
    this.#exec = exec;
  }

  async run(text: string): Promise<void> {
    await must(this.#exec, ['nft', '-f', '-'], {
      input: text,
      timeoutMs: TRANSACTION_TIMEOUT_MS,
      started: (pid) => {
        this.#recent.push(pid);
        if (this.#recent.length > MAX_RECENT) this.#recent.shift();
      },
    });
  }

  /** Whether a process that the kernel names as the author of a change was a late one of ours. */
  ran(pid: number): boolean {
    return this.#recent.includes(pid);
  }

  async list(spec: TableSpec): Promise<ListedTable | undefined> {
    const argv = ['nft', '-j', 'list', 'table', 'inet', spec.name];
    const { code, stdout, stderr } = await this.#exec(argv, { timeoutMs: TRANSACTION_TIMEOUT_MS });
    if (code === 0) return parseListing(spec, stdout);
    if (/No such file|does not exist/.test(stderr)) return undefined;
    await must(() => Promise.resolve({ code, stdout, stderr }), argv);
    return undefined;
  }
}
