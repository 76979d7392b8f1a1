import ipaddr from 'ipaddr.js';
import type { TableContent } from './nft-table.ts';
import { concat, type PartType, quoted, type SetSpec, type TableSpec } from './nft-table.ts';

/** A table as the kernel shows it. */
export type ListedTable = TableContent & {
  /** Every chain with the number of its rules. */
  readonly rules: ReadonlyMap<string, number>;
};

const PROTOCOLS: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && name in value
    ? Object.getOwnPropertyDescriptor(value, name)?.value
    : undefined;
}

function address(text: string): string {
  return ipaddr.isValid(text) ? ipaddr.parse(text).toString() : text;
}

function partText(type: PartType, value: unknown): string {
  switch (type) {
    case 'ipv4_addr':
    case 'ipv6_addr': {
      const prefix = field(value, 'prefix');
      if (prefix === undefined) return address(String(value));
      return `${address(String(field(prefix, 'addr')))}/${field(prefix, 'len')}`;
    }
    case 'inet_proto':
      return typeof value === 'number' ? (PROTOCOLS[value] ?? String(value)) : String(value);
    case 'ifname':
      return quoted(String(value));
    case 'verdict': {
      const target = field(field(value, 'goto'), 'target');
      return target === undefined ? (Object.keys(Object(value))[0] ?? '') : `goto ${target}`;
    }
    default:
      return String(value);
  }
}

function tupleText(types: readonly PartType[], value: unknown): string {
  const inner = field(field(value, 'elem'), 'val') ?? value;
  const parts = field(inner, 'concat');
  const values = Array.isArray(parts) ? parts : [inner];
  return concat(...types.map((type, index) => partText(type, values[index])));
}

function elementsOf(set: SetSpec, listed: unknown): Map<string, string> {
  const elements = new Map<string, string>();
  for (const element of Array.isArray(listed) ? listed : []) {
    if (set.value && Array.isArray(element)) {
      elements.set(tupleText(set.key, element[0]), tupleText(set.value, element[1]));
    } else {
      elements.set(tupleText(set.key, element), '');
    }
  }
  return elements;
}

/** Reads what `nft -j list table` prints, in the words that `TableContent` is written in. */
export function parseListing(spec: TableSpec, text: string): ListedTable {
  const objects = field(JSON.parse(text), 'nftables');
  const sets = new Map(spec.sets.map((set) => [set.name, set]));
  const constant = new Set(spec.chains.map(({ name }) => name));
  const elements = new Map<string, ReadonlyMap<string, string>>();
  const chains = new Set<string>();
  const rules = new Map<string, number>();
  for (const object of Array.isArray(objects) ? objects : []) {
    const listed = field(object, 'map') ?? field(object, 'set');
    const set = sets.get(String(field(listed, 'name')));
    if (set) elements.set(set.name, elementsOf(set, field(listed, 'elem')));
    const chain = field(field(object, 'chain'), 'name');
    if (typeof chain === 'string') {
      rules.set(chain, 0);
      if (!constant.has(chain) && !chain.startsWith('gen-')) chains.add(chain);
    }
    const of = field(field(object, 'rule'), 'chain');
    if (typeof of === 'string') rules.set(of, (rules.get(of) ?? 0) + 1);
  }
  return { elements, chains, rules };
}
