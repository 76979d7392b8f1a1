import { clusterOf, nodesOf, type Versioned } from '../../control/cluster/cluster-state.ts';
import { digestOf, signerOf } from '../../control/cluster/identity/authority.ts';
import type { ManagerPart } from '../../control/cluster/manager.ts';
import type { ClusterMember } from '../../control/cluster/member.ts';
import type { Cluster, ClusterNode } from '../../model/cluster.ts';
import { NS_PER_MS } from './durations.ts';

function specView({ spec, name }: Cluster) {
  return {
    Name: name,
    Labels: spec.labels,
    Orchestration: { TaskHistoryRetentionLimit: spec.taskHistory },
    // What a consensus of our own would be tuned by; the store has its own.
    Raft: {
      SnapshotInterval: 10_000,
      KeepOldSnapshots: 0,
      LogEntriesForSlowFollowers: 500,
      ElectionTick: 10,
      HeartbeatTick: 1,
    },
    Dispatcher: { HeartbeatPeriod: spec.heartbeatMs * NS_PER_MS },
    CAConfig: {
      NodeCertExpiry: spec.certificateMs * NS_PER_MS,
      ...(spec.forceRotate > 0 && { ForceRotate: spec.forceRotate }),
    },
    TaskDefaults: {},
    EncryptionConfig: { AutoLockManagers: spec.autolock },
  };
}

async function tlsInfo(root: string) {
  const { subject, publicKey } = await signerOf(root);
  return { TrustRoot: root, CertIssuerSubject: subject, CertIssuerPublicKey: publicKey };
}

/** A cluster without what only managers may see. */
export async function clusterView({ value: cluster, version }: Versioned<Cluster>) {
  const { ca } = cluster;
  return {
    ID: cluster.id,
    Version: { Index: version },
    CreatedAt: cluster.created,
    UpdatedAt: cluster.updated,
    Spec: specView(cluster),
    TLSInfo: await tlsInfo(ca.next?.certificate ?? ca.certificate),
    RootRotationInProgress: ca.next !== undefined,
    DefaultAddrPool: cluster.addressPools,
    SubnetSize: cluster.subnetBits,
    DataPathPort: cluster.dataPathPort,
  };
}

/** The part of `/info` that tells of the cluster. */
export async function swarmInfo(member: ClusterMember) {
  const { membership, manager, state, error } = member;
  const { nodeId = '', advertise, managers = [] } = membership ?? {};
  const own = {
    NodeID: nodeId,
    NodeAddr: advertise?.host ?? '',
    LocalNodeState: state,
    ControlAvailable: manager !== undefined,
    Error: error,
    RemoteManagers: null,
  };
  if (!membership) return own;
  if (!manager) {
    return { ...own, RemoteManagers: managers.map((Addr) => ({ NodeID: '', Addr })) };
  }
  const nodes = nodesOf(manager.store).map(({ value }) => value);
  const others = nodes.filter(({ role }) => role === 'manager');
  const cluster = clusterOf(manager.store);
  return {
    ...own,
    RemoteManagers: others.map(({ id, managerAddress = '' }) => ({
      NodeID: id,
      Addr: managerAddress,
    })),
    Nodes: nodes.length,
    Managers: others.length,
    ...(cluster && { Cluster: await clusterView(cluster) }),
  };
}

/** What the `Swarm` header of every answer says. */
export function swarmHeader({ state, manager }: ClusterMember): string {
  if (state !== 'active') return state;
  return manager ? 'active/manager' : 'active/worker';
}

const ARCHITECTURES: Readonly<Record<string, string>> = { amd64: 'x86_64', arm64: 'aarch64' };

/** A node as clients know it. */
export async function nodeView(
  { value: node, version }: Versioned<ClusterNode>,
  { cluster: { ca } }: ManagerPart,
) {
  const { description, status, statusMessage, address, managerAddress } = node;
  const roots = [ca.certificate, ca.next?.certificate ?? []].flat();
  const root = roots.find((one) => digestOf(one) === node.issuer);
  const network = description.networkDrivers.map((Name) => ({ Type: 'Network', Name }));
  return {
    ID: node.id,
    Version: { Index: version },
    CreatedAt: node.created,
    UpdatedAt: node.updated,
    Spec: {
      ...(node.name !== '' && { Name: node.name }),
      Labels: node.labels,
      Role: node.role,
      Availability: node.availability,
    },
    Description: {
      Hostname: description.hostname,
      Platform: {
        Architecture: ARCHITECTURES[description.arch] ?? description.arch,
        OS: description.os,
      },
      Resources: { NanoCPUs: description.nanoCpus, MemoryBytes: description.memoryBytes },
      Engine: {
        EngineVersion: description.engineVersion,
        Labels: description.engineLabels,
        Plugins: network,
      },
      ...(root && { TLSInfo: await tlsInfo(root) }),
    },
    Status: { State: status, Addr: address, ...(statusMessage && { Message: statusMessage }) },
    ...(node.role === 'manager' && {
      ManagerStatus: {
        ...(node.leader && { Leader: true }),
        Reachability: status === 'ready' ? 'reachable' : 'unreachable',
        Addr: managerAddress ?? '',
      },
    }),
  };
}
