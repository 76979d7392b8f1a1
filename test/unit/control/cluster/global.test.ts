import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClusterLab } from '../../../support/cluster-lab.ts';
import { aNode, aSpec } from '../../../support/cluster-objects.ts';

const GLOBAL = aSpec({ mode: { kind: 'global' } });

function nodesOf(made: ClusterLab): string[] {
  return made
    .running('web')
    .map(({ nodeId }) => nodeId)
    .sort();
}

test('every node that takes tasks has one, those that come later too', async () => {
  const made = await ClusterLab.of('a', 'b', 'c', 'd');
  await made.node('c', { availability: 'pause' });
  await made.node('d', { availability: 'drain' });
  await made.create('web', GLOBAL);
  await made.until('two run', () => nodesOf(made).join() === 'a,b');
  const [task] = made.of('web', 'a');
  assert.equal(task?.name, `web.a.${task?.id}`);
  await made.node('c', { availability: 'active' });
  await made.local.update([{ kind: 'node', id: 'e', value: aNode('e') }]);
  await made.until('four run', () => nodesOf(made).join() === 'a,b,c,e');
});

test('a node that is paused keeps its task; one that is drained or down does not', async () => {
  const made = await ClusterLab.of('a', 'b', 'c');
  await made.create('web', GLOBAL);
  await made.until('all run', () => nodesOf(made).length === 3);
  await made.node('a', { availability: 'pause' });
  await made.node('b', { availability: 'drain' });
  await made.node('c', { status: 'down' });
  await made.until('b is empty', () => made.of('web', 'b')[0]?.report.state === 'shutdown');
  assert.equal(made.of('web').length, 3, 'nothing follows elsewhere');
  assert.deepEqual(
    made
      .of('web')
      .map(({ desired }) => desired)
      .sort(),
    ['running', 'shutdown', 'shutdown'],
  );
  await made.node('b', { availability: 'active' });
  await made.node('c', { status: 'ready' });
  await made.until('all run', () => nodesOf(made).join() === 'a,b,c');
});

test('a task that failed is followed on its node; nothing is left of a node that went', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('web', GLOBAL);
  await made.until('all run', () => nodesOf(made).length === 2);
  await made.report(made.of('web', 'a')[0]?.id ?? '', { state: 'failed' });
  await made.settle();
  assert.equal(made.of('web', 'a').at(-1)?.desired, 'ready');
  await made.pass(5000);
  await made.until('all run', () => nodesOf(made).join() === 'a,b');
  await made.local.update([{ kind: 'node', id: 'a', value: undefined }]);
  await made.settle();
  assert.deepEqual(
    made.of('web').map(({ nodeId }) => nodeId),
    ['b'],
  );
});

test('a task that ended and is not to be restarted does not come again', async () => {
  const made = await ClusterLab.of('a');
  const { template } = GLOBAL;
  const restart = { ...template.restart, condition: 'none' as const };
  await made.create('web', { ...GLOBAL, template: { ...template, restart } });
  await made.until('it runs', () => nodesOf(made).length === 1);
  await made.report(made.of('web')[0]?.id ?? '', { state: 'complete' });
  await made.settle();
  await made.node('a', { name: 'another' });
  await made.pass(60_000);
  assert.equal(made.of('web').length, 1);
});

test('a task that failed as its node was drained is followed when the node is active again', async () => {
  const made = await ClusterLab.of('a');
  await made.create('web', GLOBAL);
  await made.until('it runs', () => nodesOf(made).length === 1);
  await made.report(made.of('web')[0]?.id ?? '', { state: 'failed' });
  await made.node('a', { availability: 'drain' });
  await made.pass(60_000);
  assert.deepEqual(
    made.of('web').map(({ report }) => report.state),
    ['failed'],
  );
  await made.respec('web', (spec) => ({ ...spec, template: { ...spec.template, forceUpdate: 1 } }));
  assert.equal(made.of('web').length, 1, 'no update makes one on a node that takes none');
  await made.node('a', { availability: 'active' });
  await made.until('it runs', () => nodesOf(made).length === 1);
});

test('other constraints end the tasks of nodes that no longer fit, and replace no other', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('web', GLOBAL);
  await made.until('all run', () => nodesOf(made).length === 2);
  const [kept] = made.of('web', 'b');
  await made.respec('web', (spec) => ({
    ...spec,
    template: { ...spec.template, constraints: ['node.hostname==b'] },
  }));
  await made.until('one is left', () => nodesOf(made).join() === 'b');
  await made.pass(60_000);
  assert.equal(made.running('web')[0]?.id, kept?.id);
  assert.equal(made.of('web', 'a').length, 1, 'and nothing comes again');
  assert.equal(made.service('web').progress, undefined);
});
