import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type ClusterService,
  type ClusterTask,
  KIND,
  type ServiceMode,
  type TaskRestartRule,
} from '../../../../src/model/cluster.ts';
import { edit } from '../../../../src/store/edit.ts';
import { ClusterLab } from '../../../support/cluster-lab.ts';
import { aNode, aSpec, aTemplate } from '../../../support/cluster-objects.ts';

const GLOBAL: ServiceMode = { kind: 'global-job' };
const replicated = (completions: number, concurrent = completions): ServiceMode => ({
  ...{ kind: 'replicated-job', completions, concurrent },
});

function spec(mode: ServiceMode, restart: Partial<TaskRestartRule> = {}) {
  const rule = {
    condition: 'any',
    delayMs: 5000,
    maxAttempts: 0,
    windowMs: 0,
    ...restart,
  } as const;
  return aSpec({ mode, template: aTemplate({ restart: rule }) });
}

const active = (made: ClusterLab) =>
  made.of('job').filter(({ report }) => report.state === 'running').length;
const done = (made: ClusterLab, iteration = 0) =>
  made.of('job').filter((task) => task.iteration === iteration && task.report.state === 'complete');

/** Ends tasks that run, each with the state that is said of it. */
async function end(made: ClusterLab, state: (task: ClusterTask) => 'complete' | 'failed') {
  for (const task of made.running('job')) await made.report(task.id, { state: state(task) });
  await made.settle();
}

/** What a forced update makes of a job. */
async function again(made: ClusterLab, iteration: number): Promise<void> {
  await edit<ClusterService>(made.local, KIND.service, 'job', (service) => {
    const template = { ...service.spec.template, forceUpdate: iteration };
    const job = { iteration, began: service.job?.began ?? '' };
    return { ...service, job, spec: { ...service.spec, template }, specVersion: iteration + 1 };
  });
  await made.settle();
}

test('as many tasks run at once as may, until as many have completed as are wanted', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('job', spec(replicated(5, 2)));
  for (const left of [2, 2, 1]) {
    await made.until('they run', () => active(made) === left);
    await made.pass(60_000);
    assert.equal(active(made), left);
    await end(made, () => 'complete');
  }
  await made.pass(60_000);
  assert.equal(done(made).length, 5);
  assert.equal(made.of('job').length, 5, 'nothing follows them');
  assert.ok(made.of('job').every(({ desired }) => desired === 'running'));
  assert.deepEqual(
    made
      .of('job')
      .map(({ name }) => name.split('.')[1])
      .sort(),
    ['0', '1', '2', '3', '4'],
  );
});

test('a task that failed is followed after the delay; another leader goes on', async () => {
  const made = await ClusterLab.of('a');
  await made.create('job', spec(replicated(2)));
  await made.until('they run', () => active(made) === 2);
  await end(made, ({ slot }) => (slot === 1 ? 'failed' : 'complete'));
  made.lead();
  await made.settle();
  assert.equal(made.of('job', 1).at(-1)?.desired, 'ready');
  await made.pass(5000);
  await made.until('it runs', () => active(made) === 1);
  assert.equal(made.of('job', 2).length, 1);
  await end(made, () => 'complete');
  await made.pass(60_000);
  assert.equal(done(made).length, 2);
});

test('what may not be restarted is given up, and the others are done', async () => {
  const made = await ClusterLab.of('a');
  await made.create('job', spec(replicated(3, 1), { condition: 'none' }));
  await made.until('one runs', () => active(made) === 1);
  await end(made, () => 'failed');
  for (const slot of [2, 3]) {
    await made.until('the next one runs', () => made.running('job')[0]?.slot === slot);
    await end(made, () => 'complete');
  }
  await made.pass(60_000);
  assert.equal(done(made).length, 2);
  assert.equal(made.of('job', 1).length, 1);
});

test('attempts are limited', async () => {
  const made = await ClusterLab.of('a');
  await made.create('job', spec(replicated(1), { maxAttempts: 2, delayMs: 0 }));
  for (let attempt = 0; attempt < 3; attempt++) {
    await made.until('it runs', () => active(made) === 1);
    await end(made, () => 'failed');
  }
  await made.pass(60_000);
  assert.equal(made.of('job').length, 3);
});

test('the next run ends what is left of the one before, and does all of it again', async () => {
  const made = await ClusterLab.of('a');
  await made.create('job', spec(replicated(2)));
  await made.until('they run', () => active(made) === 2);
  await end(made, ({ slot }) => (slot === 1 ? 'complete' : 'failed'));
  await made.pass(5000);
  await made.until('it runs again', () => active(made) === 1);
  await again(made, 1);
  await made.until('both run', () => active(made) === 2);
  assert.ok(made.running('job').every(({ iteration }) => iteration === 1));
  await end(made, () => 'complete');
  await made.pass(60_000);
  assert.equal(done(made, 1).length, 2);
  assert.ok(
    made.of('job').every(({ iteration, desired }) => iteration === 1 || desired === 'shutdown'),
  );
});

test('another node takes what a node that went down has begun, and not what it has done', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('job', spec(replicated(4)));
  await made.until('they run', () => active(made) === 4);
  const [first] = made.running('job').filter(({ nodeId }) => nodeId === 'a');
  await made.report(first?.id ?? '', { state: 'complete' });
  await made.settle();
  await made.node('a', { status: 'down' });
  await made.until('all run on b', () => {
    return made.running('job').filter(({ nodeId }) => nodeId === 'b').length === 3;
  });
  assert.equal(made.of('job').length, 5);
});

test('what a lost node has done all the same counts once, and is not done again', async () => {
  const made = await ClusterLab.of('a', 'b');
  await made.create('job', spec(replicated(2, 1)));
  await made.until('it runs', () => active(made) === 1);
  const [lost] = made.running('job');
  await made.node(lost?.nodeId ?? '', { status: 'down' });
  await made.until('another runs', () => made.of('job', 1).at(-1)?.report.state === 'running');
  await made.report(lost?.id ?? '', { state: 'complete' });
  await made.report(made.of('job', 1).at(-1)?.id ?? '', { state: 'failed' });
  await made.pass(60_000);
  await made.until('the other slot follows', () =>
    made.running('job').some(({ slot }) => slot === 2),
  );
  assert.equal(made.of('job', 1).length, 2, 'what failed has been done already');
  await end(made, () => 'complete');
  await made.node(lost?.nodeId ?? '', { status: 'ready' });
  await made.create('all', spec(GLOBAL));
  await made.until('both run', () => made.running('all').length === 2);
  const [first] = made.running('all');
  await made.node(first?.nodeId ?? '', { status: 'down' });
  await made.report(first?.id ?? '', { state: 'complete' });
  await made.node(first?.nodeId ?? '', { status: 'ready' });
  await made.pass(60_000);
  assert.equal(made.of('all', first?.nodeId).length, 1);
});

test('each node that was there does a global job once, also after it was away', async () => {
  const made = await ClusterLab.of('a', 'b', 'c');
  await made.create('job', spec(GLOBAL));
  await made.until('all run', () => active(made) === 3);
  const of = (nodeId: string) => made.running('job').find((task) => task.nodeId === nodeId)?.id;
  await made.report(of('a') ?? '', { state: 'complete' });
  await made.settle();
  await made.node('a', { availability: 'drain' });
  await made.node('b', { availability: 'drain' });
  await made.until('b is empty', () => active(made) === 1);
  await made.node('a', { availability: 'active' });
  await made.node('b', { availability: 'active' });
  const later = aNode('d', { created: '2030-01-01T00:00:00.000000000Z' });
  await made.local.update([{ kind: KIND.node, id: 'd', value: later }]);
  await made.until('b does it again', () => active(made) === 2);
  await end(made, () => 'complete');
  await made.pass(60_000);
  assert.deepEqual(
    done(made)
      .map(({ nodeId }) => nodeId)
      .sort(),
    ['a', 'b', 'c'],
  );
  await again(made, 1);
  await made.until('all run', () => active(made) === 3);
});

test('a job with another specification goes on as it was begun', async () => {
  const made = await ClusterLab.of('a');
  await made.create('job', spec(replicated(2, 1)));
  await made.until('one runs', () => active(made) === 1);
  await made.respec('job', (before) => ({
    ...before,
    mode: replicated(3, 1),
    template: { ...before.template, container: { ...before.template.container, image: 'app:2' } },
  }));
  assert.equal(active(made), 1);
  for (const slot of [1, 2, 3]) {
    await made.until('it runs', () => made.running('job')[0]?.slot === slot);
    await end(made, () => 'complete');
  }
  assert.deepEqual(
    made.of('job').map(({ template }) => template.container.image),
    ['app:1', 'app:2', 'app:2'],
  );
});
