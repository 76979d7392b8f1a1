import { bare } from '../../../model/address.ts';
import type { ClusterAttachment, ServiceBackends } from '../../../model/cluster.ts';
import type { NameRecord } from '../../../model/host-intent.ts';

/**
 * The names of a network's services: the service and its aliases are its address or, by `dnsrr`,
 * those of its tasks; `tasks.NAME` and each task's name are tasks' own. Each also with the
 * network's name behind it, by which reverse queries are answered.
 */
export function serviceNames(
  network: { readonly id: string; readonly name: string },
  services: readonly ServiceBackends[],
): NameRecord[] {
  return services.flatMap((service) => recordsOf(service, network));
}

/** An attachment's addresses of both families, without prefix lengths. */
export function attachedAddresses({
  address,
  address6,
}: Pick<ClusterAttachment, 'address' | 'address6'>): string[] {
  return [address, address6].filter((one) => one !== '').map(bare);
}

/** The names of containers on a network that are no tasks, each also with the network's behind it. */
export function attachedNames(
  network: { readonly id: string; readonly name: string },
  attachments: readonly ClusterAttachment[],
): NameRecord[] {
  return attachments.flatMap((attachment) => {
    const addresses = attachedAddresses(attachment);
    if (attachment.network !== network.id || addresses.length === 0) return [];
    return attachment.names.flatMap((name, index) => both(name, addresses, network, index === 0));
  });
}

function recordsOf(
  { name, resolution, vips, vips6, aliases, tasks }: ServiceBackends,
  network: { readonly id: string; readonly name: string },
): NameRecord[] {
  const members = tasks.flatMap((task) => {
    const own = both4and6(task.addresses, task.addresses6, network.id);
    return own.length === 0 ? [] : [{ ...task, own }];
  });
  const serving = members.filter(({ draining }) => !draining).flatMap(({ own: all }) => all);
  const vip = both4and6(vips, vips6, network.id);
  if (vip.length === 0 && members.length === 0) return [];
  const addresses = resolution === 'vip' && vip.length > 0 ? vip : serving;
  const own = [name, ...(aliases[network.id] ?? [])];
  return [
    ...own.flatMap((one, index) =>
      both(one, addresses, network, index === 0 && resolution === 'vip'),
    ),
    ...both(`tasks.${name}`, serving, network, false),
    ...members.flatMap((task) => both(task.name, task.own, network, true)),
  ];
}

type ByNetwork = Readonly<Record<string, string>> | undefined;

/** An object's addresses of both families in one network, without prefix lengths. */
export function both4and6(first: ByNetwork, second: ByNetwork, network: string): string[] {
  return [first?.[network] ?? [], second?.[network] ?? []].flat().map(bare);
}

function both(
  name: string,
  addresses: readonly string[],
  network: { readonly id: string; readonly name: string },
  primary: boolean,
): NameRecord[] {
  const lower = name.toLowerCase();
  const record = { network: network.id, addresses };
  return [
    { ...record, name: lower, primary: false },
    { ...record, name: `${lower}.${network.name.toLowerCase()}`, primary },
  ];
}
