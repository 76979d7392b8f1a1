import type { ClusterIntent } from '../model/cluster-intent.ts';
import type { Attachment, Container } from '../model/container.ts';
import type { NameRecord } from '../model/host-intent.ts';
import type { Network } from '../model/network.ts';
import type { DaemonOptions, HostFacts } from './daemon-options.ts';
import { shortId } from './ids.ts';
import { BRIDGE_OPTIONS, optionFlag } from './network-request.ts';
import type { Registry } from './registry.ts';

/** What the cluster of this host adds to what its kernel shows; replaced as a whole. */
export type ClusterPart = {
  /** Undefined: it has not been of a cluster since this daemon began. */
  intent: ClusterIntent | undefined;
  /** By network. */
  names: ReadonlyMap<string, readonly NameRecord[]>;
};

/** What a compilation reads besides the objects themselves. */
export type CompileContext = {
  readonly registry: Registry;
  readonly options: DaemonOptions;
  readonly facts: HostFacts;
  readonly cluster: ClusterPart;
};

const PARENT = 'parent';

const BUILT_IN = ['bridge', 'macvlan', 'host', 'null', 'overlay'];
const BUILT_IN_IPAM = ['default', 'null'];

/** Whether a third party's driver makes the links of a network. */
export function isRemote({ driver }: Pick<Network, 'driver'>): boolean {
  return !BUILT_IN.includes(driver);
}

/** Whether a third party's driver hands out the addresses of a network. */
export function isRemoteIpam(ipamDriver: string): boolean {
  return !BUILT_IN_IPAM.includes(ipamDriver);
}

/** Name of the link that a network hangs on; undefined: it has none; empty: it is not a link of the host. */
export function linkOf({ driver, options, id }: Network): string | undefined {
  if (isRemote({ driver }) || driver === 'overlay') return '';
  if (driver === 'bridge') return options[BRIDGE_OPTIONS.name] ?? `br-${shortId(id)}`;
  if (driver === 'macvlan') return options[PARENT] ?? `dm-${shortId(id)}`;
  return undefined;
}

/** Whether it is the network that containers without a choice join. */
export function isDefaultBridge({ options }: Network): boolean {
  return optionFlag(options[BRIDGE_OPTIONS.isDefault] ?? '') === true;
}

/** Whether members of a network find each other by name. */
export function hasNames(network: Network): boolean {
  return linkOf(network) !== undefined && !isDefaultBridge(network);
}

/** An attachment that is in force, with its network. */
export type Joined = { readonly attachment: Attachment; readonly network: Network };

/** The attachments of a container that are in force. */
export function joined(container: Container, registry: Registry): Joined[] {
  return container.attachments.flatMap((attachment) => {
    const network = registry.findNetwork(attachment.networkId);
    return attachment.active && network ? [{ attachment, network }] : [];
  });
}

/** The higher priority, then not internal, then both families, then the name's order. */
function byGatewayRank(a: Joined, b: Joined): number {
  const both = ({ attachment: { active } }: Joined) => Number(!!active?.ipv4 && !!active.ipv6);
  return (
    b.attachment.request.gatewayPriority - a.attachment.request.gatewayPriority ||
    Number(a.network.internal) - Number(b.network.internal) ||
    both(b) - both(a) ||
    (a.network.name < b.network.name ? -1 : 1)
  );
}

/** The attachment that a sandbox's default route of a family goes through. */
export function gatewayAttachment(
  container: Container,
  registry: Registry,
  family: 'ipv4' | 'ipv6',
): Joined | undefined {
  return joined(container, registry)
    .filter(({ attachment, network }) => attachment.active?.[family] && !network.internal)
    .filter(({ network }) => network.driver !== 'overlay')
    .filter((one) => !isRemote(one.network) || memberGateway(one, family) !== undefined)
    .sort(byGatewayRank)[0];
}

/** The gateway of one family that a member has; a third-party driver names it to each. */
export function memberGateway(
  { network, attachment }: { readonly network: Network; readonly attachment: Attachment },
  family: 'ipv4' | 'ipv6',
): string | undefined {
  if (!isRemote(network)) return gatewayOf(network, family);
  const { gateway4, gateway6 } = attachment.active?.remote ?? {};
  return family === 'ipv4' ? gateway4 : gateway6;
}

/** The gateway of a network for one family. */
export function gatewayOf(network: Network, family: 'ipv4' | 'ipv6'): string | undefined {
  const wanted = network.ipam.blocks.find(
    ({ gateway }) => gateway !== undefined && gateway.includes(':') === (family === 'ipv6'),
  );
  return wanted?.gateway;
}
