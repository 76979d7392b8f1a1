import type { Statement } from './sections.ts';

/** Rules on requests that were removed from HAProxy, and say what `http-request` says. */
export const OLD_REQUEST = [
  ...(['reqadd', 'reqdel', 'reqidel', 'reqrep', 'reqirep', 'block'] as const),
] as const;

/** The same for answers. */
export const OLD_RESPONSE = ['rspadd', 'rspdel', 'rspidel', 'rsprep', 'rspirep'] as const;

/**
 * A rule of old as the one that says the same now; others are given back as they are.
 * Source: HAProxy 1.9 manual, section 4.2.
 */
export function modernRule(statement: Statement): Statement {
  const [keyword = '', first = '', ...rest] = statement.words;
  const side = keyword.startsWith('rsp') ? 'http-response' : 'http-request';
  const made = (...words: string[]) => ({ ...statement, words: [side, ...words] });
  if (keyword === 'block') return made('deny', first, ...rest);
  if (/^r(eq|sp)add$/.test(keyword)) {
    const [, name = '', value = ''] = /^([^:]+):\s*([\s\S]*)$/.exec(first) ?? [];
    return made('add-header', name, value.replaceAll('%', '%%'), ...rest);
  }
  if (/^r(eq|sp)i?del$/.test(keyword)) {
    const name = /^\^?([\w-]+)(?::.*)?$/.exec(first)?.[1];
    return name === undefined ? statement : made('del-header', name, ...rest);
  }
  if (!/^r(eq|sp)i?rep$/.test(keyword)) return statement;
  const [replacement = '', ...condition] = rest;
  const flags = /^r(eq|sp)irep$/.test(keyword) ? '(?i)' : '';
  return replacedLine(first, replacement, flags, condition, made) ?? statement;
}

/** A request line whose path is changed, or a field that gets another value. */
function replacedLine(
  search: string,
  replacement: string,
  flags: string,
  condition: readonly string[],
  made: (...words: string[]) => Statement,
): Statement | undefined {
  const field = /^\^([\w-]+):(?:\\?\s)*([\s\S]*)$/.exec(search);
  const value = /^([\w-]+):\s*([\s\S]*)$/.exec(replacement);
  if (field && value && field[1]?.toLowerCase() === value[1]?.toLowerCase()) {
    const match = `${flags}^${field[2] ?? ''}`;
    return made('replace-header', field[1] ?? '', match, value[2] ?? '', ...condition);
  }
  // The method is the first group, and stands first in what replaces it.
  const line = /^\^\(\[\^\\?[ :]*\]\*\)\\? ([\s\S]*)$/.exec(search);
  const path = /^\\1\\? ([\s\S]*)$/.exec(replacement);
  if (!line || !path) return undefined;
  const shifted = (text: string) =>
    text.replaceAll(/\\(\d)/g, (_, group) => `\\${Number(group) - 1}`);
  const end = (text: string) => text.replace(/\\? HTTP.*$/, '');
  const match = `${flags}^${end(line[1] ?? '')}`;
  return made('replace-path', match, shifted(end(path[1] ?? '')), ...condition);
}
