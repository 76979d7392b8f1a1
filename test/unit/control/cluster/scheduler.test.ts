import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isActive, isOver } from '../../../../src/control/cluster/cluster-state.ts';
import { Scheduler } from '../../../../src/control/cluster/orchestration/scheduler.ts';
import type { ClusterNode, ClusterTask, TaskTemplate } from '../../../../src/model/cluster.ts';
import { aCluster } from '../../../support/cluster-objects.ts';
import {
  aNetwork,
  aPort,
  aTask,
  joining,
  newService,
  nodeOf,
  StageBench,
} from '../../../support/stage-bench.ts';

const MIB = 2 ** 20;

/** A task that has its addresses, and so waits for a node. */
function waiting(
  id: string,
  service: ReturnType<typeof newService>,
  change: Partial<ClusterTask> = {},
): ClusterTask {
  const task = aTask(id, service, change);
  return { ...task, report: { ...task.report, state: 'pending' } };
}

function inState(task: ClusterTask, state: ClusterTask['report']['state']): ClusterTask {
  return { ...task, report: { ...task.report, state } };
}

async function scheduling(...nodes: readonly ClusterNode[]) {
  const bench = new StageBench(() => [new Scheduler()]);
  await bench.put('cluster', aCluster());
  await bench.put('node', ...nodes);
  let count = 0;
  const run = async (
    number: number,
    template: Partial<TaskTemplate> = {},
    ports: ReturnType<typeof aPort>[] = [],
  ) => {
    const service = newService(`s${count++}`, { template: joining([], template), ports });
    await bench.put('service', service);
    const ids = Array.from({ length: number }, (_, index) => `${service.id}.${index}`);
    await bench.put('task', ...ids.map((id) => waiting(id, service)));
    await bench.settle();
    return ids;
  };
  const placed = (ids: readonly string[]) => {
    const counts = new Map<string, number>();
    for (const id of ids) {
      const { nodeId } = bench.task(id);
      counts.set(nodeId, (counts.get(nodeId) ?? 0) + 1);
    }
    return Object.fromEntries([...counts].sort());
  };
  return { bench, run, placed };
}

test('tasks go where the fewest of their service are, then where the fewest are', async () => {
  const { bench, run, placed } = await scheduling(nodeOf('a'), nodeOf('b'), nodeOf('c'));
  const first = await run(4);
  const counts = placed(first);
  assert.deepEqual(Object.values(counts).sort(), [1, 1, 2]);
  const busy = Object.entries(counts).find(([, count]) => count === 2)?.[0] ?? '';
  const second = placed(await run(2));
  assert.equal(second[busy], undefined);
  assert.deepEqual(Object.values(second), [1, 1]);
  const { report, nodeId } = bench.task(first[0] ?? '');
  assert.deepEqual([report.state, report.error], ['assigned', '']);
  assert.notEqual(nodeId, '');
});

test('spread: as many to each value of a label, within it to each of the next', async () => {
  const node = (id: string, datacenter: string, rack: string) =>
    nodeOf(id, { labels: { datacenter, rack } });
  const { run, placed } = await scheduling(
    ...[node('e1', 'east', '1'), node('e2', 'east', '1'), node('e3', 'east', '2')],
    ...[node('w1', 'west', '1'), nodeOf('none')],
  );
  const spread = ['node.labels.datacenter', 'node.labels.rack'];
  assert.deepEqual(placed(await run(12, { spread })), { e1: 1, e2: 1, e3: 2, none: 4, w1: 4 });
});

test('spread counts the tasks of nodes that take no more', async () => {
  const zone = (id: string, name: string, change: Partial<ClusterNode> = {}) =>
    nodeOf(id, { labels: { zone: name }, ...change });
  const { bench, run, placed } = await scheduling(zone('a1', 'a'), zone('b1', 'b'));
  const ids = await run(4, { spread: ['node.labels.zone'] });
  assert.deepEqual(placed(ids), { a1: 2, b1: 2 });
  await bench.put('node', zone('a1', 'a', { availability: 'pause' }), zone('a2', 'a'));
  const { spec } = bench.service('s0');
  const more = ['m1', 'm2'].map((id) => waiting(id, newService('s0', spec)));
  await bench.put('task', ...more);
  await bench.settle();
  assert.deepEqual(placed(['m1', 'm2']), { a2: 1, b1: 1 });
});

test('a task that fits nowhere says why, node by node, and is placed once it can be', async () => {
  const { bench, run } = await scheduling(
    ...[nodeOf('a'), nodeOf('b', { labels: { region: 'west' } })],
    nodeOf('c', { labels: { region: 'east' }, description: { memoryBytes: 256 * MIB } }),
  );
  const reservations = { nanoCpus: 0, memoryBytes: 512 * MIB };
  const [id = ''] = await run(1, { constraints: ['node.labels.region==east'], reservations });
  const { message, error, state } = bench.task(id).report;
  const words = 'no node fits: 2 nodes miss label region=east, 1 lacks 512 MiB';
  assert.equal(message, words);
  const engine =
    'scheduling constraints not satisfied on 2 nodes; insufficient resources on 1 node';
  assert.equal(error, `${words} (${engine})`);
  assert.equal(state, 'pending');
  const { version } = bench.view.tasks.get(id) ?? {};
  await run(1);
  assert.equal(bench.view.tasks.get(id)?.version, version);
  await bench.put('node', nodeOf('b', { labels: { region: 'East' } }));
  await bench.settle();
  assert.equal(bench.task(id).nodeId, 'b');
  assert.equal(bench.task(id).report.error, '');
});

test('every filter has its words', async () => {
  const host = [aPort(80, 8080, { mode: 'host' })];
  const cpus = { nanoCpus: 4.5e9, memoryBytes: 0 };
  for (const [template, ports, node, words] of [
    [
      {},
      [],
      nodeOf('a', { status: 'down' }),
      '1 node is down (1 node not available for new tasks)',
    ],
    [{}, [], nodeOf('a', { availability: 'drain' }), '1 node is drained'],
    [{}, [], nodeOf('a', { availability: 'pause' }), '1 node is paused'],
    [{ reservations: cpus }, [], nodeOf('a'), '1 node lacks 4.5 CPUs'],
    [{ constraints: ['node.id!=a'] }, [], nodeOf('a'), '1 node does not meet node.id!=a'],
    [{ maxReplicasPerNode: 2 }, [], nodeOf('a'), '1 node runs 2 of its tasks, the most for a node'],
    [{}, host, nodeOf('a'), '1 node has its port tcp/8080 in use (host-mode port already in use'],
  ] as const) {
    const { bench, run } = await scheduling(node);
    const ids = await run(3, template, [...ports]);
    const { error } = bench.task(ids[2] ?? '').report;
    assert(error.startsWith(`no node fits: ${words}`), error);
  }
  const { bench, run } = await scheduling();
  const [id = ''] = await run(1);
  assert.equal(bench.task(id).report.error, 'no node fits: the cluster has none');
});

test('a driver that a network needs has to be at the node', async () => {
  const { bench, run, placed } = await scheduling(
    ...[nodeOf('a'), nodeOf('b', { description: { networkDrivers: ['weave'] } })],
  );
  const networks = joining(['lan', 'web']).networks;
  await bench.put('network', aNetwork('lan', [], { driver: 'weave' }), aNetwork('web'));
  assert.deepEqual(placed(await run(2, { networks })), { b: 2 });
});

test('what a task frees is given to one that waits', async () => {
  const { bench, run, placed } = await scheduling(nodeOf('a'), nodeOf('b'));
  const ids = await run(3, {}, [aPort(80, 8080, { mode: 'host' })]);
  assert.deepEqual(placed(ids), { '': 1, a: 1, b: 1 });
  assert.match(bench.task(ids[2] ?? '').report.error, /host-mode port already in use on 2 nodes/);
  const over = bench.task(ids[0] ?? '');
  await bench.put('task', inState({ ...over, desired: 'shutdown' }, 'running'));
  await bench.settle();
  assert.equal(bench.task(ids[2] ?? '').nodeId, '');
  await bench.put('task', inState(over, 'shutdown'));
  await bench.settle();
  assert.equal(bench.task(ids[2] ?? '').nodeId, over.nodeId);
});

test('a task with a node of its own is held until it fits there', async () => {
  const node = nodeOf('a', { availability: 'drain', description: { hostname: 'alpha' } });
  const { bench } = await scheduling(node, nodeOf('b'));
  const service = newService('g', { mode: { kind: 'global' } });
  await bench.put('service', service);
  const tasks = ['a', 'b'].map((id) => waiting(`g.${id}`, service, { nodeId: id, slot: 0 }));
  await bench.put('task', ...tasks);
  await bench.settle();
  assert.equal(bench.task('g.b').report.state, 'assigned');
  const { state, message } = bench.task('g.a').report;
  assert.deepEqual([state, message], ['pending', 'node alpha is drained']);
  await bench.put('node', { ...node, availability: 'active' });
  await bench.settle();
  assert.deepEqual([bench.task('g.a').report.state, bench.task('g.a').nodeId], ['assigned', 'a']);
});

test('a node where a service failed five times in five minutes comes last', async () => {
  const { bench, placed } = await scheduling(nodeOf('a'), nodeOf('b'));
  const service = newService('s');
  await bench.put('service', service);
  const failed = ['1', '2', '3', '4', '5'].map((id) =>
    inState(aTask(`f${id}`, service, { nodeId: 'a' }), 'failed'),
  );
  const place = async (id: string) => {
    await bench.put('task', waiting(id, service));
    await bench.settle();
    return Object.keys(placed([id]))[0];
  };
  await bench.put('task', ...failed.slice(0, 4));
  assert.deepEqual([await place('p1'), await place('p2')].sort(), ['a', 'b']);
  await bench.put('task', ...failed.slice(4));
  assert.deepEqual([await place('q1'), await place('q2')], ['b', 'b']);
  bench.wall += 5 * 60_000;
  assert.equal(await place('r1'), 'a');
});

test('ten thousand tasks on a thousand nodes', async (t) => {
  const zones = ['a', 'b', 'c'];
  const nodes = Array.from({ length: 1000 }, (_, index) =>
    nodeOf(`n${index}`, { labels: { zone: zones[index % 3] ?? '' } }),
  );
  const shapes: Record<string, [number, Partial<TaskTemplate>]> = {
    'one service': [1, {}],
    'one service, spread and constrained': [
      1,
      { spread: ['node.labels.zone'], constraints: ['node.labels.zone!=c'] },
    ],
    'a hundred services': [
      100,
      { constraints: ['node.role==worker'], reservations: { nanoCpus: 1e7, memoryBytes: MIB } },
    ],
    'ten thousand services': [10_000, {}],
    'a hundred services that fit nowhere': [100, { constraints: ['node.labels.zone==d'] }],
  };
  for (const [name, [count, template]] of Object.entries(shapes)) {
    const { bench } = await scheduling();
    bench.show('node', nodes);
    const services = Array.from({ length: count }, (_, index) =>
      newService(`s${index}`, { template: joining([], template) }),
    );
    const tasks = Array.from({ length: 10_000 }, (_, index) => {
      const service = services[index % count];
      assert(service);
      return waiting(`t${index}`, service);
    });
    bench.show('task', tasks);
    const { tasks: planned, ms } = bench.planAnew(new Scheduler());
    t.diagnostic(`${name}: ${ms} ms`);
    assert.equal(planned.length, 10_000);
    const fits = !name.endsWith('nowhere');
    assert(planned.every(({ nodeId }) => (nodeId !== '') === fits));
  }
});

const nodeShape = fc.record({
  zone: fc.constantFrom('a', 'b', ''),
  cpus: fc.integer({ min: 1, max: 4 }),
  state: fc.constantFrom('ready', 'ready', 'ready', 'down'),
  availability: fc.constantFrom('active', 'active', 'pause'),
});
const serviceShape = fc.record({
  tasks: fc.integer({ min: 1, max: 12 }),
  cpus: fc.integer({ min: 0, max: 2 }),
  most: fc.integer({ min: 0, max: 3 }),
  port: fc.boolean(),
  zone: fc.constantFrom('', '', 'a', 'b'),
  spread: fc.boolean(),
});
const stepShape = fc.record({
  kind: fc.constantFrom('service', 'node', 'end', 'lead', 'overlap'),
  node: nodeShape,
  service: serviceShape,
  index: fc.nat(1000),
  lost: fc.nat(3),
});

function checkNode(node: ClusterNode, tasks: readonly ClusterTask[]): void {
  const live = tasks.filter(
    (task) => !isOver(task.report.state) && task.report.state !== 'pending',
  );
  const cpus = live.reduce((sum, { template }) => sum + template.reservations.nanoCpus, 0);
  assert(cpus <= node.description.nanoCpus, `${node.id} has too much to do`);
  const ports = live.flatMap((task) => task.ports.map((port) => port.publishedPort));
  assert.equal(new Set(ports).size, ports.length, `${node.id} has a port twice`);
  for (const [, all] of Map.groupBy(live, ({ serviceId }) => serviceId)) {
    const most = all[0]?.template.maxReplicasPerNode ?? 0;
    assert(most === 0 || all.filter(isActive).length <= most);
  }
}

test('no node is given more than it has, whatever happens, whoever leads', async () => {
  const property = fc.asyncProperty(fc.array(stepShape, { maxLength: 25 }), async (steps) => {
    const { bench } = await scheduling(nodeOf('first'));
    for (const [index, { kind, node, service, index: at, lost }] of steps.entries()) {
      const tasks = [...bench.view.tasks.values()].map(({ value }) => value);
      const some = tasks[at % Math.max(1, tasks.length)];
      if (kind === 'lead') bench.lead();
      else if (kind === 'overlap') await bench.overlap();
      else if (kind === 'end' && some) await bench.put('task', inState(some, 'failed'));
      else if (kind === 'node') {
        await bench.put(
          'node',
          nodeOf(`n${index}`, {
            ...{ labels: { zone: node.zone }, availability: node.availability },
            ...{ status: node.state, description: { nanoCpus: node.cpus * 1e9 } },
          }),
        );
      } else if (kind === 'service') {
        const { cpus, most, zone, spread, port } = service;
        const one = newService(`s${index}`, {
          template: joining([], {
            ...{ reservations: { nanoCpus: cpus * 1e9, memoryBytes: 0 }, maxReplicasPerNode: most },
            constraints: zone === '' ? [] : [`node.labels.zone==${zone}`],
            spread: spread ? ['node.labels.zone'] : [],
          }),
          ports: port ? [aPort(80, 8000 + (at % 2), { mode: 'host' })] : [],
        });
        for (let number = 0; number < service.tasks; number++) {
          await bench.put('task', waiting(`s${index}.${number}`, one));
        }
      }
      let left = lost;
      await bench.settle(() => left-- <= 0);
      for (const { value } of bench.view.nodes.values()) {
        checkNode(
          value,
          [...bench.view.tasksOfNode(value.id).values()].map((one) => one.value),
        );
      }
    }
    await bench.settle();
    for (const { value } of bench.view.tasks.values()) {
      if (value.report.state === 'pending') assert.match(value.report.error, /^no node fits/);
    }
    await bench.store.close();
  });
  await fc.assert(property, { numRuns: 200 });
});

test('a node that was planned for a task and takes none before that is written is planned no more', async () => {
  const { bench } = await scheduling(nodeOf('a'));
  const service = newService('web', { template: joining([]) });
  await bench.put('service', service);
  await bench.put('task', waiting('one', service));
  await bench.settle(() => false);
  await bench.put('node', nodeOf('a', { availability: 'drain' }));
  await bench.settle();
  assert.equal(bench.task('one').nodeId, '');
  await bench.put('node', nodeOf('b'));
  await bench.settle();
  assert.equal(bench.task('one').nodeId, 'b');
});
