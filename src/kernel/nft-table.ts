import { SluiceError } from '../base/errors.ts';

/** The type of one part of a key or value, as nftables names it. */
export type PartType =
  | 'ipv4_addr'
  | 'ipv6_addr'
  | 'inet_proto'
  | 'inet_service'
  | 'ifname'
  | 'ether_addr'
  | 'ct_zone'
  | 'mark'
  | 'verdict';

/** A named set, or with `value` a map. */
export type SetSpec = {
  readonly name: string;
  readonly key: readonly PartType[];
  readonly value?: readonly PartType[];
  /** The types as expressions, where one of them has no name. */
  readonly typeof?: string;
  /** Keys may be prefixes. */
  readonly interval?: boolean;
  /** Each element counts the packets and bytes that it matched. */
  readonly counter?: boolean;
};

/**
 * A table whose chains are constant and whose content is data: a change of content is a change of
 * elements, never of rules.
 */
export type TableSpec = {
  readonly name: string;
  readonly sets: readonly SetSpec[];
  /** `chain NAME { … }` blocks that are always there. */
  readonly chains: readonly { readonly name: string; readonly body: string }[];
  /** The body of a chain that is there only when content names it. */
  readonly chainOnDemand: (name: string) => string;
};

/** What a table holds: by set, key to value; a plain set's values are empty. */
export type TableContent = {
  readonly elements: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** Names of the chains on demand. */
  readonly chains: ReadonlySet<string>;
};

const NO_ELEMENTS: ReadonlyMap<string, string> = new Map();
/** Larger additions are cut: one huge message would hold the kernel's lock for its whole time. */
const MAX_ELEMENTS_PER_COMMAND = 2000;

/** Joins the parts of a key or value. */
export function concat(...parts: readonly (string | number)[]): string {
  return parts.join(' . ');
}

/** A mark as rules write it. */
export function hex(mark: number): string {
  return `0x${(mark >>> 0).toString(16)}`;
}

/** A link's name as an element. */
export function quoted(name: string): string {
  if (!/^[^"\\\n]{1,15}$/.test(name)) {
    throw new SluiceError('E_AGENT_COMMAND', `"${name}" is not a link's name: 1 to 15 characters`);
  }
  return `"${name}"`;
}

function declaration(set: SetSpec): string {
  const type = set.value
    ? `${set.key.join(' . ')} : ${set.value.join(' . ')}`
    : set.key.join(' . ');
  const flags = set.interval ? ' flags interval;' : '';
  const counter = set.counter ? ' counter;' : '';
  const declared = set.typeof === undefined ? `type ${type}` : `typeof ${set.typeof}`;
  return `${set.value ? 'map' : 'set'} ${set.name} { ${declared};${flags}${counter} }`;
}

function chainText(name: string, body: string): string {
  return `chain ${name} {\n${body}\n}`;
}

function* batches<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += MAX_ELEMENTS_PER_COMMAND) {
    yield items.slice(at, at + MAX_ELEMENTS_PER_COMMAND);
  }
}

function elementLines(
  verb: 'add' | 'delete',
  table: string,
  set: string,
  entries: readonly (readonly [string, string])[],
): string[] {
  return [...batches(entries)].map((part) => {
    const texts = part.map(([key, value]) =>
      verb === 'delete' || value === '' ? key : `${key} : ${value}`,
    );
    return `${verb} element inet ${table} ${set} { ${texts.join(', ')} }`;
  });
}

/** The name of the chain that tells which constant chains a table was made with. */
export function generationChain(spec: TableSpec): string {
  const text = [...spec.sets.map(declaration), ...spec.chains.map(({ name, body }) => name + body)];
  let hash = 0x811c9dc5;
  for (const char of text.join('\n')) {
    hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  }
  return `gen-${hash.toString(16).padStart(8, '0')}`;
}

/** Text of one transaction that replaces the whole table, whether or not it is there. */
export function replaceTable(spec: TableSpec, content: TableContent): string {
  const { name } = spec;
  const lines = [
    `table inet ${name}`,
    `delete table inet ${name}`,
    `table inet ${name} {`,
    ...spec.sets.map(declaration),
    `chain ${generationChain(spec)} { }`,
    ...[...content.chains].map((chain) => chainText(chain, spec.chainOnDemand(chain))),
    ...spec.chains.map((chain) => chainText(chain.name, chain.body)),
    '}',
  ];
  for (const set of spec.sets) {
    lines.push(
      ...elementLines('add', name, set.name, [...(content.elements.get(set.name) ?? NO_ELEMENTS)]),
    );
  }
  return `${lines.join('\n')}\n`;
}

/** How one content becomes another. */
export type TableChange = {
  /** By set; an element with another value goes and comes. */
  readonly gone: ReadonlyMap<string, readonly (readonly [string, string])[]>;
  readonly added: ReadonlyMap<string, readonly (readonly [string, string])[]>;
  /** Names of the chains on demand that are needed and were not. */
  readonly chains: readonly string[];
};

/** What leads from one content to another. */
export function contentChange(from: TableContent, to: TableContent): TableChange {
  const gone = new Map<string, [string, string][]>();
  const added = new Map<string, [string, string][]>();
  for (const name of new Set([...from.elements.keys(), ...to.elements.keys()])) {
    const before = from.elements.get(name) ?? NO_ELEMENTS;
    const after = to.elements.get(name) ?? NO_ELEMENTS;
    gone.set(
      name,
      [...before].filter(([key, value]) => after.get(key) !== value),
    );
    added.set(
      name,
      [...after].filter(([key, value]) => before.get(key) !== value),
    );
  }
  return { gone, added, chains: [...to.chains].filter((chain) => !from.chains.has(chain)) };
}

/** Whether a change changes nothing. */
export function isNoChange({ gone, added, chains }: TableChange): boolean {
  const empty = (elements: TableChange['gone']) =>
    [...elements.values()].every((entries) => entries.length === 0);
  return chains.length === 0 && empty(gone) && empty(added);
}

/**
 * Text of one transaction that makes a change; empty when there is nothing to change. Chains on
 * demand stay once they are there: they cost nothing and others may jump to them again.
 */
export function changeTable(spec: TableSpec, change: TableChange): string {
  const lines = change.chains.map(
    (chain) => `table inet ${spec.name} {\n${chainText(chain, spec.chainOnDemand(chain))}\n}`,
  );
  for (const verb of ['delete', 'add'] as const) {
    const elements = verb === 'delete' ? change.gone : change.added;
    for (const { name } of spec.sets) {
      lines.push(...elementLines(verb, spec.name, name, elements.get(name) ?? []));
    }
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}
