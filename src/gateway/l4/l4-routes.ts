import type { Listener } from '../../model/listener.ts';
import type { Route } from '../../model/route.ts';
import { type CompiledMatch, Matcher } from '../http/matcher.ts';
import { splitService } from '../http/split.ts';
import { AddressRules } from '../listener/address-rules.ts';

/** Where a connection goes: a service, by a route when there is one; or why it may not. */
export type L4Target =
  | { readonly service: string | undefined; readonly route: string | undefined }
  | 'access';

/**
 * Routes of connections. Those that are told by a ClientHello are taken by their name: exact, then
 * the longest wildcard, then without a name; all others from top to bottom.
 */
export function l4Matcher({ protocol, routes }: Pick<Listener, 'protocol' | 'routes'>): Matcher {
  return new Matcher(protocol === 'tls-passthrough' ? mostSpecificFirst(routes) : routes);
}

function mostSpecificFirst(routes: readonly Route[]): Route[] {
  const single = routes.flatMap((route, index) => {
    const named = { ...route, name: route.name ?? String(index) };
    const names = route.match?.sni;
    if (!names) return [named];
    return names.map((name) => ({ ...named, match: { ...route.match, sni: [name] } }));
  });
  const rank = ({ match }: Route) => {
    const name = match?.sni?.[0];
    if (name === undefined) return Number.POSITIVE_INFINITY;
    return name.startsWith('*.') ? 1000 - name.length : 0;
  };
  return single
    .map((route) => ({ route, rank: rank(route) }))
    .sort((a, b) => (a.rank < b.rank ? -1 : a.rank > b.rank ? 1 : 0))
    .map(({ route }) => route);
}

/** The routes of a listener of connections, compiled once for each configuration. */
export class L4Routes {
  #config: Listener | undefined;
  #matcher = new Matcher([]);
  readonly #rules = new WeakMap<CompiledMatch, AddressRules>();

  target(
    config: Listener,
    source: string,
    serverName: string | undefined,
    live: (service: string) => number,
  ): L4Target {
    if (this.#config !== config) {
      this.#config = config;
      this.#matcher = l4Matcher(config);
    }
    const none = { method: '', authority: '', path: '', query: undefined, headers: [] };
    const found = this.#matcher.match({ ...none, source, sni: serverName, live });
    if (!found) return { service: config.service, route: undefined };
    const { name, route } = found;
    if (route.access && !this.#rulesOf(found).allows(source)) return 'access';
    if (!route.split) return { service: route.service, route: name };
    const key = route.split.by === 'source' ? source : undefined;
    return { service: splitService(route.split, key), route: name };
  }

  #rulesOf(found: CompiledMatch): AddressRules {
    let rules = this.#rules.get(found);
    if (!rules) {
      rules = new AddressRules(found.route.access);
      this.#rules.set(found, rules);
    }
    return rules;
  }
}
