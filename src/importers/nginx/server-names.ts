import { quoted } from '../../base/regex.ts';
import { type Directive, named, type Scope } from './directive.ts';
import type { Findings } from './findings.ts';
import type { ListenGroup } from './listens.ts';
import { hostOfName, type MatchInput, type RouteInput } from './matching.ts';
import { regexOf } from './values.ts';

type Host = string | { regex: string };

/** Names of one server that are asked for at the same turn; undefined: every other name. */
export type NameTurn = { readonly server: Scope; readonly hosts: readonly Host[] | undefined };

type Name = { readonly server: Scope; readonly host: Host; readonly rank: number };

/** The first name of a server, as `$server_name` has it. */
export function firstName(server: Scope): string | undefined {
  return named(server.own, 'server_name')[0]?.args[0];
}

/**
 * The servers of an address in the order in which the first whose name fits is the one that nginx
 * takes: exact names, the longest `*.name`, the longest `name.*`, expressions, then the default.
 */
export function nameTurns(group: ListenGroup, findings: Findings): NameTurn[] {
  const { servers, fallback } = group;
  const names = servers.flatMap((server) =>
    named(server.own, 'server_name').flatMap((one) => namesOf(server, one, findings)),
  );
  if (servers.length === 1) return [{ server: fallback, hosts: undefined }];
  const exact = servers.map((server) => ({
    server,
    hosts: names.filter((one) => one.server === server && one.rank === 0).map(({ host }) => host),
  }));
  const patterns = names.filter(({ rank }) => rank > 0).sort((a, b) => a.rank - b.rank);
  const turns = [
    ...exact.filter(({ hosts }) => hosts.length > 0),
    ...patterns.map(({ server, host }) => ({ server, hosts: [host] })),
  ];
  // The default needs no names but those that a pattern of another server would take.
  const needed = turns.filter(({ server }) => server !== fallback || patterns.length > 0);
  return [...needed, { server: fallback, hosts: undefined }];
}

function namesOf(server: Scope, directive: Directive, findings: Findings): Name[] {
  findings.translated(directive);
  return directive.args.flatMap((text, index): Name[] => {
    const name = text.toLowerCase();
    if (name === '' || name === '_' || name.startsWith('$')) return [];
    if (text.startsWith('~')) {
      const found = regexOf(text.slice(1), true);
      if ('regex' in found) return [{ server, host: found, rank: 3000 + index }];
      findings.unsupported(directive, found.fault);
      return [];
    }
    if (name.endsWith('.*')) {
      const host = { regex: `^${quoted(name.slice(0, -2))}\\.[^.]*` };
      return [{ server, host, rank: 2000 - name.length }];
    }
    const plain = name.replace(/^\*?\./, '');
    if (hostOfName(plain) === undefined) {
      findings.unsupported(directive, `"${text}" is no name of a host`);
      return [];
    }
    const below = { server, host: `*.${plain}`, rank: 1000 - plain.length };
    if (name.startsWith('*.')) return [below];
    const exact = { server, host: plain, rank: 0 };
    return name.startsWith('.') ? [exact, below] : [exact];
  });
}

/** The same route for some hosts only; undefined: its match knows of hosts already. */
export function forHosts(route: RouteInput, hosts: NameTurn['hosts']): RouteInput | undefined {
  if (hosts === undefined) return route;
  const match: MatchInput = route.match ?? {};
  const [first] = hosts;
  const host = hosts.length === 1 && first !== undefined ? first : [...hosts];
  if (match.host === undefined) return { ...route, match: { host, ...match } };
  const asked = Array.isArray(match.host) ? match.host : [match.host];
  const both = asked.filter((one) => hosts.some((other) => within(one, other)));
  return both.length === 0 ? undefined : { ...route, match: { ...match, host: both } };
}

function within(inner: Host, outer: Host): boolean {
  if (typeof inner !== 'string') return true;
  if (typeof outer !== 'string') return true;
  return inner === outer || (outer.startsWith('*.') && inner.endsWith(outer.slice(1)));
}
