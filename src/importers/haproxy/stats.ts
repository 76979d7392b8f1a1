import { quoted } from '../../base/regex.ts';
import { conjunctions, type Formula, TRUE } from './formula.ts';
import type { ProxySection } from './proxy.ts';
import { type RouteInput, type RuleSource, type Step, splitRule } from './rules.ts';
import { duration, parseTime } from './values.ts';

const DEFAULT_URI = '/haproxy?stats';
const DEFAULT_REALM = 'HAProxy Statistics';

/** The statistics of a section as the last of its own rules. Source: HAProxy 2.6 manual, `stats`. */
export function statsSteps({ statements }: ProxySection, source: RuleSource): Step[] {
  const [first] = statements.all('stats enable', 'stats uri', 'stats auth', 'stats admin');
  if (!first) return [];
  const statement = statements.last('stats uri') ?? first;
  const condition = pageCondition(statements.words('stats uri')[0] ?? DEFAULT_URI);
  const refreshMs = parseTime(statements.words('stats refresh')[0], 's');
  const stats: NonNullable<RouteInput['stats']> = {
    ...(refreshMs && { refresh: duration(refreshMs) }),
    ...(statements.has('stats hide-version') && { hideVersion: true }),
  };
  const users = usersOf(statements.all('stats auth').map(({ words }) => words[2] ?? ''));
  const realm = statements.words('stats realm').join(' ') || DEFAULT_REALM;
  const basicAuth = users && { realm, users };
  const page = (more: Formula, admin: boolean): Step => ({
    statement,
    condition: { kind: 'and', parts: [condition, more] },
    kind: 'end',
    end: { ...(basicAuth && { basicAuth }), stats: admin ? { ...stats, admin } : stats },
  });
  const [admins] = statements.all('stats admin');
  if (!admins || !users) return [page(TRUE, false)];
  const allowed = splitRule(admins.words.slice(2), source).condition;
  // Throws what cannot be asked; then the page would be without its admin rule.
  conjunctions(allowed);
  return [page(allowed, true), page(TRUE, false)];
}

/**
 * The path of the page, with what may stand behind it (`;csv`). A query is asked for only where the
 * path alone would be the whole site's.
 */
function pageCondition(uri: string): Formula {
  const [path = '/', query = ''] = uri.split('?');
  const [name = ''] = query.split(/[=&]/);
  const regex = { regex: `^${quoted(path)}(;|$)` };
  if (name === '' || path !== '/') return { kind: 'conditions', conditions: { path: [regex] } };
  // `/?stats;csv` has a parameter of that name.
  const asked = (one: string): Formula => ({
    kind: 'conditions',
    conditions: { path: [regex], query: { [one]: { present: true } } },
  });
  return { kind: 'or', parts: [asked(name), asked(`${name};csv`)] };
}

function usersOf(pairs: readonly string[]): Readonly<Record<string, string>> | undefined {
  const users = pairs.map((pair): [string, string] => {
    const colon = pair.indexOf(':');
    return [pair.slice(0, colon), pair.slice(colon + 1)];
  });
  return users.length > 0 ? Object.fromEntries(users) : undefined;
}
