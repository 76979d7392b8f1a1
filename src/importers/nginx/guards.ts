import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { unreadable } from '../../base/unreadable.ts';
import type { ImportIo } from '../report.ts';
import type { Directive, Scope } from './directive.ts';
import type { Findings } from './findings.ts';
import type { RouteInput } from './matching.ts';
import { countOf, parameter } from './values.ts';
import { soleVariable } from './variables.ts';

type Access = NonNullable<RouteInput['access']>;

/** What decides who may in and has no equivalent: without it a location would be open. */
const CLOSING = [
  'access_by_lua',
  'access_by_lua_block',
  'access_by_lua_file',
  'auth_digest',
  'auth_jwt',
  'auth_ldap',
  'auth_pam',
  'auth_request',
  'js_access',
  'perl',
  'secure_link',
];

/** Directives at a place that keep people out by means that Sluice has not. */
export function closedBy(scope: Scope): Directive | undefined {
  const satisfy = scope.find('satisfy');
  if (satisfy?.args[0] === 'any') return satisfy;
  return CLOSING.map((name) => scope.find(name)).find((one) => one && one.args[0] !== 'off');
}

function isEverybody(text: string): boolean {
  return text === 'all' || text === '0.0.0.0/0' || text === '::/0';
}

function addressRange(text: string): string | undefined {
  return isIP(text) !== 0 || ipaddr.isValidCIDR(text) ? text : undefined;
}

/**
 * `allow` and `deny`, of which the first that matches decides. Ours denies first: an address that is
 * let in from within a denied range stays out.
 */
export function accessOf(scope: Scope, findings: Findings): Access | undefined {
  const rules = scope.all('allow', 'deny');
  if (rules.length === 0) return undefined;
  const allow: string[] = [];
  const deny: string[] = [];
  for (const rule of rules) {
    const [text = ''] = rule.args;
    const list = rule.name === 'allow' ? allow : deny;
    if (isEverybody(text)) {
      findings.translated(rule);
      return finish(rule.name === 'allow', allow, deny);
    }
    const range = addressRange(text);
    if (range === undefined) {
      findings.unsupported(rule, `"${text}" is not an address`);
      continue;
    }
    if (rule.name === 'allow' && deny.some((other) => covers(other, range))) {
      findings.approximated(rule, 'it stays out, since an earlier rule denies a range around it');
    } else if (rule.name === 'deny' && allow.some((other) => covers(range, other))) {
      findings.approximated(rule, 'it keeps out as well what an earlier rule lets in');
    } else findings.translated(rule);
    list.push(range);
  }
  return finish(true, allow, deny);
}

/** Without a rule for everybody the rest comes in. */
function finish(
  rest: boolean,
  allow: readonly string[],
  deny: readonly string[],
): Access | undefined {
  if (rest) return deny.length > 0 ? { deny: [...deny] } : undefined;
  if (allow.length === 0) return { deny: ['0.0.0.0/0', '::/0'] };
  return { allow: [...allow], ...(deny.length > 0 ? { deny: [...deny] } : {}) };
}

function covers(outer: string, inner: string): boolean {
  const range = (text: string) =>
    ipaddr.parseCIDR(text.includes('/') ? text : `${text}/${isIP(text) === 4 ? 32 : 128}`);
  const [address] = range(inner);
  const whole = range(outer);
  return address.kind() === whole[0].kind() && address.match(whole) && whole[1] <= range(inner)[1];
}

/** `auth_basic` with the users of its file; those whose password cannot be kept get nowhere. */
export function basicAuthOf(
  scope: Scope,
  io: ImportIo,
  pathOf: (file: string) => string,
  findings: Findings,
): RouteInput['basicAuth'] {
  const realm = scope.find('auth_basic');
  findings.translated(realm);
  if (!realm || realm.args[0] === 'off') return undefined;
  const file = scope.find('auth_basic_user_file');
  const path = pathOf(file?.args[0] ?? '');
  const text = file && io.readFile(path);
  const users: Record<string, string> = {};
  const lost: string[] = [];
  for (const line of (text ?? '').split('\n')) {
    const [, name, stored] = /^([^:#\s][^:]*):([^:\s]+)/.exec(line) ?? [];
    if (name === undefined || stored === undefined) continue;
    const plain = /^\{PLAIN\}(.+)$/.exec(stored)?.[1];
    if (plain === undefined) lost.push(name);
    else users[name] = plain;
  }
  if (text === undefined) {
    findings.unsupported(file ?? realm, `${unreadable(path, path, io)}: nobody comes in`);
  } else if (lost.length > 0) {
    const names = lost.slice(0, 5).join(', ');
    findings.unsupported(
      file,
      `the passwords of ${names} are hashes of kinds that Sluice does not know: write them anew`,
    );
  } else findings.translated(file);
  return { realm: realm.args[0] ?? '', users };
}

const PER: Readonly<Record<string, string>> = { s: '1s', m: '1m' };

/** `limit_req` with its zone. Source: ngx_http_limit_req_module. */
export function rateLimitOf(scope: Scope, findings: Findings): RouteInput['rateLimit'] {
  const [limit, ...others] = scope.all('limit_req');
  for (const one of others) findings.unsupported(one, 'a route has one limit');
  if (!limit) return undefined;
  const name = parameter(limit.args, 'zone');
  const zone = scope
    .all('limit_req_zone')
    .find(({ args }) => parameter(args, 'zone')?.split(':')[0] === name);
  const [, rate, unit = ''] =
    /^(\d+)r\/([sm])$/.exec(parameter(zone?.args ?? [], 'rate') ?? '') ?? [];
  const requests = countOf(rate);
  const by = limitKey(soleVariable(zone?.args[0] ?? ''));
  if (!zone || requests === undefined || by === undefined) {
    const known = 'the address of the client or a field can be counted';
    findings.unsupported(limit, zone ? known : `there is no zone "${name}"`);
    findings.unsupported(zone, known);
    return undefined;
  }
  const status = scope.find('limit_req_status');
  findings.approximated(zone, 'each route counts for itself');
  if (status?.args[0] === '429') findings.translated(status, limit);
  else findings.approximated(status ?? limit, 'what is too much is answered with 429');
  if (!limit.args.includes('nodelay')) {
    findings.approximated(limit, 'requests within the burst are not delayed');
  }
  const burst = (countOf(parameter(limit.args, 'burst')) ?? 0) + 1;
  return { requests, per: PER[unit] ?? '1s', burst, by };
}

function limitKey(variable: string | undefined): 'source' | { header: string } | undefined {
  if (variable === 'binary_remote_addr' || variable === 'remote_addr') return 'source';
  const header = /^http_(\w+)$/.exec(variable ?? '')?.[1];
  return header === undefined ? undefined : { header: header.replaceAll('_', '-') };
}
