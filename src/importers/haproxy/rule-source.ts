import { pageOf } from './error-pages.ts';
import type { ProxySection } from './proxy.ts';
import type { Target } from './routes.ts';
import type { Rate, RuleSource } from './rules.ts';
import { parseTime } from './values.ts';

/** What the rules of a section are read with. */
export function ruleSource(
  proxy: ProxySection,
  { work, situation }: Omit<Target, 'serviceOf'>,
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
    users: (list) => usersOf(list, { work }),
    rate: (table) => rateOf(table, proxy, { work }),
    page: (status) => pageOf(statements, status, work),
  };
}

function bareLine(line: string): string {
  return line.replace(/^\s*#.*/, '').trim();
}

/** What `set-var` gives a name, when there is one rule for it and no condition. */
function variableOf({ statements }: ProxySection, name: string): string | undefined {
  const rules = statements
    .all('http-request', 'tcp-request content', 'tcp-request session')
    .filter(({ words }) => words.some((word) => word === `set-var(${name})`));
  const [rule] = rules;
  if (!rule || rules.length > 1) return undefined;
  const at = rule.words.indexOf(`set-var(${name})`);
  return rule.words.length === at + 2 ? rule.words[at + 1] : undefined;
}

function usersOf(
  list: string,
  { work }: Pick<Target, 'work'>,
): Readonly<Record<string, string>> | string {
  const section = work.userlists.get(list);
  if (!section) return `there is no userlist "${list}"`;
  const users: Record<string, string> = {};
  for (const { words } of section.statements) {
    if (words[0] !== 'user') continue;
    const [, name = '', kind, password = ''] = words;
    if (kind !== 'insecure-password') {
      return `passwords of ${list} are hashed by crypt(3), which is not computed here`;
    }
    users[name] = password;
  }
  return users;
}

/** The period of a table's `http_req_rate`, and what its entries are tracked by. */
function rateOf(
  table: string | undefined,
  proxy: ProxySection,
  { work }: Pick<Target, 'work'>,
): Rate | undefined {
  const tracks = proxy.statements
    .all('http-request', 'tcp-request connection', 'tcp-request content', 'tcp-request session')
    .map(({ words }) => words.slice(words[0] === 'http-request' ? 1 : 2))
    .filter(([action = '']) => action.startsWith('track-sc'));
  const [track] = tracks;
  const named = track?.[track.indexOf('table') + 1];
  const name = table ?? (track?.includes('table') ? named : undefined);
  const holder = name === undefined ? proxy : work.proxies.find((one) => one.name === name);
  const stored = holder?.statements.last('stick-table')?.text ?? '';
  const perMs = parseTime(/http_req_rate\((\w+)\)/.exec(stored)?.[1]);
  if (!perMs || (table === undefined && !track)) return undefined;
  const key = track?.[1] ?? 'src';
  const header = /^(?:req\.)?hdr\(([\w-]+)/.exec(key)?.[1];
  if (key !== 'src' && header === undefined) return undefined;
  return { perMs, by: header === undefined ? 'source' : { header } };
}
