import type { Scope } from './directive.ts';

/** What is known of variables where a directive stands. */
export type Place = {
  /** Of the listener. */
  readonly scheme: 'http' | 'https';
  /** Of the listener, when it has just one. */
  readonly port: number | undefined;
  /** The first name of the server. */
  readonly serverName: string | undefined;
  /** What `set` gave. */
  readonly sets: ReadonlyMap<string, string>;
};

/** Variables as our templates name them. */
const TEMPLATES: Readonly<Record<string, string>> = {
  host: '{host}',
  http_host: '{authority}',
  request_uri: '{uri}',
  uri: '{path}',
  document_uri: '{path}',
  args: '{query}',
  query_string: '{query}',
  request_method: '{method}',
  remote_addr: '{client}',
  proxy_protocol_addr: '{client}',
};

const VARIABLE = /\$(?:\{(\w+)\}|(\w+))/g;

/** A text that our templates can fill, or the variable that they do not know. */
export type Filled = { readonly text: string } | { readonly unknown: string };

/** The values of `set` at a place; those of inner blocks and later lines win. */
export function setsOf(scope: Scope): Map<string, string> {
  const sets = new Map<string, string>();
  for (const { own } of scope.chain) {
    for (const { name, args } of own) {
      const [variable, value] = args;
      if (name !== 'set' || variable === undefined || value === undefined) continue;
      sets.set(variable.slice(1), expandSets(value, sets));
    }
  }
  return sets;
}

/** A text with what `set` gave in place of its variables. */
export function expandSets(text: string, sets: ReadonlyMap<string, string>): string {
  return text.replaceAll(VARIABLE, (whole, braced, bare) => sets.get(braced ?? bare) ?? whole);
}

/** The one variable that a text consists of. */
export function soleVariable(text: string): string | undefined {
  const [, braced, bare] = /^\$(?:\{(\w+)\}|(\w+))$/.exec(text) ?? [];
  return braced ?? bare;
}

/** The variables of a text, in their order. */
export function variablesOf(text: string): string[] {
  return [...text.matchAll(VARIABLE)].map(([, braced, bare]) => braced ?? bare ?? '');
}

/** A text as a template of ours; `$1` to `$9` stay when `groups` says that there are some. */
export function templateOf(text: string, place: Place, groups = false): Filled {
  let unknown: string | undefined;
  const joined = expandSets(text, place.sets).replaceAll(
    /\$is_args\$(?:args|query_string)\b/g,
    '{search}',
  );
  const filled = joined.replaceAll(VARIABLE, (whole, braced, bare) => {
    const name: string = braced ?? bare;
    if (groups && /^[1-9]$/.test(name)) return `$${name}`;
    const value = variableValue(name, place);
    if (value === undefined) unknown ??= whole;
    return value ?? '';
  });
  return unknown === undefined ? { text: filled } : { unknown };
}

function variableValue(name: string, place: Place): string | undefined {
  const known = TEMPLATES[name];
  if (known !== undefined) return known;
  if (name === 'scheme') return place.scheme;
  if (name === 'https') return place.scheme === 'https' ? 'on' : '';
  if (name === 'server_port') return place.port === undefined ? undefined : String(place.port);
  if (name === 'server_name') return place.serverName;
  if (name.startsWith('http_')) return `{header.${name.slice(5).replaceAll('_', '-')}}`;
  return undefined;
}
