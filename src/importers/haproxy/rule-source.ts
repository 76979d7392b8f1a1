import { isCryptHash } from '../../base/crypt.ts';
import type { Assignment } from './acl.ts';
import { pageOf } from './error-pages.ts';
import type { Demand } from './formula.ts';
import type { ProxySection } from './proxy.ts';
import type { Target } from './routes.ts';
import type { Rate, RuleSource } from './rules.ts';
import type { Section } from './sections.ts';
import { parseTime } from './values.ts';

type RateDemand = Extract<Demand, { kind: 'rate' }>;

/** What the rules of a section are read with. */
export function ruleSource(
  proxy: ProxySection,
  { work, situation, serviceOf }: Omit<Target, 'serviceOf'> & Partial<Pick<Target, 'serviceOf'>>,
): RuleSource {
  const { statements } = proxy;
  return {
    named: (name) => {
      const lines = statements.all('acl').filter(({ words }) => words[1] === name);
      return lines.length > 0 ? lines.map(({ words }) => words.slice(2)) : undefined;
    },
    readLines: (path) => work.readFile(path)?.split(/\r?\n/).map(bareLine).filter(Boolean),
    readFile: work.readFile,
    unreadable: work.unreadable,
    situation,
    variable: (name) => variableOf(proxy, name),
    assignments: (name) => assignmentsOf(proxy, name),
    captured: (slot) => capturesOf(proxy)[slot],
    tracking: (counter) => {
      const [track, ...others] = tracksOf(proxy, counter);
      return track && others.length === 0 ? track.condition : undefined;
    },
    backends: work.proxies.filter(({ kind }) => kind !== 'frontend').map(({ name }) => name),
    serviceOf: (backend) => serviceOf?.(backend ?? proxy.name),
    users: (list, groups) => usersOf(list, groups, { work }),
    rate: (demand) => rateOf(demand, proxy, { work }),
    page: (status) => pageOf(statements, status, work),
  };
}

function bareLine(line: string): string {
  return line.replace(/^\s*#.*/, '').trim();
}

/** What `set-var` gives a name, when there is one rule for it and no condition. */
function variableOf(proxy: ProxySection, name: string): string | undefined {
  const [rule, ...others] = assignmentsOf(proxy, name);
  return others.length === 0 && rule?.condition.length === 0 ? rule.expression : undefined;
}

/** The rules that set a variable, in their order. */
function assignmentsOf({ statements }: ProxySection, name: string): Assignment[] {
  return statements
    .all('http-request', 'tcp-request content', 'tcp-request session')
    .flatMap(({ words }): Assignment[] => {
      const at = words.findIndex((word) => SET_VAR.exec(word)?.[2] === name);
      const [, format] = SET_VAR.exec(words[at] ?? '') ?? [];
      const value = words[at + 1];
      if (at < 0 || value === undefined) return [];
      const written = format === undefined ? value : formatted(value);
      return [{ expression: written, condition: words.slice(at + 2) }];
    });
}

const SET_VAR = /^set-var(-fmt)?\(([\w.-]+)\)$/;

/** A log format as an expression: a text, or the one sample that it consists of. */
function formatted(format: string): string {
  if (!format.includes('%')) return `str(${format})`;
  return /^%\[([^\]]*)\]$/.exec(format)?.[1] ?? format;
}

/** The expressions of `capture request header` and `http-request capture`, by their numbers. */
function capturesOf({ statements }: ProxySection): string[] {
  const rules = statements.all('capture request header', 'http-request', 'tcp-request content');
  return rules.flatMap(({ words }) => {
    if (words[0] === 'capture') return [`req.hdr(${words[3] ?? ''})`];
    const at = words.indexOf('capture');
    return at > 0 && at < 3 ? [words[at + 1] ?? ''] : [];
  });
}

function usersOf(
  list: string,
  groups: readonly string[] | undefined,
  { work }: Pick<Target, 'work'>,
): Readonly<Record<string, string>> | string {
  const section = work.userlists.get(list);
  if (!section) return `there is no userlist "${list}"`;
  const users: Record<string, string> = {};
  for (const { words } of section.statements) {
    if (words[0] !== 'user') continue;
    const [, name = '', kind, password = ''] = words;
    if (groups && !groupsOf(section, name, words).some((one) => groups.includes(one))) continue;
    if (kind !== 'insecure-password' && !isCryptHash(password)) {
      return `the password of ${name} in ${list} is a hash of a kind that is not known: write it anew`;
    }
    users[name] = password;
  }
  return users;
}

/** The groups of a user, which either line may say. */
function groupsOf({ statements }: Section, user: string, words: readonly string[]): string[] {
  const after = (list: readonly string[], word: string) =>
    list.includes(word) ? (list[list.indexOf(word) + 1] ?? '').split(',') : [];
  const named = statements.filter(
    (one) => one.words[0] === 'group' && after(one.words, 'users').includes(user),
  );
  return [...after(words, 'groups'), ...named.map((one) => one.words[1] ?? '')];
}

type Track = { readonly key: string; readonly table: string | undefined } & Pick<
  Assignment,
  'condition'
>;

/** The rules by which a counter follows clients. */
function tracksOf({ statements }: ProxySection, counter: number): Track[] {
  return statements
    .all('http-request', 'tcp-request connection', 'tcp-request content', 'tcp-request session')
    .map(({ words }) => words.slice(words[0] === 'http-request' ? 1 : 2))
    .filter(([action]) => action === `track-sc${counter}`)
    .map((words) => {
      const end = words.findIndex((word) => word === 'if' || word === 'unless');
      const rule = end < 0 ? words : words.slice(0, end);
      const at = rule.indexOf('table');
      const table = at < 0 ? undefined : rule[at + 1];
      return { key: rule[1] ?? 'src', table, condition: end < 0 ? [] : words.slice(end) };
    });
}

/** The period of a table's `http_req_rate`, and what its entries are tracked by. */
function rateOf(
  { table, counter }: Pick<RateDemand, 'table' | 'counter'>,
  proxy: ProxySection,
  { work }: Pick<Target, 'work'>,
): Rate | undefined {
  const [track, ...others] = counter === undefined ? [] : tracksOf(proxy, counter);
  if (others.length > 0 || (counter !== undefined && !track)) return undefined;
  const name = table ?? track?.table;
  const holder = name === undefined ? proxy : work.proxies.find((one) => one.name === name);
  const stored = holder?.statements.last('stick-table')?.text ?? '';
  const perMs = parseTime(/http_req_rate\((\w+)\)/.exec(stored)?.[1]);
  if (!perMs) return undefined;
  const key = track?.key ?? 'src';
  const header = /^(?:req\.)?hdr\(([\w-]+)(?:,-?1)?\)$/.exec(key)?.[1];
  if (key !== 'src' && header === undefined) return undefined;
  return { perMs, by: header === undefined ? 'source' : { header } };
}
