import { isAddress } from '../../model/fields.ts';
import {
  type Conditions,
  type Expression,
  FALSE,
  type Formula,
  TRUE,
  type ValuePattern,
} from './formula.ts';
import { type MapLookup, mapLookup } from './maps.ts';
import {
  type Criterion,
  comparison,
  expression,
  isLinear,
  literalFits,
  rangeOf,
} from './patterns.ts';

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
  /** What a variable is set to, rule by rule. */
  readonly assignments: (name: string) => readonly Assignment[];
  /** The expression of a capture, by its number. */
  readonly captured: (slot: number) => string | undefined;
  /** The condition of the rule that has a counter follow clients; undefined: there is not one. */
  readonly tracking: (counter: number) => readonly string[] | undefined;
  /** The service of a backend, or of this section; undefined: there is none. */
  readonly serviceOf: (backend: string | undefined) => string | undefined;
};

/** One rule that sets a variable; `condition` are the words after `if` and that word. */
export type Assignment = { readonly expression: string; readonly condition: readonly string[] };

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

/** A criterion whose patterns may be in files. */
type Parsed = Omit<Criterion, 'patterns'> & {
  readonly patterns: readonly (string | { readonly file: string })[];
};

/** Cuts `hdr_beg(host),lower -i -m end a b` into its parts; a reason when it cannot. */
function parseCriterion(words: readonly string[]): Parsed | string {
  const [head = '', ...rest] = words;
  const shape = /^([\w.]+)(?:\(([^)]*)\))?((?:,[^,]+(?:\([^)]*\))?)*)$/.exec(head);
  if (!shape) return `"${head}" is not understood`;
  let fetch = ALIASES[shape[1] ?? ''] ?? shape[1] ?? '';
  let match = '';
  const suffix = SUFFIX.exec(fetch);
  const bare = suffix && (ALIASES[suffix[1] ?? ''] ?? suffix[1] ?? '');
  if (bare && SUFFIXED.includes(bare)) [fetch, match] = [bare, suffix[2] ?? ''];
  const patterns: (string | { readonly file: string })[] = [];
  let ignoreCase = false;
  for (let at = 0; at < rest.length; at++) {
    const word = rest[at] ?? '';
    if (word === '-i') ignoreCase = true;
    else if (word === '-m') match = rest[++at] ?? '';
    else if (word === '-f') patterns.push({ file: rest[++at] ?? '' });
    else if (word === '--') {
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
  const [written = '', ...rest] = words;
  const variable = /^var\(([\w.-]+)\)(.*)$/.exec(written);
  if (variable) {
    const [, name = '', converters = ''] = variable;
    return onVariable(source.assignments(name), converters, rest, source);
  }
  const slot = /^capture\.req\.hdr\((\d+)\)(.*)$/.exec(written);
  const captured = slot && source.captured(Number(slot[1]));
  if (slot && captured) return readCriterion([captured + (slot[2] ?? ''), ...rest], source);
  const lookup = mapLookup(written, source);
  if (typeof lookup === 'string') return unknown(lookup);
  if (lookup) return onMap(lookup, rest, source);
  const counted = /^src,table_http_req_rate\(([\w.-]+)\)$/.exec(written)?.[1];
  if (counted !== undefined) {
    return readCriterion([`src_http_req_rate(${counted})`, ...rest], source);
  }
  const criterion = parseCriterion(words);
  if (typeof criterion === 'string') return unknown(criterion);
  return readParsed(criterion, source);
}

function readParsed(parsed: Parsed, source: AclSource): Formula {
  const patterns: string[] = [];
  for (const one of parsed.patterns) {
    if (typeof one === 'string') {
      patterns.push(one);
      continue;
    }
    const lines = source.readLines(one.file);
    if (!lines) return unknown(source.unreadable(`the file ${one.file}`, one.file));
    patterns.push(...lines);
  }
  const criterion = { ...parsed, patterns };
  const strange = criterion.converters.find((one) => !CONVERTERS.test(one));
  if (strange !== undefined) return unknown(`the converter ${strange} has no counterpart`);
  const reader = Object.hasOwn(READERS, criterion.fetch) ? READERS[criterion.fetch] : undefined;
  return reader?.(criterion, source) ?? unknown(`routes cannot ask for "${criterion.fetch}"`);
}

/** What a variable has been set to by the last rule whose condition holds. */
function onVariable(
  assignments: readonly Assignment[],
  converters: string,
  patterns: readonly string[],
  source: AclSource,
): Formula {
  if (assignments.length === 0) return unknown('no rule sets the variable to what can be told');
  const set = assignments.map(({ condition }) => conditionOf(condition, source));
  const parts = assignments.map(({ expression: value }, at): Formula => {
    const text = literalOf(value);
    const fits =
      text === undefined
        ? readCriterion([value + converters, ...patterns], source)
        : truthOf(literalFits(text, patterns));
    const later = set.slice(at + 1).map((part): Formula => ({ kind: 'not', part }));
    return { kind: 'and', parts: [set[at] ?? TRUE, ...later, fits] };
  });
  return parts.length === 1 ? (parts[0] ?? TRUE) : { kind: 'or', parts };
}

/** A condition by its words, `if` or `unless` first; none always holds. */
export function conditionOf(words: readonly string[], source: AclSource): Formula {
  const [word, ...rest] = words;
  if (word === undefined) return TRUE;
  const part = readCondition(rest, source);
  return word === 'if' ? part : { kind: 'not', part };
}

/** The text of `str(x)`, `int(1)` or `bool(true)`; undefined: it is none of these. */
export function literalOf(expression: string): string | undefined {
  const text = /^(?:str|int|bool)\((.*)\)$/.exec(expression)?.[1];
  return text?.replace(/^(['"])(.*)\1$/, '$2');
}

function truthOf(fits: boolean | undefined): Formula {
  return fits === undefined ? unknown(NO_EXPRESSION) : fits ? TRUE : FALSE;
}

/** Keys whose line has a value that fits. */
function onMap(lookup: MapLookup, patterns: readonly string[], source: AclSource): Formula {
  const fits = lookup.lines.map(({ value }) => literalFits(value, patterns));
  if (fits.includes(undefined)) return unknown(NO_EXPRESSION);
  const keys = lookup.lines.filter((_, at) => fits[at]).map(({ key }) => key);
  const all = keys.length === lookup.lines.length;
  if (!all && lookup.way !== 'str') return unknown('lines of the map with other values overlap');
  const among = (list: readonly string[]): Formula =>
    list.length === 0 ? FALSE : readCriterion(lookup.criterion(list), source);
  const found = among(keys);
  const rest = lookup.fallback !== undefined && literalFits(lookup.fallback, patterns);
  if (!rest) return found;
  const any = among(lookup.lines.map(({ key }) => key));
  return { kind: 'or', parts: [found, { kind: 'not', part: any }] };
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
  req_ssl_hello_type: ({ patterns }) =>
    patterns.join() === '1'
      ? { kind: 'demand', demand: { kind: 'hello' } }
      : unknown('only a ClientHello, which is 1, is asked for'),
  req_proto_http: () => TRUE,
  req_len: ({ patterns }) =>
    patterns.join(' ') === 'gt 0' ? TRUE : unknown('req_len is not asked'),
  nbsrv: ({ argument, patterns }, source) => onLive(argument, patterns, source),
  status: ({ patterns }) => {
    const status = CODES.filter((code) => comparison(patterns, code));
    return status.length > 0 ? conditions({ status }) : unknown('that is no status');
  },
  src_conn_cur: (criterion) => onCount('connections', criterion),
  sc_conn_cur: (criterion) => onCount('connections', criterion),
  sc0_conn_cur: (criterion) => onCount('connections', criterion),
  sc1_conn_cur: (criterion) => onCount('connections', criterion),
  'req.body_size': (criterion) => onCount('body', criterion),
  'req.body_len': (criterion) => onCount('body', criterion),
  hdr_val: (criterion) => onLength(criterion),
  'req.hdr_val': (criterion) => onLength(criterion),
  http_auth_group: ({ argument, patterns }) => ({
    kind: 'demand',
    demand: { kind: 'auth', userlist: argument, groups: patterns },
  }),
  http_auth: ({ argument }) => ({ kind: 'demand', demand: { kind: 'auth', userlist: argument } }),
  sc_http_req_rate: (criterion, source) => onRate(criterion, source),
  sc0_http_req_rate: (criterion, source) => onRate(criterion, source),
  sc1_http_req_rate: (criterion, source) => onRate(criterion, source),
  sc2_http_req_rate: (criterion, source) => onRate(criterion, source),
  src_http_req_rate: (criterion, source) => onRate(criterion, source),
};

/** Every status that there may be. */
const CODES = Array.from({ length: 500 }, (_, at) => 100 + at);

function onLive(backend: string, patterns: readonly string[], source: AclSource): Formula {
  const range = rangeOf(patterns);
  if (!range) return unknown('servers are counted by eq, gt, ge, lt and le');
  const service = source.serviceOf(backend || undefined);
  if (service === undefined) return unknown(`"${backend}" has no servers`);
  if (range.below === undefined && (range.atLeast ?? 0) === 0) return TRUE;
  return range.below === 0 ? FALSE : conditions({ live: { [service]: range } });
}

/** A count that a limit can be set to: what is above it. */
function onCount(kind: 'connections' | 'body', { patterns }: Criterion): Formula {
  const { atLeast, below } = rangeOf(patterns) ?? {};
  if (atLeast === undefined || atLeast === 0 || below !== undefined) {
    return unknown('it can be limited (`gt`, `ge`) only');
  }
  return { kind: 'demand', demand: { kind, above: atLeast - 1 } };
}

function onLength(criterion: Criterion): Formula {
  if (criterion.argument.toLowerCase() === 'content-length') return onCount('body', criterion);
  return unknown('the value of a field is no number here');
}

function conditions(one: Conditions): Formula {
  return { kind: 'conditions', conditions: one };
}

function truth(value: boolean, patterns: readonly string[]): Formula {
  const [wanted = '1'] = patterns;
  return value === !['0', 'false', 'no', 'off'].includes(wanted) ? TRUE : FALSE;
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

function onRate({ fetch, argument, patterns }: Criterion, source: AclSource): Formula {
  const { atLeast, below } = rangeOf(patterns) ?? {};
  if (atLeast === undefined || below !== undefined || !/^g[te]$/.test(patterns[0] ?? '')) {
    return unknown('a rate can be limited (`gt`, `ge`) only');
  }
  const above = atLeast - 1;
  const rate = (table: string | undefined, counter: number | undefined): Formula => ({
    kind: 'demand',
    demand: { kind: 'rate', above, table, counter },
  });
  if (fetch.startsWith('src_')) return rate(argument || undefined, undefined);
  const [, fixed = argument.split(',')[0]] = /^sc(\d)_/.exec(fetch) ?? [];
  const counter = Number(fixed || 0);
  const tracked = source.tracking(counter);
  if (!tracked) return unknown('what it counts is not known: a table and a track rule');
  return { kind: 'and', parts: [conditionOf(tracked, source), rate(undefined, counter)] };
}
