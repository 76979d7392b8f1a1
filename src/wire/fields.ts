/** The index of a field in a flat list, or -1; `name` in lower case. */
export function findField(fields: readonly string[], name: string): number {
  for (let at = 0; at < fields.length; at += 2) {
    if ((fields[at] as string).toLowerCase() === name) return at;
  }
  return -1;
}

/** A set of field names. Most others are told apart by length and first letter alone. */
export class FieldNames {
  readonly #names: ReadonlySet<string>;
  readonly #likely = new Uint8Array(32 * 32);

  /** Of names in lower case. */
  constructor(names: readonly string[]) {
    this.#names = new Set(names);
    for (const name of names) this.#likely[place(name)] = 1;
  }

  /** Whether a name, in any case, is among them. */
  has(name: string): boolean {
    return this.#likely[place(name)] === 1 && this.#names.has(name.toLowerCase());
  }

  /** Takes the fields of these names out of a flat list, in place. */
  removeFrom(fields: string[]): void {
    let kept = 0;
    for (let at = 0; at < fields.length; at += 2) {
      if (this.has(fields[at] as string)) continue;
      if (kept < at) {
        fields[kept] = fields[at] as string;
        fields[kept + 1] = fields[at + 1] as string;
      }
      kept += 2;
    }
    if (kept < fields.length) fields.length = kept;
  }
}

/** Where a name of this length and first letter is noted. */
function place(name: string): number {
  return ((name.length & 31) << 5) | (name.charCodeAt(0) & 31);
}
