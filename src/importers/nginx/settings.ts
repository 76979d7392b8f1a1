import type { Directive, Scope } from './directive.ts';
import type { Findings } from './findings.ts';
import type { ListenGroup } from './listens.ts';
import type { ListenerInput } from './matching.ts';
import { bytesOf, countOf, durationOf, sizeOf } from './values.ts';

type Settings = Pick<ListenerInput, 'acceptProxy' | 'forwarded' | 'http' | 'limits' | 'timeouts'>;

const EVERYBODY = ['0.0.0.0/0', '::/0'];

/** Settings of a listener that nginx has for each server; those of the default server count. */
export function listenerSettings(group: ListenGroup, findings: Findings): Settings {
  const { fallback, servers } = group;
  for (const server of servers) judgeOthers(server, fallback, findings);
  const limits = limitsOf(fallback, findings);
  const timeouts = timeoutsOf(fallback, findings);
  const underscores = fallback.find('underscores_in_headers');
  const merge = fallback.find('merge_slashes');
  findings.translated(underscores, merge);
  const http = {
    ...(merge?.args[0] === 'off' ? {} : { slashes: 'merge' as const }),
    ...(underscores?.args[0] === 'on' ? { underscoreHeaders: 'allow' as const } : {}),
  };
  return {
    ...clientOf(group, findings),
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
    ...(Object.keys(timeouts).length === 0 ? {} : { timeouts }),
    ...(Object.keys(http).length === 0 ? {} : { http }),
  };
}

const OF_CONNECTIONS = [
  'client_header_timeout',
  'keepalive_timeout',
  'keepalive_requests',
  'large_client_header_buffers',
  'send_timeout',
  'http2_max_concurrent_streams',
  'underscores_in_headers',
  'merge_slashes',
];

function judgeOthers(server: Scope, fallback: Scope, findings: Findings): void {
  for (const name of OF_CONNECTIONS) {
    const own = server.find(name);
    if (own && own.args.join(' ') !== (fallback.find(name)?.args.join(' ') ?? '')) {
      findings.approximated(own, 'the default server of the address decides for all');
    }
  }
}

function timeoutsOf(scope: Scope, findings: Findings): NonNullable<ListenerInput['timeouts']> {
  const timeouts: NonNullable<ListenerInput['timeouts']> = {};
  const names = {
    header: 'client_header_timeout',
    idle: 'keepalive_timeout',
    write: 'send_timeout',
  } as const;
  for (const key of ['header', 'idle', 'write'] as const) {
    const directive = scope.find(names[key]);
    const value = durationOf(directive?.args[0]);
    if (!directive || (key === 'idle' && value === '0ms')) continue;
    if (value === undefined) findings.unsupported(directive, 'that is no time');
    else {
      findings.translated(directive);
      timeouts[key] = value;
    }
  }
  return timeouts;
}

function limitsOf(scope: Scope, findings: Findings): NonNullable<ListenerInput['limits']> {
  const limits: NonNullable<ListenerInput['limits']> = {};
  const count = (name: string): number | undefined => {
    const directive = scope.find(name);
    findings.translated(directive);
    return countOf(directive?.args[0]);
  };
  const requests = count('keepalive_requests');
  const streams = count('http2_max_concurrent_streams');
  const buffers = scope.find('large_client_header_buffers');
  const size = bytesOf(buffers?.args[1]);
  const off = scope.find('keepalive_timeout')?.args[0] === '0';
  if (off) findings.translated(scope.find('keepalive_timeout'));
  if (requests !== undefined || off) limits.maxRequestsPerConnection = off ? 1 : (requests ?? 1);
  if (streams !== undefined) limits.maxConcurrentStreams = streams;
  if (size !== undefined) {
    findings.approximated(buffers, 'the sizes bound all fields together, and the path');
    limits.maxHeaderBytes = sizeOf(size * (countOf(buffers?.args[0]) ?? 4));
    limits.maxUriBytes = sizeOf(size);
  }
  return limits;
}

/** Who the client is: PROXY headers, and fields of proxies that are trusted. */
function clientOf(
  { fallback, flags, listens }: ListenGroup,
  findings: Findings,
): Pick<Settings, 'acceptProxy' | 'forwarded'> {
  const from = fallback.all('set_real_ip_from');
  const header = fallback.find('real_ip_header');
  const recursive = fallback.find('real_ip_recursive');
  const ranges = from.flatMap((one) => rangeOf(one, findings));
  const field = (header?.args[0] ?? 'X-Real-IP').toLowerCase();
  findings.translated(recursive);
  if (flags.has('proxy_protocol')) {
    findings.translated(header);
    if (ranges.length === 0) {
      const reason =
        'the PROXY header of every peer is believed; say of whom in `acceptProxy.from`';
      findings.approximated(listens[0], reason);
    }
    return { acceptProxy: { from: ranges.length === 0 ? EVERYBODY : ranges }, forwarded: {} };
  }
  if (ranges.length === 0) return { forwarded: {} };
  if (field === 'x-forwarded-for') findings.translated(header);
  else {
    const reason = 'the client is read from X-Forwarded-For or Forwarded only';
    findings.unsupported(header ?? from[0], reason);
    return { forwarded: {} };
  }
  return { forwarded: { trust: ranges } };
}

function rangeOf(directive: Directive, findings: Findings): string[] {
  const [text = ''] = directive.args;
  if (/^[0-9a-fA-F.:]+(\/\d+)?$/.test(text)) {
    findings.translated(directive);
    return [text];
  }
  findings.unsupported(directive, `"${text}" is not an address`);
  return [];
}
