import { quoted } from '../../base/regex.ts';
import type { Directive, Scope } from './directive.ts';
import type { Findings } from './findings.ts';
import type { RouteInput, ServiceInput } from './matching.ts';
import { countOf, durationOf } from './values.ts';
import { type Place, templateOf } from './variables.ts';

type Rewrite = NonNullable<RouteInput['rewrite']>;

/** Where a `proxy_pass` or `grpc_pass` sends to. */
export type Target = {
  readonly scheme: 'http' | 'https' | 'grpc' | 'grpcs';
  /** Name of an upstream, an address, or a text with variables. */
  readonly host: string;
  /** What is sent in place of the matched prefix; '': the path stays. */
  readonly uri: string;
};

/** Reads the address of a `proxy_pass`, variables included. */
export function targetOf(text: string, fallback: Target['scheme'] | undefined): Target | undefined {
  const [, scheme, rest = ''] = /^(?:(https?|grpcs?):\/\/)?([\s\S]*)$/i.exec(text) ?? [];
  const found = (['http', 'https', 'grpc', 'grpcs'] as const).find(
    (one) => one === scheme?.toLowerCase(),
  );
  const kind = found ?? fallback;
  const [, unix, uri = ''] = /^(unix:[^:]+)(?::(.*))?$/.exec(rest) ?? [];
  if (kind && unix !== undefined) return { scheme: kind, host: unix, uri };
  const [, host = '', path = ''] =
    /^((?:[^/$]|\$\{\w+\}|\$(?!request_uri\b|uri\b|is_args\b)\w+)*)([/$][\s\S]*)?$/.exec(rest) ??
    [];
  return kind && host !== '' ? { scheme: kind, host, uri: path } : undefined;
}

/** The changes of a path that a prefix and what replaces it come to. */
export function prefixRewrite(kind: string, prefix: string, uri: string): Rewrite {
  if (kind === '=') return { path: uri };
  if (prefix === uri) return {};
  if (prefix.endsWith('/') && uri.endsWith('/')) {
    const strip = prefix === '/' ? {} : { stripPrefix: prefix.slice(0, -1) };
    return { ...strip, ...(uri === '/' ? {} : { addPrefix: uri.slice(0, -1) }) };
  }
  return { regex: { match: `^${quoted(prefix)}`, replace: uri.replaceAll('$', '$$$$') } };
}

/** Fields that belong to a connection or to framing, which the gateway keeps itself. */
const OWN_FIELDS = [
  'connection',
  'upgrade',
  'keep-alive',
  'te',
  'transfer-encoding',
  'content-length',
];

/** What endpoints get of a request's fields. */
export type RequestFields = {
  /** Sent as Host; undefined: what the client sent. */
  readonly host: string | undefined;
  readonly set: Record<string, string>;
  readonly remove: string[];
  /** Whether the client's address is added to X-Forwarded-For. */
  readonly forwards: boolean;
};

/** `proxy_set_header`; without one for Host, nginx sends the name that `proxy_pass` has. */
export function requestFields(
  scope: Scope,
  target: Target,
  place: Place,
  findings: Findings,
): RequestFields {
  const set: Record<string, string> = {};
  const remove: string[] = [];
  const grpc = target.scheme.startsWith('grpc');
  const port = /^https|^grpcs/.test(target.scheme) ? ':443' : ':80';
  let host: string | undefined = target.host.startsWith('unix:')
    ? 'localhost'
    : target.host.replace(new RegExp(`${port}$`), '');
  let forwards = false;
  for (const one of scope.all(grpc ? 'grpc_set_header' : 'proxy_set_header')) {
    const [name = '', value = ''] = one.args;
    const field = name.toLowerCase();
    if (OWN_FIELDS.includes(field)) {
      findings.translated(one);
    } else if (field === 'x-forwarded-for' && value === '$proxy_add_x_forwarded_for') {
      findings.translated(one);
      forwards = true;
    } else if (value === '$proxy_host' && field === 'host') findings.translated(one);
    else {
      const filled = templateOf(value, place);
      if ('unknown' in filled) {
        findings.unsupported(one, `${filled.unknown} is not known`);
        continue;
      }
      findings.translated(one);
      if (field === 'host') host = filled.text === '{authority}' ? undefined : filled.text;
      else if (filled.text === '') remove.push(field);
      else set[field] = filled.text;
    }
  }
  return { host, set, remove, forwards };
}

const RETRY_ON: Readonly<Record<string, readonly string[]>> = {
  error: ['connect-failure', 'reset'],
  timeout: ['timeout'],
  http_500: ['500'],
  http_502: ['502'],
  http_503: ['503'],
  http_504: ['504'],
};

/** `proxy_next_upstream` with its tries; undefined: as Sluice does without. */
export function retriesOf(
  scope: Scope,
  prefix: string,
  servers: number,
  findings: Findings,
): ServiceInput['retries'] {
  const on = scope.find(`${prefix}_next_upstream`);
  const tries = scope.find(`${prefix}_next_upstream_tries`);
  const within = scope.find(`${prefix}_next_upstream_timeout`);
  findings.approximated(within, 'the time for tries is not bounded as a whole');
  findings.translated(on, tries);
  if (!on && !tries) return undefined;
  const most = countOf(tries?.args[0]);
  if (on?.args[0] === 'off' || most === 1) return false;
  const words = on?.args ?? ['error', 'timeout'];
  const causes = words.flatMap((word) => RETRY_ON[word] ?? []);
  const lost = words.filter((word) => !RETRY_ON[word] && word !== 'non_idempotent');
  if (lost.length > 0) {
    findings.approximated(on, `${lost.join(', ')} is no reason for another try`);
  }
  const attempts = Math.min(10, Math.max(1, (most ?? servers) - 1));
  const methods = ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE', 'POST', 'PATCH', 'LOCK'];
  // exempt(as): the words come from the table above.
  const reasons = [...new Set(causes)] as NonNullable<
    Exclude<ServiceInput['retries'], false | undefined>['on']
  >;
  return { attempts, on: reasons, ...(words.includes('non_idempotent') ? { methods } : {}) };
}

/** TLS towards endpoints. */
export function upstreamTls(
  scope: Scope,
  prefix: string,
  place: Place,
  pathOf: (file: string) => string,
  findings: Findings,
): NonNullable<ServiceInput['tls']> {
  const find = (name: string) => scope.find(`${prefix}_ssl_${name}`);
  const file = (name: string) => {
    const directive = find(name);
    findings.translated(directive);
    return directive && pathOf(directive.args[0] ?? '');
  };
  const verify = find('verify')?.args[0] === 'on';
  const name = templateOf(find('name')?.args[0] ?? '', place);
  findings.translated(find('verify'), find('server_name'));
  const fixed = 'text' in name && !name.text.includes('{') ? name.text : '';
  if (fixed !== '') findings.translated(find('name'));
  else findings.unsupported(find('name'), 'the name that is sent and verified is the same for all');
  const ca = file('trusted_certificate');
  const cert = file('certificate');
  const key = file('certificate_key');
  return {
    ...(verify ? {} : { verify: false }),
    ...(ca === undefined ? {} : { ca }),
    ...(fixed === '' ? {} : { serverName: fixed }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
  };
}

/** Deadlines towards endpoints: those of a service, and those of a route. */
export function proxyTimeouts(
  scope: Scope,
  prefix: string,
  findings: Findings,
): Pick<ServiceInput, 'timeouts'> {
  const read = (name: string) => {
    const directive: Directive | undefined = scope.find(`${prefix}_${name}_timeout`);
    const value = durationOf(directive?.args[0]);
    if (value === undefined) findings.unsupported(directive, 'that is no time');
    else findings.translated(directive);
    return value;
  };
  const [connect, answer, send] = [read('connect'), read('read'), read('send')];
  const timeouts = {
    ...(connect === undefined ? {} : { connect }),
    ...(answer === undefined ? {} : { request: answer, idle: answer, tunnel: answer }),
    ...(send === undefined ? {} : { write: send }),
  };
  return Object.keys(timeouts).length === 0 ? {} : { timeouts };
}
