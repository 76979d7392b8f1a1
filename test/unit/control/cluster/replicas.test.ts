import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ORPHAN_MS } from '../../../../src/control/cluster/orchestration/reaper.ts';
import type { ServiceSpec } from '../../../../src/model/cluster.ts';
import { ClusterLab } from '../../../support/cluster-lab.ts';
import { aSpec } from '../../../support/cluster-objects.ts';

function replicas(count: number) {
  return (spec: ServiceSpec): ServiceSpec => ({
    ...spec,
    mode: { kind: 'replicated', replicas: count },
  });
}

const THREE = aSpec({ mode: { kind: 'replicated', replicas: 3 } });

function slots(made: ClusterLab): number[] {
  return made
    .of('web')
    .map(({ slot }) => slot)
    .sort();
}

test('a service gets its tasks, complete with what a node needs', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('web', THREE);
  const [task] = made.of('web', 1);
  assert.match(task?.id ?? '', /^[0-9a-z]{25}$/);
  assert.equal(task?.name, `web.1.${task?.id}`);
  assert.deepEqual([task?.specVersion, task?.desired], [1, 'running']);
  assert.deepEqual(task?.template, THREE.template);
  await made.until('all run', () => made.running('web').length === 3);
  assert.deepEqual(slots(made), [1, 2, 3]);
});

test('a scale keeps the tasks that there are; numbers that are free are used again', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('web', THREE);
  await made.until('all run', () => made.running('web').length === 3);
  const before = made.of('web').map(({ id }) => id);
  await made.respec('web', replicas(5));
  await made.until('five run', () => made.running('web').length === 5);
  assert.ok(before.every((id) => made.of('web').some((task) => task.id === id)));
  assert.deepEqual(slots(made), [1, 2, 3, 4, 5]);
  await made.respec('web', replicas(2));
  await made.until('two are left', () => made.of('web').length === 2);
  await made.respec('web', replicas(4));
  await made.until('four run', () => made.running('web').length === 4);
  assert.deepEqual(slots(made), [1, 2, 3, 4]);
  assert.equal(made.service('web').progress, undefined, 'nothing of that is an update');
});

test('a scale down takes what does not run, then from the node that has most', async () => {
  const made = await ClusterLab.of('a', 'b');
  made.fate = ({ slot }) => (slot === 1 ? 'stuck' : undefined);
  await made.create('web', aSpec({ mode: { kind: 'replicated', replicas: 5 } }));
  await made.until('four run', () => made.running('web').length === 4);
  await made.respec('web', replicas(4));
  await made.until('four are left', () => made.of('web').length === 4);
  assert.deepEqual(slots(made), [2, 3, 4, 5]);
  const on = (id: string) => made.of('web', id).length;
  assert.deepEqual([on('a'), on('b')], [2, 2]);
  await made.respec('web', replicas(2));
  await made.until('two are left', () => made.of('web').length === 2);
  assert.deepEqual([on('a'), on('b')], [1, 1]);
});

test('a task that is to go stays until its node says that it is over', async () => {
  const made = await ClusterLab.of('a');
  await made.create('web', aSpec());
  await made.until('it runs', () => made.running('web').length === 1);
  await made.drop('web');
  assert.equal(made.of('web')[0]?.desired, 'remove');
  await made.pass(60_000);
  assert.equal(made.of('web').length, 1, 'the node has said nothing');
  await made.step();
  assert.equal(made.of('web')[0]?.report.serving, false, 'it is drained first');
  await made.until('it is gone', () => made.of('web').length === 0);
});

test('tasks of a service that goes: one without a node at once, one of a node that is gone too', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.node('b', { availability: 'pause' });
  await made.create('web', aSpec());
  await made.until('it runs', () => made.running('web').length === 1);
  await made.node('a', { availability: 'pause' });
  await made.create('waiting', aSpec());
  assert.equal(made.of('waiting')[0]?.report.state, 'pending');
  await made.drop('waiting');
  assert.equal(made.of('waiting').length, 0);
  await made.node('a', { status: 'down' });
  await made.drop('web');
  await made.pass(1000);
  assert.equal(made.of('web').length, 1, 'a node that is down may come back');
  await made.pass(ORPHAN_MS);
  assert.equal(made.of('web').length, 0);
});

test('another leader makes nothing twice, whatever the one before it had written', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('web', THREE);
  const ids = made.of('web').map(({ id }) => id);
  made.lead();
  await made.settle();
  assert.deepEqual(
    made.of('web').map(({ id }) => id),
    ids,
  );
});
