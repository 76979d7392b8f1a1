import { Resolver } from 'node:dns/promises';
import { formatEndpointAddress } from '../../model/address.ts';
import type { Discover } from '../../model/service.ts';
import { endpointSpec, type Reading, type Source } from './source.ts';

const MIN_TTL_MS = 1000;
const MAX_TTL_MS = 60_000;
const SRV_REFRESH_MS = 10_000;
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

/** Endpoints from A, AAAA or SRV records; SRV priorities above the lowest are backups. */
export function dnsSource(dns: DnsQuery): Source {
  const resolver = new Resolver({ timeout: 1000, tries: 3 });
  if (dns.server && 'host' in dns.server) {
    resolver.setServers([formatEndpointAddress(dns.server)]);
  }
  const addresses = (name: string): Promise<{ address: string; ttl: number }[]> =>
    orNone(
      dns.type === 'AAAA'
        ? resolver.resolve6(name, { ttl: true })
        : resolver.resolve4(name, { ttl: true }),
    );
  const readSrv = async (): Promise<Reading> => {
    const records = await orNone(resolver.resolveSrv(dns.name));
    const first = Math.min(...records.map(({ priority }) => priority));
    const specs = await Promise.all(
      records.map(async ({ name, port, weight, priority }) => {
        const found = await addresses(name);
        return found.map(({ address }) => ({
          ...endpointSpec(address, port, Math.min(256, Math.max(1, weight))),
          backup: priority > first,
        }));
      }),
    );
    return { specs: specs.flat(), nextMs: dns.refresh ?? SRV_REFRESH_MS };
  };
  const readAddresses = async (): Promise<Reading> => {
    const found = await addresses(dns.name);
    const ttls = found.map(({ ttl }) => ttl * 1000);
    const ttlMs = found.length === 0 ? EMPTY_REFRESH_MS : Math.min(...ttls, MAX_TTL_MS);
    return {
      specs: found.map(({ address }) => endpointSpec(address, dns.port ?? 80)),
      nextMs: dns.refresh ?? Math.max(MIN_TTL_MS, ttlMs),
    };
  };
  return {
    tellsChanges: false,
    read: dns.type === 'SRV' ? readSrv : readAddresses,
    close: () => resolver.cancel(),
  };
}
