import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ORPHAN_MS } from '../../../../src/control/cluster/orchestration/reaper.ts';
import type { TaskRestartRule } from '../../../../src/model/cluster.ts';
import { ClusterLab } from '../../../support/cluster-lab.ts';
import { aSpec, aTemplate } from '../../../support/cluster-objects.ts';

function rule(more: Partial<TaskRestartRule>) {
  const restart = {
    condition: 'any',
    delayMs: 5000,
    maxAttempts: 0,
    windowMs: 0,
    ...more,
  } as const;
  return aSpec({ template: aTemplate({ restart }) });
}

async function running(made: ClusterLab, count = 1): Promise<void> {
  await made.until('all run', () => made.running('web').length === count);
}

function shown(made: ClusterLab): string[] {
  return made.of('web').map(({ desired, report }) => `${desired}/${report.state}`);
}

/** The task that runs ends with a failure, over and over. */
async function failAgain(made: ClusterLab, times: number, apartMs = 0): Promise<void> {
  for (let count = 0; count < times; count++) {
    await running(made);
    await made.pass(apartMs);
    await made.report(made.running('web')[0]?.id ?? '', { state: 'failed' });
    await made.settle();
    await made.pass(5000);
  }
}

test('a task that failed is followed by another one after the delay', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('web', rule({}));
  await running(made);
  await made.report(made.of('web')[0]?.id ?? '', { state: 'failed', error: 'exit 1' });
  await made.settle();
  await made.step();
  assert.deepEqual(shown(made), ['shutdown/failed', 'ready/accepted']);
  for (let at = 0; at < 4; at++) await made.step();
  assert.deepEqual(shown(made), ['shutdown/failed', 'ready/ready'], 'prepared, and it waits');
  await made.pass(5000);
  await running(made);
  assert.deepEqual(shown(made), ['shutdown/failed', 'running/running']);
});

test('another leader keeps the delay', async () => {
  const made = await ClusterLab.of('a');
  await made.create('web', rule({ delayMs: 60_000 }));
  await running(made);
  await made.report(made.of('web')[0]?.id ?? '', { state: 'failed' });
  await made.settle();
  await made.pass(30_000);
  made.lead();
  await made.pass(20_000);
  assert.equal(made.of('web').at(-1)?.desired, 'ready');
  await made.pass(15_000);
  assert.equal(made.of('web').at(-1)?.desired, 'running');
});

test('what the condition does not name is not restarted', async () => {
  for (const [condition, state, restarts] of [
    ['none', 'failed', false],
    ['on-failure', 'complete', false],
    ['on-failure', 'failed', true],
    ['any', 'complete', true],
    ['any', 'rejected', true],
  ] as const) {
    const made = await ClusterLab.of('a');
    await made.create('web', rule({ condition, delayMs: 0 }));
    await running(made);
    await made.report(made.of('web')[0]?.id ?? '', { state });
    await made.settle();
    assert.equal(made.of('web').length, restarts ? 2 : 1, `${condition} after ${state}`);
    await made.pass(60_000);
    assert.equal(made.of('web')[0]?.desired, 'shutdown');
  }
});

test('attempts are counted, beyond the tasks that are kept to be shown', async () => {
  const made = await ClusterLab.of('a');
  await made.create('web', rule({ maxAttempts: 7 }));
  await failAgain(made, 8);
  await made.pass(60_000);
  assert.equal(made.of('web').length, 8, 'the first one and seven attempts');
  assert.deepEqual(new Set(shown(made)), new Set(['shutdown/failed']));
  made.lead();
  await made.pass(60_000);
  assert.equal(made.of('web').length, 8, 'another leader counts the same');
});

test('attempts are counted within the window', async () => {
  const made = await ClusterLab.of('a');
  await made.create('web', rule({ maxAttempts: 2, windowMs: 60_000 }));
  await failAgain(made, 4, 70_000);
  await failAgain(made, 2);
  await made.pass(60_000);
  assert.equal(made.running('web').length, 0, 'three failures within a minute');
});

test('of each slot so many tasks are kept as the cluster says', async () => {
  const made = await ClusterLab.of('a');
  await made.create('web', rule({}));
  await failAgain(made, 9);
  await running(made);
  assert.equal(made.of('web').length, 5);
  assert.equal(made.of('web').at(-1)?.report.state, 'running');
});

test('tasks of a node that is down are replaced at once, and given up after a day', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('web', aSpec({ mode: { kind: 'replicated', replicas: 4 } }));
  await running(made, 4);
  const before = made.of('web', 'a').map(({ id }) => id);
  await made.node('a', { status: 'down' });
  await made.until(
    'all run',
    () => made.running('web').filter((t) => t.nodeId === 'b').length === 4,
  );
  assert.ok(before.every((id) => made.tasks.find((t) => t.id === id)?.desired === 'shutdown'));
  const states = () => before.map((id) => made.tasks.find((t) => t.id === id)?.report.state);
  await made.pass(ORPHAN_MS - 60_000);
  assert.deepEqual(states(), ['running', 'running']);
  await made.pass(120_000);
  assert.deepEqual(states(), ['orphaned', 'orphaned']);
});

test('a node that comes back ends what it should not run any more', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('web', aSpec());
  await running(made);
  const [task] = made.of('web');
  await made.node(task?.nodeId ?? '', { status: 'down' });
  await made.until('another runs', () => made.running('web').length === 2);
  await made.node(task?.nodeId ?? '', { status: 'ready' });
  await made.until('one runs', () => made.running('web').length === 1);
  assert.notEqual(made.running('web')[0]?.id, task?.id);
});

test('a node that is removed takes its tasks with it', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('web', aSpec());
  await running(made);
  const [task] = made.of('web');
  await made.local.update([{ kind: 'node', id: task?.nodeId ?? '', value: undefined }]);
  await made.settle();
  await made.until('it runs elsewhere', () => made.running('web').length === 1);
  assert.deepEqual(shown(made), ['shutdown/orphaned', 'running/running']);
});

test('a drain moves tasks, one after another in each slot; a pause moves nothing', async () => {
  const made = await ClusterLab.of('a', 'b', 'c');
  await made.create('web', aSpec({ mode: { kind: 'replicated', replicas: 3 } }));
  await running(made, 3);
  await made.node('b', { availability: 'pause' });
  await made.node('a', { availability: 'drain' });
  const [old] = made.of('web', 'a');
  const next = () => made.of('web', old?.slot).at(-1);
  assert.equal(next()?.desired, 'ready', 'it waits until the one before it has stopped');
  await made.until(
    'it has moved',
    () => made.running('web').length === 3 && !!next()?.report.serving,
  );
  assert.equal(next()?.nodeId, 'c', 'not to a node that is paused');
  assert.equal(made.of('web', 'b').length, 1);
});

test('with start-first a drained task goes when the next one serves', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('web', aSpec({ update: { order: 'start-first' } }));
  await running(made);
  const [old] = made.of('web');
  await made.node(old?.nodeId ?? '', { availability: 'drain' });
  let least = 1;
  await made.until('it has moved', () => {
    least = Math.min(least, made.of('web').filter(({ report }) => report.serving).length);
    return made.tasks.find(({ id }) => id === old?.id)?.report.state === 'shutdown';
  });
  assert.equal(least, 1);
  assert.equal(made.running('web').length, 1);
});
