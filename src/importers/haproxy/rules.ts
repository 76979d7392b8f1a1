import type { GatewayConfigInput } from '../../model/gateway-config.ts';
import type { AclSource } from './acl.ts';
import { readCondition } from './acl.ts';
import { type Demand, type Formula, TRUE } from './formula.ts';
import type { Statement } from './sections.ts';

type ListenerInput = NonNullable<GatewayConfigInput['listeners']>[string];
export type RouteInput = NonNullable<ListenerInput['routes']>[number];

/** What the rules of one section are read with. */
export type RuleSource = AclSource & {
  readonly readFile: (path: string) => string | undefined;
  /** Users and their passwords; or why a list cannot be taken over. */
  readonly users: (
    list: string,
    groups: readonly string[] | undefined,
  ) => Readonly<Record<string, string>> | string;
  /** The time that a table counts the requests of a client over, and by what: a field or the source. */
  readonly rate: (
    demand: Pick<Extract<Demand, { kind: 'rate' }>, 'table' | 'counter'>,
  ) => Rate | undefined;
  /** The page that stands for a status. */
  /** Names of all sections that requests can be sent to. */
  readonly backends: readonly string[];
  readonly page: (status: number) => { body: string; contentType: string } | undefined;
};

export type Rate = { readonly perMs: number; readonly by: 'source' | { readonly header: string } };

/** Fields that are changed on one side. */
export type FieldEdits = {
  readonly set: Readonly<Record<string, string>>;
  readonly add: Readonly<Record<string, string>>;
  readonly remove: readonly string[];
  readonly replace: Readonly<Record<string, Replacement>>;
};

/** An expression, and what stands for what it takes. */
export type Replacement = { readonly match: string; readonly replace: string };

/** What is done to a request and its answer beside sending it on. */
export type Edits = {
  readonly request: FieldEdits;
  /** Of answers that come from endpoints. */
  readonly response: FieldEdits;
  /** Of these, of some statuses, by codes and ranges. */
  readonly byStatus: Readonly<Record<string, FieldEdits>>;
  /** Of every answer, own ones too. */
  readonly after: FieldEdits;
  readonly afterByStatus: Readonly<Record<string, FieldEdits>>;
  readonly rest: Pick<
    RouteInput,
    'rewrite' | 'basicAuth' | 'rateLimit' | 'timeouts' | 'errorPages' | 'maxBodyBytes'
  >;
};

export const NO_FIELDS: FieldEdits = { set: {}, add: {}, remove: [], replace: {} };
export const NO_EDITS: Edits = {
  request: NO_FIELDS,
  response: NO_FIELDS,
  byStatus: {},
  after: NO_FIELDS,
  afterByStatus: {},
  rest: {},
};

/** How a request ends: an answer, or the service that gets it. */
export type Ending = Pick<RouteInput, 'service' | 'redirect' | 'respond' | 'stats' | 'basicAuth'>;

/** One rule, in the order in which they are asked. */
export type Step = { readonly statement: Statement; readonly condition: Formula } & (
  | { readonly kind: 'end'; readonly end: Ending }
  | { readonly kind: 'edit'; readonly edit: (edits: Edits) => Edits }
  /** Asks for a password, or for a rate; what its condition demands of a request. */
  | { readonly kind: 'admit'; readonly realm: string | undefined }
  /** The rest of these rules is left out. */
  | { readonly kind: 'allow' }
  | { readonly kind: 'backend'; readonly backend: string }
);

/** The words before `if` or `unless`, and the condition; without one it always holds. */
export function splitRule(
  words: readonly string[],
  source: AclSource,
): { words: readonly string[]; condition: Formula } {
  const at = words.findIndex((word) => word === 'if' || word === 'unless');
  if (at < 0) return { words, condition: TRUE };
  const formula = readCondition(words.slice(at + 1), source);
  const condition: Formula = words[at] === 'if' ? formula : { kind: 'not', part: formula };
  return { words: words.slice(0, at), condition };
}

/** Fields with one whose values are changed; undefined: a rule before has changed it. */
export function replaceIn(
  fields: FieldEdits,
  name: string,
  replacement: Replacement,
): FieldEdits | undefined {
  const key = name.toLowerCase();
  const touched = [fields.set, fields.add, fields.replace].some((one) => Object.hasOwn(one, key));
  if (touched || fields.remove.includes(key)) return undefined;
  return { ...fields, replace: { ...fields.replace, [key]: replacement } };
}

/** Fields with one more that is set, added or removed, as if one were done after the other. */
export function editFields(
  fields: FieldEdits,
  how: 'set' | 'add' | 'del',
  name: string,
  value: string,
): FieldEdits | undefined {
  const key = name.toLowerCase();
  const without = (record: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(record).filter(([one]) => one !== key));
  if (how === 'add') {
    if (Object.hasOwn(fields.add, key)) return fields.add[key] === value ? fields : undefined;
    return { ...fields, add: { ...fields.add, [key]: value } };
  }
  const rest = { ...fields, set: without(fields.set), add: without(fields.add) };
  if (how === 'set') return { ...rest, set: { ...rest.set, [key]: value } };
  return { ...rest, remove: [...new Set([...rest.remove, key])] };
}
