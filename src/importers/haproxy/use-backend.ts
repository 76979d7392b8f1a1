import { readCriterion } from './acl.ts';
import { FALSE, type Formula, Inexpressible, TRUE } from './formula.ts';
import type { RuleSource } from './rules.ts';

/** A backend and when it is meant. */
type Case = { readonly backend: string; readonly when: Formula };

const MAX_LINES = 2000;

/**
 * The backends that a name stands for: itself, or those of a map by host or path, one for each line
 * and last the default. Throws `Inexpressible`. Source: HAProxy 2.6 manual, `use_backend`, `map`.
 */
export function readUseBackend(name: string, source: RuleSource): Case[] {
  if (!name.includes('%[')) return [{ backend: name, when: TRUE }];
  const shape =
    /^([\w.-]*)%\[(.+),map(_str|_beg|_end|_dom|_reg|_sub)?\(([^,)]+)(?:,([^)]*))?\)\]$/.exec(name);
  if (!shape)
    throw new Inexpressible('a backend is chosen by a name, or by a map of hosts or paths');
  const [, prefix = '', fetch = '', way = '_str', path = '', fallback] = shape;
  const lines = source.readLines(path);
  if (!lines) throw new Inexpressible(source.unreadable(`the map ${path}`, path));
  if (lines.length > MAX_LINES) throw new Inexpressible(`the map has more than ${MAX_LINES} lines`);
  const cases = lines.flatMap((line): Case[] => {
    const [, key = '', value = ''] = /^(\S+)\s+(.*?)\s*$/.exec(line) ?? [];
    if (value === '') return [];
    const when = readCriterion([fetch, '-m', way.slice(1), '--', key], source);
    return [{ backend: prefix + value, when }];
  });
  // Of the starts that fit, the longest counts.
  if (way === '_beg')
    cases.sort((a, b) => JSON.stringify(b.when).length - JSON.stringify(a.when).length);
  if (fallback !== undefined) cases.push({ backend: prefix + fallback.trim(), when: TRUE });
  return cases.filter(({ when }) => when !== FALSE);
}
