import { isIP } from 'node:net';
import { type Directive, named, type Scope } from './directive.ts';
import type { Findings } from './findings.ts';

/** A server at one of the addresses that it listens on. */
type Entry = { readonly server: Scope; readonly listen: Directive };

/** Addresses that the same servers listen on in the same way: one listener of ours. */
export type ListenGroup = {
  readonly binds: readonly string[];
  readonly port: number | undefined;
  readonly servers: readonly Scope[];
  /** Takes names that no server has. */
  readonly fallback: Scope;
  readonly listens: readonly Directive[];
  /** Parameters of `listen` that any of the servers gives. */
  readonly flags: ReadonlySet<string>;
};

type Address = { readonly bind: string; readonly port: number | undefined };

const KEPT = ['ssl', 'http2', 'proxy_protocol', 'udp'];
const DEFAULTS = ['default_server', 'default'];
/** What the kernel or the start of Sluice sees to. */
const NEEDLESS =
  /^(reuseport|deferred|bind|spdy|multipath|(so_keepalive|backlog|rcvbuf|sndbuf|fastopen|setfib|accept_filter)=.*|ipv6only=(on|off))$/;

function addressOf(text: string, dual: boolean): Address | undefined {
  if (text.startsWith('unix:/')) return { bind: text, port: undefined };
  const [, v6, host, digits] = /^(?:\[([^\]]+)\]|([^:[\]]*))(?::(\d+))?$/.exec(text) ?? [];
  const lone = host !== undefined && /^\d+$/.test(host) && digits === undefined;
  const port = Number(lone ? host : (digits ?? 80));
  if (port < 1 || port > 65_535 || Number.isNaN(port)) return undefined;
  if (v6 !== undefined) {
    if (isIP(v6) !== 6) return undefined;
    return { bind: v6 === '::' && dual ? `:${port}` : `[${v6}]:${port}`, port };
  }
  const name = lone || host === '*' || host === '' ? '0.0.0.0' : host;
  if (name === 'localhost') return { bind: `127.0.0.1:${port}`, port };
  return name !== undefined && isIP(name) === 4 ? { bind: `${name}:${port}`, port } : undefined;
}

function listensOf(server: Scope): Directive[] {
  const written = named(server.own, 'listen');
  const { directive } = server;
  if (written.length > 0 || !directive) return written;
  return [{ ...directive, name: 'listen', args: ['80'], block: undefined }];
}

/** The servers of a scope, by where they listen. */
export function listenGroups(servers: readonly Scope[], findings: Findings): ListenGroup[] {
  const entries = new Map<string, Entry[]>();
  const ports = new Map<string, number | undefined>();
  for (const server of servers) {
    for (const listen of listensOf(server)) {
      const [text = '', ...flags] = listen.args;
      const address = addressOf(text, flags.includes('ipv6only=off'));
      if (!address) {
        findings.unsupported(listen, `"${text}" is no address that can be listened on`);
        continue;
      }
      judgeFlags(listen, flags, findings);
      const list = entries.get(address.bind) ?? [];
      list.push({ server, listen });
      entries.set(address.bind, list);
      ports.set(address.bind, address.port);
    }
  }
  return joined(withoutCovered(entries, findings), ports);
}

function judgeFlags(listen: Directive, flags: readonly string[], findings: Findings): void {
  findings.translated(listen);
  for (const flag of flags) {
    if (KEPT.includes(flag) || DEFAULTS.includes(flag) || NEEDLESS.test(flag)) continue;
    findings.unsupported(listen, `Sluice has nothing for \`${flag}\``);
  }
}

/** Sluice does not listen on an address beside all addresses of the same port. */
function withoutCovered(entries: Map<string, Entry[]>, findings: Findings): Map<string, Entry[]> {
  for (const [bind, list] of entries) {
    const [, host = '', port] = /^(.*):(\d+)$/.exec(bind) ?? [];
    const wildcard = host.includes(':') ? `[::]:${port}` : `0.0.0.0:${port}`;
    const whole = entries.get(`:${port}`) ?? entries.get(wildcard);
    if (port === undefined || !whole || whole === list) continue;
    const same =
      list.length === whole.length &&
      list.every(({ server }, index) => server === whole[index]?.server);
    if (!same) {
      const reason = 'all addresses of the port are listened on already, by other servers';
      for (const { listen } of list) findings.unsupported(listen, reason);
    }
    entries.delete(bind);
  }
  return entries;
}

function flagsOf(list: readonly Entry[]): Set<string> {
  const given = list.flatMap(({ listen }) => listen.args);
  const old = list.some(({ server }) => server.find('ssl')?.args[0] === 'on');
  const h2 = list.some(({ server }) => server.find('http2')?.args[0] === 'on');
  return new Set([
    ...KEPT.filter((flag) => given.includes(flag)),
    ...(old ? ['ssl'] : []),
    ...(h2 ? ['http2'] : []),
  ]);
}

function joined(
  entries: ReadonlyMap<string, readonly Entry[]>,
  ports: ReadonlyMap<string, number | undefined>,
): ListenGroup[] {
  const known = new Map<Scope, number>();
  const numberOf = (server: Scope) => {
    known.set(server, known.get(server) ?? known.size);
    return known.get(server);
  };
  const groups = new Map<string, { binds: string[]; group: Omit<ListenGroup, 'binds'> }>();
  for (const [bind, list] of entries) {
    const [first] = list;
    if (!first) continue;
    const marked = list.find(({ listen }) => listen.args.some((one) => DEFAULTS.includes(one)));
    const fallback = (marked ?? first).server;
    const flags = flagsOf(list);
    const port = ports.get(bind);
    const numbers = list.map(({ server }) => numberOf(server));
    const key = JSON.stringify([numbers, numberOf(fallback), [...flags], port ?? bind]);
    const other = groups.get(key);
    if (other) other.binds.push(bind);
    else {
      const servers = list.map(({ server }) => server);
      const listens = list.map(({ listen }) => listen);
      groups.set(key, { binds: [bind], group: { port, servers, fallback, listens, flags } });
    }
  }
  return [...groups.values()].map(({ binds, group }) => ({ ...group, binds: tidy(binds) }));
}

/** `0.0.0.0:80` and `[::]:80` together are `:80`. */
function tidy(binds: readonly string[]): string[] {
  const [four] = binds.filter((bind) => bind.startsWith('0.0.0.0:'));
  const port = four?.slice('0.0.0.0'.length);
  const both = port !== undefined && binds.includes(`[::]${port}`);
  return both ? [port] : [...binds];
}
