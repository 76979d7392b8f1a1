import type { Attachment, Container, PortBinding } from '../model/container.ts';
import type {
  AttachmentIntent,
  ForwardIntent,
  HostIntent,
  NameRecord,
  NetworkIntent,
  Opening,
  SandboxIntent,
} from '../model/host-intent.ts';
import type { Network } from '../model/network.ts';
import { overlayRoutes } from './cluster/compile/cluster-intent.ts';
import { isTask } from './cluster/task-order.ts';
import type { DaemonOptions } from './daemon-options.ts';
import { linkTargets, resolverIntent } from './host-files.ts';
import { shortId } from './ids.ts';
import { BRIDGE_OPTIONS, optionFlag } from './network-request.ts';
import {
  type CompileContext,
  gatewayAttachment,
  hasNames,
  isDefaultBridge,
  isRemote,
  type Joined,
  joined,
  linkOf,
  memberGateway,
} from './topology.ts';

function gatewaysOf({ ipam }: Network): string[] {
  return ipam.blocks.flatMap(({ subnet, gateway }) =>
    gateway === undefined ? [] : [`${gateway}/${subnet.split('/')[1]}`],
  );
}

/** What the kernel has to show of a network; undefined: nothing. */
export function networkIntent(
  network: Network,
  { defaultBridge, rules }: DaemonOptions,
): NetworkIntent | undefined {
  const link = linkOf(network);
  if (link === undefined || network.configOnly) return undefined;
  const { id, driver, internal, options, ipam } = network;
  const flag = (key: string) => optionFlag(options[key] ?? '') ?? true;
  const mtu = options[BRIDGE_OPTIONS.mtu];
  const own = isDefaultBridge(network);
  return {
    id,
    driver: isRemote(network) ? 'remote' : driver,
    link,
    mtu: mtu === undefined ? undefined : Number(mtu),
    gateways:
      driver === 'bridge'
        ? own && defaultBridge.addresses.length > 0
          ? [...defaultBridge.addresses]
          : gatewaysOf(network)
        : [],
    subnets: ipam.blocks.map(({ subnet }) => subnet),
    internal,
    icc: flag(BRIDGE_OPTIONS.icc),
    masquerade: driver !== 'overlay' && flag(BRIDGE_OPTIONS.masquerade),
    ruled: rules,
    external: own ? defaultBridge.external : network.external === true,
    options,
  };
}

function attachmentIntent(
  { attachment, network }: Joined,
  gatewayOfFamily: Readonly<Record<'ipv4' | 'ipv6', Joined | undefined>>,
): AttachmentIntent[] {
  const { active, request } = attachment;
  if (!active || (isRemote(network) && !active.remote)) return [];
  const { id, link, mac, ipv4, ipv6, remote } = active;
  const leases = [ipv4, ipv6].flatMap((lease) =>
    lease ? [`${lease.address}/${lease.prefixLength}`] : [],
  );
  const linkLocal = request.linkLocal.map((address) =>
    address.includes('/') ? address : `${address}/${address.includes(':') ? 64 : 16}`,
  );
  const gateways = (['ipv4', 'ipv6'] as const).flatMap((family) =>
    gatewayOfFamily[family]?.attachment === attachment
      ? (memberGateway({ attachment, network }, family) ?? [])
      : [],
  );
  const own =
    network.driver === 'overlay'
      ? { routes: overlayRoutes(network.ipam.blocks, leases) }
      : remote && { source: remote.source, routes: remote.routes };
  const addresses = [...leases, ...linkLocal];
  return [{ id, network: network.id, link, mac, addresses, gateways, ...own }];
}

/** What links open where the members of a network are kept apart; IPv4 alone. */
function openingsOf(container: Container, context: CompileContext): Opening[] {
  return linkTargets(container, context).flatMap(({ networkId, peer, active, joined: other }) => {
    const network = context.registry.findNetwork(networkId);
    const intent = network && networkIntent(network, context.options);
    const [source, target] = [active.ipv4?.address, other.ipv4?.address];
    if (intent?.driver !== 'bridge' || intent.icc || !source || !target) return [];
    return peer.spec.exposed.map((port) => ({ ...port, link: intent.link, source, target }));
  });
}

/** A container's namespace; undefined: it has none of its own now. */
export function sandboxIntent(
  container: Container,
  context: CompileContext,
): SandboxIntent | undefined {
  if (!container.sandbox) return undefined;
  const { registry } = context;
  const gateways = {
    ipv4: gatewayAttachment(container, registry, 'ipv4'),
    ipv6: gatewayAttachment(container, registry, 'ipv6'),
  };
  const openings = openingsOf(container, context);
  return {
    id: container.id,
    ...(openings.length > 0 ? { openings } : {}),
    attachments: joined(container, registry).flatMap((one) => attachmentIntent(one, gateways)),
    resolver: resolverIntent(container, context),
    sysctls: container.spec.sysctls,
  };
}

/** The name of a binding in the intent of the host. */
export function forwardId({ id }: Container, binding: PortBinding): string {
  const { transport, hostPort, hostAddress } = binding;
  return `${shortId(id)}-${transport}-${hostPort}-${hostAddress ?? 'any'}`;
}

/** Where a container's published ports lead; none: its gateway network cannot publish. */
export function forwardIntents(
  container: Container,
  { registry }: CompileContext,
): ForwardIntent[] {
  const targetOf = (family: 'ipv4' | 'ipv6') => {
    const gateway = gatewayAttachment(container, registry, family);
    const lease = gateway?.attachment.active?.[family];
    return gateway?.network.driver === 'bridge' ? lease?.address : undefined;
  };
  const [ipv4, ipv6] = [targetOf('ipv4'), targetOf('ipv6')];
  return container.bindings.map((binding) => {
    const wantsIpv6 = binding.hostAddress?.includes(':');
    const addresses = wantsIpv6 === undefined ? [ipv4, ipv6] : [wantsIpv6 ? (ipv6 ?? ipv4) : ipv4];
    return {
      id: forwardId(container, binding),
      transport: binding.transport,
      address: binding.hostAddress,
      port: binding.hostPort,
      targets: addresses.flatMap((address) =>
        address === undefined ? [] : [{ address, port: binding.port }],
      ),
      balance: 'round-robin' as const,
      kind: 'published' as const,
    };
  });
}

/** Names by which a container is known on a network, the primary one first. */
export function dnsNames({ name, id, spec }: Container, { request }: Attachment): string[] {
  const hostname = spec.hostname === '' ? [] : [spec.hostname];
  const all = [name, ...request.aliases, shortId(id), ...hostname].map((one) => one.toLowerCase());
  return [...new Set(all)];
}

/** Every name of a network; of tasks, those that the cluster gives come first and count alone. */
export function networkNames(network: Network, context: CompileContext): NameRecord[] {
  const given = context.cluster.names.get(network.id) ?? [];
  const taken = new Set(given.map(({ name }) => name));
  const members = context.registry.attachedTo(network.id);
  const tasks = members.filter(({ spec }) => isTask(spec));
  const others = members.filter((one) => !tasks.includes(one));
  const own = memberNames(network, tasks).filter(({ name }) => !taken.has(name));
  return [...given, ...own, ...memberNames(network, others)];
}

function memberNames(network: Network, members: readonly Container[]): NameRecord[] {
  if (!hasNames(network)) return [];
  return members.flatMap((container) => {
    const attachment = container.attachments.find(({ networkId }) => networkId === network.id);
    const active = attachment?.active;
    if (!active) return [];
    const addresses = [active.ipv4, active.ipv6].flatMap((lease) => lease?.address ?? []);
    const scope = network.name.toLowerCase();
    const record = {
      ...{ network: network.id, addresses, primary: false },
      ...(container.spec.exposed.length > 0 ? { services: container.spec.exposed } : {}),
    };
    return dnsNames(container, attachment).flatMap((name, index): NameRecord[] => [
      { ...record, name },
      { ...record, name: `${name}.${scope}`, primary: index === 0 },
    ]);
  });
}

/** Everything that the kernel of this host has to show. */
export function hostIntent(context: CompileContext): HostIntent {
  const { registry, options } = context;
  const networks = [...registry.networks];
  const containers = [...registry.containers];
  return {
    networks: networks.flatMap((network) => networkIntent(network, options) ?? []),
    sandboxes: containers.flatMap((container) => sandboxIntent(container, context) ?? []),
    forwards: containers.flatMap((container) => forwardIntents(container, context)),
    names: networks.flatMap((network) => networkNames(network, context)),
  };
}
