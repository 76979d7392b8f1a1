import { eligible } from '../../health/eligible.ts';
import type { Bind } from '../../model/address.ts';
import type { EndpointState, ServiceState } from '../../model/endpoint-state.ts';
import type { GatewayConfig } from '../../model/gateway-config.ts';
import type { KernelBind, KernelListener, KernelTarget } from '../../model/kernel-listener.ts';
import type { Listener } from '../../model/listener.ts';
import {
  isKernelBalance,
  KERNEL_BALANCE,
  obstacleText,
  planeObstacles,
  targetObstacle,
} from '../../model/plane.ts';
import type { Service } from '../../model/service.ts';
import { weightedSlots } from './slots.ts';

/** How a listener is to be carried: by the kernel, or by sockets for a reason. */
export type PlaneChoice =
  | { readonly kernel: KernelListener; readonly reason?: undefined }
  | { readonly kernel?: undefined; readonly reason: string };

function targetOf({ address }: EndpointState): KernelTarget | undefined {
  return 'host' in address ? { address: address.host, port: address.port } : undefined;
}

function kernelBind(bind: Bind): KernelBind[] {
  if (bind.kind !== 'ip') return [];
  const { host, port, dualStack } = bind;
  const families: (4 | 6)[] = dualStack ? [4, 6] : [host.includes(':') ? 6 : 4];
  const everywhere = host === '0.0.0.0' || host === '::';
  return [{ address: everywhere ? undefined : host, families, port }];
}

/** Addresses of endpoints that are known to be dead: not drained, not ordered out, but down. */
function deadTargets(endpoints: readonly EndpointState[]): KernelTarget[] {
  return endpoints
    .filter(({ check, agent }) => check === 'down' || agent === 'down')
    .flatMap((endpoint) => targetOf(endpoint) ?? []);
}

/** Why the endpoints that take new work cannot be the kernel's, or undefined. */
function endpointsObstacle(
  taken: readonly EndpointState[],
  binds: readonly KernelBind[],
): string | undefined {
  if (taken.length === 0) return 'no endpoint can take new work';
  for (const { id, address, maxConnections } of taken) {
    const why = targetObstacle(address);
    if (why !== undefined) return `endpoint ${id}: ${why}`;
    if (maxConnections !== undefined)
      return `endpoint ${id}: the kernel does not count connections`;
  }
  const has = (family: 4 | 6) =>
    taken.filter(
      ({ address }) => 'host' in address && address.host.includes(':') === (family === 6),
    );
  // A family without any endpoint is left to the sockets; one with some of them would favor those.
  const families = new Set(binds.flatMap((bind) => bind.families));
  const mixed = [...families].some((family) => {
    const count = has(family).length;
    return count > 0 && count < taken.length;
  });
  if (mixed) return 'endpoints of IPv4 and of IPv6: the kernel does not turn one into the other';
  if ([...families].every((family) => has(family).length === 0)) {
    return 'the endpoints are of another IP version than the addresses listened on';
  }
  return undefined;
}

/** A listener that takes nothing new in the kernel: flows that it has there go on or are cut. */
export function retired(kernel: KernelListener, dead: readonly KernelTarget[]): KernelListener {
  return { ...kernel, slots: [], dead };
}

function compileListener(
  name: string,
  listener: Listener,
  service: Service,
  endpoints: readonly EndpointState[],
): PlaneChoice {
  const binds = listener.bind.flatMap(kernelBind);
  const able = endpoints.filter(({ weight }) => weight > 0);
  const taken = eligible(able, { panic: service.panic });
  const obstacle = endpointsObstacle(taken, binds);
  if (obstacle !== undefined) return { reason: obstacle };
  const { algorithm } = service.balance;
  const slots = weightedSlots(
    taken.flatMap((endpoint) => {
      const item = targetOf(endpoint);
      return item ? [{ item, weight: endpoint.weight }] : [];
    }),
  );
  const chosen = new Set(taken);
  return {
    kernel: {
      name,
      transport: listener.protocol === 'udp' ? 'udp' : 'tcp',
      binds,
      slots,
      dead: deadTargets(endpoints.filter((endpoint) => !chosen.has(endpoint))),
      balance: isKernelBalance(algorithm) ? KERNEL_BALANCE[algorithm] : 'random',
    },
  };
}

/** What carries each listener of a configuration, from the state that the workers get as well. */
export function compilePlane(
  config: GatewayConfig,
  states: ReadonlyMap<string, ServiceState>,
): Map<string, PlaneChoice> {
  const choices = new Map<string, PlaneChoice>();
  for (const [name, listener] of Object.entries(config.listeners)) {
    const [obstacle] = planeObstacles(config, name);
    const service = config.services[listener.service ?? ''];
    if (listener.plane === 'user') choices.set(name, { reason: 'plane: user' });
    else if (obstacle) choices.set(name, { reason: obstacleText(obstacle) });
    else if (!service) choices.set(name, { reason: 'there is no service' });
    else {
      const endpoints = states.get(listener.service ?? '')?.endpoints ?? [];
      choices.set(name, compileListener(name, listener, service, endpoints));
    }
  }
  return choices;
}

/** Dead endpoints of a listener's service, for flows that it still has in the kernel. */
export function deadOf(
  config: GatewayConfig,
  states: ReadonlyMap<string, ServiceState>,
  listener: string,
): KernelTarget[] {
  const service = config.listeners[listener]?.service;
  return deadTargets(states.get(service ?? '')?.endpoints ?? []);
}
