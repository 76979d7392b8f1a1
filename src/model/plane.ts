import type { Bind, EndpointAddress } from './address.ts';
import { isAddress } from './fields.ts';
import type { GatewayConfig } from './gateway-config.ts';
import { listenerLimits } from './listener.ts';
import type { Service } from './service.ts';

/** What keeps a listener out of the kernel: the key that does, and why. */
export type PlaneObstacle = { readonly path: readonly PropertyKey[]; readonly why: string };

/** How the kernel chooses where it can do as an algorithm says. */
export const KERNEL_BALANCE = {
  'round-robin': 'round-robin',
  'random-two': 'random',
  'source-hash': 'source-hash',
} as const;

const DEFAULT_CONNECTIONS = listenerLimits.parse({}).maxConnections;

function isLoopback(host: string): boolean {
  return host.startsWith('127.') || host === '::1';
}

/** Why the kernel cannot take connections on an address, or undefined. */
function bindObstacle(bind: Bind): string | undefined {
  if (bind.kind !== 'ip') return 'the kernel forwards from IP addresses only';
  return isLoopback(bind.host) ? 'the kernel does not forward from the loopback' : undefined;
}

/** Why the kernel cannot send to an address, or undefined. */
export function targetObstacle(address: EndpointAddress): string | undefined {
  if ('path' in address) return 'a unix socket is not reached by packets';
  if (!isAddress(address.host)) return 'the kernel needs an address, not a name';
  return isLoopback(address.host) ? 'packets are not forwarded to the loopback' : undefined;
}

/** Whether the kernel knows how to choose by an algorithm. */
export function isKernelBalance(name: string): name is keyof typeof KERNEL_BALANCE {
  return Object.hasOwn(KERNEL_BALANCE, name);
}

type Check = (when: unknown, path: readonly PropertyKey[], why: string) => void;

function checkService(service: Service, at: readonly PropertyKey[], check: Check): void {
  const { balance, sticky, health, tls, proxyProtocol, slowStart, limits, timeouts } = service;
  const { algorithm, key, boundedLoad } = balance;
  const known = Object.keys(KERNEL_BALANCE).join(', ');
  check(
    !isKernelBalance(algorithm),
    [...at, 'balance'],
    `the kernel knows ${known}, not ${algorithm}`,
  );
  const keyed = algorithm === 'source-hash' && key !== 'source';
  check(keyed, [...at, 'balance', 'key'], 'the kernel hashes the source only');
  check(boundedLoad, [...at, 'balance', 'boundedLoad'], 'the kernel knows no load');
  check(sticky, [...at, 'sticky'], 'the kernel keeps no such table; source-hash does without');
  check(health === false, [...at, 'health'], 'without checks nobody notices a dead endpoint');
  check(tls, [...at, 'tls'], 'the kernel does not encrypt');
  check(proxyProtocol, [...at, 'proxyProtocol'], 'the kernel adds nothing to a connection');
  check(slowStart, [...at, 'slowStart'], 'the kernel knows no slow start');
  const bounds = ['maxConnections', 'maxConnectionsPerEndpoint'] as const;
  for (const bound of bounds) {
    check(limits[bound], [...at, 'limits', bound], 'the kernel does not count connections');
  }
  check(timeouts, [...at, 'timeouts'], 'the kernel has its own timeouts');
  for (const [index, endpoint] of service.endpoints.entries()) {
    const place = [...at, 'endpoints', index];
    const why = targetObstacle(endpoint.address);
    check(why !== undefined, place, why ?? '');
    const bounded = 'maxConnections' in endpoint && endpoint.maxConnections;
    check(bounded, [...place, 'maxConnections'], 'the kernel does not count connections');
  }
}

/** Everything in a configuration that keeps a listener out of the kernel; empty when nothing. */
export function planeObstacles(config: GatewayConfig, name: string): PlaneObstacle[] {
  const listener = config.listeners[name];
  if (!listener) return [];
  const obstacles: PlaneObstacle[] = [];
  const check: Check = (when, path, why) => {
    if (when) obstacles.push({ path, why });
  };
  const at = ['listeners', name];
  const { protocol, bind, routes, acceptProxy, access, limits, timeouts, accessLog } = listener;
  if (protocol !== 'tcp' && protocol !== 'udp') {
    return [{ path: [...at, 'protocol'], why: `the kernel carries tcp and udp, not ${protocol}` }];
  }
  for (const why of new Set(bind.flatMap((one) => bindObstacle(one) ?? []))) {
    check(true, [...at, 'bind'], why);
  }
  check(routes.length > 0, [...at, 'routes'], 'the kernel knows one service, by `service`');
  check(acceptProxy, [...at, 'acceptProxy'], 'the kernel reads no PROXY header');
  check(access, [...at, 'access'], 'the kernel plane has no access rules');
  const limited = limits.maxConnections !== DEFAULT_CONNECTIONS;
  check(limited, [...at, 'limits', 'maxConnections'], 'the kernel does not count connections');
  const perSource = [...at, 'limits', 'maxConnectionsPerSource'];
  check(limits.maxConnectionsPerSource, perSource, 'the kernel does not count connections');
  check(timeouts, [...at, 'timeouts'], 'the kernel has its own timeouts');
  const logged = accessLog && config.log.access !== false;
  check(logged, [...at, 'accessLog'], 'the kernel writes no access log: set it to false');
  const service = config.services[listener.service ?? ''];
  if (service) checkService(service, ['services', listener.service ?? ''], check);
  return obstacles;
}

/** An obstacle in one line. */
export function obstacleText({ path, why }: PlaneObstacle): string {
  return `${path.map(String).join('.')}: ${why}`;
}
