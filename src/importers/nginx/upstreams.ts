import { formatDuration, parseDuration } from '../../base/values.ts';
import { parseEndpointAddress } from '../../model/address.ts';
import { type Directive, named, type Scope } from './directive.ts';
import type { Findings } from './findings.ts';
import type { ServiceInput } from './matching.ts';
import { countOf, durationOf, parameter } from './values.ts';
import { soleVariable } from './variables.ts';

type EndpointInput = NonNullable<ServiceInput['endpoints']>[number];
type Server = { readonly directive: Directive; readonly endpoint: EndpointInput | undefined };

const MAX_WEIGHT = 256;
const PLAIN_FLAGS = ['resolve', 'ntlm'];

/** An endpoint's address from `host`, `host:port` or `unix:/path`. */
export function addressOf(text: string, port: number | undefined): string | undefined {
  if (text.startsWith('unix:')) return text;
  const whole = /:\d+$/.test(text) || port === undefined ? text : `${text}:${port}`;
  return parseEndpointAddress(whole) ? whole : undefined;
}

/** What an `upstream` block says, as the part of a service that does not depend on who uses it. */
export function upstreamService(
  upstream: Directive,
  port: number | undefined,
  findings: Findings,
): ServiceInput {
  findings.translated(upstream);
  const block = upstream.block ?? [];
  const servers = named(block, 'server').map((one) => serverOf(one, port, findings));
  const endpoints = uniqueEndpoints(servers, findings);
  const service: ServiceInput = { endpoints, ...balanceOf(block, findings) };
  const first = servers.find(({ endpoint }) => endpoint !== undefined);
  return { ...service, ...keepAliveOf(block, findings), ...passiveOf(servers, first, findings) };
}

function serverOf(directive: Directive, port: number | undefined, findings: Findings): Server {
  const [text = '', ...parameters] = directive.args;
  if (parameters.includes('down')) {
    findings.approximated(directive, 'it is marked down, and so not among the endpoints');
    return { directive, endpoint: undefined };
  }
  const address = addressOf(text, port);
  if (address === undefined) {
    findings.unsupported(directive, `"${text}" is no address and port that can be reached`);
    return { directive, endpoint: undefined };
  }
  findings.translated(directive);
  const weight = countOf(parameter(parameters, 'weight'));
  const maxConnections = countOf(parameter(parameters, 'max_conns'));
  if (weight !== undefined && weight > MAX_WEIGHT) {
    findings.approximated(directive, `a weight is at most ${MAX_WEIGHT}`);
  }
  for (const one of parameters) {
    const known = /^(weight|max_conns|max_fails|fail_timeout|slow_start)=/.test(one);
    if (!known && one !== 'backup' && !PLAIN_FLAGS.includes(one)) {
      findings.unsupported(directive, `Sluice has nothing for \`${one}\``);
    }
  }
  const endpoint = {
    address,
    ...(weight !== undefined && weight !== 1 ? { weight: Math.min(weight, MAX_WEIGHT) } : {}),
    ...(parameters.includes('backup') ? { backup: true } : {}),
    ...(maxConnections === undefined ? {} : { maxConnections }),
  };
  return { directive, endpoint: Object.keys(endpoint).length === 1 ? address : endpoint };
}

function uniqueEndpoints(servers: readonly Server[], findings: Findings): EndpointInput[] {
  const known = new Map<string, EndpointInput>();
  for (const { directive, endpoint } of servers) {
    if (endpoint === undefined) continue;
    const address = typeof endpoint === 'string' ? endpoint : endpoint.address;
    if (known.has(address)) {
      findings.approximated(directive, 'an address stands once; give it a weight instead');
    } else known.set(address, endpoint);
  }
  return [...known.values()];
}

function balanceOf(block: readonly Directive[], findings: Findings): Partial<ServiceInput> {
  const method = block.find(({ name }) =>
    ['least_conn', 'ip_hash', 'hash', 'random', 'least_time'].includes(name),
  );
  const sticky = stickyOf(block, findings);
  if (!method) return { balance: 'round-robin', ...sticky };
  findings.translated(method);
  if (method.name === 'least_conn') return { balance: 'least-connections', ...sticky };
  if (method.name === 'ip_hash') {
    findings.approximated(method, 'the whole address of the client counts, not its first bytes');
    return { balance: 'source-hash', ...sticky };
  }
  if (method.name === 'hash') return { balance: hashOf(method, findings), ...sticky };
  if (method.name === 'least_time') {
    findings.approximated(method, 'ewma weighs times of answer with requests under way');
    return { balance: 'ewma', ...sticky };
  }
  if (method.args[1] !== undefined && method.args[1] !== 'least_conn') {
    findings.approximated(method, 'the less loaded of the two takes it');
  } else if (method.args.length === 0) {
    findings.approximated(method, 'the less loaded of two at random takes it');
  }
  return { balance: 'random-two', ...sticky };
}

function hashOf(method: Directive, findings: Findings): NonNullable<ServiceInput['balance']> {
  const [text = '', consistent] = method.args;
  const variable = soleVariable(text) ?? '';
  const [, kind, name = ''] = /^(http|cookie)_(\w+)$/.exec(variable) ?? [];
  const algorithm = consistent === 'consistent' ? 'consistent-hash' : 'maglev';
  if (variable === 'remote_addr' || variable === 'binary_remote_addr') {
    return { algorithm, key: 'source' };
  }
  if (kind === 'http') return { algorithm, key: { header: name.replaceAll('_', '-') } };
  if (kind === 'cookie') return { algorithm, key: { cookie: name } };
  if (['uri', 'document_uri', 'request_uri'].includes(variable)) {
    if (variable === 'request_uri') {
      findings.approximated(method, 'the path is hashed, without the query');
    }
    return { algorithm, key: 'path' };
  }
  findings.unsupported(
    method,
    `${text} cannot be hashed: only the client's address, the path, a field or a cookie`,
  );
  return 'round-robin';
}

function stickyOf(block: readonly Directive[], findings: Findings): Partial<ServiceInput> {
  const sticky = block.find(({ name }) => name === 'sticky');
  if (!sticky) return {};
  const [kind, name = '', ...parameters] = sticky.args;
  if (kind !== 'cookie') {
    findings.unsupported(sticky, 'only `sticky cookie` has an equivalent');
    return {};
  }
  findings.translated(sticky);
  const expires = durationOf(parameter(parameters, 'expires'));
  const domain = parameter(parameters, 'domain');
  const path = parameter(parameters, 'path');
  return {
    sticky: {
      cookie: {
        name,
        httpOnly: parameters.includes('httponly'),
        secure: parameters.includes('secure'),
        ...(expires === undefined ? {} : { maxAge: expires }),
        ...(domain === undefined ? {} : { domain }),
        ...(path === undefined ? {} : { path }),
      },
    },
  };
}

function keepAliveOf(block: readonly Directive[], findings: Findings): Partial<ServiceInput> {
  const keepalive = block.find(({ name }) => name === 'keepalive');
  const timeout = block.find(({ name }) => name === 'keepalive_timeout');
  const maxIdle = countOf(keepalive?.args[0]);
  const idle = durationOf(timeout?.args[0]);
  findings.translated(timeout);
  findings.approximated(keepalive, 'it bounds the idle connections of each endpoint, not of all');
  if (maxIdle === undefined && idle === undefined) return {};
  return {
    keepAlive: {
      ...(maxIdle === undefined ? {} : { maxIdle }),
      ...(idle === undefined ? {} : { idle }),
    },
  };
}

/** `max_fails` and `fail_timeout` of the first server, which stand for all, and `slow_start`. */
function passiveOf(
  servers: readonly Server[],
  first: Server | undefined,
  findings: Findings,
): Partial<ServiceInput> {
  if (!first) return {};
  const settings = ({ args }: Directive) =>
    args.filter((arg) => /^(max_fails|fail_timeout|slow_start)=/.test(arg)).sort();
  const own = settings(first.directive);
  for (const { directive, endpoint } of servers) {
    if (endpoint !== undefined && settings(directive).join() !== own.join()) {
      findings.approximated(directive, 'the failures of all servers count as those of the first');
    }
  }
  const slowStart = durationOf(parameter(own, 'slow_start'));
  const rest: Partial<ServiceInput> = slowStart === undefined ? {} : { slowStart };
  const fails = parameter(own, 'max_fails');
  if (fails === '0') return { passive: false, ...rest };
  const failures = countOf(fails);
  const ejectFor = durationOf(parameter(own, 'fail_timeout'));
  if (failures === undefined && ejectFor === undefined) return rest;
  findings.approximated(
    first.directive,
    'failures in a row count, answers of 5xx among them, and at most half of the endpoints are put aside',
  );
  const passive = {
    ...(failures === undefined ? {} : { failures: Math.max(2, failures) }),
    ...(ejectFor === undefined ? {} : { within: atLeast(ejectFor), ejectFor: atLeast(ejectFor) }),
  };
  return { passive, ...rest };
}

/** Failures are looked at in spans of a second at least. */
function atLeast(duration: string): string {
  return formatDuration(Math.max(1000, parseDuration(duration) ?? 0));
}

/** The `upstream` blocks of a scope by their name. */
export function upstreamsOf(scope: Scope): Map<string, Directive> {
  return new Map(named(scope.own, 'upstream').map((one) => [one.args[0] ?? '', one]));
}
