import type { ClusterService, ServicePort, ServiceSpec } from '../../../model/cluster.ts';

/** Ports that are given where none was asked for. */
export const DYNAMIC_PORTS = { first: 30_000, last: 32_767 } as const;

type PortKey = `${ServicePort['transport']}/${number}`;
type PortOwner = Pick<ClusterService, 'id' | 'name' | 'spec' | 'ports'>;

/** The number and transport of a port that was asked for or given; undefined: none yet. */
export function portKey({ transport, publishedPort }: ServicePort): PortKey | undefined {
  return publishedPort ? `${transport}/${publishedPort}` : undefined;
}

function inUse({ publishedPort, mode }: ServicePort, id: string, name: string): string {
  const how = mode === 'host' ? 'a host-published' : 'an ingress';
  return `port '${publishedPort}' is already in use by service '${name}' (${id}) as ${how} port`;
}

/**
 * Why the ports of a service cannot be published beside those of others, in the engine's words;
 * undefined: they can. Two services may publish the same port in host mode: their tasks are kept
 * apart.
 */
export function clashingPort(
  services: Iterable<PortOwner>,
  spec: Pick<ServiceSpec, 'ports'>,
  exceptServiceId: string | undefined,
): string | undefined {
  const wanted = new Map(spec.ports.map((port) => [portKey(port), port]));
  wanted.delete(undefined);
  if (wanted.size === 0) return undefined;
  for (const { id, name, spec: other, ports } of services) {
    if (id === exceptServiceId) continue;
    for (const port of [...other.ports, ...ports]) {
      const asked = wanted.get(portKey(port));
      if (!asked || (asked.mode === 'host' && port.mode === 'host')) continue;
      return inUse(port, id, name);
    }
  }
  return undefined;
}

/** Which service has which port of the routing mesh; ports in host mode are of no concern here. */
export class PortLedger {
  readonly #owners = new Map<PortKey, string>();
  readonly #held = new Map<string, Set<PortKey>>();
  readonly #last = new Map<ServicePort['transport'], number>();

  /** The service holds these that are not another's, and of what it held nothing else. */
  settle(serviceId: string, ports: readonly ServicePort[]): void {
    const wanted = new Set(ports.map(portKey));
    const held = this.#held.get(serviceId) ?? new Set();
    for (const key of held) {
      if (wanted.has(key)) continue;
      this.#owners.delete(key);
      held.delete(key);
    }
    if (held.size === 0) this.#held.delete(serviceId);
    for (const port of ports) this.claim(serviceId, port);
  }

  /** Takes a port; returns who has it then: the service itself, or another one. */
  claim(serviceId: string, port: ServicePort): string {
    const key = portKey(port);
    if (key === undefined || port.mode !== 'ingress') return serviceId;
    const owner = this.#owners.get(key) ?? serviceId;
    if (owner !== serviceId) return owner;
    this.#owners.set(key, serviceId);
    this.#held.set(serviceId, (this.#held.get(serviceId) ?? new Set()).add(key));
    return serviceId;
  }

  /** A dynamic port that nobody holds, after the one given last; undefined: all are held. */
  choose(transport: ServicePort['transport']): number | undefined {
    const { first, last } = DYNAMIC_PORTS;
    let port = this.#last.get(transport) ?? last;
    for (let looked = first; looked <= last; looked++) {
      port = port >= last ? first : port + 1;
      if (this.#owners.has(`${transport}/${port}`)) continue;
      this.#last.set(transport, port);
      return port;
    }
    return undefined;
  }
}

type Given = { readonly port: ServicePort } | { readonly fault: string };

function givePort(
  id: string,
  port: ServicePort,
  before: ServicePort[],
  ledger: PortLedger,
  nameOf: (serviceId: string) => string,
): Given {
  if (port.mode === 'host') return { port };
  const { transport, targetPort } = port;
  const same = before.findIndex(
    (one) => one.transport === transport && one.targetPort === targetPort,
  );
  const [had] = port.publishedPort || same < 0 ? [] : before.splice(same, 1);
  const publishedPort = port.publishedPort || had?.publishedPort || ledger.choose(transport);
  if (publishedPort === undefined) {
    const { first, last } = DYNAMIC_PORTS;
    return { fault: `all ${transport} ports from ${first} to ${last} are in use` };
  }
  const given = { ...port, publishedPort };
  const owner = ledger.claim(id, given);
  return owner === id ? { port: given } : { fault: inUse(given, owner, nameOf(owner)) };
}

/**
 * The ports of a service, each with its number: the one asked for, the one that it had, else a new
 * one. Why some are missing comes as well.
 */
export function givePorts(
  { id, spec, ports }: Pick<ClusterService, 'id' | 'spec' | 'ports'>,
  ledger: PortLedger,
  nameOf: (serviceId: string) => string,
): { readonly ports: readonly ServicePort[]; readonly fault: string | undefined } {
  const asked = new Set(spec.ports.map(portKey));
  const before = ports.filter(
    (port) => port.mode === 'ingress' && port.publishedPort && !asked.has(portKey(port)),
  );
  const given = spec.ports.map((port) => givePort(id, port, before, ledger, nameOf));
  return {
    ports: given.flatMap((one) => ('port' in one ? one.port : [])),
    fault: given.flatMap((one) => ('fault' in one ? one.fault : []))[0],
  };
}
