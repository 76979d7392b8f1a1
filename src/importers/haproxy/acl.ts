import { linearRegex, quoted } from '../../base/regex.ts';
import { isAddress } from '../../model/fields.ts';
import {
  type Conditions,
  type Expression,
  FALSE,
  type Formula,
  TRUE,
  type ValuePattern,
} from './formula.ts';

/** What a condition can be asked about a listener before any request. */
export type Situation = {
  readonly encrypted: boolean;
  /** Every port that the listener has. */
  readonly ports: readonly number[];
};

/** How a condition reads what it names. */
export type AclSource = {
  /** Every line of an `acl` name: criterion, flags, patterns. */
  readonly named: (name: string) => readonly (readonly string[])[] | undefined;
  /** The lines of a file with patterns. */
  readonly readLines: (path: string) => readonly string[] | undefined;
  /** That a file, called `what`, cannot be read, and why. */
  readonly unreadable: (what: string, path: string) => string;
  readonly situation: Situation;
  /** The expression that a variable was set to, when that is always so. */
  readonly variable: (name: string) => string | undefined;
};

const METHODS = ['GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE'];

/** ACLs that are there from the start. Source: HAProxy 2.6 manual, section 7.4. */
const PREDEFINED: Readonly<Record<string, Formula>> = {
  TRUE,
  FALSE,
  WAIT_END: TRUE,
  HTTP: TRUE,
  HTTP_URL_SLASH: TRUE,
  REQ_CONTENT: TRUE,
  LOCALHOST: { kind: 'conditions', conditions: { source: ['127.0.0.0/8', '::1/128'] } },
  METH_GET: { kind: 'conditions', conditions: { method: ['GET', 'HEAD'] } },
  ...Object.fromEntries(
    METHODS.filter((one) => one !== 'GET').map((one): [string, Formula] => [
      `METH_${one}`,
      { kind: 'conditions', conditions: { method: [one] } },
    ]),
  ),
};

function unknown(reason: string): Formula {
  return { kind: 'unknown', reason };
}

/** Reads `a !b or { path_beg /x }`, the words after `if`. Source: HAProxy 2.6 manual, 7.2. */
export function readCondition(words: readonly string[], source: AclSource): Formula {
  const alternatives: Formula[] = [];
  let terms: Formula[] = [];
  let negated = false;
  for (let at = 0; at < words.length; at++) {
    let word = words[at] ?? '';
    if (word === 'or' || word === '||') {
      alternatives.push({ kind: 'and', parts: terms });
      terms = [];
      continue;
    }
    while (word.startsWith('!')) {
      negated = !negated;
      word = word.slice(1);
    }
    if (word === '') continue;
    let formula: Formula;
    if (word === '{') {
      const end = words.indexOf('}', at);
      if (end < 0) return unknown('a } is missing');
      formula = readCriterion(words.slice(at + 1, end), source);
      at = end;
    } else formula = readNamed(word, source);
    terms.push(negated ? { kind: 'not', part: formula } : formula);
    negated = false;
  }
  return { kind: 'or', parts: [...alternatives, { kind: 'and', parts: terms }] };
}

function readNamed(name: string, source: AclSource): Formula {
  const lines = source.named(name);
  if (lines) return { kind: 'or', parts: lines.map((line) => readCriterion(line, source)) };
  return PREDEFINED[name] ?? unknown(`there is no acl "${name}"`);
}

type Criterion = {
  readonly fetch: string;
  readonly argument: string;
  readonly converters: readonly string[];
  readonly match: string;
  readonly ignoreCase: boolean;
  readonly patterns: readonly string[];
};

const ALIASES: Readonly<Record<string, string>> = {
  'req.hdr': 'hdr',
  'req.fhdr': 'hdr',
  fhdr: 'hdr',
  shdr: 'hdr',
  'req.cook': 'cook',
  cookie: 'cook',
  url_param: 'urlp',
  'req.ssl_sni': 'req_ssl_sni',
  'req.ssl_hello_type': 'req_ssl_hello_type',
  'req.len': 'req_len',
  'req.proto_http': 'req_proto_http',
  uri: 'url',
  pathq: 'url',
  fc_dst_port: 'dst_port',
};
const SUFFIX = /^(.+)_(beg|end|sub|dir|dom|reg|str|len|ip|cnt|found)$/;
const SUFFIXED = ['path', 'url', 'hdr', 'cook', 'urlp', 'base', 'req_ssl_sni', 'ssl_fc_sni'];

/** Cuts `hdr_beg(host),lower -i -m end a b` into its parts; a reason when it cannot. */
function parseCriterion(words: readonly string[], source: AclSource): Criterion | string {
  const [written = '', ...rest] = words;
  const variable = /^var\(([\w.]+)\)/.exec(written);
  const meant = variable && source.variable(variable[1] ?? '');
  const head = variable && meant ? meant + written.slice(variable[0].length) : written;
  const shape = /^([\w.]+)(?:\(([^)]*)\))?((?:,[^,]+(?:\([^)]*\))?)*)$/.exec(head);
  if (!shape) return `"${head}" is not understood`;
  let fetch = ALIASES[shape[1] ?? ''] ?? shape[1] ?? '';
  let match = '';
  const suffix = SUFFIX.exec(fetch);
  const bare = suffix && (ALIASES[suffix[1] ?? ''] ?? suffix[1] ?? '');
  if (bare && SUFFIXED.includes(bare)) [fetch, match] = [bare, suffix[2] ?? ''];
  const patterns: string[] = [];
  let ignoreCase = false;
  for (let at = 0; at < rest.length; at++) {
    const word = rest[at] ?? '';
    if (word === '-i') ignoreCase = true;
    else if (word === '-m') match = rest[++at] ?? '';
    else if (word === '-f') {
      const path = rest[++at] ?? '';
      const lines = source.readLines(path);
      if (!lines) return source.unreadable(`the file ${path}`, path);
      patterns.push(...lines);
    } else if (word === '--') {
      patterns.push(...rest.slice(at + 1));
      break;
    } else if (word !== '-n' && word !== '-u') patterns.push(word);
  }
  const converters: readonly string[] = (shape[3] ?? '').match(/[^,(]+(?:\([^)]*\))?/g) ?? [];
  const lower = converters.includes('lower') || converters.includes('upper');
  const [argument = ''] = (shape[2] ?? '').split(',');
  return { fetch, argument, converters, match, ignoreCase: ignoreCase || lower, patterns };
}

const CONVERTERS = /^(lower|upper|host_only|field\(1,:\)|url_dec|bool)$/;

type Reader = (criterion: Criterion, source: AclSource) => Formula;

/** One criterion with its patterns, of which one must fit. */
export function readCriterion(words: readonly string[], source: AclSource): Formula {
  const criterion = parseCriterion(words, source);
  if (typeof criterion === 'string') return unknown(criterion);
  const strange = criterion.converters.find((one) => !CONVERTERS.test(one));
  if (strange !== undefined) return unknown(`the converter ${strange} has no counterpart`);
  const reader = Object.hasOwn(READERS, criterion.fetch) ? READERS[criterion.fetch] : undefined;
  return reader?.(criterion, source) ?? unknown(`routes cannot ask for "${criterion.fetch}"`);
}

/** What routes can ask, by sample fetch. Source: HAProxy 2.6 manual, section 7.3. */
const READERS: Readonly<Record<string, Reader>> = {
  always_true: () => TRUE,
  always_false: () => FALSE,
  path: (criterion) => onPath(criterion),
  url: (criterion) => onUrl(criterion),
  base: (criterion) => onBase(criterion),
  method: ({ patterns, ignoreCase }) =>
    conditions({ method: patterns.map((one) => (ignoreCase ? one.toUpperCase() : one)) }),
  src: ({ patterns }) => onSource(patterns),
  hdr: (criterion) => onHeader(criterion),
  cook: (criterion) => onValue('cookie', criterion),
  urlp: (criterion) => onValue('query', criterion),
  ssl_fc: ({ patterns }, { situation }) => truth(situation.encrypted, patterns),
  ssl_fc_has_sni: ({ patterns }, { situation }) =>
    situation.encrypted
      ? unknown('routes cannot ask for "ssl_fc_has_sni"')
      : truth(false, patterns),
  dst_port: ({ patterns }, { situation }) => onPort(patterns, situation.ports),
  ssl_fc_sni: (criterion) => onServerName(criterion),
  req_ssl_sni: (criterion) => onServerName(criterion),
  req_proto_http: () => TRUE,
  req_len: ({ patterns }) =>
    patterns.join(' ') === 'gt 0' ? TRUE : unknown('req_len is not asked'),
  http_auth: ({ argument }) => ({ kind: 'demand', demand: { kind: 'auth', userlist: argument } }),
  sc_http_req_rate: (criterion) => onRate(criterion),
  sc0_http_req_rate: (criterion) => onRate(criterion),
  sc1_http_req_rate: (criterion) => onRate(criterion),
  sc2_http_req_rate: (criterion) => onRate(criterion),
  src_http_req_rate: (criterion) => onRate(criterion),
};

function conditions(one: Conditions): Formula {
  return { kind: 'conditions', conditions: one };
}

function truth(value: boolean, patterns: readonly string[]): Formula {
  const [wanted = '1'] = patterns;
  return value === !['0', 'false', 'no', 'off'].includes(wanted) ? TRUE : FALSE;
}

/** Whether an expression can be matched in linear time. */
function isLinear(source: string): boolean {
  try {
    linearRegex(source);
    return true;
  } catch {
    return false;
  }
}

/** The pattern as an expression by its way of matching; undefined: it is no expression. */
function expression({ match, ignoreCase }: Criterion, pattern: string): string | undefined {
  const text = quoted(pattern);
  const shapes: Readonly<Record<string, string>> = {
    '': `^${text}$`,
    str: `^${text}$`,
    beg: `^${text}`,
    end: `${text}$`,
    sub: text,
    dir: `(?:^|/)${quoted(pattern.replaceAll(/^\/|\/$/g, ''))}(?:[/?]|$)`,
    dom: `(?:^|[./:?])${quoted(pattern.replaceAll(/^\.|\.$/g, ''))}(?:[./:?]|$)`,
    reg: pattern,
  };
  const shape = Object.hasOwn(shapes, match) ? shapes[match] : undefined;
  const whole = shape !== undefined && ignoreCase ? `(?i)${shape}` : shape;
  return whole !== undefined && isLinear(whole) ? whole : undefined;
}

const NO_EXPRESSION = 'the pattern cannot be matched in linear time, or not in this way';

function onPath(criterion: Criterion): Formula {
  const { match, ignoreCase, patterns } = criterion;
  const path: Expression[] = [];
  for (const pattern of patterns) {
    const plain = !ignoreCase && /^\/[^*?#\s]*$/.test(pattern);
    if (plain && (match === '' || match === 'str')) path.push(pattern);
    else if (match === 'beg' && plain && (pattern === '/' || !pattern.endsWith('/'))) {
      path.push(`${pattern}*`);
    } else {
      const regex = expression(criterion, pattern);
      if (regex === undefined) return unknown(NO_EXPRESSION);
      path.push({ regex });
    }
  }
  return path.length > 0 ? conditions({ path }) : unknown('a pattern is missing');
}

/** Of path and query together, only what says nothing of the query. */
function onUrl(criterion: Criterion): Formula {
  const { patterns, match } = criterion;
  if (match === 'beg' && patterns.every((one) => one.startsWith('/') && !one.includes('?'))) {
    return onPath(criterion);
  }
  return unknown('routes match the path and the query apart');
}

/** Host and path in one. */
function onBase(criterion: Criterion): Formula {
  const parts = criterion.patterns.map((pattern): Formula => {
    const slash = pattern.indexOf('/');
    if (slash <= 0 || !['', 'str', 'beg'].includes(criterion.match)) {
      return unknown('routes match the host and the path apart');
    }
    const host = onHost({ ...criterion, match: 'str', patterns: [pattern.slice(0, slash)] });
    return {
      kind: 'and',
      parts: [host, onPath({ ...criterion, patterns: [pattern.slice(slash)] })],
    };
  });
  return { kind: 'or', parts };
}

function onSource(patterns: readonly string[]): Formula {
  const wrong = patterns.find((one) => !isAddress(one.replace(/\/\d+$/, '')));
  if (wrong !== undefined) return unknown(`${wrong} is no address`);
  return conditions({ source: patterns });
}

function onPort(patterns: readonly string[], ports: readonly number[]): Formula {
  const fits = ports.map((port) => comparison(patterns, port));
  if (fits.every((one) => one === true)) return TRUE;
  if (fits.every((one) => one === false)) return FALSE;
  return unknown('the listener has several ports; routes cannot ask for them');
}

/** Whether a number meets `80 443`, `gt 1024` or `1:99`; undefined: not understood. */
function comparison([first = '', ...rest]: readonly string[], value: number): boolean | undefined {
  const operators: Readonly<Record<string, (limit: number) => boolean>> = {
    eq: (limit) => value === limit,
    gt: (limit) => value > limit,
    ge: (limit) => value >= limit,
    lt: (limit) => value < limit,
    le: (limit) => value <= limit,
  };
  const operator = Object.hasOwn(operators, first) ? operators[first] : undefined;
  if (operator) return operator(Number(rest[0]));
  const ranges = [first, ...rest].map((one) => one.split(':').map(Number));
  return ranges.some(([from = 0, to = from]) => value >= from && value <= to);
}

function onServerName({ match, patterns }: Criterion): Formula {
  if (match === '' || match === 'str') return conditions({ sni: patterns });
  const suffixes = match === 'end' && patterns.every((one) => one.startsWith('.'));
  if (suffixes) return conditions({ sni: patterns.map((one) => `*${one}`) });
  return unknown('server names are matched as wholes or below a name');
}

function onHeader(criterion: Criterion): Formula {
  const name = criterion.argument.toLowerCase();
  if (name === '') return unknown('a field without a name is not asked for');
  return name === 'host' ? onHost(criterion) : onValue('header', criterion);
}

function onHost(criterion: Criterion): Formula {
  const { match, patterns } = criterion;
  const host: Expression[] = [];
  for (const written of patterns) {
    const pattern = match === 'reg' ? written : written.replace(/:\d+$/, '').toLowerCase();
    const name = /^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$/;
    if ((match === '' || match === 'str') && name.test(pattern)) host.push(pattern);
    else if (match === 'end' && pattern.startsWith('.') && name.test(pattern.slice(1))) {
      host.push(`*${pattern}`);
    } else {
      const regex = expression({ ...criterion, ignoreCase: true }, pattern);
      if (regex === undefined) return unknown(NO_EXPRESSION);
      host.push({ regex });
    }
  }
  return host.length > 0 ? conditions({ host }) : unknown('a pattern is missing');
}

/** A field, cookie or parameter; several values of a field stand in one list. */
function onValue(kind: 'header' | 'cookie' | 'query', criterion: Criterion): Formula {
  const { match, patterns, argument } = criterion;
  const value = (pattern: ValuePattern) =>
    conditions({ [kind]: { [kind === 'header' ? argument.toLowerCase() : argument]: pattern } });
  const present =
    match === 'found' || (match === 'cnt' && /^(gt 0|ge 1)$/.test(patterns.join(' ')));
  if (present || patterns.length === 0) return value({ present: true });
  if (match === 'cnt' && /^(eq )?0$/.test(patterns.join(' '))) return value({ present: false });
  const regexes = patterns.map((pattern) => expression(criterion, pattern));
  if (regexes.some((one) => one === undefined)) return unknown(NO_EXPRESSION);
  if (kind !== 'header' && patterns.length === 1 && !criterion.ignoreCase && match === '') {
    return value(patterns[0] ?? '');
  }
  const inList = kind === 'header' && match !== 'reg' && match !== 'sub';
  const flags = criterion.ignoreCase ? '(?i)' : '';
  const all = regexes.map((one) => one?.replace(/^\(\?i\)/, '') ?? '');
  const joined = all.length === 1 ? (all[0] ?? '') : all.map((one) => `(?:${one})`).join('|');
  // Each element of a list counts as a value.
  const regex = inList
    ? joined.replaceAll(/(?<!\\)\^/g, '(?:^|,)[ \\t]*').replaceAll(/(?<!\\)\$/g, '[ \\t]*(?:,|$)')
    : joined;
  return isLinear(regex) ? value({ regex: flags + regex }) : unknown(NO_EXPRESSION);
}

function onRate({ fetch, argument, patterns }: Criterion): Formula {
  const [operator = '', limit = ''] = patterns;
  if (!/^g[te]$/.test(operator) || !/^\d+$/.test(limit)) {
    return unknown('a rate can be limited (`gt`, `ge`) only');
  }
  const above = Number(limit) - (operator === 'ge' ? 1 : 0);
  const table = fetch.startsWith('src_') ? argument : undefined;
  return { kind: 'demand', demand: { kind: 'rate', above, table: table || undefined } };
}
