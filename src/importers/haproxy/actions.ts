import { STATUS_CODES } from 'node:http';
import { linearRegex } from '../../base/regex.ts';
import { readCriterion } from './acl.ts';
import {
  type Conjunction,
  conjunctions,
  type Formula,
  formulaOf,
  Inexpressible,
  TRUE,
} from './formula.ts';
import { mapLookup } from './maps.ts';
import { rangesOf } from './patterns.ts';
import {
  type Edits,
  type Ending,
  editFields,
  type FieldEdits,
  NO_FIELDS,
  type RouteInput,
  type RuleSource,
  replaceIn,
  type Step,
  splitRule,
} from './rules.ts';
import type { Statement } from './sections.ts';
import { templateOf } from './templates.ts';
import { duration, parseTime } from './values.ts';

const STATUSES = Array.from({ length: 500 }, (_, at) => 100 + at);

/** The service of HAProxy that tells its metrics. */
export const EXPORTER = 'prometheus-exporter';

/** Reads one `http-request` line; undefined: it changes nothing that is carried over. */
export function requestStep(
  statement: Statement,
  source: RuleSource,
): Step | readonly Step[] | undefined {
  const { words, condition } = splitRule(statement.words.slice(1), source);
  const [action = '', ...args] = words;
  const base = { statement, condition };
  if (action === 'redirect') return redirectSteps(args, base, source);
  const ending = ENDINGS[action];
  if (ending) return { ...base, kind: 'end', ...ending(args, source) };
  if (action === 'allow') return { ...base, kind: 'allow' };
  if (action === 'auth') {
    const realm = args[0] === 'realm' ? args[1] : undefined;
    return { ...base, kind: 'admit', realm };
  }
  // `globalSettings` sees to it.
  if (action === 'use-service' && args[0] === EXPORTER) return undefined;
  if (PASSED_BY.test(action)) {
    return undefined;
  }
  return { ...base, kind: 'edit', edit: requestEdit(action, args, source) };
}

/** What others read, or has no use here. */
const PASSED_BY =
  /^(track-sc\d|set-var|unset-var|disable-l7-retry|strict-mode|wait-for-body|capture$)/;

/** Reads one `http-response` or `http-after-response` line. */
export function responseStep(
  statement: Statement,
  source: RuleSource,
): Step | readonly Step[] | undefined {
  const { words, condition } = splitRule(statement.words.slice(1), source);
  const [action = '', ...args] = words;
  if (action === 'strict-mode' || action === 'capture') return undefined;
  const how = /^(set|add|del|replace)-(?:header|value)$/.exec(action)?.[1];
  if (how === undefined) throw new Inexpressible(`answers cannot be changed by ${action}`);
  const step = (formula: Formula, status?: string): Step => {
    const after = statement.words[0] === 'http-after-response';
    const edit = fieldEdit(after ? 'after' : 'response', status, how, args, source);
    return { statement, condition: formula, kind: 'edit', edit };
  };
  const cases = conjunctions(condition);
  if (cases.every(({ match, not }) => !match.status && !not.some(({ status }) => status))) {
    return step(condition);
  }
  return cases.map((one) => {
    const { status, rest } = splitStatus(one);
    return step(formulaOf(rest), status);
  });
}

/** The statuses that a case asks for, as codes and ranges, and what else it asks. */
function splitStatus({ match, not, demands }: Conjunction) {
  const { status: wanted = STATUSES, ...conditions } = match;
  const refused = not.flatMap((one) => {
    if (!one.status) return [];
    if (Object.keys(one).length > 1) throw new Inexpressible('it asks for a status and more');
    return one.status;
  });
  const codes = wanted.filter((code) => !refused.includes(code));
  if (codes.length === 0) throw new Inexpressible('no answer has such a status');
  const rest = { match: conditions, not: not.filter(({ status }) => !status), demands };
  return { status: rangesOf(codes), rest };
}

/** Reads a `redirect` line of the old form. */
export function redirectStep(statement: Statement, source: RuleSource): readonly Step[] {
  const { words, condition } = splitRule(statement.words.slice(1), source);
  return redirectSteps(words, { statement, condition }, source);
}

/** A redirect; where it leads by a map, one for each of its lines. */
function redirectSteps(
  args: readonly string[],
  { statement, condition }: Pick<Step, 'statement' | 'condition'>,
  source: RuleSource,
): readonly Step[] {
  const kind = args.find((one) => ['scheme', 'location', 'prefix'].includes(one)) ?? '';
  const target = option(args, kind) ?? '';
  const looked = /%\[([^\]]*,map[\w]*\([^\]]*\))\]/.exec(target);
  const [whole = '', sample = ''] = looked ?? [];
  const lookup = looked ? mapLookup(sample, source) : undefined;
  if (typeof lookup === 'string') throw new Inexpressible(lookup);
  const step = (text: string, when: Formula): Step => {
    const both: Formula = { kind: 'and', parts: [condition, when] };
    const redirect = redirectOf(kind, text, args, source);
    return {
      statement,
      condition: when === TRUE ? condition : both,
      kind: 'end',
      end: { redirect },
    };
  };
  if (!lookup) return [step(target, TRUE)];
  const filled = (value: string) => target.replace(whole, () => value.replaceAll('%', '%%'));
  const { fallback } = lookup;
  return [
    ...lookup.lines.map(({ key, value }) =>
      step(filled(value), readCriterion(lookup.criterion([key]), source)),
    ),
    ...(fallback === undefined ? [] : [step(filled(fallback), TRUE)]),
  ];
}

type ReadEnding = (args: readonly string[], source: RuleSource) => { end: Ending };

const ENDINGS: Readonly<Record<string, ReadEnding>> = {
  deny: (args, source) => refusal(args, 403, source),
  tarpit: (args, source) => refusal(args, 500, source),
  reject: (_, source) => refusal([], 403, source),
  'silent-drop': (_, source) => refusal([], 403, source),
  return: (args, source) => returned(args, source),
};

/** An option of a list of words by its name. */
function option(args: readonly string[], name: string): string | undefined {
  const at = args.indexOf(name);
  return at < 0 ? undefined : args[at + 1];
}

function refusal(args: readonly string[], status: number, source: RuleSource): { end: Ending } {
  const code = Number(option(args, 'deny_status') ?? option(args, 'status') ?? status);
  if (['string', 'lf-string', 'file', 'lf-file'].some((one) => args.includes(one))) {
    return returned(['status', String(code), ...args], source);
  }
  return { end: { respond: statusAnswer(code, source) } };
}

/** An answer of a status alone, with the page that stands for it. */
export function statusAnswer(
  status: number,
  source: Pick<RuleSource, 'page'>,
): NonNullable<RouteInput['respond']> {
  const page = source.page(status);
  if (page) return { status, body: page.body, headers: { 'content-type': page.contentType } };
  return { status, body: `${status} ${STATUS_CODES[status] ?? ''}\n` };
}

/** `return status N content-type T string S hdr NAME VALUE`. */
function returned(args: readonly string[], source: RuleSource): { end: Ending } {
  const status = Number(option(args, 'status') ?? 200);
  const headers: Record<string, string> = {};
  const type = option(args, 'content-type');
  if (type !== undefined) headers['content-type'] = type;
  for (const [at, word] of args.entries()) {
    if (word === 'hdr') headers[(args[at + 1] ?? '').toLowerCase()] = plain(args[at + 2] ?? '');
  }
  const file = option(args, 'file') ?? option(args, 'lf-file');
  const text = option(args, 'string') ?? option(args, 'lf-string');
  const lf = args.includes('lf-string') || args.includes('lf-file');
  const body = file === undefined ? text : source.readFile(file);
  if (file !== undefined && body === undefined) {
    throw new Inexpressible(source.unreadable(`the file ${file}`, file));
  }
  if (body === undefined && type === undefined) {
    return {
      end: { respond: { ...statusAnswer(status, source), ...(status < 400 && { body: '' }) } },
    };
  }
  const template = lf && /%(?!%)/.test(body ?? '') ? templateOf(body ?? '', source) : undefined;
  const written = lf ? (body ?? '').replaceAll('%%', '%') : (body ?? '');
  const said = template === undefined ? { body: written } : { template };
  return { end: { respond: { status, ...said, headers } } };
}

/** A format that names nothing: fields of own answers are the same for every request. */
function plain(format: string): string {
  if (/%(?!%)/.test(format)) {
    throw new Inexpressible('a field of an own answer is the same for every request');
  }
  return format.replaceAll('%%', '%');
}

const CODES = [301, 302, 303, 307, 308] as const;

function redirectOf(
  kind: string,
  target: string,
  args: readonly string[],
  source: RuleSource,
): NonNullable<RouteInput['redirect']> {
  const status = CODES.find((code) => code === Number(option(args, 'code') ?? 302));
  if (status === undefined) throw new Inexpressible('redirects have 301, 302, 303, 307 or 308');
  const odd = ['set-cookie', 'clear-cookie', 'append-slash', 'keep-query'].find((one) =>
    args.includes(one),
  );
  if (odd !== undefined) throw new Inexpressible(`redirects have no ${odd}`);
  const path = args.includes('drop-query') ? '{path}' : '{uri}';
  const to = templateOf(target, source);
  if (kind === 'scheme') return { to: `${to}://{authority}${path}`, status };
  if (kind === 'prefix') return { to: to === '/' ? path : `${to}${path}`, status };
  if (kind === 'location') return { to, status };
  throw new Inexpressible(`a redirect is to a scheme, a location or a prefix`);
}

type Side = 'request' | 'response' | 'after';

/** Changes fields of one side; with `status` of answers with these alone. */
function fieldEdit(
  side: Side,
  status: string | undefined,
  how: string,
  [name = '', format = '', replacement = '']: readonly string[],
  source: RuleSource,
): (edits: Edits) => Edits {
  const change = fieldChange(how, name, format, replacement, source);
  return (edits) => {
    if (status === undefined) return { ...edits, [side]: change(edits[side]) };
    const key = side === 'after' ? 'afterByStatus' : 'byStatus';
    const fields = change(edits[key][status] ?? NO_FIELDS);
    return { ...edits, [key]: { ...edits[key], [status]: fields } };
  };
}

function fieldChange(
  how: string,
  name: string,
  format: string,
  replacement: string,
  source: RuleSource,
): (fields: FieldEdits) => FieldEdits {
  const checked = (fields: FieldEdits | undefined) => {
    if (!fields) throw new Inexpressible(`a rule before has changed the field ${name}`);
    return fields;
  };
  if (how === 'replace') {
    const match = linear(`^.*?(?:${format}).*$`, '').match;
    const replace = references(templateOf(replacement, source));
    return (fields) => checked(replaceIn(fields, name, { match, replace }));
  }
  const verb = how === 'set' || how === 'add' ? how : 'del';
  const value = verb === 'del' ? '' : templateOf(format, source);
  return (fields) => checked(editFields(fields, verb, name, value));
}

function requestEdit(
  action: string,
  args: readonly string[],
  source: RuleSource,
): (edits: Edits) => Edits {
  const how = /^(set|add|del|replace)-(?:header|value)$/.exec(action)?.[1];
  const [first = '', second = ''] = args;
  if (how === 'replace' && first.toLowerCase() === 'host') {
    throw new Inexpressible('the name of the host is set, not replaced in part');
  }
  if (how === 'set' && first.toLowerCase() === 'host') {
    const host = templateOf(second, source);
    return (edits) => rewritten(edits, { host });
  }
  if (how !== undefined) return fieldEdit('request', undefined, how, args, source);
  if (action === 'set-path' || action === 'set-uri' || action === 'set-pathq') {
    const rewrite = pathRewrite(first.replaceAll(/%\[(?:url|pathq)\b/g, '%[path'), source);
    return (edits) => rewritten(edits, rewrite);
  }
  if (action === 'replace-path' || action === 'replace-uri' || action === 'replace-pathq') {
    const regex = wholeReplacement(first, second, action);
    return (edits) => rewritten(edits, { regex });
  }
  if (action === 'set-timeout') {
    const ms = parseTime(second);
    const key = first === 'server' ? 'request' : first === 'tunnel' ? 'tunnel' : undefined;
    if (ms && key) {
      return (edits) => {
        const timeouts = { ...edits.rest.timeouts, [key]: duration(ms) };
        return { ...edits, rest: { ...edits.rest, timeouts } };
      };
    }
  }
  throw new Inexpressible(`requests cannot be changed by ${action}`);
}

function rewritten(edits: Edits, rewrite: NonNullable<RouteInput['rewrite']>): Edits {
  const before = edits.rest.rewrite ?? {};
  const twice = Object.keys(rewrite).some((key) => Object.hasOwn(before, key) && key !== 'host');
  if (twice) throw new Inexpressible('a path is rewritten once');
  return { ...edits, rest: { ...edits.rest, rewrite: { ...before, ...rewrite } } };
}

function pathRewrite(format: string, source: RuleSource): NonNullable<RouteInput['rewrite']> {
  const prefix = /^(\/[^%]*)%\[path\]$/.exec(format)?.[1];
  if (prefix !== undefined) return { addPrefix: prefix };
  const sub = /^%\[path,regsub\((.*),([^,)]*)(?:,g)?\)\]$/.exec(format);
  if (sub) {
    const match = (sub[1] ?? '').replace(/^(['"])(.*)\1$/, '$2');
    return { regex: linear(match, references((sub[2] ?? '').replace(/^(['"])(.*)\1$/, '$2'))) };
  }
  const path = templateOf(format, source);
  if (path.includes('?')) throw new Inexpressible('the query is not rewritten');
  if (path.includes('{') || !path.startsWith('/')) {
    throw new Inexpressible('a path is replaced by another one, or changed by an expression');
  }
  return { path };
}

/** Where the expression is found, the whole text gives way to the replacement. */
function wholeReplacement(
  match: string,
  format: string,
  action: string,
): { match: string; replace: string } {
  if (action !== 'replace-path' && (/\\\?|\?/.test(format) || /\\\?/.test(match))) {
    throw new Inexpressible('the query is not rewritten');
  }
  if (/%(?!%)/.test(format)) throw new Inexpressible('a rewritten path cannot hold a format');
  return linear(`^.*?(?:${match}).*$`, references(format));
}

function linear(match: string, replace: string): { match: string; replace: string } {
  try {
    linearRegex(match);
  } catch {
    throw new Inexpressible('the expression cannot be matched in linear time');
  }
  return { match, replace };
}

/** `\1` as we write it. */
function references(format: string): string {
  return format.replaceAll('$', '$$$$').replaceAll(/\\(\d)/g, '$$$1');
}
