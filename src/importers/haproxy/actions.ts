import { STATUS_CODES } from 'node:http';
import { linearRegex } from '../../base/regex.ts';
import { Inexpressible } from './formula.ts';
import {
  type Edits,
  type Ending,
  editFields,
  type RouteInput,
  type RuleSource,
  type Step,
  splitRule,
} from './rules.ts';
import type { Statement } from './sections.ts';
import { templateOf } from './templates.ts';
import { duration, parseTime } from './values.ts';

/** The service of HAProxy that tells its metrics. */
export const EXPORTER = 'prometheus-exporter';

/** Reads one `http-request` line; undefined: it changes nothing that is carried over. */
export function requestStep(statement: Statement, source: RuleSource): Step | undefined {
  const { words, condition } = splitRule(statement.words.slice(1), source);
  const [action = '', ...args] = words;
  const base = { statement, condition };
  const ending = ENDINGS[action];
  if (ending) return { ...base, kind: 'end', ...ending(args, source) };
  if (action === 'allow') return { ...base, kind: 'allow' };
  if (action === 'auth') {
    const realm = args[0] === 'realm' ? args[1] : undefined;
    return { ...base, kind: 'admit', realm };
  }
  // `globalSettings` sees to it.
  if (action === 'use-service' && args[0] === EXPORTER) return undefined;
  if (/^(track-sc\d|set-var|unset-var|disable-l7-retry|strict-mode|wait-for-body)/.test(action)) {
    return undefined;
  }
  return { ...base, kind: 'edit', edit: requestEdit(action, args, source) };
}

/** Reads one `http-response` or `http-after-response` line. */
export function responseStep(statement: Statement, source: RuleSource): Step | undefined {
  const { words, condition } = splitRule(statement.words.slice(1), source);
  const [action = '', ...args] = words;
  if (action === 'strict-mode' || action === 'capture') return undefined;
  const how = /^(set|add|del)-header$/.exec(action)?.[1];
  if (how === undefined) throw new Inexpressible(`answers cannot be changed by ${action}`);
  const edit = fieldEdit('response', how, args, source);
  return { statement, condition, kind: 'edit', edit };
}

/** Reads a `redirect` line of the old form. */
export function redirectStep(statement: Statement, source: RuleSource): Step {
  const { words, condition } = splitRule(statement.words.slice(1), source);
  return { statement, condition, kind: 'end', end: { redirect: redirectOf(words, source) } };
}

type ReadEnding = (args: readonly string[], source: RuleSource) => { end: Ending };

const ENDINGS: Readonly<Record<string, ReadEnding>> = {
  deny: (args, source) => refusal(args, 403, source),
  tarpit: (args, source) => refusal(args, 500, source),
  reject: (_, source) => refusal([], 403, source),
  'silent-drop': (_, source) => refusal([], 403, source),
  return: (args, source) => returned(args, source),
  redirect: (args, source) => ({ end: { redirect: redirectOf(args, source) } }),
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
  const written = lf ? plain(body ?? '') : (body ?? '');
  return { end: { respond: { status, body: written, headers } } };
}

/** A format that names nothing: answers of the gateway are the same for every request. */
function plain(format: string): string {
  if (/%(?!%)/.test(format)) {
    throw new Inexpressible('an answer of the gateway is the same for every request');
  }
  return format.replaceAll('%%', '%');
}

const CODES = [301, 302, 303, 307, 308] as const;

function redirectOf(
  args: readonly string[],
  source: RuleSource,
): NonNullable<RouteInput['redirect']> {
  const [kind = '', target = ''] = args;
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
  throw new Inexpressible(`a redirect is to a scheme, a location or a prefix, not to "${kind}"`);
}

function fieldEdit(
  side: 'request' | 'response',
  how: string,
  [name = '', format = '']: readonly string[],
  source: RuleSource,
): (edits: Edits) => Edits {
  const verb = how === 'set' || how === 'add' ? how : 'del';
  const value = verb === 'del' ? '' : templateOf(format, source);
  return (edits) => {
    const fields = editFields(edits[side], verb, name, value);
    if (!fields) throw new Inexpressible(`a field is added once: ${name}`);
    return { ...edits, [side]: fields };
  };
}

function requestEdit(
  action: string,
  args: readonly string[],
  source: RuleSource,
): (edits: Edits) => Edits {
  const how = /^(set|add|del)-header$/.exec(action)?.[1];
  const [first = '', second = ''] = args;
  if (how === 'set' && first.toLowerCase() === 'host') {
    const host = templateOf(second, source);
    return (edits) => rewritten(edits, { host });
  }
  if (how !== undefined) return fieldEdit('request', how, args, source);
  if (action === 'set-path') {
    const rewrite = pathRewrite(first, source);
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
