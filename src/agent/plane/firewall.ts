import type { Nft } from '../../kernel/nft.ts';
import {
  contentChange,
  generationChain,
  isNoChange,
  replaceTable,
  type TableChange,
  type TableContent,
  type TableSpec,
} from '../../kernel/nft-table.ts';

/** What a pass over the table did. */
export type FirewallOutcome = 'same' | 'changed' | 'replaced';

/** Keeps one table as it has to be, by the smallest transaction that does it. */
export class Firewall {
  readonly #nft: Nft;
  readonly #spec: TableSpec;
  /** What the kernel holds as far as known; undefined: it has to be read first. */
  #held: TableContent | undefined;
  /** What was said of others' changes before the table was last read. */
  #foreign: number | undefined;
  /** One transaction at a time: each builds on what the one before has left. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(nft: Nft, spec: TableSpec) {
    this.#nft = nft;
    this.#spec = spec;
  }

  /**
   * Brings the table to `content`; trusts what it loaded before. `change` is what leads there: it
   * saves the comparison, and a content that is changed in place cannot do without.
   */
  update(content: TableContent, change?: TableChange): Promise<FirewallOutcome> {
    return this.#queue(() => this.#update(content, change));
  }

  /** Mends what somebody else changed: reads the table first, unless nobody has touched any. */
  verify(content: TableContent, change?: TableChange): Promise<FirewallOutcome> {
    return this.#queue(async () => {
      const untouched = this.#held && this.#foreign === this.#nft.foreignChanges();
      if (untouched && this.#foreign !== undefined) return await this.#update(content, change);
      return await this.#read(content);
    });
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  async #update(content: TableContent, change?: TableChange): Promise<FirewallOutcome> {
    const held = this.#held;
    if (!held) return await this.#read(content);
    const { gone, added, chains } = change ?? contentChange(held, content);
    const fresh = chains.filter((chain) => !held.chains.has(chain));
    const step = { gone, added, chains: fresh };
    if (isNoChange(step)) return 'same';
    try {
      await this.#nft.change(this.#spec, step);
    } catch {
      // The kernel holds something else than was thought: read, and mend or report.
      return await this.#read(content);
    }
    this.#held = { elements: content.elements, chains: held.chains.union(content.chains) };
    return 'changed';
  }

  async #read(content: TableContent): Promise<FirewallOutcome> {
    this.#held = undefined;
    this.#foreign = this.#nft.foreignChanges();
    const listed = await this.#nft.list(this.#spec);
    if (listed && this.#intact(listed.rules)) {
      const change = contentChange(listed, content);
      const same = isNoChange(change);
      if (!same) await this.#nft.change(this.#spec, change);
      this.#held = { elements: content.elements, chains: listed.chains.union(content.chains) };
      return same ? 'same' : 'changed';
    }
    await this.#nft.run(replaceTable(this.#spec, content));
    this.#held = { elements: content.elements, chains: new Set(content.chains) };
    return 'replaced';
  }

  /** Whether the chains are those that this version makes, with as many rules. */
  #intact(rules: ReadonlyMap<string, number>): boolean {
    if (!rules.has(generationChain(this.#spec))) return false;
    const ruleCount = (body: string) =>
      body.split('\n').filter((line) => line !== '' && !line.startsWith('type ')).length;
    const constant = this.#spec.chains.every(
      ({ name, body }) => rules.get(name) === ruleCount(body),
    );
    const known = new Set(this.#spec.chains.map(({ name }) => name));
    const onDemand = [...rules].filter(([name]) => !known.has(name) && !name.startsWith('gen-'));
    return (
      constant &&
      onDemand.every(([name, count]) => count === ruleCount(this.#spec.chainOnDemand(name)))
    );
  }

  /** Removes the table. */
  remove(): Promise<void> {
    return this.#queue(async () => {
      this.#held = undefined;
      const { name } = this.#spec;
      await this.#nft.run(`table inet ${name}\ndelete table inet ${name}\n`);
    });
  }
}
