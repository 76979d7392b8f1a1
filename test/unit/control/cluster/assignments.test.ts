import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Assignments } from '../../../../src/control/cluster/assignments.ts';
import type { BoardView } from '../../../../src/control/cluster/board.ts';
import { NO_REPORT } from '../../../../src/control/cluster/report.ts';
import {
  type AssignmentDiff,
  applyDiff,
  NO_ASSIGNMENT,
  versionOf,
} from '../../../../src/link/assignment.ts';
import {
  type ClusterFile,
  type ClusterTask,
  type ClusterTaskState,
  type FileReference,
  KIND,
  type NodeAssignment,
} from '../../../../src/model/cluster.ts';
import { LocalStore } from '../../../../src/store/local-store.ts';
import type { Store } from '../../../../src/store/store.ts';
import {
  attachmentObject,
  ingressPort,
  networkObject,
  nodeObject,
  serviceObject,
  taskObject,
  templateObject,
} from '../../../support/assignment-objects.ts';

const OPENER = {
  openFile: (file: ClusterFile) => file,
  overlayKey: (sealed: string) => sealed,
  login: (sealed: string) => sealed,
};

/** A store, the assignments that follow it, and each node's as it got it by differences. */
class Followed {
  readonly store: Store = new LocalStore(':memory:');
  readonly assignments = new Assignments(this.store, OPENER);
  readonly held = new Map<string, { view: BoardView; assignment: NodeAssignment }>();
  wholes = 0;
  last: AssignmentDiff = {};

  constructor() {
    this.store.watch((events) => this.assignments.apply(events));
  }

  async put<T extends { readonly id: string }>(kind: string, value: T): Promise<void> {
    await this.store.update([{ kind, id: value.id, value }]);
  }

  async drop(kind: string, id: string): Promise<void> {
    await this.store.update([{ kind, id, value: undefined }]);
  }

  /** What a node has after it was sent what differs. */
  of(nodeId: string): NodeAssignment {
    this.assignments.refresh();
    const view = this.assignments.of(nodeId);
    const before = this.held.get(nodeId);
    const diff = before && this.assignments.diff(before.view, view);
    if (diff) this.last = diff;
    else this.wholes++;
    const assignment = diff
      ? applyDiff(before.assignment, JSON.parse(JSON.stringify(diff)))
      : this.assignments.whole(view);
    this.held.set(nodeId, { view, assignment });
    return assignment;
  }
}

const running = (serving: boolean): ClusterTask['report'] => ({
  ...{ ...NO_REPORT, state: 'running', serving },
});

test('a node gets its tasks, and of others what its networks need', async () => {
  const followed = new Followed();
  for (const id of ['n1', 'n2', 'n3']) await followed.put(KIND.node, nodeObject(id));
  await followed.put(KIND.network, networkObject('app', { 4097: '10.0.1.0/24' }));
  const web = serviceObject('web', { app: '10.0.1.2/24' });
  await followed.put(KIND.service, web);
  const file: ClusterFile = {
    ...{ id: 'f', name: 'f', labels: {}, created: '', updated: '', kind: 'config', data: '' },
  };
  await followed.put(KIND.file, file);
  const reference: FileReference = {
    ...{ kind: 'config', id: 'f', name: 'f', target: 'f', uid: '0', gid: '0', mode: 0 },
  };
  const template = templateObject({ files: [reference] });
  const at = (id: string, node: string, address: string, more: Partial<ClusterTask> = {}) =>
    taskObject(id, web, node, { app: `${address}/24` }, more);
  await followed.put(KIND.task, at('t1', 'n1', '10.0.1.3', { template, report: running(true) }));
  await followed.put(KIND.task, at('t2', 'n2', '10.0.1.4'));
  const first = followed.of('n1');
  assert.deepEqual(
    first.tasks.map(({ id }) => id),
    ['t1'],
  );
  assert.deepEqual(first.files, [file]);
  assert.deepEqual(first.endpoints, [
    { network: 'app', address: '10.0.1.3', mac: '02:42:0a:00:01:03', nodeId: 'n1' },
    { network: 'app', address: '10.0.1.4', mac: '02:42:0a:00:01:04', nodeId: 'n2' },
  ]);
  const drains = () =>
    followed.of('n1').services[0]?.tasks.map(({ taskId, draining }) => `${taskId} ${draining}`);
  assert.deepEqual(drains(), ['t1 false', 't2 true'], 'what does not serve yet drains');
  assert.deepEqual(followed.of('n2').files, [], 'a file reaches only the nodes of its tasks');
  const idle = followed.of('n3');
  assert.deepEqual([idle.networks, idle.endpoints, idle.services], [[], [], []]);
  assert.deepEqual(
    idle.peers.map(({ nodeId }) => nodeId),
    ['n1', 'n2', 'n3'],
  );

  await followed.put(KIND.task, at('t2', 'n2', '10.0.1.4', { report: running(true) }));
  assert.deepEqual(drains(), ['t1 false', 't2 false']);
  await followed.put(KIND.node, nodeObject('n2', { status: 'down' }));
  assert.deepEqual(drains(), ['t1 false', 't2 true'], 'a node that is down serves nothing');
  await followed.put(KIND.node, nodeObject('n2'));
  const leaving = at('t2', 'n2', '10.0.1.4', { report: running(true), desired: 'shutdown' });
  await followed.put(KIND.task, leaving);
  assert.deepEqual(drains(), ['t1 false', 't2 true']);
  assert.deepEqual([...followed.assignments.leaving.keys()], ['t2']);
  await followed.put(KIND.task, { ...leaving, report: { ...NO_REPORT, state: 'shutdown' } });
  assert.deepEqual(drains(), ['t1 false']);
  assert.equal(followed.of('n1').endpoints.length, 1);
  const after = followed.of('n2');
  assert.deepEqual([after.tasks.length, after.networks.length, after.endpoints.length], [1, 0, 0]);
  assert.equal(followed.assignments.leaving.size, 0);
  assert.equal(followed.wholes, 3, 'everything else were differences');
});

test('every node has the ingress network once a service publishes, and no longer', async () => {
  const followed = new Followed();
  for (const id of ['n1', 'n2']) await followed.put(KIND.node, nodeObject(id));
  await followed.put(
    KIND.network,
    networkObject('ing', { 4096: '10.0.0.0/24' }, { ingress: true }),
  );
  const plain = serviceObject('web', {});
  await followed.put(KIND.service, plain);
  assert.deepEqual(followed.of('n2').networks, []);
  const web = serviceObject('web', { ing: '10.0.0.2/24' }, { ports: [ingressPort(8080)] });
  await followed.put(KIND.service, web);
  await followed.put(KIND.task, taskObject('t1', web, 'n1', { ing: '10.0.0.3/24' }));
  const open = followed.of('n2');
  assert.deepEqual(
    [open.networks, open.services].map((list) => list.length),
    [1, 1],
  );
  assert.deepEqual(open.endpoints, [], 'the mesh has ways of its own');
  await followed.drop(KIND.service, 'web');
  assert.deepEqual(followed.of('n2').networks, []);
});

test('keys only where an encrypted network is', async () => {
  const followed = new Followed();
  await followed.put(KIND.cluster, {
    ...{ id: 'c', dataPathPort: 4790, sealedOverlayKeys: [{ id: 1, key: 'ab', made: '' }] },
  });
  for (const id of ['n1', 'n2']) await followed.put(KIND.node, nodeObject(id));
  const options = { encrypted: '' };
  await followed.put(KIND.network, networkObject('sec', { 4097: '10.0.1.0/24' }, { options }));
  const web = serviceObject('web', {});
  await followed.put(KIND.service, web);
  await followed.put(KIND.task, taskObject('t1', web, 'n1', { sec: '10.0.1.3/24' }));
  assert.deepEqual(followed.of('n1').keys, [{ id: 1, key: 'ab' }]);
  assert.deepEqual(followed.of('n1').networks[0]?.encrypted, true);
  assert.deepEqual(followed.of('n2').keys, []);
  assert.equal(followed.of('n2').peers[0]?.dataPathPort, 4790);
});

test('of a task that changes others are told alone, and nothing of its service', async () => {
  const followed = new Followed();
  for (const id of ['n1', 'n2']) await followed.put(KIND.node, nodeObject(id));
  const network = networkObject('ing', { 4096: '10.0.0.0/16' }, { ingress: true });
  await followed.put(KIND.network, network);
  const web = serviceObject('web', { ing: '10.0.0.2/16' }, { ports: [ingressPort(80)] });
  const other = serviceObject('other', { ing: '10.0.0.3/16' }, { ports: [ingressPort(81)] });
  for (const service of [web, other]) await followed.put(KIND.service, service);
  const at = (number: number, serving: boolean) => {
    const report = running(serving);
    return taskObject(`t${number}`, web, 'n1', { ing: `10.0.1.${number}/16` }, { report });
  };
  for (let n = 1; n <= 20; n++) await followed.put(KIND.task, at(n, true));
  const before = followed.of('n2');
  const tasksOf = ({ services }: NodeAssignment) =>
    services.find(({ serviceId }) => serviceId === 'web')?.tasks.map(({ taskId }) => taskId);
  assert.equal(tasksOf(before)?.length, 20);
  await followed.put(KIND.task, at(7, false));
  const after = followed.of('n2');
  assert.deepEqual(Object.keys(followed.last), ['members']);
  assert.equal(followed.last.members?.put.length, 1);
  assert.equal(tasksOf(after)?.at(-1), 't7', 'those that drain are last');
  assert.equal(
    after.services.find(({ serviceId }) => serviceId === 'other'),
    before.services.find(({ serviceId }) => serviceId === 'other'),
    'what did not change is the same object',
  );
  await followed.drop(KIND.task, 't8');
  assert.equal(tasksOf(followed.of('n2'))?.length, 19);
  assert.deepEqual(followed.last, { members: { put: [], drop: ['web t8'] } });
});

test('an address passes from a task that ended to another one', async () => {
  const followed = new Followed();
  for (const id of ['n1', 'n2']) await followed.put(KIND.node, nodeObject(id));
  await followed.put(KIND.network, networkObject('app', { 4097: '10.0.1.0/24' }));
  const web = serviceObject('web', { app: '10.0.1.2/24' });
  const at = (id: string, node: string, more: Partial<ClusterTask> = {}) =>
    taskObject(id, web, node, { app: '10.0.1.3/24' }, more);
  await followed.put(KIND.service, web);
  const other = taskObject('t0', web, 'n1', { app: '10.0.1.4/24' });
  await followed.put(KIND.task, other);
  await followed.put(KIND.task, at('t2', 'n1'));
  followed.of('n1');
  await followed.put(KIND.task, at('t1', 'n2'));
  await followed.put(KIND.task, at('t2', 'n1', { report: { ...NO_REPORT, state: 'failed' } }));
  const places = followed.of('n1').endpoints.map(({ address, nodeId }) => `${address} ${nodeId}`);
  assert.deepEqual(places, ['10.0.1.3 n2', '10.0.1.4 n1']);
});

const NODES = ['n1', 'n2', 'n3'];
const NETWORKS = ['a', 'b', 'ing'];
/** Each has its own address, and is of one service. */
const TASKS = ['t1', 't2', 't3', 't4', 't5'];
const STATES: ClusterTaskState[] = ['assigned', 'running', 'failed'];
const step = fc.oneof(
  fc.record({
    kind: fc.constant('node'),
    id: fc.constantFrom(...NODES),
    on: fc.integer({ max: 3 }),
  }),
  fc.record({ kind: fc.constant('network'), id: fc.constantFrom(...NETWORKS), on: fc.boolean() }),
  fc.record({
    kind: fc.constant('service'),
    id: fc.constantFrom('s1', 's2', 's3'),
    on: fc.boolean(),
    networks: fc.subarray(NETWORKS),
    published: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('task'),
    id: fc.constantFrom(...TASKS),
    on: fc.boolean(),
    node: fc.constantFrom('', ...NODES),
    networks: fc.subarray(NETWORKS),
    state: fc.constantFrom(...STATES),
    serving: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('attachment'),
    id: fc.constantFrom('x1', 'x2'),
    on: fc.boolean(),
    at: fc.constantFrom(...NODES),
    network: fc.constantFrom('a', 'b'),
    addressed: fc.boolean(),
  }),
);

async function take(
  followed: Followed,
  one: typeof step extends fc.Arbitrary<infer T> ? T : never,
) {
  if (!one.on) return followed.drop(one.kind, one.id);
  if ('addressed' in one) {
    const address = one.addressed ? `10.0.0.2${one.id.slice(1)}/24` : '';
    return followed.put(
      KIND.attachment,
      attachmentObject(one.id, one.at, one.network, { address }),
    );
  }
  if (!('node' in one) && !('published' in one)) {
    if (one.kind === 'node') {
      const status = one.on === 1 ? 'down' : 'ready';
      return followed.put(KIND.node, nodeObject(one.id, { status }));
    }
    const vni = 4096 + NETWORKS.indexOf(one.id);
    const subnets = { [vni]: `10.0.${vni - 4096}.0/24` };
    return followed.put(
      KIND.network,
      networkObject(one.id, subnets, { ingress: one.id === 'ing' }),
    );
  }
  const addresses = (last: number) =>
    Object.fromEntries(one.networks.map((id) => [id, `10.0.${NETWORKS.indexOf(id)}.${last}/24`]));
  if ('published' in one) {
    const ports = one.published ? [ingressPort(8080)] : [];
    return followed.put(KIND.service, serviceObject(one.id, addresses(2), { ports }));
  }
  const report = { ...NO_REPORT, state: one.state, serving: one.serving };
  const service = serviceObject(`s${1 + (TASKS.indexOf(one.id) % 3)}`, {});
  const task = taskObject(one.id, service, one.node, addresses(3 + TASKS.indexOf(one.id)), {
    report,
  });
  return followed.put(KIND.task, task);
}

test('differences lead to what a new leader would send, with the same version', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(step, fc.subarray(NODES)), { maxLength: 40 }),
      async (all) => {
        const followed = new Followed();
        for (const [one, asked] of all) {
          await take(followed, one);
          for (const node of asked) followed.of(node);
        }
        const fresh = new Assignments(followed.store, OPENER);
        for (const node of NODES) {
          const got = followed.of(node);
          const view = fresh.of(node);
          const there = followed.store.get(KIND.node, node) !== undefined;
          const wanted = there ? fresh.whole(view) : NO_ASSIGNMENT;
          const sent = (one: NodeAssignment) => JSON.parse(JSON.stringify(one));
          if (there) assert.deepEqual(sent(got), sent(wanted));
          if (there) assert.equal(versionOf(got), view.version);
          assert.equal(followed.assignments.of(node).version, view.version);
        }
      },
    ),
    { numRuns: 500 },
  );
});

test('labels for gateways show a service everywhere, its certificate to gateways only', async () => {
  const followed = new Followed();
  const gateway = { ...nodeObject('gate').description, gateway: true };
  await followed.put(KIND.node, nodeObject('gate', { description: gateway }));
  await followed.put(KIND.node, nodeObject('n1'));
  await followed.put(
    KIND.network,
    networkObject('ing', { 4096: '10.0.0.0/24' }, { ingress: true }),
  );
  for (const name of ['cert', 'key', 'other']) {
    const data = { kind: 'secret', data: name } as const;
    const file: ClusterFile = {
      id: `id-${name}`,
      name,
      labels: {},
      created: '',
      updated: '',
      ...data,
    };
    await followed.put(KIND.file, file);
  }
  const filesOf = (node: string) =>
    followed
      .of(node)
      .files.map(({ name }) => name)
      .sort();
  const labels = { 'com.docker.lb.hosts': 'a.example', 'com.docker.lb.port': '80' };
  const web = serviceObject('web', {}, { labels });
  await followed.put(KIND.service, web);
  await followed.put(KIND.task, taskObject('t1', web, 'n1', { ing: '10.0.0.3/24' }));
  for (const node of ['gate', 'n1']) {
    const { services, networks } = followed.of(node);
    assert.deepEqual([services.length, networks.length], [1, 1], node);
    assert.deepEqual(filesOf(node), []);
  }
  const pair = { 'com.docker.lb.ssl_cert': 'cert', 'com.docker.lb.ssl_key': 'key' };
  await followed.put(KIND.service, { ...web, labels: { ...labels, ...pair } });
  assert.deepEqual(filesOf('gate'), ['cert', 'key']);
  assert.deepEqual(filesOf('n1'), [], 'it has no gateway');
  await followed.put(KIND.node, nodeObject('n1', { description: gateway }));
  assert.deepEqual(filesOf('n1'), ['cert', 'key']);
  await followed.put(KIND.node, nodeObject('n1'));
  assert.deepEqual(filesOf('n1'), []);
  await followed.put(KIND.service, { ...web, labels });
  assert.deepEqual(filesOf('gate'), []);
});
