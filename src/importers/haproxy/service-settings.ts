import type { ServiceInput } from './checks.ts';
import type { Options } from './options.ts';
import type { ProxySection, Work } from './proxy.ts';
import type { Statement } from './sections.ts';
import { compact, duration, parseCount, parseTime } from './values.ts';

type BalanceInput = NonNullable<ServiceInput['balance']>;
type KeyInput = NonNullable<Extract<BalanceInput, object>['key']>;
type StickyInput = NonNullable<ServiceInput['sticky']>;

const PLAIN: Readonly<Record<string, BalanceInput>> = {
  roundrobin: 'round-robin',
  'static-rr': 'round-robin',
  leastconn: 'least-connections',
  first: 'first',
};

/** How servers are chosen. Source: HAProxy 2.6 manual, `balance` and `hash-type`. */
export function balanceOf({ statements }: ProxySection, { reporter }: Work): BalanceInput {
  const statement = statements.last('balance');
  const [name = 'roundrobin', ...args] = statements.words('balance');
  const plain = Object.hasOwn(PLAIN, name) ? PLAIN[name] : undefined;
  if (plain) return plain;
  if (/^random(\(\d+\))?$/.test(name)) return 'random-two';
  const key = hashKey(name, args);
  const { text = '', line = 1 } = statement ?? {};
  if (key === undefined) {
    reporter.approximated(text, line, 'there is no such key: endpoints are taken by turns');
    return 'round-robin';
  }
  const percent = Number(statements.words('hash-balance-factor')[0] ?? 0);
  const boundedLoad =
    percent > 100 ? { boundedLoad: Math.max(1.05, Math.min(10, percent / 100)) } : {};
  const [type] = statements.words('hash-type');
  if (key === 'source' && type !== 'consistent' && percent === 0) return 'source-hash';
  return { algorithm: 'consistent-hash', key, ...boundedLoad };
}

function hashKey(name: string, args: readonly string[]): KeyInput | undefined {
  if (name === 'source') return 'source';
  if (name === 'uri') return args.includes('whole') ? 'uri' : 'path';
  if (name === 'url_param') return { query: args[0] ?? '' };
  const header = /^(?:hdr|req\.hdr)\(([\w-]+)\)$/.exec(
    name === 'hash' ? (args[0] ?? '') : name,
  )?.[1];
  if (header !== undefined) return { header };
  if (name !== 'hash') return undefined;
  const [expression = ''] = args;
  if (expression === 'src') return 'source';
  if (expression === 'path') return 'path';
  if (expression === 'url' || expression === 'pathq') return 'uri';
  const parameter = /^(?:url_param|urlp)\(([^,)]+)/.exec(expression)?.[1];
  if (parameter !== undefined) return { query: parameter };
  const cookie = /^(?:req\.)?cook(?:ie)?\(([^)]+)\)$/.exec(expression)?.[1];
  return cookie === undefined ? undefined : { cookie };
}

/** What keeps a client on its server: a cookie that is set, one of the application, the address. */
export function stickyOf(
  backend: ProxySection,
  servers: readonly Options[],
  work: Work,
): StickyInput | undefined {
  const cookie = backend.statements.last('cookie');
  if (cookie && backend.mode === 'http') {
    const sticky = cookieOf(cookie, servers, work);
    if (sticky) return sticky;
  }
  const stick = backend.statements.last('stick on');
  return stick && stickOn(stick, backend, work);
}

function cookieOf(
  { words, text, line }: Statement,
  servers: readonly Options[],
  { reporter }: Work,
): StickyInput | undefined {
  const [, name = '', ...flags] = words;
  if (!servers.some((options) => options.has('cookie') || options.has('dynamic'))) {
    if (!flags.includes('dynamic')) return undefined;
  }
  const after = (flag: string) =>
    flags.includes(flag) ? flags[flags.indexOf(flag) + 1] : undefined;
  if (flags.includes('prefix')) {
    reporter.approximated(
      text,
      line,
      'endpoints are chosen by a hash of the cookie, which stays as it is',
    );
    return { appCookie: { name } };
  }
  if (flags.includes('rewrite')) {
    reporter.approximated(text, line, "the cookie is the gateway's own, whatever an endpoint sets");
  } else {
    reporter.approximated(
      text,
      line,
      'the value is signed (`cookieKey`) and does not name the server',
    );
  }
  const maxAge = parseTime(after('maxlife') ?? after('maxidle'), 's');
  const sameSite = /SameSite=(lax|strict|none)/i.exec(text)?.[1]?.toLowerCase();
  return {
    cookie: compact({
      name,
      domain: after('domain'),
      httpOnly: flags.includes('httponly'),
      secure: flags.includes('secure'),
      maxAge: maxAge ? duration(maxAge) : undefined,
      sameSite:
        sameSite === 'lax' || sameSite === 'strict' || sameSite === 'none' ? sameSite : undefined,
    }),
  };
}

function stickOn(
  { words, text, line }: Statement,
  backend: ProxySection,
  { reporter, proxies }: Work,
): StickyInput | undefined {
  const [, , key = ''] = words;
  const cookie = /^(?:req\.)?cook(?:ie)?\(([^)]+)\)/.exec(key)?.[1];
  if (cookie !== undefined) {
    reporter.approximated(text, line, 'endpoints are chosen by a hash of the cookie');
    return { appCookie: { name: cookie } };
  }
  if (key !== 'src') {
    reporter.unsupported(text, line, 'clients are known by their address or a cookie');
    return undefined;
  }
  const named = words[words.indexOf('table') + 1];
  const holder = words.includes('table') ? proxies.find(({ name }) => name === named) : backend;
  const table = holder?.statements.words('stick-table') ?? [];
  const expire = parseTime(table[table.indexOf('expire') + 1]);
  return { source: expire && table.includes('expire') ? { timeout: duration(expire) } : {} };
}

type RetriesInput = NonNullable<ServiceInput['retries']>;
type RetryOn = 'connect-failure' | 'reset' | 'timeout' | '500' | '502' | '503' | '504';

const ON: Readonly<Record<string, readonly RetryOn[]>> = {
  none: [],
  'conn-failure': ['connect-failure'],
  'empty-response': ['reset'],
  'junk-response': ['reset'],
  'response-timeout': ['timeout'],
  '0rtt-rejected': [],
  '500': ['500'],
  '502': ['502'],
  '503': ['503'],
  '504': ['504'],
  'all-retryable-errors': ['connect-failure', 'reset', 'timeout', '500', '502', '503', '504'],
};

/** `retries` and `retry-on`: three times by default, when a server cannot be reached. */
export function retriesOf({ statements }: ProxySection, { reporter }: Work): RetriesInput {
  const attempts = parseCount(statements.words('retries')[0]) ?? 3;
  const words = statements.words('retry-on');
  const { text = '', line = 1 } = statements.last('retry-on') ?? {};
  const on = (words.length > 0 ? words : ['conn-failure']).flatMap((word) => {
    const known = Object.hasOwn(ON, word) ? ON[word] : undefined;
    if (!known) reporter.unsupported(`retry-on ${word}`, line, 'requests are not repeated on it');
    return known ?? [];
  });
  if (words.length > 0) {
    const why = 'requests that may have had an effect (POST, PATCH) are not sent again';
    reporter.approximated(text, line, why);
  }
  if (attempts === 0 || on.length === 0) return false;
  return { attempts: Math.min(10, attempts), on: [...new Set(on)], budget: '100%' };
}
