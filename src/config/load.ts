import { dirname, join, resolve } from 'node:path';
import { unreadable } from '../base/unreadable.ts';
import { type GatewayConfig, gatewayConfig } from '../model/gateway-config.ts';
import { checkCertificates } from './certificates.ts';
import { checkConfig } from './check.ts';
import { type Diagnostic, formatDiagnostic, formatDiagnostics } from './diagnostics.ts';
import { explainIssue, valueAt } from './explain-issue.ts';
import { parseForeign } from './foreign.ts';
import type { ConfigIo } from './io.ts';
import { resolvePaths, resolveSecrets } from './resolve.ts';
import { parseSource, type SourceText } from './source-text.ts';

export { type ConfigIo, type Diagnostic, formatDiagnostic, formatDiagnostics };

/** A complete configuration, or everything that is wrong with it. */
export type LoadResult =
  | { readonly ok: true; readonly config: GatewayConfig; readonly warnings: Diagnostic[] }
  | { readonly ok: false; readonly diagnostics: Diagnostic[] };

const MAX_DIAGNOSTICS = 1000;

/**
 * Reads and checks files, which add to one another; a directory stands for the `.yaml`, `.yml` and
 * `.json` files in it, by name. A file of another program is translated. All errors are found at
 * once.
 */
export function loadConfig(paths: readonly string[], io: ConfigIo): LoadResult {
  const diagnostics: Diagnostic[] = [];
  const warnings: Diagnostic[] = [];
  const sources: SourceText[] = [];
  for (const path of expandPaths(paths, io, diagnostics)) {
    const text = io.readFile(path);
    if (text === undefined) {
      const message = unreadable('the file', path, io);
      diagnostics.push({ file: path, line: 1, column: 1, path: '', message });
      continue;
    }
    const foreign = parseForeign(path, text, io);
    const parsed = foreign ?? parseSource(path, text, io.env);
    for (const one of parsed.diagnostics) diagnostics.push(one);
    for (const one of foreign?.warnings ?? []) warnings.push(one);
    if (parsed.source) sources.push(parsed.source);
  }
  if (diagnostics.length > 0) return refusal(diagnostics);
  const merged = merge(sources, diagnostics);
  const locate = locator(sources);
  let result = gatewayConfig.safeParse(merged);
  if (result.error && retype(merged, result.error.issues, sources)) {
    result = gatewayConfig.safeParse(merged);
  }
  let more = 0;
  const report = (path: PropertyKey[], message: string, key?: boolean) => {
    if (diagnostics.length < MAX_DIAGNOSTICS) diagnostics.push(locate(path, message, key));
    else more++;
  };
  for (const issue of result.error?.issues ?? []) explainIssue(issue, [], merged, report);
  const checked = result.data ?? soundPart(merged, result.error?.issues ?? []);
  const config =
    checked &&
    resolvePaths(checked, (place, file) => resolve(dirname(locate(place, '').file), file));
  if (config) {
    checkWritten(config, merged, report);
    resolveSecrets(config, io, report);
    checkConfig(config, io, report, new Set(namesIn(merged, 'services')));
    checkCertificates(config, io, report, (path, message) => {
      if (warnings.length < MAX_DIAGNOSTICS) warnings.push(locate(path, message));
    });
  }
  if (config && diagnostics.length === 0) return { ok: true, config, warnings };
  return refusal(diagnostics, more);
}

const CONFIG_FILE = /\.(ya?ml|json)$/;

function expandPaths(
  paths: readonly string[],
  io: ConfigIo,
  diagnostics: Diagnostic[],
): readonly string[] {
  return paths.flatMap((path) => {
    const names = io.listDirectory?.(path);
    if (!names) return [path];
    const files = names.filter((name) => CONFIG_FILE.test(name)).sort();
    if (files.length === 0) {
      const message = 'the directory holds no .yaml, .yml or .json file';
      diagnostics.push({ file: path, line: 1, column: 1, path: '', message });
    }
    return files.map((name) => join(path, name));
  });
}

type NestedIssue = {
  readonly code?: string | undefined;
  readonly path: readonly PropertyKey[];
  readonly errors?: readonly (readonly NestedIssue[])[];
};

/** Reads what variables put in as number or boolean where no text is valid; whether it did. */
function retype(
  root: unknown,
  issues: readonly NestedIssue[],
  sources: readonly SourceText[],
  outer: readonly PropertyKey[] = [],
): boolean {
  let changed = false;
  for (const issue of issues) {
    const path = [...outer, ...issue.path];
    for (const branch of issue.errors ?? []) {
      changed = retype(root, branch, sources, path) || changed;
    }
    const holder = valueAt(root, path.slice(0, -1));
    const text = valueAt(root, path);
    const value = typeof text === 'string' ? plainValue(text) : undefined;
    if (value === undefined || typeof holder !== 'object' || holder === null) continue;
    if (!sources.some((source) => source.substituted(path))) continue;
    (holder as Record<PropertyKey, unknown>)[path.at(-1) ?? ''] = value;
    changed = true;
  }
  return changed;
}

function plainValue(text: string): number | boolean | undefined {
  if (text === 'true' || text === 'false') return text === 'true';
  return /^-?\d{1,15}(\.\d+)?$/.test(text) ? Number(text) : undefined;
}

/** What is left without the objects that have errors: its own errors are to be told too. */
function soundPart(
  merged: unknown,
  issues: readonly { path: readonly PropertyKey[] }[],
): GatewayConfig | undefined {
  if (typeof merged !== 'object' || merged === null) return undefined;
  const left: Record<string, unknown> = { ...merged };
  for (const { path } of issues) {
    const [key, name] = path.map(String);
    if (key === undefined) continue;
    const holder = left[key];
    const named = key === 'listeners' || key === 'services';
    if (!named || name === undefined || typeof holder !== 'object') delete left[key];
    else left[key] = Object.fromEntries(Object.entries(holder ?? {}).filter(([n]) => n !== name));
  }
  const known = Object.keys(gatewayConfig.shape);
  const entries = Object.entries(left).filter(([key]) => known.includes(key));
  return gatewayConfig.safeParse(Object.fromEntries(entries)).data;
}

function namesIn(root: unknown, key: string): string[] {
  const holder = valueAt(root, [key]);
  return typeof holder === 'object' && holder !== null ? Object.keys(holder) : [];
}

function byPlace(a: Diagnostic, b: Diagnostic): number {
  return a.file === b.file ? a.line - b.line || a.column - b.column : 0;
}

function refusal(diagnostics: readonly Diagnostic[], uncounted = 0): LoadResult {
  const shown = diagnostics.slice(0, MAX_DIAGNOSTICS).sort(byPlace);
  const more = diagnostics.length - shown.length + uncounted;
  const last = shown.at(-1);
  if (more > 0 && last) shown.push({ ...last, path: '', message: `and ${more} more errors` });
  return { ok: false, diagnostics: shown };
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

function locator(
  sources: readonly SourceText[],
): (path: readonly PropertyKey[], message: string, key?: boolean) => Diagnostic {
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
