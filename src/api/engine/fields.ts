import { invalid } from '../../base/faults.ts';

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * A JSON object as the reference server reads it: names match in any case; null, absent and empty
 * mean the same. Every reading that meets another type throws `E_REQUEST_INVALID`.
 */
export class Fields {
  readonly raw: Json;
  readonly #path: string;
  readonly #values: ReadonlyMap<string, unknown>;

  constructor(value: unknown, path = '') {
    if (value !== undefined && value !== null && !isObject(value)) {
      throw invalid(`invalid JSON: ${path || 'the body'} must be an object`);
    }
    this.raw = value ?? {};
    this.#path = path;
    this.#values = new Map(
      Object.entries(this.raw).map(([name, field]) => [name.toLowerCase(), field]),
    );
  }

  static parse(text: string): Fields {
    if (text.trim() === '') return new Fields(undefined);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw invalid(`invalid JSON: ${error instanceof Error ? error.message : String(error)}`);
    }
    return new Fields(value);
  }

  value(name: string): unknown {
    return this.#values.get(name.toLowerCase()) ?? undefined;
  }

  text(name: string): string {
    const value = this.value(name) ?? '';
    if (typeof value !== 'string') throw this.#wrong(name, 'a string');
    return value;
  }

  /** Undefined: absent, null or empty. */
  optionalText(name: string): string | undefined {
    return this.text(name) || undefined;
  }

  flag(name: string): boolean {
    return this.optionalFlag(name) ?? false;
  }

  optionalFlag(name: string): boolean | undefined {
    const value = this.value(name);
    if (value !== undefined && typeof value !== 'boolean') throw this.#wrong(name, 'true or false');
    return value;
  }

  number(name: string): number {
    return this.optionalNumber(name) ?? 0;
  }

  optionalNumber(name: string): number | undefined {
    const value = this.value(name);
    if (value !== undefined && typeof value !== 'number') throw this.#wrong(name, 'a number');
    return value;
  }

  /** A lone string counts as a list of one. */
  texts(name: string): string[] {
    return this.optionalTexts(name) ?? [];
  }

  optionalTexts(name: string): string[] | undefined {
    const value = this.value(name);
    if (value === undefined) return undefined;
    const list = typeof value === 'string' ? [value] : value;
    if (!Array.isArray(list) || list.some((one) => typeof one !== 'string')) {
      throw this.#wrong(name, 'a list of strings');
    }
    return list;
  }

  fields(name: string): Fields {
    return new Fields(this.value(name), this.#child(name));
  }

  /** Undefined: absent or null. */
  optionalFields(name: string): Fields | undefined {
    return this.value(name) === undefined ? undefined : this.fields(name);
  }

  /** Objects of a list. */
  objects(name: string): Fields[] {
    const value = this.value(name) ?? [];
    if (!Array.isArray(value)) throw this.#wrong(name, 'a list');
    return value.map((one, index) => new Fields(one, `${this.#child(name)}[${index}]`));
  }

  /** The names of an object are data and keep their case. */
  textMap(name: string): Record<string, string> {
    const entries = Object.entries(this.fields(name).raw);
    return Object.fromEntries(
      entries.map(([key, value]) => {
        if (value !== null && typeof value !== 'string') {
          throw this.#wrong(`${name}.${key}`, 'a string');
        }
        return [key, value ?? ''];
      }),
    );
  }

  #child(name: string): string {
    return this.#path === '' ? name : `${this.#path}.${name}`;
  }

  #wrong(name: string, what: string) {
    return invalid(`invalid JSON: ${this.#child(name)} must be ${what}`);
  }
}
