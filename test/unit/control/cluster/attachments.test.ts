import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Assignments } from '../../../../src/control/cluster/assignments.ts';
import { readWish } from '../../../../src/control/cluster/attachment-writer.ts';
import { attachmentsOf, nodesOf } from '../../../../src/control/cluster/cluster-state.ts';
import {
  clusterIntent,
  clusterNames,
} from '../../../../src/control/cluster/compile/cluster-intent.ts';
import { Allocator } from '../../../../src/control/cluster/orchestration/allocator.ts';
import { ORPHAN_MS, Reaper } from '../../../../src/control/cluster/orchestration/reaper.ts';
import {
  type AttachmentWish,
  type ClusterAttachment,
  KIND,
} from '../../../../src/model/cluster.ts';
import {
  attachmentObject,
  networkObject,
  nodeObject,
} from '../../../support/assignment-objects.ts';
import { TestNode } from '../../../support/cluster.ts';
import { aCluster } from '../../../support/cluster-objects.ts';
import { eventually, freePorts } from '../../../support/gateway.ts';
import { aNetwork, aTask, joining, newService, StageBench } from '../../../support/stage-bench.ts';

async function bench(...networks: readonly ReturnType<typeof aNetwork>[]) {
  const made = new StageBench(() => [new Allocator(), new Reaper()]);
  await made.put('cluster', aCluster());
  await made.put('node', nodeObject('n1'));
  await made.put('network', ...networks);
  const of = (id: string) =>
    // exempt(as): what tests and stages have written
    made.store.get(KIND.attachment, id)?.value as ClusterAttachment | undefined;
  return { made, of };
}

test('containers get addresses beside tasks, also from another leader, and give them back', async () => {
  const { made, of } = await bench(aNetwork('a', ['10.1.0.0/24']));
  await made.put('attachment', attachmentObject('x', 'n1', 'a'), attachmentObject('y', 'n1', 'a'));
  await made.settle();
  assert.deepEqual([of('x')?.address, of('y')?.address], ['10.1.0.2/24', '10.1.0.3/24']);
  made.lead();
  const service = newService('s', { template: joining(['a']) });
  await made.put('service', service);
  await made.put('task', aTask('t', service));
  await made.settle();
  assert.equal(made.task('t').addresses['a'], '10.1.0.4/24', 'another leader knows of them');
  await made.store.update([{ kind: KIND.attachment, id: 'x', value: undefined }]);
  await made.put('attachment', attachmentObject('z', 'n1', 'a', { ipv4: '10.1.0.2' }));
  await made.settle();
  assert.equal(of('z')?.address, '10.1.0.2/24');
});

test('an address that is asked for is given, or the reason why not', async () => {
  const both = aNetwork('both', ['10.1.0.0/24', 'fd01::/64'], { ipv6: true });
  const { made, of } = await bench(both, aNetwork('late'));
  const asks = (id: string, ipv4?: string, ipv6?: string) =>
    attachmentObject(id, 'n1', 'both', { ipv4, ipv6 });
  await made.put('attachment', asks('x', '10.1.0.9'), asks('y', undefined, 'fd01::77'));
  await made.settle();
  assert.match(`${of('x')?.address} ${of('x')?.address6}`, /^10\.1\.0\.9\/24 fd01::[2-9]\/64$/);
  assert.match(`${of('y')?.address} ${of('y')?.address6}`, /^10\.1\.0\.\d+\/24 fd01::77\/64$/);
  await made.put(
    'attachment',
    ...[asks('taken', '10.1.0.9'), asks('gateway', '10.1.0.1'), asks('foreign', '10.2.0.1')],
    ...[asks('half', '10.1.0.50', 'fd02::1'), attachmentObject('lost', 'n1', 'nowhere')],
  );
  await made.settle();
  assert.equal(of('taken')?.error, 'Address already in use');
  assert.equal(of('gateway')?.error, 'Address already in use');
  assert.match(of('foreign')?.error ?? '', /^invalid address 10\.2\.0\.1: It does not belong/);
  assert.match(of('half')?.error ?? '', /^invalid address 10\.1\.0\.50, fd02::1: It does not/);
  assert.equal(of('lost')?.error, 'network nowhere not found');
  await made.put('attachment', asks('z', '10.1.0.50'));
  await made.settle();
  assert.equal(of('z')?.address, '10.1.0.50/24', 'what was refused holds nothing');
});

test('one that comes with its network waits for the subnet; a full network says so', async () => {
  const { made, of } = await bench();
  await made.put('network', aNetwork('small', ['10.1.0.0/29']));
  const all = ['a', 'b', 'c', 'd', 'e', 'f'].map((id) => attachmentObject(id, 'n1', 'small'));
  await made.put('attachment', ...all);
  await made.settle();
  assert.equal(of('a')?.address, '10.1.0.2/29');
  assert.match(of('f')?.error ?? '', /no available IPv4 addresses on this network's address pools/);
});

test('what a node had goes with it, or a day after it was last heard of', async () => {
  const { made, of } = await bench(aNetwork('a'));
  await made.put('node', nodeObject('n2'));
  await made.put('attachment', attachmentObject('x', 'n1', 'a'), attachmentObject('y', 'n2', 'a'));
  await made.settle();
  await made.put('node', nodeObject('n2', { status: 'down' }));
  await made.store.update([{ kind: KIND.node, id: 'n1', value: undefined }]);
  await made.settle();
  assert.equal(of('x'), undefined);
  assert.ok(of('y'), 'it may come back');
  made.now += ORPHAN_MS;
  await made.settle();
  assert.equal(of('y'), undefined);
  await made.put('attachment', attachmentObject('z', 'gone', 'a'));
  await made.settle();
  assert.equal(of('z'), undefined, 'of a node that there is not');
});

test('its node gets the network, every member learns names and place; a refusal stays at home', async () => {
  const made = new StageBench(() => []);
  await made.put('node', nodeObject('n1'), nodeObject('n2'), nodeObject('n3'));
  await made.put('network', networkObject('app', { 4097: '10.0.1.0/24' }, { attachable: true }));
  const box = { address: '10.0.1.9/24', names: ['box', 'thing'], mac: '02:42:00:00:00:09' };
  await made.put(
    'attachment',
    attachmentObject('x', 'n1', 'app', box),
    attachmentObject('y', 'n2', 'app', { address: '10.0.1.8/24' }),
    attachmentObject('z', 'n3', 'app', { error: 'Address already in use' }),
  );
  const assignments = new Assignments(made.store, {
    openFile: (one) => one,
    overlayKey: () => '',
    login: (sealed: string) => sealed,
  });
  const [one, two, three] = ['n1', 'n2', 'n3'].map((id) => assignments.whole(assignments.of(id)));
  assert.ok(one && two && three);
  assert.deepEqual(
    two.endpoints.map(({ address, mac, nodeId }) => `${address} ${mac} ${nodeId}`),
    ['10.0.1.8 02:42:0a:00:01:08 n2', '10.0.1.9 02:42:00:00:00:09 n1'],
  );
  assert.equal(one.networks[0]?.attachable, true);
  const names = clusterNames(two, { nodeId: 'n2' }).map(
    ({ name, addresses, primary }) => `${name} ${addresses} ${primary}`,
  );
  assert.deepEqual(names, [
    ...['box 10.0.1.9 false', 'box.net-app 10.0.1.9 true'],
    ...['thing 10.0.1.9 false', 'thing.net-app 10.0.1.9 false'],
  ]);
  const host = {
    ...{ nodeId: 'n2', tunnel: { local: '192.0.2.1', port: 4789 }, epoch: '' },
    ...{ sources: { ipv4: undefined, ipv6: undefined }, gatewayAddresses: new Map() },
  };
  const { overlays, peers } = clusterIntent(two, host);
  assert.deepEqual([overlays.length, peers.length], [1, 1]);
  assert.deepEqual([three.networks, three.endpoints, three.attachments.length], [[], [], 1]);
});

test('what makes no sense in a wish is left out', () => {
  const wish = {
    ...{ endpointId: 'e', containerId: 'c', network: 'n', names: ['a', 7, ''], ipv4: '10.0.0.1' },
    ...{ ipv6: '10.0.0.1', mac: 'no', nodeId: 'another', address: '10.0.0.9/24' },
  };
  assert.deepEqual(readWish(wish), [
    {
      ...{ endpointId: 'e', containerId: 'c', network: 'n', names: ['a'] },
      ...{ ipv4: '10.0.0.1', ipv6: undefined, mac: undefined },
    },
  ]);
  for (const bad of [undefined, 7, 'text', [], { endpointId: 'e', network: 'n' }]) {
    assert.deepEqual(readWish(bad), []);
  }
});

test('a node asks for its own containers, and only on networks that are open to them', async (t) => {
  const [first = 0, second = 0] = await freePorts(2);
  const [manager, worker] = [new TestNode(first), new TestNode(second)];
  t.after(() => Promise.all([manager, worker].map(({ member }) => member.close())));
  await manager.init();
  await worker.join(manager, manager.token('worker'));
  const { store } = manager.member.needManager();
  await eventually('both are ready', () =>
    nodesOf(store).every(({ value }) => value.status === 'ready'),
  );
  const put = (id: string, attachable: boolean, vni: number) => {
    const value = networkObject(id, { [vni]: `10.0.${vni - 4096}.0/24` }, { attachable });
    return store.update([{ kind: KIND.network, id, value, expected: 0 }]);
  };
  await put('open', true, 4097);
  await put('shut', false, 4098);
  assert.equal((await worker.member.findNetwork('net-open'))?.id, 'open');
  assert.equal(await worker.member.findNetwork('nothing'), undefined);
  await assert.rejects(worker.member.findNetwork('net-shut'), {
    code: 'E_REQUEST_FORBIDDEN',
    message:
      'Could not attach to network net-shut: rpc error: code = PermissionDenied desc = network net-shut not manually attachable',
  });
  const wish = (endpointId: string, network: string): AttachmentWish => ({
    ...{ endpointId, containerId: `c-${endpointId}`, network, names: [endpointId] },
    ...{ ipv4: undefined, ipv6: undefined, mac: undefined },
  });
  const tell = ({ runner, member }: TestNode, ...wishes: AttachmentWish[]) => {
    runner.wished = wishes;
    member.attachmentsChanged();
  };
  const there = () =>
    attachmentsOf(store)
      .map(({ value }) => `${value.nodeId} ${value.endpointId} ${value.names}`)
      .sort()
      .join();
  const [own, other] = [manager, worker].map(({ member }) => member.membership?.nodeId);
  tell(manager, wish('m', 'open'));
  tell(worker, wish('w', 'open'), wish('x', 'shut'));
  const all = [`${own} m m`, `${other} w w`].sort().join();
  await eventually('one of each', () => there() === all);
  await worker.member.close();
  assert.equal(there(), all, 'a node that is away has them still');
  tell(manager);
  await eventually('the other one stays', () => there() === `${other} w w`);
});
