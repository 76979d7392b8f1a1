/** One word of a line, with its quotes and escapes resolved. */
export type Word = {
  readonly text: string;
  /** From 1, in characters of the line. */
  readonly column: number;
};

/** What a line of haproxy.cfg holds. */
export type Lexed = {
  readonly words: readonly Word[];
  /** From the `#`; undefined: none. */
  readonly comment: string | undefined;
  /** What is wrong with the line; then its words are of no use. */
  readonly error: string | undefined;
};

type Env = (name: string) => string | undefined;

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };
const VARIABLE = /^\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(\[\*\])?(?:-([^}]*))?\})/;

/**
 * Cuts one line into words. Outside quotes and in "weak" ones a backslash takes away what a
 * character means; in 'strong' ones nothing has a meaning; variables are filled in between weak
 * ones only, and one that is not set is empty. Source: HAProxy 2.6 manual, sections 2.2 and 2.3.
 */
export function lexLine(line: string, env: Env): Lexed {
  return new LineLexer(line, env).run();
}

class LineLexer {
  readonly #line: string;
  readonly #env: Env;
  readonly #words: Word[] = [];
  #at = 0;
  #text = '';
  /** Where the word that is being read began; undefined: between words. */
  #start: number | undefined;
  #quote = '';
  #error: string | undefined;

  constructor(line: string, env: Env) {
    this.#line = line;
    this.#env = env;
  }

  run(): Lexed {
    let comment: string | undefined;
    while (this.#at < this.#line.length && this.#error === undefined) {
      const one = this.#line[this.#at] ?? '';
      if (one === '#' && this.#quote === '') {
        comment = this.#line.slice(this.#at);
        break;
      }
      this.#step(one);
    }
    this.#end();
    if (this.#quote !== '') this.#error ??= `the quote ${this.#quote} is not closed`;
    return { words: this.#words, comment, error: this.#error };
  }

  #step(one: string): void {
    if (this.#quote === "'") {
      if (one === "'") this.#toggle('');
      else this.#take(one, 1);
    } else if (one === '\\') this.#escape();
    else if (one === '"') this.#toggle(this.#quote === '' ? '"' : '');
    else if (this.#quote === '"') {
      if (one === '$') this.#variable();
      else this.#take(one, 1);
    } else if (one === "'") this.#toggle("'");
    else if (/\s/.test(one)) {
      this.#end();
      this.#at++;
    } else this.#take(one, 1);
  }

  #toggle(quote: string): void {
    this.#quote = quote;
    this.#take('', 1);
  }

  #escape(): void {
    const next = this.#line[this.#at + 1];
    const hex = /^x([0-9A-Fa-f]{2})/.exec(this.#line.slice(this.#at + 1));
    if (next === undefined) this.#error = 'the line ends in a backslash';
    else if (hex) this.#take(String.fromCharCode(Number.parseInt(hex[1] ?? '', 16)), 4);
    else if (next === 'x') this.#error = '\\x needs two hexadecimal digits';
    else if (ESCAPES[next] !== undefined) this.#take(ESCAPES[next], 2);
    else if (/[\s\\"'#]/.test(next) || (next === '$' && this.#quote === '"')) this.#take(next, 2);
    else this.#take('\\', 1);
  }

  #variable(): void {
    const match = VARIABLE.exec(this.#line.slice(this.#at));
    if (!match) {
      if (this.#line[this.#at + 1] === '{') this.#error = '${ needs a name and a }';
      else this.#take('$', 1);
      return;
    }
    const [whole, short, long = '', list, fallback = ''] = match;
    const value = this.#env(short ?? long) ?? fallback;
    const parts = list === undefined ? [value] : value.split(' ');
    for (const [index, part] of parts.entries()) {
      if (index > 0) this.#end();
      this.#take(part, 0);
    }
    this.#at += whole.length;
  }

  #take(text: string, length: number): void {
    this.#start ??= this.#at;
    this.#text += text;
    this.#at += length;
  }

  #end(): void {
    if (this.#start === undefined) return;
    this.#words.push({ text: this.#text, column: this.#start + 1 });
    this.#start = undefined;
    this.#text = '';
  }
}
