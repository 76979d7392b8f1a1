/** One piece of a file: a word, or what stands between words. */
export type Token =
  | { readonly kind: 'word'; readonly text: string; readonly line: number }
  | { readonly kind: '{' | '}' | ';'; readonly line: number }
  | { readonly kind: 'raw'; readonly text: string; readonly line: number };

/** The pieces of a file up to its end, or to the first that is wrong. */
export type Lexed = {
  readonly tokens: readonly Token[];
  readonly error: { readonly line: number; readonly message: string } | undefined;
};

const SPACE = /[ \t\r\n]/;
const ESCAPED: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  '\\': '\\',
  t: '\t',
  r: '\r',
  n: '\n',
};

/**
 * Cuts a file into words as nginx does: quotes count at the start of a word only, `\` keeps what it
 * does not know (so that expressions need no second one), `${` belongs to a word. What is between the
 * braces of a Lua block is not looked at. Source: nginx 1.31, ngx_conf_read_token.
 */
export function lex(text: string): Lexed {
  return new Lexer(text).run();
}

class Lexer {
  readonly #text: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  run(): Lexed {
    let message: string | undefined;
    while (this.#at < this.#text.length && message === undefined) message = this.#step();
    const error = message === undefined ? undefined : { line: this.#line, message };
    return { tokens: this.#tokens, error };
  }

  #step(): string | undefined {
    const one = this.#text[this.#at] ?? '';
    if (SPACE.test(one)) this.#skip();
    else if (one === '#') this.#comment();
    else if (one === ';' || one === '{' || one === '}') {
      this.#tokens.push({ kind: one, line: this.#line });
      this.#at++;
      if (one === '{' && this.#inLua()) return this.#lua();
    } else if (one === '"' || one === "'") return this.#quoted(one);
    else this.#word();
    return undefined;
  }

  #skip(): void {
    if (this.#text[this.#at] === '\n') this.#line++;
    this.#at++;
  }

  #comment(): void {
    const end = this.#text.indexOf('\n', this.#at);
    this.#at = end < 0 ? this.#text.length : end;
  }

  #word(): void {
    const line = this.#line;
    let word = '';
    while (this.#at < this.#text.length) {
      const one = this.#text[this.#at] ?? '';
      if (SPACE.test(one) || one === ';' || (one === '{' && !word.endsWith('$'))) break;
      word += this.#character(one);
    }
    this.#tokens.push({ kind: 'word', text: word, line });
  }

  #quoted(quote: string): string | undefined {
    const line = this.#line;
    let word = '';
    this.#at++;
    while (this.#text[this.#at] !== quote) {
      const one = this.#text[this.#at];
      if (one === undefined) {
        this.#line = line;
        return `the quote ${quote} is not closed`;
      }
      word += this.#character(one);
    }
    this.#at++;
    const next = this.#text[this.#at];
    this.#tokens.push({ kind: 'word', text: word, line });
    if (next === undefined || SPACE.test(next) || ';{)'.includes(next)) return undefined;
    return `"${next}" cannot follow a closing quote`;
  }

  /** The next character, with its escape resolved. */
  #character(one: string): string {
    if (one === '\n') this.#line++;
    this.#at++;
    if (one !== '\\') return one;
    const next = this.#text[this.#at];
    if (next === undefined) return one;
    if (next === '\n') this.#line++;
    this.#at++;
    return ESCAPED[next] ?? one + next;
  }

  #inLua(): boolean {
    const before = this.#tokens.at(-2);
    return before?.kind === 'word' && before.text.endsWith('_by_lua_block');
  }

  /** Takes a Lua block up to the brace that closes it, without looking into it further. */
  #lua(): string | undefined {
    const [from, line] = [this.#at, this.#line];
    for (let depth = 1; ; this.#skip()) {
      const one = this.#text[this.#at];
      if (one === undefined) return 'the Lua block is not closed';
      if (one === '{') depth++;
      if (one === '}' && --depth === 0) break;
    }
    this.#tokens.push({ kind: 'raw', text: this.#text.slice(from, this.#at), line });
    return undefined;
  }
}
