import type { Nft } from '../../src/kernel/nft.ts';
import type { ListedTable } from '../../src/kernel/nft-listing.ts';
import { changeTable, type TableChange, type TableSpec } from '../../src/kernel/nft-table.ts';

type SetState = { key: string[]; value: string[]; elements: Map<string, string> };
type Table = { sets: Map<string, SetState>; chains: Map<string, string[]> };

const PART: Record<string, RegExp> = {
  ipv4_addr: /^\d+\.\d+\.\d+\.\d+(\/\d+)?$/,
  ipv6_addr: /^[0-9a-f]*:[0-9a-f:.]*(\/\d+)?$/,
  inet_proto: /^(tcp|udp|sctp)$/,
  inet_service: /^\d{1,5}$/,
  mark: /^\d+$/,
  ifname: /^"[^"]{1,15}"$/,
  verdict: /^goto \S+$/,
};

function checkTuple(text: string, types: readonly string[], where: string): void {
  const parts = text.split(' . ');
  const fits = parts.length === types.length;
  if (!fits || types.some((type, index) => !PART[type]?.test(parts[index] ?? ''))) {
    throw new Error(`${where}: "${text}" is not of type ${types.join(' . ')}`);
  }
}

/** A firewall in memory that takes and refuses transactions as the kernel does. */
export class FakeNft implements Nft {
  tables = new Map<string, Table>();
  /** Transactions that were taken. */
  readonly log: string[] = [];

  async run(text: string): Promise<void> {
    const work = structuredClone(this.tables);
    this.#apply(
      work,
      text.split('\n').map((line) => line.trim()),
    );
    for (const table of work.values()) checkJumps(table);
    // All or nothing: a refusal above leaves what was there.
    this.tables = work;
    this.log.push(text);
  }

  change(spec: TableSpec, change: TableChange): Promise<void> {
    return this.run(changeTable(spec, change));
  }

  foreignChanges(): undefined {
    return undefined;
  }

  async list(spec: TableSpec): Promise<ListedTable | undefined> {
    const table = this.tables.get(spec.name);
    if (!table) return undefined;
    const constant = new Set(spec.chains.map(({ name }) => name));
    const names = [...table.chains.keys()];
    return {
      elements: new Map([...table.sets].map(([name, { elements }]) => [name, new Map(elements)])),
      chains: new Set(names.filter((name) => !constant.has(name) && !name.startsWith('gen-'))),
      rules: new Map([...table.chains].map(([name, rules]) => [name, rules.length])),
    };
  }

  #apply(tables: Map<string, Table>, lines: string[]): void {
    let table: Table | undefined;
    let chain: string[] | undefined;
    for (const line of lines) {
      const [, verb, name = '', set = '', body = ''] =
        /^(add|delete) element inet (\S+) (\S+) \{ (.*) \}$/.exec(line) ?? [];
      if (verb) changeElements(tables.get(name), verb, set, body);
      else if (line.startsWith('delete table')) tables.delete(line.split(' ')[3] ?? '');
      else if (line.startsWith('table')) {
        const id = line.split(' ')[2] ?? '';
        table = tables.get(id) ?? { sets: new Map(), chains: new Map() };
        tables.set(id, table);
      } else if (/^(set|map) /.test(line)) declare(table, line);
      else if (line.startsWith('chain')) {
        chain = [];
        table?.chains.set(line.split(' ')[1] ?? '', chain);
        if (line.endsWith('}')) chain = undefined;
      } else if (line === '}') chain = undefined;
      else if (line !== '' && !line.startsWith('type ')) chain?.push(line);
    }
  }
}

function declare(table: Table | undefined, line: string): void {
  const [, name = '', type = ''] = /^(?:set|map) (\S+) \{ type ([^;]+);/.exec(line) ?? [];
  const [key = '', value] = type.split(' : ');
  table?.sets.set(name, {
    key: key.split(' . '),
    value: value?.split(' . ') ?? [],
    elements: new Map(),
  });
}

function changeElements(table: Table | undefined, verb: string, name: string, body: string): void {
  const set = table?.sets.get(name);
  if (!table || !set) throw new Error(`No such file or directory: ${name}`);
  for (const text of body.split(', ')) {
    const [key = '', value = ''] = text.split(' : ');
    checkTuple(key, set.key, name);
    const there = set.elements.get(key);
    if (verb === 'delete') {
      if (there === undefined) throw new Error(`No such file or directory: ${name} ${key}`);
      set.elements.delete(key);
      continue;
    }
    if (set.value.length > 0) checkTuple(value, set.value, name);
    if (there !== undefined && there !== value) throw new Error(`File exists: ${name} ${key}`);
    set.elements.set(key, value);
  }
}

function checkJumps(table: Table): void {
  const texts = [
    ...[...table.chains.values()].flat(),
    ...[...table.sets.values()].flatMap(({ elements }) => [...elements.values()]),
  ];
  for (const text of texts) {
    const [, target] = /(?:jump|goto) (\S+)/.exec(text) ?? [];
    if (target && !table.chains.has(target)) throw new Error(`No such chain: ${target}`);
    const [, set] = /@(\w+)/.exec(text) ?? [];
    if (set && !table.sets.has(set)) throw new Error(`No such set: ${set}`);
  }
}
