import { conditionOf, literalOf, readCriterion } from './acl.ts';
import { FALSE, type Formula, Inexpressible, TRUE } from './formula.ts';
import { mapLookup } from './maps.ts';
import type { RuleSource } from './rules.ts';

/** A backend and when it is meant. */
type Case = { readonly backend: string; readonly when: Formula };

/**
 * The backends that a name stands for: itself, or those of a map by host or path, one for each line
 * and last the default. Throws `Inexpressible`. Source: HAProxy 2.6 manual, `use_backend`, `map`.
 */
export function readUseBackend(written: string, source: RuleSource): Case[] {
  const name = written.replaceAll(
    /\bvar\(([\w.-]+)\)/g,
    (whole, variable) => source.variable(variable) ?? whole,
  );
  if (!name.includes('%[')) return [{ backend: name, when: TRUE }];
  const variable = /^%\[var\(([\w.-]+)\)\]$/.exec(name)?.[1];
  if (variable !== undefined) return assigned(variable, source);
  const [, prefix = '', sample = ''] = /^([\w.-]*)%\[(.+)\]$/.exec(name) ?? [];
  const lookup = mapLookup(sample, source);
  if (typeof lookup === 'string') throw new Inexpressible(lookup);
  if (!lookup) return named(name, source);
  const cases = lookup.lines.map(({ key, value }): Case => {
    return { backend: prefix + value, when: readCriterion(lookup.criterion([key]), source) };
  });
  const { fallback } = lookup;
  if (fallback !== undefined) cases.push({ backend: prefix + fallback, when: TRUE });
  return cases.filter(({ when }) => when !== FALSE);
}

/** One case for each text that a variable may be set to; the last rule that holds counts. */
function assigned(variable: string, source: RuleSource): Case[] {
  const rules = source.assignments(variable);
  const conditions = rules.map(({ condition }) => conditionOf(condition, source));
  if (rules.length === 0) throw new Inexpressible('no rule sets the variable');
  return rules.map(({ expression }, at) => {
    const backend = literalOf(expression);
    if (backend === undefined) throw new Inexpressible('what the variable is set to is no text');
    const later = conditions.slice(at + 1).map((part): Formula => ({ kind: 'not', part }));
    return { backend, when: { kind: 'and', parts: [conditions[at] ?? TRUE, ...later] } };
  });
}

/** One case for each backend that a sample could name. */
function named(name: string, source: RuleSource): Case[] {
  const [, prefix = '', fetch, suffix = ''] = /^([\w.-]*)%\[(.+)\]([\w.-]*)$/.exec(name) ?? [];
  if (fetch === undefined) throw new Inexpressible('a backend is chosen by one sample');
  const fits = source.backends.filter(
    (one) =>
      one.length > prefix.length + suffix.length && one.startsWith(prefix) && one.endsWith(suffix),
  );
  return fits.map((backend) => {
    const text = backend.slice(prefix.length, backend.length - suffix.length);
    return { backend, when: readCriterion([fetch, '-m', 'str', '--', text], source) };
  });
}
