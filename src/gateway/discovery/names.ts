import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { EndpointSpec } from '../../model/endpoint-state.ts';
import { endpointSpec } from './source.ts';

const MAX_NAMES = 1000;

/**
 * Puts addresses in the place of host names that a source told, so that what they lead to can be
 * judged. A name that does not resolve at the moment keeps its last addresses.
 */
export class NameResolver {
  #known = new Map<string, readonly string[]>();

  /** An endpoint for every address of every name; unix paths and addresses stay as they are. */
  async resolve(specs: readonly EndpointSpec[]): Promise<EndpointSpec[]> {
    const names = new Set(specs.flatMap(({ address }) => nameOf(address) ?? []));
    const found = await Promise.all([...names].slice(0, MAX_NAMES).map((name) => this.#look(name)));
    this.#known = new Map(found);
    return specs.flatMap((spec) => {
      const { address } = spec;
      const name = nameOf(address);
      if (name === undefined || !('host' in address)) return [spec];
      const hosts = this.#known.get(name) ?? [];
      return hosts.map((host) => ({ ...spec, ...endpointSpec(host, address.port, spec.weight) }));
    });
  }

  async #look(name: string): Promise<[string, readonly string[]]> {
    const before = this.#known.get(name) ?? [];
    const found = await lookup(name, { all: true }).catch(() => undefined);
    return [name, found?.map(({ address }) => address) ?? before];
  }
}

function nameOf(address: EndpointSpec['address']): string | undefined {
  return 'host' in address && isIP(address.host) === 0 ? address.host : undefined;
}
