import type { Reporter } from '../report.ts';
import { lexLine } from './lexer.ts';
import { Branches, evaluate } from './preprocessor.ts';

/** One line that says something. */
export type Statement = {
  /** Its words, quotes and escapes resolved. */
  readonly words: readonly string[];
  /** As it is written, without indentation and comment. */
  readonly text: string;
  /** From 1. */
  readonly line: number;
};

/** What a keyword of its own opens, up to the next one. Source: HAProxy 2.6 manual, section 2.1. */
export type Section = {
  readonly kind: SectionKind;
  /** Empty when it has none. */
  readonly name: string;
  readonly head: Statement;
  /** What a proxy or a `defaults` starts from. */
  readonly base: Section | undefined;
  readonly statements: Statement[];
};

export const SECTION_KINDS = [
  ...(['global', 'defaults', 'frontend', 'backend', 'listen', 'resolvers', 'userlist'] as const),
  ...(['peers', 'mailers', 'program', 'http-errors', 'cache', 'ring', 'log-forward'] as const),
  ...(['fcgi-app', 'dynamic-update', 'crt-store', 'traces'] as const),
] as const;

export type SectionKind = (typeof SECTION_KINDS)[number];

const NAMELESS: readonly SectionKind[] = ['global', 'defaults', 'traces', 'dynamic-update'];
const PROXIES: readonly SectionKind[] = ['frontend', 'backend', 'listen'];
const CONDITIONALS: readonly string[] = ['.if', '.elif', '.else', '.endif'];
const MESSAGES: readonly string[] = ['.notice', '.warning', '.diag'];
const MAX_BYTES = 16 * 1024 * 1024;

type Env = Readonly<Record<string, string | undefined>>;

/** Reads a file's sections in order. What cannot be read is reported, and reading goes on. */
export function readSections(text: string, env: Env, reporter: Reporter): Section[] {
  if (text.length > MAX_BYTES) {
    reporter.error('', 1, 'the file is larger than 16 MiB');
    return [];
  }
  return new SectionReader(env, reporter).read(text);
}

function isSectionKind(word: string): word is SectionKind {
  return SECTION_KINDS.some((kind) => kind === word);
}

class SectionReader {
  /** Grows by `setenv` and `presetenv` while the file is read. */
  readonly #env: Map<string, string>;
  readonly #reporter: Reporter;
  readonly #sections: Section[] = [];
  readonly #branches = new Branches();

  constructor(env: Env, reporter: Reporter) {
    const known = Object.entries(env).filter(([, value]) => value !== undefined);
    this.#env = new Map(known.map(([name, value]) => [name, value ?? '']));
    this.#reporter = reporter;
  }

  read(text: string): Section[] {
    for (const [index, raw] of text
      .replace(/^\uFEFF/, '')
      .split(/\r?\n/)
      .entries()) {
      this.#line(raw, index + 1);
    }
    if (this.#branches.depth > 0) {
      this.#reporter.error('', text.split('\n').length, 'an .endif is missing');
    }
    return this.#sections;
  }

  #line(raw: string, line: number): void {
    const { words, comment, error } = lexLine(raw, (name) => this.#env.get(name));
    const text = raw.slice(0, raw.length - (comment?.length ?? 0)).trim();
    if (error !== undefined) {
      this.#reporter.error(text, line, error);
      return;
    }
    const statement: Statement = { words: words.map((word) => word.text), text, line };
    const [first = ''] = statement.words;
    if (statement.words.length === 0) return;
    if (CONDITIONALS.includes(first)) this.#conditional(first, statement);
    else if (!this.#branches.on) return;
    else if (first.startsWith('.')) this.#message(first, statement);
    else if (isSectionKind(first)) this.#open(first, statement);
    else this.#add(statement);
  }

  #conditional(keyword: string, { words, text, line }: Statement): void {
    const condition = words.slice(1).join(' ');
    const doubt = this.#branches.step(keyword, () =>
      evaluate(condition, (name) => this.#env.has(name)),
    );
    if (!doubt) this.#reporter.translated(text, line);
    else if (doubt.refused) this.#reporter.error(text, line, doubt.reason);
    else this.#reporter.unsupported(text, line, doubt.reason);
  }

  #message(keyword: string, { words, text, line }: Statement): void {
    const message = words.slice(1).join(' ');
    if (keyword === '.alert') this.#reporter.error(text, line, message);
    else if (MESSAGES.includes(keyword)) this.#reporter.translated(text, line);
    else this.#reporter.error(text, line, 'the preprocessor has no such directive');
  }

  #add(statement: Statement): void {
    const section = this.#sections.at(-1);
    if (!section) {
      this.#reporter.error(statement.text, statement.line, 'stands before the first section');
      return;
    }
    if (section.kind === 'global') this.#environment(statement);
    section.statements.push(statement);
  }

  #open(kind: SectionKind, head: Statement): void {
    const [, first = ''] = head.words;
    const name = first === 'from' && kind === 'defaults' ? '' : first;
    if (name === '' && !NAMELESS.includes(kind)) {
      this.#reporter.error(head.text, head.line, `a ${kind} needs a name`);
    }
    const kinds = PROXIES.includes(kind) ? PROXIES : [kind];
    const twice = this.#sections.find(
      (one) => one.name === name && name !== '' && kinds.includes(one.kind),
    );
    // A frontend and a backend may share a name.
    if (twice && (twice.kind === kind || [twice.kind, kind].includes('listen'))) {
      this.#reporter.error(head.text, head.line, `the name is taken in line ${twice.head.line}`);
    }
    const from = head.words.indexOf('from');
    const base = from > 0 ? this.#named(head, from) : this.#lastDefaults(kind);
    this.#sections.push({ kind, name, head, base, statements: [] });
  }

  #named(head: Statement, from: number): Section | undefined {
    const name = head.words[from + 1] ?? '';
    const found = this.#sections.find((one) => one.kind === 'defaults' && one.name === name);
    if (!found) {
      this.#reporter.error(head.text, head.line, `there is no \`defaults ${name}\` before it`);
    }
    return found;
  }

  #lastDefaults(kind: SectionKind): Section | undefined {
    if (!PROXIES.includes(kind)) return undefined;
    return this.#sections.findLast((one) => one.kind === 'defaults');
  }

  /** Carries out what changes variables for the lines below. */
  #environment({ words: [keyword, name = '', value = ''] }: Statement): void {
    if (keyword === 'setenv') this.#env.set(name, value);
    if (keyword === 'presetenv' && !this.#env.has(name)) this.#env.set(name, value);
    if (keyword === 'unsetenv') this.#env.delete(name);
  }
}

/** A section's statements after those that it starts from. */
export function inherited(section: Section): Statement[] {
  return [...(section.base ? inherited(section.base) : []), ...section.statements];
}
