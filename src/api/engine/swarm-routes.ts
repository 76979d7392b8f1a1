import type { Clock } from '../../base/clock.ts';
import { invalid } from '../../base/faults.ts';
import { nodesOf } from '../../control/cluster/cluster-state.ts';
import {
  inspectCluster,
  joinTokens,
  needNode,
  removeNode,
  unlockKey,
  updateCluster,
  updateNode,
} from '../../control/cluster/commands.ts';
import {
  DEFAULT_DATA_PATH_PORT,
  DEFAULT_SPEC,
  DEFAULT_SUBNET_BITS,
} from '../../control/cluster/founding.ts';
import type { ClusterMember } from '../../control/cluster/member.ts';
import type { ClusterNode, ClusterSpec, NodeAvailability } from '../../model/cluster.ts';
import { NS_PER_MS } from './durations.ts';
import type { Fields } from './fields.ts';
import { type Call, ok, type Route } from './http.ts';
import { Filters } from './query.ts';
import { clusterView, nodeView } from './swarm-view.ts';

const AVAILABILITIES = ['active', 'pause', 'drain'] as const;
const NODE_FILTERS = ['id', 'name', 'label', 'node.label', 'role', 'membership'];

function availability(fields: Fields): NodeAvailability {
  const text = fields.text('Availability').toLowerCase() || 'active';
  const found = AVAILABILITIES.find((one) => one === text);
  if (found) return found;
  throw invalid(`Invalid availability: "${text}" is none of ${AVAILABILITIES.join(', ')}`);
}

/** A specification; where it is silent `before` holds. */
function readSpec(fields: Fields, before: ClusterSpec): ClusterSpec {
  const name = fields.text('Name') || 'default';
  if (name !== 'default') {
    throw invalid('swarm spec must be named "default"');
  }
  const ca = fields.fields('CAConfig');
  if (ca.objects('ExternalCAs').length > 0) {
    throw invalid('external CAs are not served: give the root with --ca-cert and --ca-key');
  }
  const history = fields.fields('Orchestration').optionalNumber('TaskHistoryRetentionLimit');
  const autolock = fields.fields('EncryptionConfig').optionalFlag('AutoLockManagers');
  const beat = fields.fields('Dispatcher').number('HeartbeatPeriod') / NS_PER_MS;
  return {
    labels: fields.value('Labels') === undefined ? before.labels : fields.textMap('Labels'),
    taskHistory: history ?? before.taskHistory,
    heartbeatMs: beat || before.heartbeatMs,
    certificateMs: ca.number('NodeCertExpiry') / NS_PER_MS || before.certificateMs,
    autolock: autolock ?? before.autolock,
    forceRotate: ca.number('ForceRotate') || before.forceRotate,
  };
}

/** An operator's own root; undefined: none is given. */
function readRoot(spec: Fields) {
  const ca = spec.fields('CAConfig');
  const [certificate, key] = [ca.text('SigningCACert'), ca.text('SigningCAKey')];
  if (certificate === '' && key === '') return undefined;
  if (certificate === '' || key === '') {
    throw invalid('a CA certificate and its key are given together');
  }
  return { certificate, key };
}

function addresses(body: Fields) {
  return {
    listenAddr: body.text('ListenAddr'),
    advertiseAddr: body.text('AdvertiseAddr'),
    dataPathAddr: body.text('DataPathAddr'),
  };
}

async function init(member: ClusterMember, call: Call) {
  const body = await call.body();
  const spec = readSpec(body.fields('Spec'), DEFAULT_SPEC);
  if (readRoot(body.fields('Spec'))) {
    throw invalid('a root of your own is given with docker swarm ca --rotate');
  }
  const id = await member.init({
    ...addresses(body),
    spec: { ...spec, autolock: spec.autolock || body.flag('AutoLockManagers') },
    availability: availability(body),
    dataPathPort: body.number('DataPathPort') || DEFAULT_DATA_PATH_PORT,
    addressPools: body.texts('DefaultAddrPool'),
    subnetBits: body.number('SubnetSize') || DEFAULT_SUBNET_BITS,
    forceNew: body.flag('ForceNewCluster'),
  });
  return ok(id);
}

async function update(member: ClusterMember, call: Call, clock: Clock) {
  const manager = member.needManager();
  const body = await call.body();
  await updateCluster(
    manager,
    {
      version: call.query.version(),
      spec: readSpec(body, manager.cluster.spec),
      rotateWorkerToken: call.query.strictFlag('rotateWorkerToken'),
      rotateManagerToken: call.query.strictFlag('rotateManagerToken'),
      rotateUnlockKey: call.query.strictFlag('rotateManagerUnlockKey'),
      root: readRoot(body),
    },
    clock,
  );
  return { status: 200 };
}

function swarmCalls(member: ClusterMember, clock: Clock): Route[] {
  const inspect = async () => {
    const manager = member.needManager();
    const { worker, manager: other } = joinTokens(manager);
    const view = await clusterView(inspectCluster(manager));
    return ok({ ...view, JoinTokens: { Worker: worker, Manager: other } });
  };
  const join = async (call: Call) => {
    const body = await call.body();
    await member.join({
      ...addresses(body),
      remoteAddrs: body.texts('RemoteAddrs'),
      token: body.text('JoinToken'),
      availability: availability(body),
    });
    return { status: 200 };
  };
  const leave = async ({ query }: Call) => {
    await member.leave(query.flag('force'));
    return { status: 200 };
  };
  const unlock = async (call: Call) => {
    await member.unlock((await call.body()).text('UnlockKey'));
    return { status: 200 };
  };
  return [
    { method: 'POST', path: '/swarm/init', run: (call) => init(member, call) },
    { method: 'POST', path: '/swarm/join', run: join },
    { method: 'POST', path: '/swarm/leave', run: leave },
    { method: 'POST', path: '/swarm/unlock', run: unlock },
    { method: 'GET', path: '/swarm', run: inspect },
    { method: 'POST', path: '/swarm/update', run: (call) => update(member, call, clock) },
    {
      method: 'GET',
      path: '/swarm/unlockkey',
      run: () => ok({ UnlockKey: unlockKey(member.needManager()) }),
    },
  ];
}

function nodeFits(node: ClusterNode, filters: Filters): boolean {
  const name = node.name || node.description.hostname;
  const carries = (wanted: string) => {
    const [key = '', value] = wanted.split(/=(.*)/s, 2);
    return value === undefined ? Object.hasOwn(node.labels, key) : node.labels[key] === value;
  };
  return (
    filters.any('id', (text) => node.id.startsWith(text)) &&
    filters.any('name', (text) => name.startsWith(text)) &&
    filters.any('role', (text) => node.role === text) &&
    filters.any('membership', (text) => text === 'accepted') &&
    filters.labels(node.description.engineLabels) &&
    filters.values('node.label').every(carries)
  );
}

function nodeCalls(member: ClusterMember, clock: Clock): Route[] {
  const list = async ({ query }: Call) => {
    const manager = member.needManager();
    const filters = Filters.parse(query.text('filters'), NODE_FILTERS);
    const nodes = nodesOf(manager.store).filter(({ value }) => nodeFits(value, filters));
    return ok(await Promise.all(nodes.map((node) => nodeView(node, manager))));
  };
  const inspect = async ({ parameters: { id = '' } }: Call) => {
    const manager = member.needManager();
    return ok(await nodeView(needNode(manager, id), manager));
  };
  const change = async (call: Call) => {
    const manager = member.needManager();
    const body = await call.body();
    const role = body.text('Role').toLowerCase();
    if (role !== 'worker' && role !== 'manager') {
      throw invalid(`invalid role "${role}": it is worker or manager`);
    }
    const labels = body.textMap('Labels');
    const spec = {
      name: body.text('Name'),
      labels,
      role,
      availability: availability(body),
    } as const;
    await updateNode(manager, call.parameters['id'] ?? '', call.query.version(), spec, clock);
    return { status: 200 };
  };
  const remove = async ({ parameters: { id = '' }, query }: Call) => {
    await removeNode(member.needManager(), id, query.flag('force'));
    return { status: 200 };
  };
  return [
    { method: 'GET', path: '/nodes', run: list },
    { method: 'GET', path: '/nodes/:id', run: inspect },
    { method: 'POST', path: '/nodes/:id/update', run: change },
    { method: 'DELETE', path: '/nodes/:id', run: remove },
  ];
}

/** The cluster itself and its nodes. */
export function swarmRoutes(member: ClusterMember, clock: Clock): Route[] {
  return [...swarmCalls(member, clock), ...nodeCalls(member, clock)];
}
