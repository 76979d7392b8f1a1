/** Stands for all that this reader leaves to the full parser. */
class NotPlain extends Error {}

/** A line with something on it: where its content begins, and where it ends in the text. */
type Line = { column: number; start: number; readonly end: number };

const KEY = /([A-Za-z_/][\w./-]*|"[^"\\\n]*"|'[^'\n]*'):(?: +|(?=\n|$))/y;
const QUOTED = /"([^"\\\n]*)"|'([^'\n]*)'/y;
/** Begins with what no construct begins with; `-` and digits may be numbers. */
const SCALAR_START = /[\w/.$^(+<=\\;-]/;
const BLOCK_SCALAR = /(?:[^\s:#]|:(?! |\n|$)|(?<! )#| (?! *(?:#|\n|$)))+/y;
const FLOW_SCALAR = /(?:[^\s:#,[\]{}]|:(?![\s,[\]{}]|$)|(?<! )#| (?! *(?:[#\n,[\]{}:]|$)))+/y;
const DECIMAL = /^-?\d{1,15}(?:\.\d{1,15})?$/;
const WORDS = new Map<string, boolean | null>([
  ...['true', 'True', 'TRUE'].map((word) => [word, true] as const),
  ...['false', 'False', 'FALSE'].map((word) => [word, false] as const),
  ...['null', 'Null', 'NULL'].map((word) => [word, null] as const),
]);
/** Numbers of other forms than the usual one. Source: YAML 1.2.2 section 10.3.2. */
const ODD_NUMBER =
  /^(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|0o[0-7]+|0x[\da-fA-F]+|[-+]?\.[a-zA-Z]{3})$/;

/**
 * The value of a YAML text in the form that nearly all large configurations have: block maps and
 * lists, flow collections and scalars that stay on their line, ASCII. It is read 20 times as fast as
 * by the full parser, which keeps positions; undefined for all else, right or wrong: keys given
 * twice or in `forbidden`, anchors, tags, values over several lines, `maxDepth` levels or more.
 */
export function plainYaml(
  text: string,
  maxDepth: number,
  forbidden: ReadonlySet<string>,
): object | undefined {
  if (/[^\n\x20-\x7e]|^(?:---|\.\.\.|%)/m.test(text)) return undefined;
  try {
    return new PlainYaml(text, maxDepth, forbidden).read();
  } catch (error) {
    if (error instanceof NotPlain) return undefined;
    throw error;
  }
}

class PlainYaml {
  readonly #text: string;
  readonly #maxDepth: number;
  readonly #forbidden: ReadonlySet<string>;
  readonly #lines: Line[] = [];
  #next = 0;
  #at = 0;
  #depth = 0;

  constructor(text: string, maxDepth: number, forbidden: ReadonlySet<string>) {
    this.#text = text;
    this.#maxDepth = maxDepth;
    this.#forbidden = forbidden;
    const content = /^( *)[^ #\n].*$/gm;
    for (let found = content.exec(text); found; found = content.exec(text)) {
      const column = found[1]?.length ?? 0;
      this.#lines.push({ column, start: found.index + column, end: content.lastIndex });
    }
  }

  read(): object | undefined {
    const [first] = this.#lines;
    if (first?.column !== 0) return undefined;
    const value = this.#block(0);
    if (this.#next < this.#lines.length || typeof value !== 'object') return undefined;
    return value ?? undefined;
  }

  /** The node whose first line is next, and begins at `column`. */
  #block(column: number): unknown {
    if (++this.#depth >= this.#maxDepth) throw new NotPlain();
    const line = this.#lines[this.#next];
    if (!line) throw new NotPlain();
    const value = this.#isItem(line) ? this.#list(column) : this.#map(column);
    this.#depth--;
    return value;
  }

  #isItem({ start }: Line): boolean {
    const after = this.#text[start + 1];
    return this.#text[start] === '-' && (after === ' ' || after === '\n' || after === undefined);
  }

  #list(column: number): unknown[] {
    const list: unknown[] = [];
    for (let line = this.#lineAt(column); line && this.#isItem(line); line = this.#lineAt(column)) {
      let start = line.start + 1;
      while (this.#text[start] === ' ') start++;
      if (start >= line.end || this.#text[start] === '#') {
        this.#next++;
        list.push(this.#below(column, false));
        continue;
      }
      // What follows the dash on its line is a node that begins there.
      line.column += start - line.start;
      line.start = start;
      list.push(this.#startsBlock(line) ? this.#block(line.column) : this.#inline(line, column));
    }
    return list;
  }

  #startsBlock(line: Line): boolean {
    KEY.lastIndex = line.start;
    return this.#isItem(line) || KEY.test(this.#text);
  }

  #map(column: number): object {
    const map: Record<string, unknown> = {};
    for (let line = this.#lineAt(column); line; line = this.#lineAt(column)) {
      if (this.#isItem(line)) break;
      this.#at = line.start;
      const key = this.#key(map);
      const end = this.#at >= line.end || this.#text[this.#at] === '#';
      if (end) this.#next++;
      map[key] = end
        ? this.#below(column, true)
        : this.#inline({ ...line, start: this.#at }, column);
    }
    return map;
  }

  #key(map: object): string {
    KEY.lastIndex = this.#at;
    const [whole, written = ''] = KEY.exec(this.#text) ?? [];
    if (whole === undefined) throw new NotPlain();
    this.#at += whole.length;
    const quoted = written[0] === '"' || written[0] === "'";
    const key = quoted ? written.slice(1, -1) : written;
    const text = quoted || typeof scalar(key) === 'string';
    if (!text || key in map || this.#forbidden.has(key)) throw new NotPlain();
    return key;
  }

  /** The value of a key or item with nothing on its line: what is deeper, or nothing. */
  #below(column: number, listsToo: boolean): unknown {
    const line = this.#lines[this.#next];
    if (!line || line.column < column) return null;
    if (line.column === column) return listsToo && this.#isItem(line) ? this.#block(column) : null;
    if (!this.#startsBlock(line)) throw new NotPlain();
    return this.#block(line.column);
  }

  /** A value that ends on its line; one that goes on below is not plain. */
  #inline({ start, end }: Line, column: number): unknown {
    this.#at = start;
    this.#next++;
    const value = this.#flow(BLOCK_SCALAR);
    this.#skipBlanks();
    if (this.#at < end && (this.#text[this.#at] !== '#' || this.#text[this.#at - 1] !== ' ')) {
      throw new NotPlain();
    }
    const below = this.#lines[this.#next];
    if (below && below.column > column) throw new NotPlain();
    return value;
  }

  #flow(plain: RegExp): unknown {
    switch (this.#text[this.#at]) {
      case '{':
        return this.#flowMap();
      case '[':
        return this.#flowList();
      case '"':
      case "'": {
        QUOTED.lastIndex = this.#at;
        const found = QUOTED.exec(this.#text);
        if (!found) throw new NotPlain();
        this.#at = QUOTED.lastIndex;
        return found[1] ?? found[2];
      }
      default:
        return this.#scalar(plain);
    }
  }

  #scalar(plain: RegExp): unknown {
    const first = this.#text[this.#at] ?? '';
    plain.lastIndex = this.#at;
    const [found] = plain.exec(this.#text) ?? [];
    if (found === undefined || !SCALAR_START.test(first) || /^-(?: |$)/.test(found)) {
      throw new NotPlain();
    }
    this.#at += found.length;
    return scalar(found);
  }

  #flowMap(): object {
    const map: Record<string, unknown> = {};
    this.#flowItems('}', () => {
      const key = this.#key(map);
      map[key] = this.#flow(FLOW_SCALAR);
    });
    return map;
  }

  #flowList(): unknown[] {
    const list: unknown[] = [];
    this.#flowItems(']', () => list.push(this.#flow(FLOW_SCALAR)));
    return list;
  }

  #flowItems(close: string, item: () => void): void {
    if (++this.#depth >= this.#maxDepth) throw new NotPlain();
    this.#at++;
    this.#skipBlanks();
    while (this.#text[this.#at] !== close) {
      item();
      this.#skipBlanks();
      if (this.#text[this.#at] === ',') {
        this.#at++;
        this.#skipBlanks();
      } else if (this.#text[this.#at] !== close) throw new NotPlain();
    }
    this.#at++;
    this.#depth--;
  }

  #skipBlanks(): void {
    while (this.#text[this.#at] === ' ') this.#at++;
  }

  /** The next line if it begins at `column`; one that is deeper belongs to nothing. */
  #lineAt(column: number): Line | undefined {
    const line = this.#lines[this.#next];
    if (line && line.column > column) throw new NotPlain();
    return line?.column === column ? line : undefined;
  }
}

/** What a plain scalar stands for. Source: YAML 1.2.2 section 10.3. */
function scalar(text: string): unknown {
  if (DECIMAL.test(text)) return Number(text);
  const word = WORDS.get(text);
  if (word !== undefined) return word;
  if (ODD_NUMBER.test(text)) throw new NotPlain();
  return text;
}
