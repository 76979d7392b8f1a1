import type { Clock } from '../../base/clock.ts';
import { failed, invalid, notFound } from '../../base/faults.ts';
import {
  type Cluster,
  type ClusterNode,
  type ClusterSpec,
  KIND,
  type NodeAvailability,
  type NodeRole,
} from '../../model/cluster.ts';
import { transact } from '../../store/edit.ts';
import { stamp } from '../ids.ts';
import { clusterOf, nodesOf, type Versioned } from './cluster-state.ts';
import { checkSpec } from './founding.ts';
import { checkRoot, createRoot, crossSign, type Root } from './identity/authority.ts';
import { formatToken, formatUnlockKey, newJoinSecret, newUnlockKey } from './identity/tokens.ts';
import { type ManagerPart, ONE_MANAGER } from './manager.ts';
import { alreadyExists, outOfSequence, precondition, replace } from './refusals.ts';

/** How a whole cluster is to change. */
export type ClusterUpdate = {
  readonly version: number;
  readonly spec: ClusterSpec;
  readonly rotateWorkerToken: boolean;
  readonly rotateManagerToken: boolean;
  readonly rotateUnlockKey: boolean;
  /** An operator's own root, to take over from the present one. */
  readonly root: Root | undefined;
};

/** What an operator decides for one node. */
export type NodeSpec = {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly role: NodeRole;
  readonly availability: NodeAvailability;
};

/** The cluster with the version that an update has to name. */
export function inspectCluster({ store }: ManagerPart): Versioned<Cluster> {
  const found = clusterOf(store);
  if (!found) throw failed('the store holds no cluster');
  return found;
}

/** Tokens that new nodes join with. */
export function joinTokens(manager: ManagerPart): Record<NodeRole, string> {
  const { joinSecrets } = manager.cluster;
  const { tokenDigest: rootDigest } = manager;
  const token = (secret: string) => formatToken({ rootDigest, secret });
  return { worker: token(joinSecrets.worker), manager: token(joinSecrets.manager) };
}

/** Empty: managers ask for none. */
export function unlockKey({ cluster, keys }: ManagerPart): string {
  return keys.unlockKey(cluster) ?? '';
}

async function nextCa(
  { ca, spec: before }: Cluster,
  { keys }: ManagerPart,
  { spec, root }: ClusterUpdate,
  clock: Clock,
): Promise<Cluster['ca']> {
  if (root) checkRoot(root);
  const replaced = root !== undefined && root.certificate.trim() !== ca.certificate.trim();
  if (!replaced && spec.forceRotate === before.forceRotate) return ca;
  const next = root ?? (await createRoot(clock.wall()));
  const present: Root = { certificate: ca.certificate, key: keys.rootKey(ca.sealedKey) };
  return {
    ...ca,
    next: {
      certificate: next.certificate,
      sealedKey: keys.sealRootKey(next.key),
      crossSigned: await crossSign(next, present),
    },
  };
}

/** Throws when the version is not the present one. */
export async function updateCluster(
  manager: ManagerPart,
  update: ClusterUpdate,
  clock: Clock,
): Promise<void> {
  const { store, keys } = manager;
  const { version, value: cluster } = inspectCluster(manager);
  if (version !== update.version) throw outOfSequence();
  checkSpec(update.spec);
  const { joinSecrets, sealedUnlockKey } = cluster;
  const { autolock } = update.spec;
  const newKey = autolock && (update.rotateUnlockKey || sealedUnlockKey === '');
  const kept = autolock ? sealedUnlockKey : '';
  const next: Cluster = {
    ...cluster,
    labels: update.spec.labels,
    spec: update.spec,
    updated: stamp(clock),
    ca: await nextCa(cluster, manager, update, clock),
    joinSecrets: {
      worker: update.rotateWorkerToken ? newJoinSecret() : joinSecrets.worker,
      manager: update.rotateManagerToken ? newJoinSecret() : joinSecrets.manager,
    },
    sealedUnlockKey: newKey ? keys.sealUnlockKey(formatUnlockKey(newUnlockKey())) : kept,
  };
  await replace(store, { kind: KIND.cluster, id: cluster.id, value: next, expected: version });
}

/** By id, by name, by host name or by the beginning of an id. */
export function needNode({ store }: ManagerPart, key: string): Versioned<ClusterNode> {
  const all = nodesOf(store);
  const exact =
    all.find(({ value }) => value.id === key) ??
    unique(key, all, ({ name }) => name === key) ??
    unique(key, all, ({ description }) => description.hostname === key) ??
    unique(key, all, ({ id }) => key !== '' && id.startsWith(key));
  if (!exact) throw notFound(`node ${key} not found`);
  return exact;
}

function unique(
  key: string,
  all: readonly Versioned<ClusterNode>[],
  fits: (node: ClusterNode) => boolean,
): Versioned<ClusterNode> | undefined {
  const hits = all.filter(({ value }) => fits(value));
  if (hits.length > 1) throw invalid(`node ${key} is ambiguous (${hits.length} matches found)`);
  return hits[0];
}

/** Throws when the version is not the present one, or the cluster would be without a manager. */
export async function updateNode(
  manager: ManagerPart,
  key: string,
  version: number,
  spec: NodeSpec,
  clock: Clock,
): Promise<void> {
  const { store } = manager;
  const { value: node, version: found } = needNode(manager, key);
  if (found !== version) throw outOfSequence();
  const clash = nodesOf(store).some(
    ({ value }) => spec.name !== '' && value.name === spec.name && value.id !== node.id,
  );
  if (clash) throw alreadyExists(`name ${spec.name} is taken`);
  if (node.role === 'manager' && spec.role === 'worker' && manager.isLast) {
    throw precondition('attempting to demote the last manager of the swarm');
  }
  if (node.role === 'worker' && spec.role === 'manager' && !manager.shared) {
    throw precondition(ONE_MANAGER);
  }
  const value: ClusterNode = { ...node, ...spec, updated: stamp(clock) };
  await replace(store, { kind: KIND.node, id: node.id, value, expected: found });
}

/** Throws for a manager, and without force for a node that is up. */
export async function removeNode(manager: ManagerPart, key: string, force: boolean): Promise<void> {
  await transact(manager.store, () => {
    const { value: node, version } = needNode(manager, key);
    if (node.role === 'manager') {
      throw precondition(
        `node ${node.id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal`,
      );
    }
    if (node.status !== 'down' && !force) {
      throw precondition(`node ${node.id} is not down and can't be removed`);
    }
    return [{ kind: KIND.node, id: node.id, value: undefined, expected: version }];
  });
}
