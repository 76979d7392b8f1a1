import { quoted } from '../../base/regex.ts';
import type { Directive } from './directive.ts';
import { named, type Scope } from './directive.ts';
import { regexOf } from './values.ts';
import { soleVariable } from './variables.ts';

/** One line of a map: what the source has to be, and what the variable then is. */
export type MapEntry = {
  readonly directive: Directive;
  /** `default`: what no other line takes. */
  readonly kind: 'exact' | 'wildcard' | 'regex' | 'default';
  readonly key: string;
  readonly value: string;
};

/** A variable that follows from another one. */
export type VariableMap = {
  readonly directive: Directive;
  /** Name of the variable that is looked at, or undefined when it is a text of several. */
  readonly source: string | undefined;
  /** In the order in which they are tried. */
  readonly entries: readonly MapEntry[];
};

const RANK = { exact: 0, wildcard: 1, regex: 2, default: 3 };

/** The maps of a block, by the name of their variable. Source: ngx_http_map_module. */
export function mapsOf(scope: Scope): Map<string, VariableMap> {
  const maps = new Map<string, VariableMap>();
  for (const directive of named(scope.own, 'map')) {
    const [source = '', variable = ''] = directive.args;
    maps.set(variable.slice(1), {
      directive,
      source: soleVariable(source),
      entries: entriesOf(directive),
    });
  }
  return maps;
}

function entriesOf({ block = [] }: Directive): MapEntry[] {
  const hostnames = block.some(({ name }) => name === 'hostnames');
  return block
    .filter(({ name }) => !['hostnames', 'volatile', 'include'].includes(name))
    .map((directive) => entryOf(directive, hostnames))
    .sort((a, b) => RANK[a.kind] - RANK[b.kind] || longerWildcard(a, b));
}

function longerWildcard(a: MapEntry, b: MapEntry): number {
  return a.kind === 'wildcard' ? b.key.length - a.key.length : 0;
}

function entryOf(directive: Directive, hostnames: boolean): MapEntry {
  const { name, args } = directive;
  const value = args[0] ?? '';
  const entry = (kind: MapEntry['kind'], key: string) => ({ directive, kind, key, value });
  if (name === 'default') return entry('default', '');
  if (name.startsWith('~')) return entry('regex', name);
  if (hostnames && /^\*\.|^\.|\.\*$/.test(name)) return entry('wildcard', name);
  return entry('exact', name.startsWith('\\') ? name.slice(1) : name);
}

/** An entry's key as an expression on the source; undefined: it has none in linear time. */
export function entryRegex({ kind, key }: MapEntry): string | undefined {
  if (kind === 'exact') return `(?i)^${quoted(key)}$`;
  if (kind === 'wildcard') {
    if (key.startsWith('.')) return `(?i)^(?:.*\\.)?${quoted(key.slice(1))}$`;
    if (key.startsWith('*.')) return `(?i)^.*\\.${quoted(key.slice(2))}$`;
    return `(?i)^${quoted(key.slice(0, -2))}\\.`;
  }
  const ignoreCase = key.startsWith('~*');
  const result = regexOf(key.slice(ignoreCase ? 2 : 1), ignoreCase);
  return 'regex' in result ? result.regex : undefined;
}

/** Whether nginx takes a value for true in `if ($variable)`. */
export function isTrue(value: string): boolean {
  return value !== '' && value !== '0';
}

/**
 * When a map's variable has a value that `wanted` takes: an expression on its source, and whether it
 * must or must not match. Undefined when it cannot be said so.
 */
export function mapCondition(
  { entries }: VariableMap,
  wanted: (value: string) => boolean,
): { readonly regex: string; readonly holds: boolean } | undefined {
  const fallback = wanted(entries.find(({ kind }) => kind === 'default')?.value ?? '');
  const others = entries.filter(
    ({ kind, value }) => kind !== 'default' && wanted(value) !== fallback,
  );
  const overlaps = entries.some(
    ({ kind, value }) => kind !== 'default' && wanted(value) === fallback && others.length > 0,
  );
  const exact = entries.every(({ kind }) => kind === 'exact' || kind === 'default');
  if (overlaps && !exact) return undefined;
  const regexes = others.map(entryRegex);
  if (regexes.length === 0 || regexes.some((one) => one === undefined)) return undefined;
  return { regex: regexes.map((one) => `(?:${one})`).join('|'), holds: !fallback };
}
