import type { Clock } from '../../base/clock.ts';
import { invalid } from '../../base/faults.ts';
import { formatCidr, parseCidr } from '../../ipam/cidr.ts';
import { formatHostPort } from '../../model/address.ts';
import {
  type Cluster,
  type ClusterNode,
  type ClusterSpec,
  KIND,
  type NodeAvailability,
  type NodeDescription,
} from '../../model/cluster.ts';
import type { Store } from '../../store/store.ts';
import { stamp } from '../ids.ts';
import { createRequest, createRoot, issue } from './identity/authority.ts';
import { newSealingKey } from './identity/sealing.ts';
import { formatUnlockKey, newClusterId, newJoinSecret, newUnlockKey } from './identity/tokens.ts';
import type { Membership } from './membership.ts';
import { claimName } from './object-names.ts';
import { defaultIngress } from './orchestration/network-plan.ts';
import { ManagerKeys } from './secrets.ts';

/** A cluster as it is asked for; addresses are resolved. */
export type FoundingOrder = Pick<Membership, 'listen' | 'advertise' | 'dataPathAddress'> & {
  readonly spec: ClusterSpec;
  readonly availability: NodeAvailability;
  readonly dataPathPort: number;
  /** Empty: the usual one. */
  readonly addressPools: readonly string[];
  readonly subnetBits: number;
  readonly description: NodeDescription;
};

export const DEFAULT_SPEC: ClusterSpec = {
  labels: {},
  taskHistory: 5,
  heartbeatMs: 5000,
  certificateMs: 90 * 24 * 3600_000,
  autolock: false,
  forceRotate: 0,
};

const DEFAULT_POOL = '10.0.0.0/8';
export const DEFAULT_SUBNET_BITS = 24;
export const DEFAULT_DATA_PATH_PORT = 4789;
const MIN_CERTIFICATE_MS = 3600_000;

/** Throws for what no cluster can be told. */
export function checkSpec({ certificateMs, heartbeatMs, taskHistory }: ClusterSpec): void {
  if (certificateMs < MIN_CERTIFICATE_MS) {
    throw invalid('minimum certificate expiry time is 1h0m0s');
  }
  if (heartbeatMs < 1000) throw invalid('heartbeat period must be at least 1s');
  if (taskHistory < -1) throw invalid('the task history limit cannot be less than -1');
}

function checkPools(pools: readonly string[], bits: number): string[] {
  const blocks = pools.map((text) => {
    const block = parseCidr(text);
    if (!block)
      throw invalid(`invalid default address pool "${text}": it is no block of addresses`);
    if (bits < block.bits) {
      throw invalid(`invalid CIDR: "${text}". Subnet size is too small for pool: ${bits}`);
    }
    return formatCidr(block);
  });
  if (new Set(blocks).size < blocks.length) throw invalid('a default address pool is given twice');
  return blocks;
}

/** Writes a new cluster into an empty store; what its first manager has to keep. */
export async function found(
  store: Store,
  order: FoundingOrder,
  clock: Clock,
): Promise<{ membership: Membership; keys: ManagerKeys }> {
  const { spec, dataPathPort, addressPools, subnetBits, advertise } = order;
  checkSpec(spec);
  if (dataPathPort < 1024 || dataPathPort > 49_151) {
    throw invalid(`invalid data path port ${dataPathPort}: it must be from 1024 to 49151`);
  }
  const dataKey = newSealingKey();
  const keys = new ManagerKeys(dataKey);
  const root = await createRoot(clock.wall());
  const now = stamp(clock);
  const unlock = spec.autolock ? keys.sealUnlockKey(formatUnlockKey(newUnlockKey())) : '';
  const cluster: Cluster = {
    ...{ id: newClusterId(), name: 'default', labels: spec.labels, created: now, updated: now },
    spec,
    addressPools: addressPools.length > 0 ? checkPools(addressPools, subnetBits) : [DEFAULT_POOL],
    subnetBits,
    dataPathPort,
    joinSecrets: { worker: newJoinSecret(), manager: newJoinSecret() },
    sealedUnlockKey: unlock,
    ca: {
      certificate: root.certificate,
      sealedKey: keys.sealRootKey(root.key),
      next: undefined,
    },
    sealedOverlayKeys: [],
  };
  const nodeId = newClusterId();
  const managerAddress = formatHostPort(advertise.host, advertise.port);
  const node: ClusterNode = {
    ...{ id: nodeId, name: '', labels: {}, created: now, updated: now, role: 'manager' },
    availability: order.availability,
    description: order.description,
    ...{ status: 'unknown', statusMessage: '', leader: true, managerAddress },
    address: advertise.host,
    dataPathAddress: order.dataPathAddress || advertise.host,
  };
  // Made with the cluster and never again: one that an operator removes stays away.
  const ingress = defaultIngress(newClusterId(), now);
  const { key, request } = await createRequest();
  const certificate = await issue(root, {
    ...{ nodeId, role: 'manager', clusterId: cluster.id, request, lifeMs: spec.certificateMs },
    now: clock.wall(),
  });
  await store.update([
    { kind: KIND.cluster, id: cluster.id, value: cluster, expected: 0 },
    { kind: KIND.node, id: nodeId, value: node, expected: 0 },
    { kind: KIND.network, id: ingress.id, value: ingress, expected: 0 },
    claimName(KIND.network, ingress.name, ingress.id),
  ]);
  const membership: Membership = {
    ...{ clusterId: cluster.id, nodeId, role: 'manager', certificate, key },
    ...{ roots: [root.certificate], managers: [managerAddress], listen: order.listen, advertise },
    dataPathAddress: order.dataPathAddress,
    dataKey: dataKey.toString('base64'),
  };
  return { membership, keys };
}
