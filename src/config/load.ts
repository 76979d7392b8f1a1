import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import { type GatewayConfig, gatewayConfig } from '../model/gateway-config.ts';
import { checkConfig } from './check.ts';
import { type Diagnostic, didYouMean, formatDiagnostics } from './diagnostics.ts';
import type { ConfigIo } from './io.ts';
import { resolvePaths, resolveSecrets } from './resolve.ts';
import { parseSource, type SourceText } from './source-text.ts';

export { type ConfigIo, type Diagnostic, formatDiagnostics };

/** A complete configuration, or everything that is wrong with it. */
export type LoadResult =
  | { readonly ok: true; readonly config: GatewayConfig }
  | { readonly ok: false; readonly diagnostics: Diagnostic[] };

type Issue = z.core.$ZodIssue;

const MAX_DIAGNOSTICS = 1000;
const SECRET_KEYS = new Set<PropertyKey>(['token', 'basicAuth']);

/** Reads and checks files, which add to one another. All errors are found at once. */
export function loadConfig(paths: readonly string[], io: ConfigIo): LoadResult {
  const diagnostics: Diagnostic[] = [];
  const sources: SourceText[] = [];
  for (const path of paths) {
    const text = io.readFile(path);
    if (text === undefined) {
      const message = 'the file cannot be read';
      diagnostics.push({ file: path, line: 1, column: 1, path: '', message });
      continue;
    }
    const parsed = parseSource(path, text, io.env);
    for (const one of parsed.diagnostics) diagnostics.push(one);
    if (parsed.source) sources.push(parsed.source);
  }
  if (diagnostics.length > 0) return refusal(diagnostics);
  const merged = merge(sources, diagnostics);
  const locate = locator(sources);
  const result = gatewayConfig.safeParse(merged);
  if (!result.success) {
    const more = explainAll(result.error.issues, diagnostics, locate, merged);
    return refusal(diagnostics, more);
  }
  let more = 0;
  const report = (path: PropertyKey[], message: string) => {
    if (diagnostics.length < MAX_DIAGNOSTICS) diagnostics.push(locate(path, message));
    else more++;
  };
  checkWritten(result.data, merged, report);
  const base = dirname(resolve(paths[0] ?? '.'));
  const config = resolvePaths(result.data, (path) => resolve(base, path));
  resolveSecrets(config, io, report);
  checkConfig(config, io, report);
  return diagnostics.length > 0 ? refusal(diagnostics, more) : { ok: true, config };
}

function refusal(diagnostics: readonly Diagnostic[], uncounted = 0): LoadResult {
  const shown = diagnostics.slice(0, MAX_DIAGNOSTICS);
  const more = diagnostics.length - shown.length + uncounted;
  const last = shown.at(-1);
  if (more > 0 && last) shown.push({ ...last, path: '', message: `and ${more} more errors` });
  return { ok: false, diagnostics: shown };
}

/** Adds issues in words until there are enough; returns how many were left out. */
function explainAll(
  issues: readonly Issue[],
  diagnostics: Diagnostic[],
  locate: Locate,
  root: unknown,
): number {
  let more = 0;
  for (const issue of issues) {
    const left = MAX_DIAGNOSTICS - diagnostics.length;
    const keys = issue.code === 'unrecognized_keys' ? issue.keys.length : 1;
    more += Math.max(0, keys - left);
    if (left > 0) {
      const explained = explainIssue(issue, [], locate, root);
      for (const one of explained.slice(0, left)) diagnostics.push(one);
    }
  }
  return more;
}

/** Finds settings that have no use where they are written; defaults are not meant. */
function checkWritten(
  config: GatewayConfig,
  root: unknown,
  report: (path: PropertyKey[], message: string) => void,
): void {
  for (const [name, { protocol }] of Object.entries(config.listeners)) {
    const path = ['listeners', name, 'http'];
    if (protocol === 'http' || protocol === 'https' || valueAt(root, path) === undefined) continue;
    report(path, `has no use with protocol ${protocol}`);
  }
}

type Locate = (path: readonly PropertyKey[], message: string, key?: boolean) => Diagnostic;

function locator(sources: readonly SourceText[]): Locate {
  return (path, message, key) => {
    const holder = sources.find(({ value }) => has(value, path.slice(0, 2))) ?? sources[0];
    const place = holder?.locate(path, key) ?? { line: 1, column: 1 };
    return { file: holder?.file ?? '', ...place, path: path.map(String).join('.'), message };
  };
}

function has(value: unknown, path: readonly PropertyKey[]): boolean {
  let at = value;
  for (const step of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return false;
    at = (at as Record<PropertyKey, unknown>)[step];
  }
  return true;
}

/** Joins files: named objects add up, and a name or setting given twice is an error. */
function merge(sources: readonly SourceText[], diagnostics: Diagnostic[]): unknown {
  if (sources.length === 1) return sources[0]?.value;
  const merged: Record<string, unknown> = {};
  for (const source of sources) {
    if (typeof source.value !== 'object' || source.value === null) return source.value;
    for (const [key, value] of Object.entries(source.value)) {
      const named = key === 'listeners' || key === 'services';
      const known = merged[key] as Record<string, unknown> | undefined;
      const twice = named
        ? Object.keys(value ?? {}).filter((name) => known && Object.hasOwn(known, name))
        : known !== undefined
          ? ['']
          : [];
      for (const name of twice) {
        const path = name === '' ? [key] : [key, name];
        const message = 'is given in an earlier file too';
        diagnostics.push({
          file: source.file,
          ...source.locate(path, true),
          path: path.join('.'),
          message,
        });
      }
      merged[key] = named ? { ...known, ...(value as object) } : value;
    }
  }
  return merged;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at = value;
  for (const step of path) {
    if (typeof at !== 'object' || at === null) return undefined;
    at = (at as Record<PropertyKey, unknown>)[step];
  }
  return at;
}

/** One schema issue in words, at its place; a union speaks by the branch that came nearest. */
function explainIssue(
  issue: Issue,
  outer: readonly PropertyKey[],
  locate: Locate,
  root: unknown,
): Diagnostic[] {
  const path = [...outer, ...issue.path];
  const found = valueAt(root, path);
  if (issue.code === 'unrecognized_keys') {
    const valid = validKeys(path);
    const list = valid.length > 0 ? `; valid here: ${valid.join(', ')}` : '';
    return issue.keys
      .slice(0, MAX_DIAGNOSTICS)
      .map((key) =>
        locate([...path, key], `unknown key "${key}"${didYouMean(key, valid)}${list}`, true),
      );
  }
  if (issue.code === 'invalid_union') {
    const depth = (branch: readonly Issue[]) =>
      Math.max(
        ...branch.map((one) => one.path.length * 10 + (one.code === 'invalid_type' ? 0 : 5)),
      );
    const best = [...issue.errors]
      .filter((branch) => branch.length > 0)
      .sort((a, b) => depth(b) - depth(a))[0];
    if (best) return best.flatMap((one) => explainIssue(one, path, locate, root));
  }
  if (issue.code === 'invalid_value' && typeof found === 'string' && !isSecret(path)) {
    const valid = issue.values.map(String);
    const message = `"${found}" is not valid${didYouMean(found, valid)}; one of: ${valid.join(', ')}`;
    return [locate(path, message)];
  }
  if (issue.code === 'invalid_type') {
    const missing = found === undefined;
    const message = missing
      ? `is missing (${issue.expected})`
      : `must be ${issue.expected}, found ${describeFound(found, path)}`;
    return [locate(path, message)];
  }
  return [locate(path, issue.message)];
}

function isSecret(path: readonly PropertyKey[]): boolean {
  return path.some((step) => SECRET_KEYS.has(step));
}

/** A wrong value for people: only its kind when it is large, or could be or hold a secret. */
function describeFound(found: unknown, path: readonly PropertyKey[]): string {
  if (Array.isArray(found)) return 'a list';
  if (typeof found === 'object' && found !== null) return 'an object';
  return isSecret(path) ? `a ${typeof found}` : JSON.stringify(found);
}

type Schema = z.core.$ZodType & { def?: unknown };

/** The keys that the schema knows at a path, for suggestions. */
function validKeys(path: readonly PropertyKey[]): string[] {
  let schemas: Schema[] = [gatewayConfig];
  for (const step of path)
    schemas = schemas.flatMap(unwrap).flatMap((schema) => child(schema, step));
  const keys = schemas.flatMap(unwrap).flatMap((schema) => Object.keys(shapeOf(schema)));
  return [...new Set(keys)];
}

type Def = {
  type: string;
  shape?: Record<string, Schema>;
  innerType?: Schema;
  options?: Schema[];
  in?: Schema;
  element?: Schema;
  valueType?: Schema;
};

function defOf(schema: Schema): Def {
  // exempt(cast): zod's definition objects differ by kind; every field read here is optional.
  return schema._zod.def as unknown as Def;
}

function unwrap(schema: Schema): Schema[] {
  const def = defOf(schema);
  if (def.innerType) return unwrap(def.innerType);
  if (def.options) return def.options.flatMap(unwrap);
  if (def.type === 'pipe' && def.in) return unwrap(def.in);
  return [schema];
}

function shapeOf(schema: Schema): Record<string, Schema> {
  return defOf(schema).shape ?? {};
}

function child(schema: Schema, step: PropertyKey): Schema[] {
  const def = defOf(schema);
  const next = def.element ?? def.valueType ?? shapeOf(schema)[String(step)];
  return next ? [next] : [];
}
