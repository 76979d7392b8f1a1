import { z } from 'zod';
import { didYouMean } from '../base/did-you-mean.ts';
import { gatewayConfig } from '../model/gateway-config.ts';
import { clip } from './diagnostics.ts';
import { SECRET_HEADER } from './resolve.ts';

type Issue = z.core.$ZodIssue;
type Report = (path: PropertyKey[], message: string, key?: boolean) => void;

/** Keys of one object that are compared with the valid ones. */
const MAX_SUGGESTED = 1000;

const SECRET_KEYS = new Set<PropertyKey>(['token', 'basicAuth', 'cookieKey']);

/** One schema issue in words, at its place; a union speaks by the branch that came nearest. */
export function explainIssue(
  issue: Issue,
  outer: readonly PropertyKey[],
  root: unknown,
  report: Report,
): void {
  const path = [...outer, ...issue.path];
  const found = valueAt(root, path);
  if (issue.code === 'unrecognized_keys') {
    explainKeys(issue.keys, path, report);
  } else if (issue.code === 'invalid_union') {
    explainUnion(issue, path, root, report);
  } else if (issue.code === 'invalid_value') {
    report(path, oneOf(found, issue.values.map(String), path));
  } else if (issue.code === 'invalid_key') {
    const why = issue.issues.map((one) => one.message).join('; ');
    report(path, `the name is not valid: ${why}`, true);
  } else if (issue.code === 'invalid_type') {
    const expected = whatIsValid(path) ?? issue.expected;
    report(path, mustBe(expected, found, path));
  } else if (issue.code === 'too_small' || issue.code === 'too_big') {
    const bound = issue.code === 'too_small' ? issue.minimum : issue.maximum;
    const word = issue.code === 'too_small' ? 'at least' : 'at most';
    report(path, mustBe(`${word} ${bound}`, found, path));
  } else report(path, isSecret(path) ? 'is not valid' : issue.message);
}

function explainKeys(keys: readonly string[], path: PropertyKey[], report: Report): void {
  const valid = validKeys(path);
  const list = valid.length > 0 ? `; valid here: ${valid.join(', ')}` : '';
  for (const [index, key] of keys.entries()) {
    const near = index < MAX_SUGGESTED ? didYouMean(key, valid) : '';
    report([...path, key], `unknown key "${key}"${near}${list}`, true);
  }
}

type UnionIssue = Extract<Issue, { code: 'invalid_union' }>;

function explainUnion(issue: UnionIssue, path: PropertyKey[], root: unknown, report: Report): void {
  const found = valueAt(root, path);
  const branches = issue.errors.filter((branch) => branch.length > 0);
  if (branches.length === 0) {
    const { discriminator } = issue as { discriminator?: string };
    report(path, oneOf(found, discriminator ? valuesAt(path) : [], path));
    return;
  }
  const here = branches.flat().filter((one) => one.path.length === 0);
  const words = here.flatMap((one) => (one.code === 'invalid_value' ? one.values.map(String) : []));
  const scalar = typeof found !== 'object' || found === null;
  const custom = branches.some((branch) => branch.some((one) => one.code === 'custom'));
  if (scalar && !custom && words.length > 0) {
    const kinds = here.flatMap((one) => (one.code === 'invalid_type' ? [one.expected] : []));
    report(path, oneOf(found, [...words, ...kinds.map((kind) => `(${kind})`)], path));
    return;
  }
  const depth = (branch: readonly Issue[]) =>
    Math.max(...branch.map((one) => one.path.length * 10 + (one.code === 'invalid_type' ? 0 : 5)));
  const [best = []] = branches.toSorted((a, b) => depth(b) - depth(a));
  for (const one of best) explainIssue(one, path, root, report);
}

const MAX_QUOTED = 80;

function mustBe(expected: string, found: unknown, path: readonly PropertyKey[]): string {
  if (found === undefined) return `is missing (${expected})`;
  return `must be ${expected}, found ${describeFound(found, path)}`;
}

function oneOf(found: unknown, valid: readonly string[], path: readonly PropertyKey[]): string {
  const list = valid.length > 0 ? `one of: ${[...new Set(valid)].join(', ')}` : 'another value';
  if (found === undefined) return `is missing (${list})`;
  const near = typeof found === 'string' && !isSecret(path) ? didYouMean(found, valid) : '';
  return `${describeFound(found, path)} is not valid${near}; ${list}`;
}

function isSecret(path: readonly PropertyKey[]): boolean {
  return path.some((step) => SECRET_KEYS.has(step)) || SECRET_HEADER.test(String(path.at(-1)));
}

/** A wrong value for people: only its kind when it is large, or could be or hold a secret. */
function describeFound(found: unknown, path: readonly PropertyKey[]): string {
  if (Array.isArray(found)) return 'a list';
  if (typeof found === 'object' && found !== null) return 'an object';
  return isSecret(path) ? `a ${typeof found}` : clip(JSON.stringify(found), MAX_QUOTED);
}

/** The value at a path, or undefined. */
export function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at = value;
  for (const step of path) {
    if (typeof at !== 'object' || at === null) return undefined;
    at = (at as Record<PropertyKey, unknown>)[step];
  }
  return at;
}

type Schema = z.core.$ZodType & { def?: unknown };

function schemasAt(path: readonly PropertyKey[]): Schema[] {
  let schemas: Schema[] = [gatewayConfig];
  for (const step of path)
    schemas = schemas.flatMap(unwrap).flatMap((schema) => child(schema, step));
  return schemas;
}

/** The keys that the schema knows at a path, for suggestions. */
function validKeys(path: readonly PropertyKey[]): string[] {
  const schemas = schemasAt(path).flatMap(unwrap);
  return [...new Set(schemas.flatMap((schema) => Object.keys(shapeOf(schema))))];
}

/** The words that a discriminator may be. */
function valuesAt(path: readonly PropertyKey[]): string[] {
  return schemasAt(path)
    .flatMap(unwrap)
    .flatMap((schema) => defOf(schema).values ?? [])
    .map(String);
}

/** What a scalar field says is valid, with an example. */
function whatIsValid(path: readonly PropertyKey[]): string | undefined {
  for (const schema of schemasAt(path).flatMap(wrappers)) {
    const { valid, examples } = z.globalRegistry.get(schema) ?? {};
    if (typeof valid === 'string') return `${valid}, such as ${String(examples)}`;
  }
  return undefined;
}

type Def = {
  type: string;
  shape?: Record<string, Schema>;
  innerType?: Schema;
  options?: Schema[];
  in?: Schema;
  element?: Schema;
  valueType?: Schema;
  values?: unknown[];
};

function defOf(schema: Schema): Def {
  // exempt(as): zod's definition objects differ by kind; every field read here is optional.
  return schema._zod.def as unknown as Def;
}

/** The schemas in a schema that says more of the same value. */
function inside(schema: Schema): Schema[] {
  const def = defOf(schema);
  if (def.innerType) return [def.innerType];
  if (def.options) return def.options;
  return def.type === 'pipe' && def.in ? [def.in] : [];
}

function wrappers(schema: Schema): Schema[] {
  return [schema, ...inside(schema).flatMap(wrappers)];
}

function unwrap(schema: Schema): Schema[] {
  const inner = inside(schema);
  return inner.length > 0 ? inner.flatMap(unwrap) : [schema];
}

function shapeOf(schema: Schema): Record<string, Schema> {
  return defOf(schema).shape ?? {};
}

function child(schema: Schema, step: PropertyKey): Schema[] {
  const def = defOf(schema);
  const next = def.element ?? def.valueType ?? shapeOf(schema)[String(step)];
  return next ? [next] : [];
}
