import { invalid } from '../../base/faults.ts';
import { DAEMON_OPTIONS, type OptionKind } from './option-table.ts';

/** A block that is cut into subnets of `size` bits. */
export type Pool = { readonly base: string; readonly size: number };

/** Values of options by key, checked against the kind that each has. */
export type Values = {
  text(key: string): string | undefined;
  flag(key: string): boolean | undefined;
  number(key: string): number | undefined;
  list(key: string): string[];
  pools(key: string): Pool[];
  map(key: string): Record<string, string>;
};

function asFlag(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value;
  if (/^(1|t|true)$/i.test(String(value))) return true;
  return /^(0|f|false)$/i.test(String(value)) ? false : undefined;
}

function asNumber(value: unknown): number | undefined {
  return /^-?\d+$/.test(String(value)) ? Number(value) : undefined;
}

function asList(value: unknown): string[] | undefined {
  const list = Array.isArray(value) ? value : [value];
  return list.every((one) => typeof one === 'string') ? list : undefined;
}

function asPool(value: unknown): Pool | undefined {
  if (typeof value === 'string') {
    const parts = Object.fromEntries(value.split(',').map((part) => part.split('=', 2)));
    return asPool({ base: parts['base'], size: Number(parts['size']) });
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { base, size } = value as Partial<Pool>;
  if (typeof base !== 'string' || !Number.isInteger(size)) return undefined;
  return { base, size: Number(size) };
}

function asPools(value: unknown): Pool[] | undefined {
  const pools = (Array.isArray(value) ? value : [value]).map(asPool);
  const whole = pools.flatMap((pool) => pool ?? []);
  return whole.length === pools.length ? whole : undefined;
}

/** An object of texts, or `key=value` once or more often. */
function asMap(value: unknown): Record<string, string> | undefined {
  const list = asList(value);
  const entries: [string, unknown][] = list
    ? list.map((entry) => {
        const at = entry.indexOf('=');
        return at > 0 ? [entry.slice(0, at), entry.slice(at + 1)] : ['', undefined];
      })
    : Object.entries(Object(value));
  const texts = entries.map(([key, one]): [string, string] => [key, String(one)]);
  return entries.every(([, one]) => typeof one === 'string')
    ? Object.fromEntries(texts)
    : undefined;
}

const READERS: Record<OptionKind, (value: unknown) => unknown> = {
  text: (value) => (typeof value === 'string' ? value : undefined),
  flag: asFlag,
  number: asNumber,
  list: asList,
  pools: asPools,
  map: asMap,
};
const WORDS: Record<OptionKind, string> = {
  text: 'a string',
  flag: 'true or false',
  number: 'a whole number',
  list: 'a list of strings',
  pools: 'a list of {"base": BLOCK, "size": BITS}',
  map: 'a list of key=value',
};

/** Throws for the first value that is not of its option's kind. Empty texts count as absent. */
export function readValues(given: Readonly<Record<string, unknown>>): Values {
  const read = new Map<string, unknown>();
  for (const { key, kind } of DAEMON_OPTIONS) {
    const value = given[key];
    if (value === undefined || value === null || value === '') continue;
    const parsed = READERS[kind](value);
    if (parsed === undefined) {
      throw invalid(`invalid ${key}: ${JSON.stringify(value)} is not ${WORDS[kind]}`);
    }
    read.set(key, parsed);
  }
  // exempt(as): each reader returns the type of its kind
  return {
    text: (key) => read.get(key) as string | undefined,
    flag: (key) => read.get(key) as boolean | undefined,
    number: (key) => read.get(key) as number | undefined,
    list: (key) => (read.get(key) as string[] | undefined) ?? [],
    pools: (key) => (read.get(key) as Pool[] | undefined) ?? [],
    map: (key) => (read.get(key) as Record<string, string> | undefined) ?? {},
  };
}
