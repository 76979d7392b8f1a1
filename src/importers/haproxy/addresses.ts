import { splitHostPort } from '../../model/address.ts';
import { isAddress } from '../../model/fields.ts';

/** An address of a `bind` line in our words; or why there is none. */
export type BindAddress = { readonly text: string; readonly ports: readonly number[] } | string;

/**
 * Reads one address of a `bind`: `*:80`, `10.0.0.1:80-81`, `:::443`, `/path`, `unix@/path`. Without
 * `v4v6` an empty host means every IPv4 address. Source: HAProxy 2.6 manual, `bind`.
 */
export function readBind(text: string, options: ReadonlyMap<string, string>): BindAddress {
  const path = /^(?:unix@)?(\/.*)$/.exec(text)?.[1];
  if (path !== undefined) return { text: `unix:${path}`, ports: [] };
  const named = /^fd@(\w+)$/.exec(text)?.[1];
  if (named !== undefined) return { text: `fd:${named}`, ports: [] };
  const bare = text.replace(/^(?:ipv[46]|tcp[46]?)@/, '');
  const match = /^\[?(.*?)\]?:([\d-]+)$/.exec(bare);
  if (!match) return `"${text}" is not an address to listen on`;
  const [, written = '', range = ''] = match;
  const six = written === '::' || text.startsWith('ipv6@') || text.startsWith('tcp6@');
  const anyHost = written === '' || written === '*' || written === '::';
  const host = anyHost ? (six ? '::' : '0.0.0.0') : written;
  const [from = 0, to = from] = range.split('-').map(Number);
  if (from < 1 || to > 65_535 || to < from || to - from > 999)
    return `the ports ${range} are not valid`;
  if (host !== 'localhost' && !isAddress(host)) return `"${host}" is a name; an address is needed`;
  const ports = Array.from({ length: to - from + 1 }, (_, index) => from + index);
  const both = host === '::' && !options.has('v6only');
  if (both) return { text: `:${range}`, ports };
  return { text: host.includes(':') ? `[${host}]:${range}` : `${host}:${range}`, ports };
}

/** The address of a server in our words; or why there is none. Source: `server`. */
export function readServer(text: string, ports: readonly number[]): { address: string } | string {
  const path = /^(?:unix@)?(\/.*)$/.exec(text)?.[1];
  if (path !== undefined) return { address: `unix:${path}` };
  if (/^(abns|sockpair|fd|quic\d?|rhttp)@/.test(text)) return `"${text}" is not reached`;
  const bare = text.replace(/^(?:ipv[46]|tcp[46]?)@/, '');
  const plain = isAddress(bare) ? { host: bare, port: '' } : undefined;
  const parts = plain ?? splitHostPort(bare) ?? loose(bare);
  if (!parts) return `"${text}" is not an address`;
  const [port] = parts.port === '' && ports.length === 1 ? ports : [Number(parts.port)];
  if (!port || parts.host === '') return 'the port of each server must be said';
  const host = parts.host.includes(':') ? `[${parts.host}]` : parts.host;
  return { address: `${host}:${port}` };
}

/** `::1:80` and a name without a port. */
function loose(text: string): { host: string; port: string } | undefined {
  const match = /^(.*):(\d+)$/.exec(text);
  if (match && isAddress(match[1] ?? '')) return { host: match[1] ?? '', port: match[2] ?? '' };
  return /^[\w.-]+$/.test(text) ? { host: text, port: '' } : undefined;
}
