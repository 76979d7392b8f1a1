/** What a condition asks: whether a variable is set. */
type IsSet = (name: string) => boolean;

/** Why a condition has no value, and whether HAProxy would refuse it, too. */
export type Doubt = { readonly reason: string; readonly refused: boolean };

/** A condition's value, or why it has none. */
export type Verdict = boolean | Doubt;

/** The release whose manual the importer follows. */
const VERSION = [2, 6];
const BUILD =
  /^(feature|enabled|awslc_api_(atleast|before)|ssllib_name_startswith|openssl_version_(atleast|before))$/;
const PREDICATE = /^(\w+)\(([^()]*)\)/;
const MAX_DEPTH = 32;

/**
 * Evaluates what follows `.if` or `.elif`: predicates, numbers, `!`, `&&`, `||` and parentheses.
 * Source: HAProxy 2.6 manual, section 2.4.
 */
export function evaluate(condition: string, isSet: IsSet): Verdict {
  if (condition.trim() === '') return false;
  const parser = new ConditionParser(condition, isSet);
  const value = parser.either(0);
  const error = parser.error ?? (parser.rest === '' ? undefined : `"${parser.rest}" is left over`);
  if (error !== undefined) return refused(error);
  if (parser.unknown === undefined) return value;
  const reason = `${parser.unknown} asks for HAProxy's own build: the condition is taken as false`;
  return { reason, refused: false };
}

class ConditionParser {
  rest: string;
  error: string | undefined;
  /** What was asked for that only a build of HAProxy knows. */
  unknown: string | undefined;
  readonly #isSet: IsSet;

  constructor(condition: string, isSet: IsSet) {
    this.rest = condition.trim();
    this.#isSet = isSet;
  }

  either(depth: number): boolean {
    let value = this.#both(depth);
    while (this.#take('||')) value = this.#both(depth) || value;
    return value;
  }

  #both(depth: number): boolean {
    let value = this.#term(depth);
    while (this.#take('&&')) value = this.#term(depth) && value;
    return value;
  }

  #term(depth: number): boolean {
    if (depth > MAX_DEPTH) this.error ??= 'the condition is nested too deeply';
    if (this.error !== undefined) return false;
    if (this.#take('!')) return !this.#term(depth + 1);
    if (this.#take('(')) {
      const value = this.either(depth + 1);
      if (!this.#take(')')) this.error ??= 'a ) is missing';
      return value;
    }
    const [number] = /^\d+/.exec(this.rest) ?? [];
    if (number !== undefined) {
      this.#take(number);
      return Number(number) !== 0;
    }
    return this.#predicate();
  }

  #predicate(): boolean {
    const [whole = '', name = '', list = ''] = PREDICATE.exec(this.rest) ?? [];
    this.#take(whole);
    const [first = '', second = ''] = list.split(',').map((one) => one.trim());
    if (name === 'defined') return this.#isSet(first);
    if (name === 'streq') return first === second;
    if (name === 'strneq') return first !== second;
    if (name === 'version_atleast') return atLeast(first);
    if (name === 'version_before') return !atLeast(first);
    if (BUILD.test(name)) {
      this.unknown ??= whole;
      return false;
    }
    const known = 'defined, streq, strneq, version_atleast and version_before';
    this.error ??= `"${whole || this.rest}" cannot be asked, but ${known} can`;
    return false;
  }

  #take(token: string): boolean {
    if (!this.rest.startsWith(token)) return false;
    this.rest = this.rest.slice(token.length).trimStart();
    return true;
  }
}

function atLeast(version: string): boolean {
  const wanted = version.split('.').map((one) => Number.parseInt(one, 10) || 0);
  const place = wanted.findIndex((one, index) => one !== (VERSION[index] ?? 0));
  return place < 0 || (wanted[place] ?? 0) < (VERSION[place] ?? 0);
}

function refused(reason: string): Doubt {
  return { reason, refused: true };
}

/** Which lines lines between `.if`, `.elif`, `.else` and `.endif` count. */
export class Branches {
  /** From the outermost: whether its lines count now, and whether a branch of it has counted. */
  readonly #open: { on: boolean; done: boolean; last: boolean }[] = [];

  /** Whether the lines that follow count. */
  get on(): boolean {
    return this.#open.every((one) => one.on);
  }

  get depth(): number {
    return this.#open.length;
  }

  /** Carries out one of the four; `decide` is asked only where it matters. */
  step(keyword: string, decide: () => Verdict): Doubt | undefined {
    if (keyword === '.if') {
      const verdict = this.on && decide();
      const on = verdict === true;
      this.#open.push({ on, done: on, last: false });
      return typeof verdict === 'boolean' ? undefined : verdict;
    }
    const one = this.#open.at(-1);
    if (!one) return refused('there is no .if before it');
    if (keyword === '.endif') {
      this.#open.pop();
      return undefined;
    }
    if (one.last) return refused('there was an .else before it');
    one.last = keyword === '.else';
    one.on = false;
    if (one.done || !this.#outerOn()) return undefined;
    const verdict = one.last || decide();
    one.on = verdict === true;
    one.done = one.on;
    return typeof verdict === 'boolean' ? undefined : verdict;
  }

  #outerOn(): boolean {
    return this.#open.slice(0, -1).every((one) => one.on);
  }
}
