import {
  type Document,
  isCollection,
  isMap,
  isNode,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import type { Diagnostic } from './diagnostics.ts';
import { plainYaml } from './plain-yaml.ts';

const MAX_BYTES = 16 * 1024 * 1024;
const MAX_DEPTH = 64;
/** Stops the parser early; far above MAX_DEPTH, since texts may hold brackets too. */
const MAX_BRACKETS = 1000;
const MAX_ALIASES = 100;
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

/** A configuration file's value, with the way back to positions in its text. */
export type SourceText = {
  readonly file: string;
  readonly value: unknown;
  /** Position of the value at a path, or of its key; of the nearest parent when it is not there. */
  locate(path: readonly PropertyKey[], key?: boolean): { line: number; column: number };
  /** Whether the value at a path is text that variables were put into. */
  substituted(path: readonly PropertyKey[]): boolean;
};

type Env = Readonly<Record<string, string | undefined>>;

/** Reads YAML or JSON; `${NAME}` and `${NAME:-default}` in values are taken from `env`. */
export function parseSource(
  file: string,
  text: string,
  env: Env,
): { source: SourceText | undefined; diagnostics: Diagnostic[] } {
  const message = `nested deeper than ${MAX_DEPTH} levels`;
  const tooDeep = {
    source: undefined,
    diagnostics: [{ file, line: 1, column: 1, path: '', message }],
  };
  const depth = bracketDepth(text);
  if (depth > MAX_BRACKETS) return tooDeep;
  try {
    const value = depth < MAX_DEPTH && text.length <= MAX_BYTES ? plainValue(text) : undefined;
    return value ? lazySource(file, text, value) : parseText(file, text, env);
  } catch (error) {
    // The parser recurses once a level; only nesting exhausts the stack.
    if (error instanceof RangeError) return tooDeep;
    throw error;
  }
}

/** The deepest that brackets stand open, in strings and comments too. */
function bracketDepth(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let index = 0; index < text.length; index++) {
    const one = text[index];
    if (one === '[' || one === '{') deepest = Math.max(deepest, ++depth);
    else if (one === ']' || one === '}') depth = Math.max(0, depth - 1);
  }
  return deepest;
}

/** The value of a text without variables that is read without positions, many times as fast. */
function plainValue(text: string): object | undefined {
  if (/\$[{$]/.test(text)) return undefined;
  return plainJson(text) ?? plainYaml(text, MAX_DEPTH, FORBIDDEN_KEYS);
}

const JSON_STRING = /"(?:[^"\\]|\\.)*"(\s*:)?/g;

/**
 * The value of a JSON text that means the same as YAML: without forbidden names and keys given
 * twice; undefined for all else.
 */
function plainJson(text: string): object | undefined {
  if (!/^\s*\{/.test(text)) return undefined;
  let keys = 0;
  let forbidden = false;
  try {
    const value = JSON.parse(text, function count(key, one) {
      // List entries have keys too, which are not written.
      if (!Array.isArray(this) && key !== '') keys++;
      forbidden ||= FORBIDDEN_KEYS.has(key);
      return one;
    });
    let written = 0;
    for (const [, colon] of text.matchAll(JSON_STRING)) if (colon !== undefined) written++;
    return written === keys && !forbidden ? value : undefined;
  } catch {
    return undefined;
  }
}

/** A source whose positions are looked for when the first one is asked. */
function lazySource(
  file: string,
  text: string,
  value: object,
): { source: SourceText; diagnostics: Diagnostic[] } {
  let parsed: SourceText | undefined;
  const locate: SourceText['locate'] = (path, key) => {
    parsed ??= parseText(file, text, {}).source;
    return parsed?.locate(path, key) ?? { line: 1, column: 1 };
  };
  return { source: { file, value, locate, substituted: () => false }, diagnostics: [] };
}

function parseText(
  file: string,
  text: string,
  env: Env,
): { source: SourceText | undefined; diagnostics: Diagnostic[] } {
  const diagnostics: Diagnostic[] = [];
  const counter = new LineCounter();
  const report = (offset: number, message: string, path = '') => {
    const { line, col } = counter.linePos(offset);
    diagnostics.push({ file, line: Math.max(1, line), column: Math.max(1, col), path, message });
  };
  if (text.length > MAX_BYTES || text.includes('\0')) {
    report(
      0,
      text.length > MAX_BYTES ? 'the file is larger than 16 MiB' : 'the file holds NUL bytes',
    );
    return { source: undefined, diagnostics };
  }
  const document = parseDocument(text.replace(/^\uFEFF/, ''), {
    lineCounter: counter,
    prettyErrors: false,
    // Checked below: the parser's own check takes quadratic time.
    uniqueKeys: false,
  });
  // The parser turns an exhausted stack into an error of the text.
  if (document.errors.some(({ message }) => /call stack|stack overflow/i.test(message))) {
    throw new RangeError('the stack is exhausted');
  }
  reportSyntax(document.errors, text, report);
  if (diagnostics.length > 0) return { source: undefined, diagnostics };
  const substituted = new Set<unknown>();
  visitNodes(document, env, substituted, report);
  if (diagnostics.length > 0) return { source: undefined, diagnostics };
  const value = toValue(() => document.toJS({ maxAliasCount: MAX_ALIASES }), report);
  if (diagnostics.length > 0) return { source: undefined, diagnostics };
  const root = document.contents as Node | null;
  return {
    source: {
      file,
      value: value ?? {},
      locate: (path, key) => locate(root, path, key, counter),
      substituted: (path) => substituted.has(substituted.size > 0 && document.getIn(path, true)),
    },
    diagnostics,
  };
}

/** Finds keys that may not be, and puts variables into values. */
function visitNodes(
  document: Document,
  env: Env,
  substituted: Set<unknown>,
  report: (offset: number, message: string) => void,
): void {
  visit(document, {
    Map: (_, map) => {
      const known = new Set<string>();
      for (const { key } of map.items) {
        const name = isScalar(key) ? String(key.value) : '';
        if (known.has(name)) {
          report(isNode(key) ? (key.range?.[0] ?? 0) : 0, `"${name}": keys must be unique`);
        }
        known.add(name);
      }
    },
    Pair: (_, pair) => {
      const key = isScalar(pair.key) ? String(pair.key.value) : '';
      const at = isNode(pair.key) ? (pair.key.range?.[0] ?? 0) : 0;
      if (FORBIDDEN_KEYS.has(key)) report(at, `"${key}" is not a name that can be used`);
    },
    Node: (_, node, path) => {
      if (path.length > MAX_DEPTH && path.filter(isCollection).length >= MAX_DEPTH) {
        report(node.range?.[0] ?? 0, `nested deeper than ${MAX_DEPTH} levels`);
        return visit.BREAK;
      }
      return undefined;
    },
    Scalar: (key, node) => {
      if (key === 'key' || typeof node.value !== 'string') return;
      const before = node.value;
      node.value = interpolate(before, env, (message) => report(node.range?.[0] ?? 0, message));
      if (node.value !== before) substituted.add(node);
    },
  });
}

/** The first error of each line; those after it mostly follow from it. */
function reportSyntax(
  errors: readonly { pos: [number, number]; message: string }[],
  text: string,
  report: (offset: number, message: string) => void,
): void {
  let end = -1;
  for (const { pos, message } of errors) {
    if (pos[0] <= end) continue;
    const start = text.lastIndexOf('\n', pos[0] - 1) + 1;
    const next = text.indexOf('\n', pos[0]);
    end = next < 0 ? text.length : next;
    const braces = text.slice(start, end).includes('${');
    report(pos[0], braces ? `${message}; within { } and [ ], "\${NAME}" needs quotes` : message);
  }
}

function toValue(read: () => unknown, report: (offset: number, message: string) => void): unknown {
  try {
    return read();
  } catch (error) {
    report(0, error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

function interpolate(text: string, env: Env, report: (message: string) => void): string {
  if (!text.includes('$')) return text;
  return text.replaceAll(
    /\$\$|\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}/g,
    (whole, name: string | undefined, fallback: string | undefined) => {
      if (name === undefined) return whole === '$$' ? '$' : whole;
      const value = env[name] ?? fallback;
      if (value === undefined) {
        report(`the environment has no ${name}; set it or write \${${name}:-default}`);
      }
      return value ?? '';
    },
  );
}

function locate(
  root: Node | null,
  path: readonly PropertyKey[],
  wantKey: boolean | undefined,
  counter: LineCounter,
): { line: number; column: number } {
  let node: unknown = root;
  let offset = root?.range?.[0] ?? 0;
  for (const [index, step] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === step);
      if (!pair) break;
      const key = isNode(pair.key) ? pair.key : undefined;
      const value = isNode(pair.value) ? pair.value : undefined;
      const last = index === path.length - 1;
      offset = ((last && wantKey) || !value ? key : value)?.range?.[0] ?? offset;
      node = value;
    } else if (node && typeof node === 'object' && 'items' in node && typeof step === 'number') {
      node = (node.items as unknown[])[step];
      if (isNode(node)) offset = node.range?.[0] ?? offset;
    } else break;
  }
  const { line, col } = counter.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}
