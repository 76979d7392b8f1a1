import { conflict, failed, forbidden, invalid } from '../base/faults.ts';
import { parseAddress, parsePrefix } from '../ipam/cidr.ts';
import { bare } from '../model/address.ts';
import type {
  ActiveAttachment,
  Attachment,
  AttachmentLease,
  AttachmentRequest,
  Container,
  PortBinding,
  PortRequest,
} from '../model/container.ts';
import type { Network } from '../model/network.ts';
import { newId } from './ids.ts';
import { BRIDGE_OPTIONS } from './network-request.ts';
import type { ControlParts } from './parts.ts';
import type { Registry } from './registry.ts';
import { gatewayAttachment, hasNames, isRemote, linkOf } from './topology.ts';

const MAC_PREFIX = '02:42';
const LOW_BYTES = 4;

/** `02:42` and four bytes, given as hex digits. */
function macOfBytes(hex: string): string {
  const bytes = hex.slice(0, 2 * LOW_BYTES).match(/../g) ?? [];
  return [MAC_PREFIX, ...bytes].join(':');
}

/** `02:42` and the last four bytes of the address, as documented. */
export function macOf(address: string): string {
  const value = parseAddress(address)?.value ?? 0n;
  const low = value & ((1n << BigInt(8 * LOW_BYTES)) - 1n);
  return macOfBytes(low.toString(16).padStart(2 * LOW_BYTES, '0'));
}

/** Throws when a container cannot be on a network as it is asked for. */
export function checkAttachment(request: AttachmentRequest, network: Network): void {
  if (network.configOnly) {
    throw forbidden(`cannot create endpoint on configuration-only network ${network.name}`);
  }
  const { ipv4, ipv6, linkLocal, aliases, mac } = request;
  if (mac !== undefined && !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) {
    throw invalid(`invalid MAC address: ${mac}`);
  }
  const faults: string[] = [];
  if (aliases.length > 0 && !hasNames(network)) {
    throw invalid('network-scoped alias is supported only for containers in user defined networks');
  }
  for (const [address, family] of [
    [ipv4, 4],
    [ipv6, 6],
  ] as const) {
    if (address === undefined) continue;
    if (parseAddress(address)?.family !== family)
      faults.push(`invalid IPv${family} address: ${address}`);
    else if (!hasNames(network)) {
      faults.push('user specified IP address is supported on user defined networks only');
    } else if (!network.ipam.chosen) {
      faults.push(
        'user specified IP address is supported only when connecting to networks with user configured subnets',
      );
    }
  }
  for (const address of linkLocal) {
    if (!parseAddress(address)) faults.push(`invalid link-local IP address: ${address}`);
  }
  if (faults.length > 0) throw invalid(`invalid endpoint settings:\n${faults.join('\n')}`);
}

function freeLink(taken: ReadonlySet<string>): string {
  for (let index = 0; ; index++) if (!taken.has(`eth${index}`)) return `eth${index}`;
}

/** What a third-party IPAM driver or the cluster gave for one attachment. */
export type Leases = {
  readonly ipv4: AttachmentLease | undefined;
  readonly ipv6: AttachmentLease | undefined;
  /** The MAC that it gave them to; undefined: it asked for none. */
  readonly mac: string | undefined;
  /** By which the cluster knows the attachment. */
  readonly id?: string;
};

/** An address with prefix length as a lease; undefined: it is none. */
export function leaseOf(text: string | undefined, pool?: string): AttachmentLease | undefined {
  const parsed = text === undefined ? undefined : parsePrefix(text);
  if (text === undefined || !parsed) return undefined;
  const base = { address: bare(text), prefixLength: parsed.cidr.bits };
  return pool === undefined ? base : { ...base, pool };
}

function chooseMac(
  { mac }: AttachmentRequest,
  network: Network,
  leases: Leases | undefined,
  own: string,
): string {
  const given = mac?.toLowerCase() ?? leases?.mac;
  // A third-party driver may have links whose MAC is not to be changed.
  return given ?? (isRemote(network) ? '' : own);
}

function activate(
  { request, ...rest }: Attachment,
  network: Network,
  registry: Registry,
  link: string,
  leases: Leases | undefined,
): Attachment {
  const addresses = registry.addresses(network.id);
  const lease = (family: 4 | 6, wanted: string | undefined): AttachmentLease | undefined => {
    if (leases) return family === 4 ? leases.ipv4 : leases.ipv6;
    if (wanted !== undefined) return addresses.reserve(wanted);
    // The cluster hands them out.
    if (network.driver === 'overlay') return undefined;
    return addresses.has(family) ? addresses.allocate(family) : undefined;
  };
  const ipv4 = lease(4, request.ipv4);
  let ipv6: ActiveAttachment['ipv6'];
  try {
    ipv6 = lease(6, request.ipv6);
  } catch (error) {
    if (ipv4) addresses.release(ipv4.address);
    throw error;
  }
  const id = leases?.id ?? newId();
  const address = ipv4?.address ?? ipv6?.address;
  const own = address === undefined ? macOfBytes(id) : macOf(address);
  const mac = chooseMac(request, network, leases, own);
  return {
    ...rest,
    request,
    networkId: network.id,
    networkName: network.name,
    active: { id, link, mac, ipv4, ipv6 },
  };
}

/** Gives the addresses of attachments in force back. */
export function releaseAddresses(attachments: readonly Attachment[], registry: Registry): void {
  for (const { active, networkId } of attachments) {
    if (!active || !registry.findNetwork(networkId)) continue;
    for (const lease of [active.ipv4, active.ipv6]) {
      if (lease) registry.addresses(networkId).release(lease.address);
    }
  }
}

/** The network of an attachment: by id, or by name when it was made anew since. */
export function networkOf({ networkId, networkName }: Attachment, registry: Registry): Network {
  return registry.findNetwork(networkId) ?? registry.network(networkName);
}

/**
 * Gives every attachment its addresses; those in force keep theirs. Explicit addresses are
 * reserved first, so that no automatic choice takes them. `leases`: of third-party drivers and the
 * cluster, by network. All or none.
 */
export function activateAll(
  attachments: readonly Attachment[],
  registry: Registry,
  leases: ReadonlyMap<string, Leases> = new Map(),
): Attachment[] {
  const links = new Set(attachments.flatMap(({ active }) => active?.link ?? []));
  const done: Attachment[] = [];
  try {
    for (const attachment of attachments) {
      if (attachment.active) {
        done.push(attachment);
        continue;
      }
      const network = networkOf(attachment, registry);
      checkAttachment(attachment.request, network);
      const link = freeLink(links);
      done.push(activate(attachment, network, registry, link, leases.get(network.id)));
      links.add(link);
    }
    return done;
  } catch (error) {
    const fresh = done.filter((one) => !attachments.includes(one));
    releaseAddresses(fresh, registry);
    throw error;
  }
}

/** The ports that a container publishes, as requests. */
export function portRequests({ spec }: Container): PortRequest[] {
  if (!spec.publishAll) return [...spec.ports];
  const asked = new Set(spec.ports.map(({ port, transport }) => `${port}/${transport}`));
  const more = spec.exposed.filter(({ port, transport }) => !asked.has(`${port}/${transport}`));
  return [
    ...spec.ports,
    ...more.map((one) => ({ ...one, hostAddress: undefined, hostPorts: undefined })),
  ];
}

/**
 * Takes the host ports of a container whose attachments are in force. `refused`: ports that the
 * kernel would not give. Throws when one is taken.
 */
export function bindPorts(
  container: Container,
  { registry, ports, plane }: Pick<ControlParts, 'registry' | 'ports' | 'plane'>,
  refused: ReadonlySet<number>,
): PortBinding[] {
  const requests = portRequests(container);
  const gateway =
    gatewayAttachment(container, registry, 'ipv4') ??
    gatewayAttachment(container, registry, 'ipv6');
  if (requests.length === 0 || gateway?.network.driver !== 'bridge') return [];
  const ofNetwork = gateway.network.options[BRIDGE_OPTIONS.bindAddress];
  const fallback = ofNetwork === '0.0.0.0' ? undefined : ofNetwork;
  try {
    return requests.map(({ port, transport, hostAddress, hostPorts }) => {
      const address = hostAddress ?? fallback ?? plane.context.options.bindAddress;
      const hostPort = ports.choose(
        { transport, hostAddress: address, hostPorts },
        container.id,
        refused,
      );
      return { port, transport, hostAddress: address, hostPort };
    });
  } catch (error) {
    ports.release(container.id);
    const { id } = gateway.attachment.active ?? { id: '' };
    const reason = error instanceof Error ? error.message : String(error);
    throw failed(
      `failed to set up container networking: driver failed programming external connectivity on endpoint ${container.name} (${id}): ${reason}`,
      error,
    );
  }
}

function checkConnect({ name, spec, attachments }: Container, network: Network): void {
  if (spec.mode.kind === 'host' || spec.mode.kind === 'container') {
    throw invalid(
      'container sharing network namespace with another container or host cannot be connected to any other network',
    );
  }
  if (network.driver === 'host') {
    throw invalid(
      'cannot connect container to host network - container must be created in host network mode',
    );
  }
  if (spec.mode.kind === 'none' || network.driver === 'null') {
    throw invalid(
      'container cannot be connected to multiple networks with one of the networks in private (none) mode',
    );
  }
  if (attachments.some(({ networkId }) => networkId === network.id)) {
    throw forbidden(`endpoint with name ${name} already exists in network ${network.name}`);
  }
}

/**
 * The attachments of a container that joins one more network, which is not in force yet. Throws
 * when it may not.
 */
export function withAttachment(
  container: Container,
  network: Network,
  request: AttachmentRequest,
): Attachment[] {
  checkConnect(container, network);
  checkAttachment(request, network);
  const added: Attachment = {
    request,
    networkId: network.id,
    networkName: network.name,
    active: undefined,
  };
  return [...container.attachments, added];
}

/** Whether an attachment leads outside for want of another way. */
function leadsOut({ networkId, implied }: Attachment, registry: Registry): boolean {
  const network = registry.findNetwork(networkId);
  return !implied && network?.driver === 'overlay' && !network.internal;
}

/**
 * The attachments of a container that leaves a network, and what only that one implied. Throws when
 * it is not on it.
 */
export function withoutAttachment(
  container: Container,
  network: Network,
  registry: Registry,
): Attachment[] {
  const { spec, attachments, id } = container;
  if (network.driver === 'host' && spec.mode.kind === 'host') {
    throw conflict(
      'cannot disconnect container from host network - container was created in host network mode',
    );
  }
  const leaving = attachments.filter(({ networkId }) => networkId === network.id);
  if (leaving.length === 0) {
    throw forbidden(`container ${id} is not connected to network ${network.name}`);
  }
  const rest = attachments.filter((one) => !leaving.includes(one));
  if (!rest.some((one) => leadsOut(one, registry))) {
    leaving.push(...rest.filter(({ implied }) => implied));
  }
  releaseAddresses(leaving, registry);
  return attachments.filter((one) => !leaving.includes(one));
}

/** Whether a driver gives its members a link of their own. */
export function isJoinable(network: Network): boolean {
  return linkOf(network) !== undefined;
}
