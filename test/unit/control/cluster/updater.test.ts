import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type ClusterService,
  type ClusterTask,
  KIND,
  type ServiceSpec,
} from '../../../../src/model/cluster.ts';
import { edit } from '../../../../src/store/edit.ts';
import { ClusterLab } from '../../../support/cluster-lab.ts';
import { aSpec, aTemplate } from '../../../support/cluster-objects.ts';

type Parts = NonNullable<Parameters<typeof aSpec>[0]>;

const imageOf = ({ template }: ClusterTask) => template.container.image;

function toImage(image: string) {
  return (spec: ServiceSpec): ServiceSpec => ({ ...spec, template: aTemplate({}, image) });
}

/** A cluster where a service runs on two nodes. */
async function running(replicas: number, more: Parts = {}): Promise<ClusterLab> {
  const made = await ClusterLab.of('a', 'b');
  await made.create('web', aSpec({ mode: { kind: 'replicated', replicas }, ...more }));
  await made.until('all run', () => made.running('web').length === replicas);
  return made;
}

function serving(made: ClusterLab, image?: string): number {
  return made
    .of('web')
    .filter((task) => task.report.serving && (image === undefined || imageOf(task) === image))
    .length;
}

function state(made: ClusterLab): string | undefined {
  return made.service('web').progress?.state;
}

/** Runs on until the update is over. Gives the most that was replaced and the least that served. */
async function watch(made: ClusterLab, end: string) {
  const old = new Set(made.running('web').map(({ id }) => id));
  const slots = old.size;
  let [replaced, served] = [0, Number.POSITIVE_INFINITY];
  await made.until(
    end,
    () => {
      const wanted = made
        .of('web')
        .filter(({ desired }) => desired === 'running' || desired === 'ready');
      const fresh = wanted.filter(({ id, report }) => !old.has(id) && !report.serving);
      replaced = Math.max(replaced, fresh.length);
      served = Math.min(served, serving(made));
      made.clock.advance(500);
      return state(made) === end;
    },
    400,
  );
  return { replaced, served, slots };
}

test('an update replaces so many at a time as its rule says, and tells how far it is', async () => {
  const made = await running(6, { update: { parallelism: 2 } });
  await made.respec('web', toImage('app:2'));
  assert.deepEqual(
    [state(made), made.service('web').progress?.message],
    ['updating', 'update in progress'],
  );
  const { replaced, served } = await watch(made, 'completed');
  assert.deepEqual([replaced, served], [2, 4]);
  const { message, completed, started } = made.service('web').progress ?? {};
  assert.equal(message, 'update completed');
  assert.ok((completed ?? '') > (started ?? ''));
  assert.ok(made.running('web').every((task) => imageOf(task) === 'app:2'));
  assert.equal(made.running('web').length, 6);
});

test('a parallelism of 0 replaces all at once', async () => {
  const made = await running(4, { update: { parallelism: 0 } });
  await made.respec('web', toImage('app:2'));
  assert.equal((await watch(made, 'completed')).replaced, 4);
});

test('with start-first every task serves until the next one does', async () => {
  const made = await running(3, { update: { order: 'start-first', parallelism: 1 } });
  await made.respec('web', toImage('app:2'));
  const { replaced, served } = await watch(made, 'completed');
  assert.deepEqual([replaced, served], [1, 3]);
  await made.until('the old ones end', () => made.running('web').length === 3);
});

test('with stop-first the next task is prepared while the one before it ends', async () => {
  const made = await running(1);
  await made.respec('web', toImage('app:2'));
  const [old, next] = made.of('web');
  assert.deepEqual([old?.desired, next?.desired], ['shutdown', 'ready']);
  await made.step();
  await made.step();
  assert.equal(made.of('web')[0]?.report.state, 'shutdown');
  assert.equal(made.of('web')[1]?.desired, 'running', 'its place is free');
});

test('between two slots there is the delay', async () => {
  const made = await running(2, { update: { delayMs: 30_000, monitorMs: 0 } });
  await made.respec('web', toImage('app:2'));
  await made.until('one is new', () => serving(made, 'app:2') === 1);
  await made.pass(29_000);
  assert.equal(serving(made, 'app:1'), 1);
  assert.equal(made.of('web').length, 3);
  await made.pass(2000);
  assert.equal(made.of('web').length, 4);
});

test('what no task is made of replaces nothing', async () => {
  const made = await running(2);
  const ids = () =>
    made
      .running('web')
      .map(({ id }) => id)
      .join();
  const before = ids();
  await made.respec('web', (spec) => ({
    ...spec,
    template: JSON.parse(JSON.stringify(spec.template)),
  }));
  await made.respec('web', (spec) => ({ ...spec, update: { ...spec.update, delayMs: 1 } }));
  await made.respec('web', (spec) => ({
    ...spec,
    template: { ...spec.template, constraints: ['node.platform.os==linux'] },
  }));
  await made.pass(60_000);
  assert.equal(ids(), before);
  assert.equal(state(made), undefined);
  await made.respec('web', (spec) => ({
    ...spec,
    template: { ...spec.template, forceUpdate: 1 },
  }));
  await watch(made, 'completed');
  assert.notEqual(ids(), before);
});

test('constraints that are not met where tasks are replace those', async () => {
  const made = await running(2);
  const constraints = ['node.hostname!=a'];
  const [kept] = made.of('web', 'b');
  await made.respec('web', (spec) => ({ ...spec, template: { ...spec.template, constraints } }));
  await watch(made, 'completed');
  assert.deepEqual(
    made.running('web').map(({ nodeId }) => nodeId),
    ['b', 'b'],
  );
  assert.ok(made.running('web').some(({ id }) => id === kept?.id));
});

test('an update that is taken back keeps the tasks that it had not reached', async () => {
  const made = await running(2, { update: { order: 'start-first' } });
  const before = made.running('web').map(({ id }) => id);
  made.fate = (task) => (imageOf(task) === 'app:2' ? 'stuck' : undefined);
  await made.respec('web', toImage('app:2'));
  await made.until('one starts', () => made.of('web').at(-1)?.report.state === 'starting');
  await made.respec('web', toImage('app:1'));
  await made.until(
    'it is over',
    () =>
      made.running('web').length === 2 &&
      made
        .of('web')
        .every(({ desired, report }) => desired === 'running' || report.state === 'shutdown'),
  );
  assert.deepEqual(
    made
      .running('web')
      .map(({ id }) => id)
      .sort(),
    before.sort(),
  );
  await made.respec('web', toImage('app:2'));
  made.fate = () => undefined;
  await watch(made, 'completed');
  assert.equal(serving(made, 'app:2'), 2, 'what was stopped then is no reason to keep the others');
});

test('a task that was made before its ports were given is replaced once more', async () => {
  const made = await running(2, { update: { parallelism: 1 } });
  made.fate = (task) =>
    task.ports.length === 0 && imageOf(task) === 'app:2' ? 'stuck' : undefined;
  await made.respec('web', toImage('app:2'));
  await made.until('one starts', () => made.of('web').at(-1)?.report.state === 'starting');
  const ports = [
    { name: '', transport: 'tcp', targetPort: 80, publishedPort: 80, mode: 'ingress' } as const,
  ];
  await edit<ClusterService>(made.local, KIND.service, 'web', (service) => ({
    ...service,
    ...{ ports, spec: { ...service.spec, ports } },
  }));
  await watch(made, 'completed');
  assert.ok(made.running('web').every((task) => task.ports.length === 1));
});

test('other ports replace tasks', async () => {
  const made = await running(1);
  const port = {
    name: '',
    transport: 'tcp',
    targetPort: 80,
    publishedPort: 8080,
    mode: 'ingress',
  } as const;
  await made.respec('web', (spec) => ({ ...spec, ports: [port] }));
  await watch(made, 'completed');
  assert.deepEqual(made.running('web')[0]?.ports, [port]);
});

test('a task that fails within the monitor pauses the update', async () => {
  const made = await running(3);
  made.fate = (task) => (imageOf(task) === 'app:2' ? 'failed' : undefined);
  await made.respec('web', toImage('app:2'));
  const { served } = await watch(made, 'paused');
  assert.equal(served, 2);
  const { message = '' } = made.service('web').progress ?? {};
  const [, id] =
    /^update paused due to failure or early termination of task (\w+)$/.exec(message) ?? [];
  assert.equal(imageOf(made.of('web').find((task) => task.id === id) ?? assert.fail()), 'app:2');
  await made.pass(60_000);
  assert.equal(serving(made, 'app:1'), 2, 'no more is replaced');
  made.fate = () => undefined;
  await made.respec('web', toImage('app:3'));
  await watch(made, 'completed');
  assert.equal(serving(made, 'app:3'), 3, 'another update goes on from there');
});

test('a failure after the monitor does not count, and a ratio lets some fail', async () => {
  const late = await running(2, { update: { monitorMs: 2000, delayMs: 30_000 } });
  await late.respec('web', toImage('app:2'));
  await late.until('one is new', () => serving(late, 'app:2') === 1);
  await late.pass(10_000);
  await late.report(late.running('web').find((t) => imageOf(t) === 'app:2')?.id ?? '', {
    state: 'failed',
  });
  await late.settle();
  await watch(late, 'completed');

  const some = await running(4, { update: { maxFailureRatio: 0.5 } });
  some.fate = (task) => (imageOf(task) === 'app:2' && task.slot <= 2 ? 'failed' : undefined);
  await some.respec('web', toImage('app:2'));
  await watch(some, 'completed');

  const more = await running(4, { update: { maxFailureRatio: 0.5 } });
  more.fate = (task) => (imageOf(task) === 'app:2' && task.slot <= 3 ? 'failed' : undefined);
  await more.respec('web', toImage('app:2'));
  await watch(more, 'paused');
});

test('an update that goes on whatever fails is completed', async () => {
  const made = await running(2, { update: { failureAction: 'continue' } });
  made.fate = (task) => (imageOf(task) === 'app:2' ? 'failed' : undefined);
  await made.respec('web', toImage('app:2'));
  await watch(made, 'completed');
});

test('an update that fails is rolled back by the rule for that', async () => {
  const made = await running(4, {
    update: { failureAction: 'rollback', parallelism: 1 },
    rollback: { parallelism: 2 },
  });
  await made.respec('web', toImage('app:2'));
  const version = made.service('web').specVersion;
  made.fate = (task) => (imageOf(task) === 'app:2' && task.slot === 3 ? 'failed' : undefined);
  await watch(made, 'rollback_started');
  assert.match(
    made.service('web').progress?.message ?? '',
    /^update rolled back due to failure or early termination of task \w+$/,
  );
  const { specVersion, spec, previous, labels } = made.service('web');
  assert.deepEqual(
    [specVersion, spec.template.container.image, previous, labels],
    [version + 1, 'app:1', undefined, {}],
  );
  const { replaced } = await watch(made, 'rollback_completed');
  assert.equal(replaced, 2);
  assert.equal(made.service('web').progress?.message, 'rollback completed');
  await made.until('all run', () => serving(made, 'app:1') === 4);
});

test('a rollback that fails is paused, never rolled back', async () => {
  const made = await running(2, {
    update: { failureAction: 'rollback' },
    rollback: { failureAction: 'rollback' },
  });
  made.fate = ({ id }) =>
    made.running('web').some((task) => task.id === id) ? undefined : 'failed';
  await made.respec('web', toImage('app:2'));
  await watch(made, 'rollback_paused');
  assert.match(made.service('web').progress?.message ?? '', /^rollback paused due to failure/);
});

test('an update during an update goes on with the latest', async () => {
  const made = await running(4, { update: { order: 'start-first' } });
  await made.respec('web', toImage('app:2'));
  await made.until('one is new', () => serving(made, 'app:2') === 1);
  await made.respec('web', toImage('app:3'));
  const { served } = await watch(made, 'completed');
  assert.equal(served, 4);
  await made.until('the old ones end', () => made.running('web').length === 4);
  assert.equal(serving(made, 'app:3'), 4);
});

test('another leader goes on with an update, and sees what failed before it led', async () => {
  const made = await running(4, { update: { parallelism: 2 } });
  await made.respec('web', toImage('app:2'));
  await made.until('one is new', () => serving(made, 'app:2') >= 1);
  made.lead();
  const { replaced } = await watch(made, 'completed');
  assert.ok(replaced <= 2);

  made.fate = (task) => (imageOf(task) === 'app:3' ? 'failed' : undefined);
  await made.respec('web', toImage('app:3'));
  await made.until('one starts', () => made.of('web').at(-1)?.report.state === 'starting');
  made.leader.end();
  await made.until('one has failed', () =>
    made.of('web').some(({ report }) => report.state === 'failed'),
  );
  made.lead();
  await watch(made, 'paused');
});

test('a global service is updated node by node', async () => {
  const made = await ClusterLab.of('a', 'b', 'c');
  await made.create('web', aSpec({ mode: { kind: 'global' } }));
  await made.until('all run', () => made.running('web').length === 3);
  await made.respec('web', toImage('app:2'));
  const { replaced, served } = await watch(made, 'completed');
  assert.deepEqual([replaced, served], [1, 2]);
  assert.equal(serving(made, 'app:2'), 3);
});

test('an update is completed though a node is drained in the middle of it', async () => {
  for (const mode of [{ kind: 'global' }, { kind: 'replicated', replicas: 3 }] as const) {
    const made = await ClusterLab.of('a', 'b', 'c');
    const restart = { ...aTemplate().restart, condition: 'none' as const };
    await made.create('web', aSpec({ mode, template: aTemplate({ restart }) }));
    await made.until('all run', () => made.running('web').length === 3);
    await made.respec('web', (spec) => ({
      ...spec,
      template: { ...spec.template, forceUpdate: 1 },
    }));
    const next = () => made.of('web').find(({ template }) => template.forceUpdate === 1);
    await made.until('one starts', () => next()?.report.state === 'starting');
    await made.node(next()?.nodeId ?? '', { availability: 'drain' });
    await watch(made, 'completed');
    assert.equal(made.running('web').length, 2, 'what is not to be restarted does not move');
  }
});
