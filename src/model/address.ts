import { createHash } from 'node:crypto';
import { z } from 'zod';
import { isAddress } from './fields.ts';

/** The smallest packets that a link with IPv6 may have. Source: RFC 8200 section 5. */
export const MIN_IPV6_MTU = 1280;

/** The address of a text with or without a prefix length. */
export function bare(text: string): string {
  return text.split('/')[0] ?? text;
}

/**
 * A MAC that follows from a text, so that it is the same wherever and whenever it is worked out.
 * `head` makes it a locally administered one.
 */
export function derivedMac(text: string, head: '02' | '02:42' = '02:42'): string {
  const digest = createHash('sha256').update(text).digest('hex');
  const pairs = digest.match(/../g) ?? [];
  return [head, ...pairs.slice(0, head === '02' ? 5 : 4)].join(':');
}

/** Where a listener takes connections. */
export type Bind =
  | { kind: 'ip'; host: string; port: number; dualStack: boolean }
  | { kind: 'unix'; path: string; mode?: string }
  | { kind: 'fd'; name: string };

/** Where an endpoint answers; a host that is a name is resolved by DNS. */
export type EndpointAddress = { host: string; port: number } | { path: string };

const MAX_RANGE = 1000;

/** Splits `host:port`, `[v6]:port`, `:port` and `*:port`; the port is left as text. */
export function splitHostPort(text: string): { host: string; port: string } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):([0-9-]+)$/.exec(text);
  if (!match?.[3]) return undefined;
  return { host: match[1] ?? match[2] ?? '', port: match[3] };
}

function port(text: string): number | undefined {
  const value = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return value >= 1 && value <= 65_535 ? value : undefined;
}

function portRange(text: string): number[] | undefined {
  const [from, to] = text.split('-', 2).map(port);
  if (!text.includes('-')) return from === undefined ? undefined : [from];
  if (from === undefined || to === undefined || to < from || to - from >= MAX_RANGE)
    return undefined;
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

/**
 * Reads `host:port`, `:port` (every address, IPv4 and IPv6), `[v6]:port`, `host:from-to` (at most
 * 1000 ports), `unix:/path` and `fd:NAME` (systemd socket activation).
 */
export function parseBind(text: string): Bind[] | undefined {
  if (text.startsWith('unix:/')) return [{ kind: 'unix', path: text.slice(5) }];
  if (/^fd:[\w.-]+$/.test(text)) return [{ kind: 'fd', name: text.slice(3) }];
  const parts = splitHostPort(text);
  const ports = parts && portRange(parts.port);
  if (!parts || !ports) return undefined;
  const everywhere = parts.host === '' || parts.host === '*';
  const host = everywhere ? '::' : parts.host === 'localhost' ? '127.0.0.1' : parts.host;
  if (!isAddress(host)) return undefined;
  return ports.map((number) => ({ kind: 'ip', host, port: number, dualStack: everywhere }));
}

/** A bind as the one text that names it in keys, logs and metrics. */
export function formatBind(bind: Bind): string {
  if (bind.kind === 'unix') return `unix:${bind.path}`;
  if (bind.kind === 'fd') return `fd:${bind.name}`;
  if (bind.dualStack) return `:${bind.port}`;
  return formatHostPort(bind.host, bind.port);
}

/** `host:port`, with brackets around an IPv6 address. */
export function formatHostPort(host: string, portNumber: number): string {
  return host.includes(':') ? `[${host}]:${portNumber}` : `${host}:${portNumber}`;
}

/** Reads `host:port`, `[v6]:port` or `unix:/path`; the host may be a DNS name. */
export function parseEndpointAddress(text: string): EndpointAddress | undefined {
  if (text.startsWith('unix:/')) return { path: text.slice(5) };
  const parts = splitHostPort(text);
  const number = parts && port(parts.port);
  if (!parts?.host || number === undefined) return undefined;
  const named = /^(?=.{1,253}$)[A-Za-z0-9_](?:[\w-]*\w)?(?:\.[A-Za-z0-9_](?:[\w-]*\w)?)*\.?$/;
  const numeric = /^[\d.]+$/.test(parts.host);
  if (!isAddress(parts.host) && (numeric || !named.test(parts.host))) return undefined;
  return { host: parts.host, port: number };
}

/** An endpoint's address as the text that is its default id. */
export function formatEndpointAddress(address: EndpointAddress): string {
  return 'path' in address ? `unix:${address.path}` : formatHostPort(address.host, address.port);
}

const one = z.string().transform((text, context) => {
  const binds = parseBind(text);
  if (binds) return binds;
  const message = `"${text}" is not an address to listen on, such as "127.0.0.1:8080", ":443", "[::1]:80", ":8000-8010", "unix:/run/x.sock" or "fd:NAME"`;
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
});

const MODE = /^0?[0-7]{3}$/;

const socketFile = z
  .strictObject({
    unix: z.string().startsWith('/').describe('Path of the socket.'),
    mode: z
      .string()
      .regex(MODE, 'must be three octal digits in quotes, such as "0660"')
      .optional()
      .describe('Permissions; connecting takes that of writing. Default: by the umask.'),
  })
  .transform(({ unix, mode }): Bind[] => [
    { kind: 'unix', path: unix, ...(mode === undefined ? {} : { mode }) },
  ]);

/** One bind or a list of them. */
export const binds = z.union([
  one,
  socketFile,
  z
    .array(z.union([one, socketFile]))
    .min(1)
    .transform((lists) => lists.flat()),
]);

/** An endpoint's address. */
export const endpointAddress = z.string().transform((text, context) => {
  const address = parseEndpointAddress(text);
  if (address) return address;
  const message = `"${text}" is not an endpoint address, such as "10.0.0.1:8080", "[::1]:80", "db.internal:5432" or "unix:/run/x.sock"`;
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
});
