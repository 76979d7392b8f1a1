import { linearRegex, quoted } from '../../base/regex.ts';

export type Expression = string | { readonly regex: string };
export type ValuePattern = string | { readonly regex: string } | { readonly present: boolean };

/** Conditions of a route that must all hold, as the configuration writes them. */
export type Conditions = {
  readonly host?: readonly Expression[];
  readonly path?: readonly Expression[];
  readonly method?: readonly string[];
  readonly source?: readonly string[];
  readonly sni?: readonly string[];
  readonly header?: Readonly<Record<string, ValuePattern>>;
  readonly query?: Readonly<Record<string, ValuePattern>>;
  readonly cookie?: Readonly<Record<string, ValuePattern>>;
  /** By service. */
  readonly live?: Readonly<Record<string, LiveRange>>;
  /** Of the answer: only rules on answers may ask for it. */
  readonly status?: readonly number[];
};

/** How many endpoints are live. */
export type LiveRange = { readonly atLeast?: number; readonly below?: number };

/** What only admission can ask of a request. */
export type Demand =
  /** With groups: users of one of them. */
  | { readonly kind: 'auth'; readonly userlist: string; readonly groups?: readonly string[] }
  /** Connections that a client has at the same time. */
  | { readonly kind: 'connections'; readonly above: number }
  /** A connection that begins with a ClientHello. */
  | { readonly kind: 'hello' }
  /** Bytes of a body. */
  | { readonly kind: 'body'; readonly above: number }
  | {
      readonly kind: 'rate';
      readonly above: number;
      readonly table: string | undefined;
      /** Of `track-sc0` and so on; undefined: by the client's address. */
      readonly counter: number | undefined;
    };

/** A condition of a rule. */
export type Formula =
  | { readonly kind: 'constant'; readonly value: boolean }
  | { readonly kind: 'conditions'; readonly conditions: Conditions }
  | { readonly kind: 'demand'; readonly demand: Demand }
  | { readonly kind: 'not'; readonly part: Formula }
  | { readonly kind: 'and' | 'or'; readonly parts: readonly Formula[] }
  | { readonly kind: 'unknown'; readonly reason: string };

/** What must hold together: a route's match, and what admission is asked. */
export type Conjunction = {
  readonly match: Conditions;
  readonly not: readonly Conditions[];
  readonly demands: readonly { readonly demand: Demand; readonly negated: boolean }[];
};

/** Why a formula cannot be told as routes. */
export class Inexpressible extends Error {}

export const TRUE: Formula = { kind: 'constant', value: true };
export const FALSE: Formula = { kind: 'constant', value: false };
export const ALWAYS: Conjunction = { match: {}, not: [], demands: [] };

/** Conjunctions of one formula at most. */
const MAX_CONJUNCTIONS = 64;

/**
 * The conjunctions of which one must hold. Throws `Inexpressible` when a part is unknown, when
 * there are too many, or when two conditions on one thing cannot be one.
 */
export function conjunctions(formula: Formula, negated = false): Conjunction[] {
  switch (formula.kind) {
    case 'constant':
      return formula.value === negated ? [] : [ALWAYS];
    case 'unknown':
      throw new Inexpressible(formula.reason);
    case 'conditions':
      return [literal(formula.conditions, negated)];
    case 'demand':
      return [{ ...ALWAYS, demands: [{ demand: formula.demand, negated }] }];
    case 'not':
      return conjunctions(formula.part, !negated);
    default: {
      const lists = formula.parts.map((part) => () => conjunctions(part, negated));
      const all = (formula.kind === 'and') !== negated;
      return all ? product(lists) : bounded(lists.flatMap((list) => list()));
    }
  }
}

/** A conjunction as a formula again. */
export function formulaOf({ match, not, demands }: Conjunction): Formula {
  const plain = (conditions: Conditions): Formula => ({ kind: 'conditions', conditions });
  const asked = demands.map(({ demand, negated }): Formula => {
    const part: Formula = { kind: 'demand', demand };
    return negated ? { kind: 'not', part } : part;
  });
  const refused = not.map((one): Formula => ({ kind: 'not', part: plain(one) }));
  return { kind: 'and', parts: [plain(match), ...refused, ...asked] };
}

function literal(conditions: Conditions, negated: boolean): Conjunction {
  return negated ? { ...ALWAYS, not: [conditions] } : { ...ALWAYS, match: conditions };
}

function bounded(list: Conjunction[]): Conjunction[] {
  if (list.length > MAX_CONJUNCTIONS) throw new Inexpressible('its condition has too many cases');
  return list;
}

/** Each of the first with each of the second and so on; what can never hold together is left out. */
function product(lists: readonly (() => Conjunction[])[]): Conjunction[] {
  let result: Conjunction[] = [ALWAYS];
  for (const list of lists) {
    const parts = list();
    result = bounded(result.flatMap((one) => parts.flatMap((part) => both(one, part) ?? [])));
  }
  return result;
}

/** Two conjunctions as one; undefined: they never hold together. Throws `Inexpressible`. */
export function both(a: Conjunction, b: Conjunction): Conjunction | undefined {
  const match = merge(a.match, b.match);
  if (!match) return undefined;
  const not = distinct([...a.not, ...b.not]);
  const own = JSON.stringify(match);
  if (not.some((one) => JSON.stringify(one) === own)) return undefined;
  return { match, not, demands: distinct([...a.demands, ...b.demands]) };
}

function distinct<T>(items: readonly T[]): T[] {
  const known = new Map(items.map((item) => [JSON.stringify(item), item]));
  return [...known.values()];
}

function merge(a: Conditions, b: Conditions): Conditions | undefined {
  const list = <T>(
    one: readonly T[] | undefined,
    other: readonly T[] | undefined,
    join: Join<T>,
  ) => (one && other ? join(one, other) : (one ?? other));
  const host = list(a.host, b.host, joinExpressions);
  const path = list(a.path, b.path, joinExpressions);
  const method = list(a.method, b.method, common);
  const source = list(a.source, b.source, sameBlocks);
  const sni = list(a.sni, b.sni, common);
  const status = list(a.status, b.status, common);
  const live = mergeLive(a.live, b.live);
  if ([host, path, method, source, sni, status].some((one) => one?.length === 0)) return undefined;
  if (live === 'never') return undefined;
  return {
    ...(host && { host }),
    ...(path && { path }),
    ...(method && { method }),
    ...(source && { source }),
    ...(sni && { sni }),
    ...(status && { status }),
    ...(live && { live }),
    ...mergeValues(a, b),
  };
}

function mergeLive(
  a: Conditions['live'],
  b: Conditions['live'],
): Conditions['live'] | 'never' | undefined {
  if (!a || !b) return a ?? b;
  const result: Record<string, LiveRange> = { ...a };
  for (const [service, range] of Object.entries(b)) {
    const other = result[service] ?? {};
    const atLeast = Math.max(range.atLeast ?? 0, other.atLeast ?? 0);
    const below = Math.min(range.below ?? Number.MAX_VALUE, other.below ?? Number.MAX_VALUE);
    if (atLeast >= below) return 'never';
    result[service] = {
      ...(atLeast > 0 && { atLeast }),
      ...(below < Number.MAX_VALUE && { below }),
    };
  }
  return result;
}

type Join<T> = (one: readonly T[], other: readonly T[]) => readonly T[];

function common<T>(one: readonly T[], other: readonly T[]): readonly T[] {
  return one.filter((item) => other.includes(item));
}

function sameBlocks(one: readonly string[], other: readonly string[]): readonly string[] {
  if (JSON.stringify(one) === JSON.stringify(other)) return one;
  throw new Inexpressible('two conditions on the client address cannot be one');
}

function mergeValues(a: Conditions, b: Conditions): Conditions {
  const result: Record<string, Record<string, ValuePattern>> = {};
  for (const kind of ['header', 'query', 'cookie'] as const) {
    for (const [name, pattern] of [
      ...Object.entries(a[kind] ?? {}),
      ...Object.entries(b[kind] ?? {}),
    ]) {
      const holder = result[kind] ?? {};
      result[kind] = holder;
      const known = holder[name];
      if (known !== undefined && JSON.stringify(known) !== JSON.stringify(pattern)) {
        throw new Inexpressible(`two conditions on the ${kind} ${name} cannot be one`);
      }
      holder[name] = pattern;
    }
  }
  return result;
}

/** What both lists of names or paths take. */
function joinExpressions(
  one: readonly Expression[],
  other: readonly Expression[],
): readonly Expression[] {
  return distinct(one.flatMap((a) => other.flatMap((b) => intersection(a, b) ?? [])));
}

/** What both take; undefined: nothing. */
function intersection(a: Expression, b: Expression): Expression | undefined {
  if (JSON.stringify(a) === JSON.stringify(b)) return a;
  const [exactA, exactB] = [exactText(a), exactText(b)];
  if (exactA !== undefined) return takes(b, exactA) ? a : undefined;
  if (exactB !== undefined) return takes(a, exactB) ? b : undefined;
  if (typeof a === 'string' && typeof b === 'string' && a.startsWith('*')) {
    const [short, long] = a.length < b.length ? [a, b] : [b, a];
    return long.endsWith(short.slice(1)) ? long : undefined;
  }
  const [startA, startB] = [startText(a), startText(b)];
  if (startA !== undefined && startB !== undefined) {
    const [short, long] = startA.length < startB.length ? [startA, startB] : [startB, startA];
    return long.startsWith(short) ? (long === startA ? a : b) : undefined;
  }
  if (startsApart(a, b)) return undefined;
  // A start and what comes after it are one expression.
  const start = startA ?? startB;
  const after = startA === undefined ? a : b;
  if (start !== undefined && typeof after !== 'string' && !after.regex.includes('^')) {
    return { regex: `^${quoted(start)}.*(?:${after.regex})` };
  }
  throw new Inexpressible('two conditions on one path or host cannot be one');
}

/** Whether no text can begin as both ask. */
function startsApart(a: Expression, b: Expression): boolean {
  const [left, right] = [a, b].map((one) => {
    const bare = typeof one === 'string' ? one : { regex: one.regex.replace('(?i)', '') };
    const sensitive = typeof one === 'string' || !one.regex.startsWith('(?i)');
    return { text: startText(bare), sensitive };
  });
  if (left?.text === undefined || right?.text === undefined) return false;
  const lower = left.sensitive && right.sensitive ? (text: string) => text : lowered;
  const [short = '', long = ''] = [lower(left.text), lower(right.text)].sort(
    (one, other) => one.length - other.length,
  );
  return !long.startsWith(short);
}

function lowered(text: string): string {
  return text.toLowerCase();
}

const LITERAL_START = /^\^((?:[^\\^$.*+?()[\]{}|]|\\[^\w\s])*)$/;

/** What every text that an expression takes starts with, when that is all it asks. */
function startText(one: Expression): string | undefined {
  if (typeof one !== 'string') {
    return LITERAL_START.exec(one.regex)?.[1]?.replaceAll(/\\(.)/g, '$1');
  }
  return one.endsWith('*') ? one.slice(0, -1) : undefined;
}

function exactText(one: Expression): string | undefined {
  return typeof one === 'string' && !one.includes('*') ? one : undefined;
}

function takes(pattern: Expression, text: string): boolean {
  if (typeof pattern !== 'string') return linearRegex(pattern.regex).test(text);
  if (pattern.startsWith('*')) return text.endsWith(pattern.slice(1));
  if (pattern.endsWith('/*'))
    return text === pattern.slice(0, -2) || text.startsWith(pattern.slice(0, -1));
  if (pattern.endsWith('*')) return text.startsWith(pattern.slice(0, -1));
  return text === pattern;
}
