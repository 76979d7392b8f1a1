import { existsSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { SluiceError } from '../base/errors.ts';
import { type Exec, must } from './exec.ts';
import type { Native } from './native.ts';
import { type ListedTable, parseListing } from './nft-listing.ts';
import { elementTransaction, errorOf, generationOf, generationRequest } from './nft-netlink.ts';
import { changeTable, type TableChange, type TableSpec } from './nft-table.ts';

const TRANSACTION_TIMEOUT_MS = 30_000;
/** Transactions whose events may still be on their way. */
const MAX_RECENT = 64;

/** The firewall of one network namespace; a fake stands in for it in unit tests. */
export interface Nft {
  /** Runs one transaction: all of it or nothing. */
  run(text: string): Promise<void>;
  /** Makes a change of a table's content in one transaction. */
  change(spec: TableSpec, change: TableChange): Promise<void>;
  /**
   * A number that differs from a former one when others may have changed any table since;
   * undefined when that cannot be told.
   */
  foreignChanges(): number | undefined;
  /** The table as the kernel shows it; undefined when it is not there. */
  list(spec: TableSpec): Promise<ListedTable | undefined>;
}

/**
 * By the `nft` command, in the network namespace that `exec` runs commands in. With `native`, which
 * has to be in the same, changes of elements go to the kernel without it.
 */
export class NftTool implements Nft {
  readonly #exec: Exec;
  readonly #native: Native | undefined;
  readonly #recent: number[] = [];
  /** The kernel's count of changes, when all since were ours. */
  #generation: number | undefined;
  #foreign = 0;
  #running = 0;

  constructor(exec: Exec, native?: Native) {
    this.#exec = exec;
    this.#native = native;
  }

  run(text: string): Promise<void> {
    return this.#counted(() => this.#command(text));
  }

  async change(spec: TableSpec, change: TableChange): Promise<void> {
    const native = this.#native;
    const messages = native && elementTransaction(spec, change);
    if (!native || !messages) {
      await this.run(changeTable(spec, change));
      return;
    }
    // A chain that nothing leads to yet does no harm: it need not be of the same transaction.
    if (change.chains.length > 0) {
      await this.run(
        changeTable(spec, { gone: new Map(), added: new Map(), chains: change.chains }),
      );
    }
    await this.#counted(async () => {
      const code = errorOf(await native.netfilter(messages));
      if (code === 0) return;
      const what = `the change of the table ${spec.name} was refused`;
      throw new SluiceError('E_AGENT_COMMAND', `${what}: ${getSystemErrorName(-code)}`);
    });
  }

  foreignChanges(): number | undefined {
    if (!this.#native) return undefined;
    const now = generationOf(this.#native.askNetfilter(generationRequest()));
    // What a transaction that is under way adds is not known before its end.
    const known = this.#running === 0 ? this.#generation : undefined;
    if (now === undefined || now !== known) this.#foreign++;
    this.#generation = this.#running === 0 ? now : undefined;
    return this.#foreign;
  }

  /** Each transaction that succeeds adds one to the kernel's count. */
  async #counted(work: () => Promise<void>): Promise<void> {
    this.#running++;
    try {
      await work();
      if (this.#generation !== undefined) this.#generation = (this.#generation + 1) >>> 0;
    } finally {
      this.#running--;
    }
  }

  async #command(text: string): Promise<void> {
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
    // The kernel names the thread.
    return this.#recent.includes(pid) || existsSync(`/proc/self/task/${pid}`);
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
