import { Resolver } from 'node:dns/promises';
import { formatEndpointAddress } from '../../model/address.ts';
import type { EndpointSpec } from '../../model/endpoint-state.ts';
import type { Discover } from '../../model/service.ts';
import { isLoopback } from './forbidden.ts';
import { endpointSpec, type Reading, type Source } from './source.ts';

const MAX_TTL_MS = 60_000;
/** Node does not tell the TTL of SRV records. */
const SRV_REFRESH_MS = 10_000;
const MAX_SRV_RECORDS = 1000;
const MAX_WEIGHT = 256;
/** An answer without records has no TTL that we see. */
const EMPTY_REFRESH_MS = 5000;

type DnsQuery = Extract<Discover, { dns: unknown }>['dns'];

/** A name that is not there, or has no such record, is an answer: there are no endpoints. */
async function orNone<T>(records: Promise<T[]>): Promise<T[]> {
  try {
    return await records;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENODATA' || code === 'ENOTFOUND') return [];
    throw error;
  }
}

/** Servers turn the order of records, which says nothing. */
function inOrder(specs: EndpointSpec[]): EndpointSpec[] {
  return specs.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** Endpoints from A, AAAA or SRV records; SRV priorities above the lowest are backups. */
export function dnsSource(dns: DnsQuery): Source {
  const resolver = new Resolver({ timeout: 1000, tries: 3 });
  const server = dns.server && 'host' in dns.server ? dns.server : undefined;
  if (server) {
    resolver.setServers([formatEndpointAddress(server)]);
  }
  type Found = { address: string; ttl: number }[];
  const ipv4 = (name: string): Promise<Found> => orNone(resolver.resolve4(name, { ttl: true }));
  const ipv6 = (name: string): Promise<Found> => orNone(resolver.resolve6(name, { ttl: true }));
  const wait = (found: Found, longestMs: number) =>
    dns.refresh ?? Math.max(dns.minTtl, Math.min(longestMs, ...found.map(({ ttl }) => ttl * 1000)));
  const readSrv = async (): Promise<Reading> => {
    const records = (await orNone(resolver.resolveSrv(dns.name))).slice(0, MAX_SRV_RECORDS);
    const first = Math.min(...records.map(({ priority }) => priority));
    const scale = Math.min(1, MAX_WEIGHT / Math.max(...records.map(({ weight }) => weight)));
    const all: Found = [];
    const specs = await Promise.all(
      records.map(async ({ name, port, weight, priority }) => {
        const own = await ipv4(name);
        const found = own.length > 0 ? own : await ipv6(name);
        all.push(...found);
        return found.map(({ address }) => ({
          ...endpointSpec(address, port, Math.max(1, Math.round(weight * scale))),
          backup: priority > first,
        }));
      }),
    );
    return { specs: inOrder(specs.flat()), nextMs: wait(all, SRV_REFRESH_MS) };
  };
  const readAddresses = async (): Promise<Reading> => {
    const found = await (dns.type === 'AAAA' ? ipv6 : ipv4)(dns.name);
    return {
      specs: inOrder(found.map(({ address }) => endpointSpec(address, dns.port ?? 80))),
      nextMs: wait(found, found.length === 0 ? EMPTY_REFRESH_MS : MAX_TTL_MS),
    };
  };
  return {
    tellsChanges: false,
    // The system's resolver is local too often to say anything about whose names it tells.
    local: server !== undefined && isLoopback(server.host),
    read: dns.type === 'SRV' ? readSrv : readAddresses,
    close: () => resolver.cancel(),
  };
}
