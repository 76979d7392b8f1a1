import { EventEmitter } from 'node:events';
import Consul from 'consul';
import { jitter, systemRng } from '../../base/rng.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { Discover } from '../../model/service.ts';
import { isLoopback } from './forbidden.ts';
import { NameResolver } from './names.ts';
import { endpointSpec, type Source } from './source.ts';

const MIN_PAUSE_MS = 50;
/** Longer than the wait that is asked for, to which a server adds up to a sixteenth. */
const QUERY_TIMEOUT_MS = 75_000;

type ConsulEntry = {
  Node: { Address: string };
  Service: {
    Address: string;
    Port: number;
    Weights?: { Passing: number };
    Meta?: Record<string, string>;
  };
};
type Answer = { headers: Record<string, string | undefined> };

/** What the client takes to end a request by (`cancel`) and to yield its headers as well. */
class QueryContext extends EventEmitter {
  readonly includeResponse = true;
}

/** Endpoints of a Consul service, by blocking queries. */
export function consulSource(
  query: Extract<Discover, { consul: unknown }>['consul'],
  config: GatewayConfig['discovery']['consul'],
): Source {
  const url = new URL(config?.address ?? 'http://127.0.0.1:8500');
  const token = typeof config?.token === 'string' ? config.token : '';
  const datacenter = query.datacenter ?? config?.datacenter;
  const client = new Consul({
    host: url.hostname,
    port: Number(url.port || (url.protocol === 'https:' ? 443 : 80)),
    secure: url.protocol === 'https:',
    defaults: token ? { token } : {},
  });
  const context = new QueryContext();
  const names = new NameResolver();
  let index = '0';
  const read: Source['read'] = async (again) => {
    if (again) index = '0';
    const options = {
      service: query.service,
      passing: query.passingOnly,
      index,
      wait: '60s',
      timeout: QUERY_TIMEOUT_MS,
      ctx: context,
      ...(query.tag ? { tag: query.tag } : {}),
      ...(datacenter ? { dc: datacenter } : {}),
    };
    // The client's types know neither `ctx` nor what it changes about the result.
    const result = (await client.health.service(options)) as unknown;
    const [answer, entries] = result as [Answer, ConsulEntry[]];
    if (!Array.isArray(entries)) throw new Error('Consul answered with no list');
    const next = Number(answer.headers['x-consul-index'] ?? 0);
    // An index that goes back tells of a restored server. Source: Consul, blocking queries.
    index = next > 0 && next >= Number(index) ? String(next) : '0';
    const specs = entries.map(({ Node, Service }) => ({
      ...endpointSpec(
        Service.Address || Node.Address,
        Service.Port,
        Math.min(256, Service.Weights?.Passing ?? 1),
      ),
      metadata: Service.Meta ?? {},
    }));
    return {
      specs: await names.resolve(specs),
      nextMs: jitter(systemRng, MIN_PAUSE_MS, 0.5),
    };
  };
  return {
    tellsChanges: true,
    local: isLoopback(url.hostname.replace(/^\[|\]$/g, '')),
    // A server that came back may have started its index anew, so a failure forgets ours.
    read: (again) =>
      read(again).catch((error: unknown) => {
        index = '0';
        throw error;
      }),
    close: () => {
      context.emit('cancel');
      client.destroy();
    },
  };
}
