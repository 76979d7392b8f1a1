import { createHash } from 'node:crypto';
import { invalid } from '../../base/faults.ts';
import { meshMac } from '../../control/cluster/compile/addresses.ts';
import type { NetworkRequest } from '../../control/network-request.ts';
import type { NodeAssignment } from '../../model/cluster.ts';
import type { AttachmentRequest, Container } from '../../model/container.ts';
import type { Network } from '../../model/network.ts';
import type { Fields } from './fields.ts';

/** A network as the API shows it, without its members. */
export function networkView(network: Network): Record<string, unknown> {
  const { ipam } = network;
  return {
    Name: network.name,
    Id: network.id,
    Created: network.created,
    Scope: network.scope,
    Driver: network.driver,
    EnableIPv4: network.ipv4,
    EnableIPv6: network.ipv6,
    IPAM: {
      Driver: ipam.driver,
      Options: ipam.options,
      Config: ipam.blocks.map(({ subnet, ipRange, gateway, auxAddresses }) => ({
        ...(subnet === '' ? {} : { Subnet: subnet }),
        ...(ipRange === undefined ? {} : { IPRange: ipRange }),
        ...(gateway === undefined ? {} : { Gateway: gateway }),
        ...(Object.keys(auxAddresses).length === 0 ? {} : { AuxiliaryAddresses: auxAddresses }),
      })),
    },
    Internal: network.internal,
    Attachable: network.attachable,
    Ingress: network.ingress,
    ConfigFrom: { Network: network.configFrom ?? '' },
    ConfigOnly: network.configOnly,
    Containers: {},
    Options: network.options,
    Labels: network.labels,
  };
}

const addressOf = (text: string | undefined) => text?.split('/')[0] ?? '';

/** The services of a cluster on a network, by name, and the nodes that it can reach. */
function clusterPart({ id }: Network, { services, attachments, peers }: NodeAssignment) {
  const taskView = (name: string, endpoint: string, address: string, nodeId: string) => ({
    Name: name,
    EndpointID: endpoint,
    EndpointIP: addressOf(address),
    Info: { 'Host IP': peers.find((peer) => peer.nodeId === nodeId)?.address ?? '' },
  });
  const entries = services.flatMap(({ name, vips, ports, tasks }) => {
    const members = tasks.filter(({ addresses }) => addresses[id] !== undefined);
    if (vips[id] === undefined && members.length === 0) return [];
    const view = {
      VIP: addressOf(vips[id]),
      Ports: ports.map((port) => `Target: ${port.targetPort}, Publish: ${port.publishedPort}`),
      LocalLBIndex: 0,
      Tasks: members.map(({ taskId, name: task, nodeId, addresses }) =>
        taskView(task, taskId, addresses[id] ?? '', nodeId),
      ),
    };
    return [[name, view] as const];
  });
  const attached = attachments.filter(({ network, address }) => network === id && address !== '');
  const tasks = attached.map(({ names, endpointId, address, nodeId }) =>
    taskView(names[0] ?? '', endpointId, address, nodeId),
  );
  // Containers that are no tasks are of a service without a name.
  const rest = { VIP: '', Ports: [], LocalLBIndex: 0, Tasks: tasks };
  return {
    Services: { ...(tasks.length > 0 ? { '': rest } : {}), ...Object.fromEntries(entries) },
    Peers: peers.map(({ nodeId, address }) => ({ Name: nodeId, IP: address })),
  };
}

/** A host's end of the routing mesh, which has no address of its own: clients keep theirs. */
function meshEnd(nodeId: string) {
  const view = {
    Name: 'ingress-endpoint',
    EndpointID: createHash('sha256').update(`ingress ${nodeId}`).digest('hex'),
    ...{ MacAddress: meshMac(nodeId), IPv4Address: '', IPv6Address: '' },
  };
  return { 'ingress-sbox': view };
}

/**
 * A network with the containers on it, and the end of the mesh on `nodeId`, this host; `assignment`:
 * with what the cluster has on it as well.
 */
export function networkDetail(
  network: Network,
  members: readonly Container[],
  nodeId: string | undefined,
  assignment: NodeAssignment | undefined,
): Record<string, unknown> {
  const entries = members.flatMap(({ id, name, attachments }) => {
    const active = attachments.find(({ networkId }) => networkId === network.id)?.active;
    if (!active) return [];
    const text = (lease: typeof active.ipv4) =>
      lease ? `${lease.address}/${lease.prefixLength}` : '';
    const view = {
      Name: name,
      EndpointID: active.id,
      MacAddress: active.mac,
      IPv4Address: text(active.ipv4),
      IPv6Address: text(active.ipv6),
    };
    return [[id, view] as const];
  });
  return {
    ...networkView(network),
    Containers: {
      ...Object.fromEntries(entries),
      ...(network.ingress && nodeId !== undefined && meshEnd(nodeId)),
    },
    ...(assignment && clusterPart(network, assignment)),
  };
}

function blockRequest(fields: Fields): NetworkRequest['blocks'][number] {
  const aux =
    fields.value('AuxiliaryAddresses') === undefined ? 'AuxAddress' : 'AuxiliaryAddresses';
  return {
    subnet: fields.optionalText('Subnet'),
    ipRange: fields.optionalText('IPRange'),
    gateway: fields.optionalText('Gateway'),
    auxAddresses: fields.textMap(aux),
  };
}

/** The network that a body asks for. */
export function networkRequest(body: Fields): NetworkRequest {
  const ipam = body.fields('IPAM');
  const scope = body.text('Scope');
  if (scope !== '' && scope !== 'local' && scope !== 'swarm') {
    throw invalid(`invalid network scope: ${scope}`);
  }
  return {
    name: body.text('Name'),
    driver: body.text('Driver') || 'bridge',
    scope,
    ipv4: body.optionalFlag('EnableIPv4') ?? true,
    ipv6: body.flag('EnableIPv6'),
    ipamDriver: ipam.text('Driver') || 'default',
    ipamOptions: ipam.textMap('Options'),
    blocks: ipam.objects('Config').map(blockRequest),
    internal: body.flag('Internal'),
    attachable: body.flag('Attachable'),
    ingress: body.flag('Ingress'),
    configOnly: body.flag('ConfigOnly'),
    configFrom: body.fields('ConfigFrom').optionalText('Network'),
    options: body.textMap('Options'),
    labels: body.textMap('Labels'),
  };
}

/** How a container is to join a network, from an endpoint's settings. */
export function attachmentRequest(network: string, settings: Fields): AttachmentRequest {
  const ipam = settings.fields('IPAMConfig');
  return {
    network,
    ipv4: ipam.optionalText('IPv4Address'),
    ipv6: ipam.optionalText('IPv6Address'),
    linkLocal: ipam.texts('LinkLocalIPs'),
    mac: settings.optionalText('MacAddress'),
    aliases: settings.texts('Aliases'),
    links: settings.texts('Links'),
    driverOptions: settings.textMap('DriverOpts'),
    gatewayPriority: settings.number('GwPriority'),
  };
}
