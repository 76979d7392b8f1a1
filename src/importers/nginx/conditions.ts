import { linearRegex } from '../../base/regex.ts';
import { isAddress } from '../../model/fields.ts';
import type { Directive } from './directive.ts';
import { isTrue, mapCondition, type VariableMap } from './maps.ts';
import { exactPath, hostOfName, type MatchInput } from './matching.ts';
import { regexOf } from './values.ts';
import { type Place, templateOf } from './variables.ts';

/** When the block of an `if` is entered: always, never, or for requests that meet a match. */
export type Condition = MatchInput | boolean | { readonly fault: string };

type Test =
  | { readonly equals: string }
  | { readonly regex: string }
  /** Neither empty nor 0. */
  | 'true';

/** Neither empty nor 0. */
const TRUE = '^(?:[^0]|0[\\s\\S])';

/** Reads the condition of an `if`. Source: ngx_http_rewrite_module. */
export function conditionOf(
  { args }: Directive,
  place: Place,
  maps: ReadonlyMap<string, VariableMap>,
): Condition {
  const text = args
    .join(' ')
    .replace(/^\(\s*/, '')
    .replace(/\s*\)$/, '');
  const [, name, operator, value = ''] =
    /^\$(\w+)(?:\s*(!?=|!?~\*?)\s*([\s\S]*))?$/.exec(text) ?? [];
  if (name === undefined) return { fault: 'only variables can be compared' };
  const negated = operator?.startsWith('!') ?? false;
  const test = testOf(operator, value);
  if (typeof test === 'object' && 'fault' in test) return test;
  const known = knownValue(name, place);
  if (known !== undefined) return holds(known, test) !== negated;
  const map = maps.get(name);
  const match = map ? mapMatch(map, test) : matchOf(name, test);
  if (match === undefined) return { fault: `$${name} cannot be compared so` };
  if (!negated) return match;
  const { not, ...rest } = match;
  if (not === undefined) return { not: rest };
  if (Array.isArray(not) || Object.keys(rest).length > 0) {
    return { fault: `$${name} cannot be compared so` };
  }
  return not;
}

function testOf(operator: string | undefined, value: string): Test | { readonly fault: string } {
  if (operator === undefined) return 'true';
  return operator.endsWith('=') ? { equals: value } : regexOf(value, operator.endsWith('*'));
}

function knownValue(name: string, place: Place): string | undefined {
  const fixed = ['scheme', 'https', 'server_port', 'server_name'].includes(name);
  if (!fixed && !place.sets.has(name)) return undefined;
  const filled = templateOf(`$${name}`, place);
  return 'text' in filled && !filled.text.includes('{') ? filled.text : undefined;
}

function holds(value: string, test: Test): boolean {
  if (test === 'true') return isTrue(value);
  if ('equals' in test) return value === test.equals;
  return linearRegex(test.regex).test(value);
}

function mapMatch(map: VariableMap, test: Test): MatchInput | undefined {
  const condition = mapCondition(map, (value) => holds(value, test));
  const match = condition && map.source && matchOf(map.source, { regex: condition.regex });
  if (!match) return undefined;
  return condition.holds ? match : { not: match };
}

/** A test of one variable as a match; undefined when there is none of the kind. */
export function matchOf(name: string, test: Test): MatchInput | undefined {
  const value = test === 'true' ? undefined : test;
  const pattern = value && ('equals' in value ? value.equals : value);
  const [, kind, rest = ''] = /^(http|cookie|arg)_(\w+)$/.exec(name) ?? [];
  if (name === 'host') {
    if (value && 'equals' in value) {
      const host = hostOfName(value.equals);
      return host === undefined ? undefined : { host };
    }
    return value && { host: value };
  }
  if (kind !== undefined) {
    // What is not there is empty.
    const wanted = pattern === '' ? { present: false } : (pattern ?? { regex: TRUE });
    if (kind === 'http') return { header: { [rest.replaceAll('_', '-')]: wanted } };
    return kind === 'cookie' ? { cookie: { [rest]: wanted } } : { query: { [rest]: wanted } };
  }
  if (name === 'remote_addr') {
    return value && 'equals' in value && isAddress(value.equals)
      ? { source: value.equals }
      : undefined;
  }
  if (name === 'request_method') return methodMatch(value);
  if (name === 'uri' || name === 'document_uri' || name === 'request_uri') {
    if (!value || (name === 'request_uri' && asksForQuery(value))) return undefined;
    return { path: 'equals' in value ? exactPath(value.equals) : value };
  }
  return undefined;
}

function asksForQuery(value: Exclude<Test, 'true'>): boolean {
  const text = 'equals' in value ? value.equals : value.regex.replace('(?i)', '');
  return text.includes('?');
}

function methodMatch(value: Exclude<Test, 'true'> | undefined): MatchInput | undefined {
  if (!value) return undefined;
  const text = 'equals' in value ? value.equals : value.regex.replace(/^\^?\(?/, '^');
  if ('equals' in value) return /^[A-Z-]+$/.test(text) ? { method: text } : undefined;
  const [, names] = /^\^([A-Z|-]+)\)?\$?$/.exec(text) ?? [];
  return names === undefined ? undefined : { method: names.split('|') };
}
