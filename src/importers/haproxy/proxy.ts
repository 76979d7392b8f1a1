import type { ImportIo, Reporter } from '../report.ts';
import { findDirective, GLOBAL_DIRECTIVES, LEFT_SECTIONS, PROXY_DIRECTIVES } from './directives.ts';
import { inherited, type Section, type Statement } from './sections.ts';
import { parseTime } from './values.ts';

/** Statements of one section by keyword, in their order; of those that were inherited, too. */
export class Statements {
  readonly #reporter: Reporter;
  readonly #byKeyword = new Map<string, Statement[]>();

  constructor(reporter: Reporter) {
    this.#reporter = reporter;
  }

  add(keyword: string, statement: Statement): void {
    const list = this.#byKeyword.get(keyword) ?? [];
    list.push(statement);
    this.#byKeyword.set(keyword, list);
  }

  clear(keyword: string): void {
    this.#byKeyword.delete(keyword);
  }

  all(...keywords: string[]): Statement[] {
    const found = keywords.flatMap((keyword) => this.#byKeyword.get(keyword) ?? []);
    return keywords.length > 1 ? found.toSorted((a, b) => a.line - b.line) : found;
  }

  /** The one that counts of a setting. */
  last(keyword: string): Statement | undefined {
    return this.#byKeyword.get(keyword)?.at(-1);
  }

  has(keyword: string): boolean {
    return this.#byKeyword.has(keyword);
  }

  /** The words after a keyword of the statement that counts; empty: it is not there. */
  words(keyword: string): readonly string[] {
    return this.last(keyword)?.words.slice(keyword.split(' ').length) ?? [];
  }

  /** Milliseconds of a `timeout`; undefined: none, or 0, which never ends. */
  timeout(name: string): number | undefined {
    const statement = this.last(`timeout ${name}`);
    if (!statement) return undefined;
    const ms = parseTime(statement.words[2]);
    if (ms === undefined) {
      this.#reporter.error(statement.text, statement.line, 'a time is needed, such as 5s');
    }
    return ms || undefined;
  }
}

/** A frontend, a backend, or both in one. */
export type ProxySection = {
  readonly kind: 'frontend' | 'backend' | 'listen';
  readonly name: string;
  readonly head: Statement;
  readonly mode: 'http' | 'tcp';
  readonly statements: Statements;
};

/** Everything that translating needs. */
export type Work = {
  readonly io: ImportIo;
  readonly reporter: Reporter;
  readonly global: Statements;
  readonly proxies: readonly ProxySection[];
  readonly userlists: ReadonlyMap<string, Section>;
  readonly resolvers: ReadonlyMap<string, Section>;
  /** Sections `http-errors`. */
  readonly pages: ReadonlyMap<string, Section>;
  /** Reads a file that a line names, relative to the file that it stands in. */
  readonly readFile: (path: string) => string | undefined;
  /** That a file, called `what`, cannot be read, and why. */
  readonly unreadable: (what: string, path: string) => string;
  /** Notes where an object comes from. */
  readonly place: (path: string, line: number) => void;
};

/** Of these, what a section says itself stands in place of what it would inherit. */
const REPLACED = ['http-check', 'tcp-check', 'option'];
const CHECKS = [
  ...['option httpchk', 'option tcp-check', 'option ssl-hello-chk', 'option redis-check'],
  ...['option smtpchk', 'option ldap-check', 'option mysql-check', 'option pgsql-check'],
];

/** Sorts the statements of `global`. */
export function readGlobal(sections: readonly Section[], reporter: Reporter): Statements {
  const global = new Statements(reporter);
  for (const section of sections.filter(({ kind }) => kind === 'global')) {
    for (const statement of section.statements) {
      const row = findDirective(GLOBAL_DIRECTIVES, plain(statement.words).words);
      const tuning = /^tune\./.test(statement.words[0] ?? '');
      if (row) global.add(row.keyword, statement);
      note(statement, tuning ? TUNING : row, reporter, 'global');
    }
  }
  return global;
}

const TUNING = { level: 'approximated', note: "tunes HAProxy's own engine" } as const;

/** The words without a leading `no`, and whether there was one. */
function plain(words: readonly string[]): { words: readonly string[]; negated: boolean } {
  const negated = words[0] === 'no';
  return { words: negated || words[0] === 'default' ? words.slice(1) : words, negated };
}

type Row = { readonly level: string; readonly note: string };

function note(
  { text, line }: Statement,
  row: Row | undefined,
  reporter: Reporter,
  where: string,
): void {
  if (!row) reporter.error(text, line, `is no keyword of ${where}`);
  else if (row.level === 'unsupported') reporter.unsupported(text, line, row.note);
  else if (row.level === 'approximated') reporter.approximated(text, line, row.note);
  else reporter.translated(text, line);
}

/** Makes frontends, backends and `listen`s of sections; those that are disabled are left out. */
export function readProxies(sections: readonly Section[], reporter: Reporter): ProxySection[] {
  return sections.flatMap((section) => {
    const { kind, name, head } = section;
    if (kind !== 'frontend' && kind !== 'backend' && kind !== 'listen') {
      if (kind === 'defaults') for (const one of section.statements) sort(one, undefined, reporter);
      return [];
    }
    const statements = new Statements(reporter);
    const own = new Set(section.statements);
    const replaced = new Set<string>();
    for (const statement of inherited(section)) {
      const keyword = sort(statement, statements, own.has(statement) ? reporter : undefined);
      const group = keyword.split(' ')[0] ?? '';
      if (!own.has(statement) || !REPLACED.includes(group) || group === 'option') continue;
      // The first of its own takes the place of what was inherited.
      if (!replaced.has(group)) clearInherited(statements, group, own);
      replaced.add(group);
    }
    const [mode = 'tcp'] = statements.words('mode');
    if (mode !== 'http' && mode !== 'tcp') {
      reporter.unsupported(`mode ${mode}`, head.line, `${kind} ${name} is left out`);
      return [];
    }
    if (statements.has('disabled')) return [];
    return [{ kind, name, head, mode, statements }];
  });
}

function clearInherited(statements: Statements, group: string, own: ReadonlySet<Statement>): void {
  for (const rest of ['send', 'expect', 'connect', 'comment', 'send-state']) {
    const keyword = `${group} ${rest}`;
    const kept = statements.all(keyword).filter((one) => own.has(one));
    statements.clear(keyword);
    for (const one of kept) statements.add(keyword, one);
  }
}

/** Puts a statement under its keyword, which is given back; reports it when `reporter` is there. */
function sort(
  statement: Statement,
  statements: Statements | undefined,
  reporter: Reporter | undefined,
): string {
  const { words, negated } = plain(statement.words);
  const row = findDirective(PROXY_DIRECTIVES, words);
  if (reporter) note(statement, row, reporter, 'a proxy');
  if (!row || !statements) return '';
  const { keyword } = row;
  if (keyword === 'enabled') statements.clear('disabled');
  // Of the kinds of check, the last one that is named counts.
  if (CHECKS.includes(keyword)) for (const one of CHECKS) statements.clear(one);
  if (negated) statements.clear(keyword);
  else statements.add(keyword, words === statement.words ? statement : { ...statement, words });
  return keyword;
}

/** Reports what sections say that are not carried over. */
export function reportLeftSections(sections: readonly Section[], reporter: Reporter): void {
  for (const { kind, head, statements } of sections) {
    const why = LEFT_SECTIONS[kind];
    if (why === undefined) continue;
    reporter.unsupported(head.text, head.line, why);
    for (const { text, line } of statements) reporter.unsupported(text, line, why);
  }
}
