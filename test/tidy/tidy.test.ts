import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';

const ROOT = new URL('../../', import.meta.url).pathname;

/** Which folders of src/ a folder may import, and so who may know of whom. */
const LAYERS: Record<string, readonly string[]> = {
  base: [],
  model: ['base'],
  wire: ['base'],
  balance: ['base', 'model'],
  health: ['base', 'model'],
  importers: ['base', 'model'],
  config: ['base', 'model', 'importers'],
  ipam: ['base', 'model'],
  net: ['base', 'wire', 'model', 'health'],
  kernel: ['base'],
  store: ['base', 'model', 'net'],
  plugin: ['base', 'ipam'],
  link: ['base', 'model', 'wire', 'net'],
  agent: ['base', 'model', 'wire', 'health', 'net', 'kernel', 'link'],
  control: ['base', 'model', 'ipam', 'store', 'link', 'plugin'],
  gateway: ['base', 'model', 'wire', 'balance', 'health', 'net'],
  client: ['base', 'model'],
  api: ['base', 'model', 'net', 'control', 'client'],
  cli: ['base', 'model', 'client', 'config', 'importers'],
};

const PURE = ['base', 'model', 'wire', 'balance', 'health', 'importers', 'config', 'ipam'];
const MAX_FILE_LINES = 600;
const MAX_FUNCTION_LINES = 70;
const MAX_COLUMNS = 100;

type Source = { path: string; folder: string; lines: string[] };

function sources(): Source[] {
  return readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => ({
      path: `src/${path}`,
      folder: path.split('/')[0] ?? '',
      lines: readFileSync(join(ROOT, 'src', path), 'utf8').split('\n'),
    }));
}

function exempt(lines: readonly string[], index: number, rule: string): boolean {
  const mark = `exempt(${rule})`;
  return [lines[index - 1], lines[index]].some((line) => line?.includes(mark));
}

function find(rule: string, matches: (source: Source, line: string) => boolean): string[] {
  return sources().flatMap((source) =>
    source.lines.flatMap((line, index) =>
      matches(source, line) && !exempt(source.lines, index, rule)
        ? [`${source.path}:${index + 1}: ${line.trim()}`]
        : [],
    ),
  );
}

function importsOf({ path, lines }: Source): string[] {
  return lines.flatMap((line) => {
    const target = /(?:from|import\() ?'(\.[^']+)'/.exec(line)?.[1];
    return target ? [normalize(join(dirname(path), target))] : [];
  });
}

test('a folder imports only the folders below it', () => {
  const wrong = sources().flatMap((source) =>
    importsOf(source).flatMap((target) => {
      const allowed = LAYERS[source.folder];
      const folder = target.split('/')[1] ?? '';
      const fine =
        folder === source.folder || source.folder === 'main' || allowed?.includes(folder);
      return fine ? [] : [`${source.path} imports ${target}`];
    }),
  );
  assert.deepEqual(wrong, []);
});

test('no import cycles at run time: each file is ready before those that need it', () => {
  const values = ({ lines, ...rest }: Source) => ({
    ...rest,
    lines: lines.filter((line) => !line.startsWith('import type ')),
  });
  const graph = new Map(sources().map((source) => [source.path, importsOf(values(source))]));
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: string[]) => {
    if (done.has(path)) return;
    if (trail.includes(path)) {
      cycles.push([...trail.slice(trail.indexOf(path)), path].join(' → '));
      return;
    }
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  assert.deepEqual(cycles, []);
});

test('the environment is read in main/ only, so that every part can be started twice', () => {
  const wrong = find('env', ({ folder }, line) => folder !== 'main' && /process\.env\b/.test(line));
  assert.deepEqual(wrong, []);
});

test('pure folders take time and chance from outside, so that a seed replays a failure', () => {
  const raw = /\b(Date\.now|Math\.random|setTimeout|setInterval|performance\.now)\b/;
  const own = ['src/base/clock.ts', 'src/base/rng.ts'];
  const wrong = find(
    'clock',
    ({ folder, path }, line) => PURE.includes(folder) && !own.includes(path) && raw.test(line),
  );
  assert.deepEqual(wrong, []);
});

test('exports have names, so that one thing is called the same everywhere', () => {
  assert.deepEqual(
    find('default-export', (_, line) => /^export default\b/.test(line)),
    [],
  );
});

test('nothing is left to be done', () => {
  assert.deepEqual(
    find('todo', (_, line) => /\b(TODO|FIXME|XXX|HACK)\b/.test(line)),
    [],
  );
});

/** What may be broken with `// exempt(rule): reason`. */
const RULES = ['any', 'as', 'clock', 'default-export', 'env', 'function-size', 'todo'];

test('an exemption names a rule that there is, and its reason', (t) => {
  const counts = new Map<string, number>();
  const wrong = sources().flatMap(({ path, lines }) =>
    lines.flatMap((line, index) => {
      const mark = /\/\/ exempt\(([\w-]*)\)(: \S.{9,})?/.exec(line);
      if (!mark) return [];
      const [, rule = '', reason] = mark;
      counts.set(rule, (counts.get(rule) ?? 0) + 1);
      return RULES.includes(rule) && reason ? [] : [`${path}:${index + 1}: ${line.trim()}`];
    }),
  );
  for (const [rule, count] of counts) t.diagnostic(`${count} exemptions from ${rule}`);
  assert.deepEqual(wrong, []);
});

test('files stay short enough to read in one go', () => {
  const wrong = sources().filter(({ lines }) => lines.length > MAX_FILE_LINES);
  assert.deepEqual(
    wrong.map(({ path, lines }) => `${path}: ${lines.length} lines`),
    [],
  );
});

test('lines fit a window; only text that cannot be broken may be longer', () => {
  const wrong = find(
    'width',
    (_, line) => line.length > MAX_COLUMNS && !/['"`/].*['"`/]/.test(line) && !/^\s*\*/.test(line),
  );
  assert.deepEqual(wrong, []);
});

test('functions do one thing', () => {
  const start =
    /^(\s*)(?:export )?(?:async )?(?:function\b|(?:#|async |static |get |set )*[\w#]+(?:<[^>]*>)?\([^;]*\)?(?:: .+)? \{$)/;
  const wrong = sources().flatMap(({ path, lines }) =>
    lines.flatMap((line, index) => {
      const indent = start.exec(line)?.[1];
      if (indent === undefined || /^\s*(if|for|while|switch|catch)\b/.test(line)) return [];
      const end = lines.findIndex((other, at) => at > index && other === `${indent}}`);
      const length = end - index + 1;
      const long = end > 0 && length > MAX_FUNCTION_LINES && !exempt(lines, index, 'function-size');
      return long ? [`${path}:${index + 1}: ${length} lines`] : [];
    }),
  );
  assert.deepEqual(wrong, []);
});
