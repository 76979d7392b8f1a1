import { invalid } from '../../base/faults.ts';
import { linearRegex } from '../../base/regex.ts';
import { optionFlag } from '../../control/network-request.ts';

const FALSE = ['', '0', 'no', 'false', 'none'];
const NS_DIGITS = 9;

/** The query of a request. */
export class Query {
  readonly #params: URLSearchParams;

  constructor(params: URLSearchParams) {
    this.#params = params;
  }

  text(name: string): string {
    return this.#params.get(name) ?? '';
  }

  /** Every value of a name that may come several times. */
  texts(name: string): string[] {
    return this.#params.getAll(name);
  }

  has(name: string): boolean {
    return this.#params.has(name);
  }

  /** True unless absent, empty, `0`, `no`, `false` or `none`. */
  flag(name: string): boolean {
    return !FALSE.includes(this.text(name).trim().toLowerCase());
  }

  /** As Go reads it: an empty one is false; throws for what is neither true nor false. */
  strictFlag(name: string): boolean {
    const text = this.text(name);
    const flag = text === '' ? false : optionFlag(text);
    if (flag === undefined) throw invalid(`invalid value for ${name}: ${text}`);
    return flag;
  }

  /** The version of the object that a change is made from. */
  version(): number {
    const found = this.number('version');
    if (found === undefined) throw invalid("invalid version '': it must be a whole number");
    return found;
  }

  /** Undefined: absent. Throws for what is no whole number. */
  number(name: string): number | undefined {
    const text = this.text(name);
    if (text === '') return undefined;
    if (!/^-?\d+$/.test(text)) throw invalid(`invalid ${name}: "${text}" is not a whole number`);
    return Number(text);
  }

  /** `seconds[.fraction]` since 1970, or RFC 3339, in ns; undefined: absent or 0. */
  time(name: string): bigint | undefined {
    const text = this.text(name);
    if (text === '' || text === '0') return undefined;
    const time = parseTime(text);
    if (time === undefined) throw invalid(`invalid ${name}: "${text}" is not a time`);
    return time;
  }
}

/** `seconds[.fraction]` since 1970, or RFC 3339, in ns. */
export function parseTime(text: string): bigint | undefined {
  const [, seconds, fraction = ''] = /^(-?\d+)(?:\.(\d{1,9}))?$/.exec(text) ?? [];
  if (seconds !== undefined) {
    return BigInt(seconds) * 10n ** BigInt(NS_DIGITS) + BigInt(fraction.padEnd(NS_DIGITS, '0'));
  }
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : BigInt(ms) * 1_000_000n;
}

/** What a list is narrowed to: values of one key are alternatives, keys must all agree. */
export class Filters {
  readonly #values: ReadonlyMap<string, readonly string[]>;

  private constructor(values: ReadonlyMap<string, readonly string[]>) {
    this.#values = values;
  }

  /** Takes both encodings, `{"k":{"v":true}}` and `{"k":["v"]}`. Throws for other keys. */
  static parse(text: string, allowed: readonly string[]): Filters {
    if (text === '') return new Filters(new Map());
    let parsed: unknown;
    try {
      parsed = JSON.parse(text);
    } catch {
      throw invalid(`invalid filter: ${text} is not JSON`);
    }
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
      throw invalid('invalid filter: it must be a JSON object');
    }
    const entries = Object.entries(parsed).map(([key, given]: [string, unknown]) => {
      if (!allowed.includes(key)) throw invalid(`invalid filter '${key}'`);
      const values = Array.isArray(given) ? given.map(String) : Object.keys(Object(given ?? {}));
      return [key, values] as const;
    });
    return new Filters(new Map(entries));
  }

  values(key: string): readonly string[] {
    return this.#values.get(key) ?? [];
  }

  has(key: string): boolean {
    return this.values(key).length > 0;
  }

  /** True when nothing is asked of the key, or one of its values fits. */
  any(key: string, fits: (value: string) => boolean): boolean {
    const values = this.values(key);
    return values.length === 0 || values.some(fits);
  }

  /** `k` or `k=v`; all must be there, and none of `label!`. */
  labels(labels: Readonly<Record<string, string>>): boolean {
    const carries = (wanted: string) => {
      const at = wanted.indexOf('=');
      if (at < 0) return Object.hasOwn(labels, wanted);
      return labels[wanted.slice(0, at)] === wanted.slice(at + 1);
    };
    return this.values('label').every(carries) && !this.values('label!').some(carries);
  }

  /** A filter that takes `true` or `false` only; undefined: not given. */
  flag(key: string): boolean | undefined {
    const values = this.values(key);
    if (values.length === 0) return undefined;
    const parsed = values.map((value) => /^(1|t|true)$/i.test(value));
    const known = values.every((value) => /^(0|1|t|f|true|false)$/i.test(value));
    if (!known || new Set(parsed).size > 1) throw invalid(`invalid filter '${key}=[${values}]'`);
    return parsed[0];
  }

  /** `until`: a duration back from `nowMs`, or a time; in ms since 1970. */
  until(nowMs: number): number | undefined {
    const [text] = this.values('until');
    if (text === undefined) return undefined;
    const time = parseTime(text);
    if (time !== undefined) return Number(time / 1_000_000n);
    const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)/g)];
    const whole = parts.map(([part]) => part).join('');
    if (parts.length === 0 || whole !== text) throw invalid(`invalid filter 'until=${text}'`);
    const unit: Record<string, number> = { ns: 1e-6, us: 1e-3, ms: 1, s: 1e3, m: 6e4, h: 3.6e6 };
    return (
      nowMs -
      parts.reduce((sum, [, count, name]) => sum + Number(count) * (unit[name ?? ''] ?? 0), 0)
    );
  }
}

/** A name filter: a regular expression if it is one, else a part of the name. */
export function nameFits(pattern: string, name: string): boolean {
  if (name.includes(pattern)) return true;
  try {
    return linearRegex(pattern).test(name);
  } catch {
    return false;
  }
}
