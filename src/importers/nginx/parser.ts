import { posix } from 'node:path';
import type { ImportIo } from '../report.ts';
import type { Directive } from './directive.ts';
import { lex, type Token } from './lexer.ts';

/** Something that nginx would not read either. */
export type ParseError = { readonly at: Directive; readonly message: string };

/** The directives of a file and of those that it includes. */
export type Parsed = {
  readonly directives: readonly Directive[];
  readonly errors: readonly ParseError[];
  /** Includes whose file is not there. */
  readonly missing: readonly Directive[];
};

const MAX_DEPTH = 32;
const MAX_FILES = 1000;

/** Reads a file; includes are relative to its directory, as they are with nginx's `-c`. */
export function parse(text: string, file: string, io: ImportIo): Parsed {
  const parser = new Parser(posix.dirname(file), io);
  return { ...parser.result, directives: parser.file(text, file, 0) };
}

class Parser {
  readonly #prefix: string;
  readonly #io: ImportIo;
  readonly #errors: ParseError[] = [];
  readonly #missing: Directive[] = [];
  #files = 0;

  constructor(prefix: string, io: ImportIo) {
    this.#prefix = prefix;
    this.#io = io;
  }

  get result() {
    return { errors: this.#errors, missing: this.#missing };
  }

  file(text: string, file: string, depth: number): Directive[] {
    const { tokens, error } = lex(text.replace(/^\uFEFF/, ''));
    const reader = new Reader(tokens, file);
    const directives = reader.block(undefined);
    const wrong = error ?? reader.error;
    if (wrong) this.#fail(file, wrong.line, wrong.message);
    return this.#include(directives, depth);
  }

  #fail(file: string, line: number, message: string, name = file, args: string[] = []): void {
    const at = { name, args, file, line, block: undefined };
    this.#errors.push({ at, message });
  }

  /** The same directives, with those of included files in place of each `include`. */
  #include(directives: readonly Directive[], depth: number): Directive[] {
    return directives.flatMap((one) => {
      if (one.name !== 'include' || one.block) {
        return [one.block ? { ...one, block: this.#include(one.block, depth) } : one];
      }
      const [pattern = ''] = one.args;
      const found = this.#found(pattern);
      if (found.length === 0 && !/[*?[]/.test(pattern)) this.#missing.push(one);
      return [one, ...found.flatMap((path) => this.#included(one, path, depth))];
    });
  }

  #included(from: Directive, path: string, depth: number): Directive[] {
    const text = this.#io.readFile(path) ?? '';
    if (depth < MAX_DEPTH && this.#files++ < MAX_FILES) return this.file(text, path, depth + 1);
    const message = `more than ${MAX_DEPTH} levels or ${MAX_FILES} files are included`;
    this.#fail(from.file, from.line, message, from.name, [...from.args]);
    return [];
  }

  #found(pattern: string): string[] {
    const path = posix.isAbsolute(pattern) ? pattern : posix.join(this.#prefix, pattern);
    const segments = path.split('/');
    let paths = [segments[0] ?? ''];
    for (const segment of segments.slice(1)) {
      paths = /[*?[]/.test(segment)
        ? paths.flatMap((base) => this.#matching(base, segment))
        : paths.map((base) => `${base}/${segment}`);
    }
    return paths.filter((one) => this.#io.readFile(one) !== undefined);
  }

  #matching(base: string, pattern: string): string[] {
    const names = this.#io.listDirectory?.(base === '' ? '/' : base) ?? [];
    const glob = globRegex(pattern);
    const visible = (name: string) => pattern.startsWith('.') || !name.startsWith('.');
    return [...names]
      .filter((name) => visible(name) && glob.test(name))
      .sort()
      .map((name) => `${base}/${name}`);
  }
}

function globRegex(pattern: string): RegExp {
  const source = pattern.replaceAll(/\[!?[^\]]*\]|[\s\S]/g, (one) => {
    if (one === '*') return '.*';
    if (one === '?') return '.';
    if (one.length > 1) return one.replace('[!', '[^').replaceAll('\\', '\\\\');
    return one.replace(/[\\^$.|+(){}[\]]/, '\\$&');
  });
  try {
    return new RegExp(`^${source}$`);
  } catch {
    // A range that runs backwards matches nothing.
    return /^(?!)/;
  }
}

class Reader {
  readonly #tokens: readonly Token[];
  readonly #file: string;
  error: { line: number; message: string } | undefined;
  #at = 0;

  constructor(tokens: readonly Token[], file: string) {
    this.#tokens = tokens;
    this.#file = file;
  }

  /** The directives up to the brace that closes `opener`'s block, or to the end of the file. */
  block(opener: Token | undefined, depth = 0): Directive[] {
    const directives: Directive[] = [];
    for (;;) {
      const token = this.#tokens[this.#at++];
      if (!token) {
        if (opener) this.#fail(opener.line, 'the block that begins here is not closed');
        return directives;
      }
      if (token.kind === '}') {
        if (opener) return directives;
        this.#fail(token.line, 'there is no block that this "}" could close');
      } else if (token.kind !== 'word')
        this.#fail(token.line, `"${token.kind}" where a name has to be`);
      else if (depth > MAX_DEPTH) this.#fail(token.line, `nested deeper than ${MAX_DEPTH} levels`);
      else directives.push(this.#directive(token, depth));
      if (this.error) return directives;
    }
  }

  #directive(first: Token & { kind: 'word' }, depth: number): Directive {
    const args: string[] = [];
    const made = (block: readonly Directive[] | undefined): Directive => ({
      name: first.text,
      args,
      file: this.#file,
      line: first.line,
      block,
    });
    for (;;) {
      const token = this.#tokens[this.#at++];
      if (token?.kind === 'word') args.push(token.text);
      else if (token?.kind === ';') return made(undefined);
      else if (token?.kind === '{') {
        const raw = this.#tokens[this.#at]?.kind === 'raw';
        if (raw) this.#at++;
        return made(this.block(token, depth + 1));
      } else {
        this.#fail(first.line, `"${first.text}" is not ended by ";" or "{"`);
        return made(undefined);
      }
    }
  }

  #fail(line: number, message: string): void {
    this.error ??= { line, message };
  }
}
