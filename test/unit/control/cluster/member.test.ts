import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { ManualClock } from '../../../../src/base/clock.ts';
import { clusterOf, findTask, nodesOf } from '../../../../src/control/cluster/cluster-state.ts';
import { DEFAULT_SPEC } from '../../../../src/control/cluster/founding.ts';
import { formatToken, newJoinSecret } from '../../../../src/control/cluster/identity/tokens.ts';
import { replace } from '../../../../src/control/cluster/refusals.ts';
import { NO_REPORT } from '../../../../src/control/cluster/report.ts';
import { readTaskLogs } from '../../../../src/control/cluster/task-logs.ts';
import { type ClusterTask, KIND } from '../../../../src/model/cluster.ts';
import { edit } from '../../../../src/store/edit.ts';
import { TestNode } from '../../../support/cluster.ts';
import { eventually, freePorts } from '../../../support/gateway.ts';

type Scope = { after(task: () => unknown): void };

async function cluster(t: Scope, size: number): Promise<TestNode[]> {
  const ports = await freePorts(size);
  const nodes = ports.map((port) => new TestNode(port));
  t.after(() => Promise.all(nodes.map(({ member }) => member.close())));
  const [first, ...rest] = nodes;
  await first?.init();
  for (const node of rest) if (first) await node.join(first, first.token('worker'));
  return nodes;
}

function statuses({ member }: TestNode): string[] {
  return nodesOf(member.needManager().store).map(({ value }) => value.status);
}

function taskFor(nodeId: string, id: string): ClusterTask {
  const container = { image: 'host' } as ClusterTask['template']['container'];
  const template = { container, files: [] } as unknown as ClusterTask['template'];
  return {
    ...{ id, name: `t.${id}`, labels: {}, created: '', updated: '', serviceId: 's', slot: 1 },
    ...{ nodeId, specVersion: 1, template, ports: [], addresses: {}, desired: 'running' },
    report: { ...NO_REPORT, state: 'assigned' },
  };
}

test('a cluster is founded, a node joins, gets its tasks and reports them', async (t) => {
  const [manager, worker] = await cluster(t, 2);
  assert.ok(manager && worker);
  await eventually('both are ready', () => statuses(manager).join() === 'ready,ready');
  const { store } = manager.member.needManager();
  const id = worker.member.membership?.nodeId ?? '';
  const task = taskFor(id, 'task1');
  await store.update([{ kind: KIND.task, id: task.id, value: task, expected: 0 }]);
  await eventually('it has the task', () => worker.runner.last.tasks.length === 1);
  assert.equal(manager.runner.last.tasks.length, 0, 'only the node of a task gets it');
  assert.deepEqual(worker.runner.last.peers.length, 2);
  worker.runner.report?.('task1', { ...NO_REPORT, state: 'running', containerId: 'c1' });
  const state = () => findTask(store, 'task1')?.report.state;
  await eventually('the report is there', () => state() === 'running');
  manager.runner.report?.('task1', { ...NO_REPORT, state: 'failed' });
  worker.runner.report?.('task1', { ...NO_REPORT, state: 'preparing' });
  await edit<ClusterTask>(store, KIND.task, 'task1', (one) => ({ ...one, desired: 'shutdown' }));
  await eventually('it is drained', () => worker.runner.drainedTasks.includes('task1'));
  assert.equal(state(), 'running', 'not by another node, and never back');
});

test('output of tasks comes from the nodes that they are on, and to an end', async (t) => {
  const [manager, worker] = await cluster(t, 2);
  assert.ok(manager && worker);
  await eventually('both are ready', () => statuses(manager).join() === 'ready,ready');
  const part = manager.member.needManager();
  const nodes = [manager, worker].map(({ member }) => member.membership?.nodeId ?? '');
  const report = { ...NO_REPORT, state: 'running', containerId: 'c' } as const;
  const put = (nodeId: string, id: string) => {
    const value = { ...taskFor(nodeId, id), report };
    return part.store.update([{ kind: KIND.task, id, value, expected: 0 }]);
  };
  for (const [index, nodeId] of nodes.entries()) await put(nodeId, `task${index}`);
  await put('nobody', 'task9');
  const query = { follow: false, tail: undefined, sinceNs: undefined, untilNs: undefined };
  const lines: string[] = [];
  const take = (_: unknown, { data }: { data: string }) => {
    lines.push(Buffer.from(data, 'base64').toString());
  };
  let ended = 0;
  readTaskLogs(
    part,
    () => true,
    query,
    take,
    () => ended++,
  );
  await eventually('it has ended', () => ended > 0);
  assert.deepEqual(lines.splice(0).sort(), ['task0 speaks\n', 'task1 speaks\n']);
  const stop = readTaskLogs(
    part,
    () => true,
    { ...query, follow: true },
    take,
    () => ended++,
  );
  await put(nodes[1] ?? '', 'task2');
  await eventually('a task that comes is heard', () => lines.includes('task2 speaks\n'));
  assert.equal(ended, 1);
  stop();
  stop();
  assert.equal(ended, 2);
});

test('a task is drained when every node shows that, not when every node has been told', async (t) => {
  const [manager, worker] = await cluster(t, 2);
  assert.ok(manager && worker);
  await eventually('both are ready', () => statuses(manager).join() === 'ready,ready');
  const { store } = manager.member.needManager();
  const id = worker.member.membership?.nodeId ?? '';
  const [one, two] = [taskFor(id, 'task1'), taskFor(id, 'task2')];
  const put = (task: ClusterTask) => ({ kind: KIND.task, id: task.id, value: task, expected: 0 });
  await store.update([put(one), put(two)]);
  await eventually('it has the tasks', () => worker.runner.last.tasks.length === 2);
  worker.runner.refuses = 'no VXLAN here';
  const asked = worker.runner.assigned.length;
  await edit<ClusterTask>(store, KIND.task, 'task1', (task) => ({ ...task, desired: 'shutdown' }));
  await eventually('it is tried again', () => worker.runner.assigned.length >= asked + 2, 10_000);
  assert.deepEqual(worker.runner.drainedTasks, []);
  await edit<ClusterTask>(store, KIND.task, 'task2', (task) => ({ ...task, slot: 2 }));
  const slot = () => worker.runner.last.tasks.find((task) => task.id === 'task2')?.slot;
  await eventually('what is new still reaches it', () => slot() === 2);
  assert.deepEqual(worker.runner.drainedTasks, []);
  worker.runner.refuses = '';
  await eventually('it is drained', () => worker.runner.drainedTasks.includes('task1'), 10_000);
});

test('a node that is silent is down, and ready when it comes back', async (t) => {
  const [manager, worker] = await cluster(t, 2);
  assert.ok(manager && worker);
  await eventually('both are ready', () => statuses(manager).join() === 'ready,ready');
  await worker.member.close();
  await eventually('it is down', () => statuses(manager).includes('down'), 10_000);
  const again = new TestNode(worker.port, worker.disk);
  t.after(() => again.member.close());
  await again.member.start();
  await eventually('it is back', () => statuses(manager).join() === 'ready,ready');
});

test('managers away: a node lives by what it was told last, and resumes', async (t) => {
  const [port = 0, other = 0] = await freePorts(2);
  const { LocalStore } = await import('../../../../src/store/local-store.ts');
  const { mkdtempSync, rmSync } = await import('node:fs');
  const folder = mkdtempSync('/tmp/sluice-member-');
  const open = async () => new LocalStore(`${folder}/cluster.db`);
  const manager = new TestNode(port, undefined, open);
  const worker = new TestNode(other);
  t.after(async () => {
    await worker.member.close();
    rmSync(folder, { recursive: true });
  });
  await manager.init();
  await worker.join(manager, manager.token('worker'));
  const { store } = manager.member.needManager();
  const id = worker.member.membership?.nodeId ?? '';
  await store.update([{ kind: KIND.task, id: 'a', value: taskFor(id, 'a'), expected: 0 }]);
  await eventually('it has the task', () => worker.runner.last.tasks.length === 1);
  await manager.member.close();
  const restarted = new TestNode(other, worker.disk);
  await worker.member.close();
  await restarted.member.start();
  assert.equal(restarted.runner.last.tasks[0]?.id, 'a');
  assert.equal(restarted.member.state, 'active');
  const back = new TestNode(port, manager.disk, open);
  t.after(async () => {
    await restarted.member.close();
    await back.member.close();
  });
  await back.member.start();
  await eventually('both are ready', () => statuses(back).join() === 'ready,ready', 10_000);
  const before = restarted.runner.assigned.length;
  const { store: after } = back.member.needManager();
  await after.update([{ kind: KIND.task, id: 'b', value: taskFor(id, 'b'), expected: 0 }]);
  await eventually('it gets more', () => restarted.runner.last.tasks.length === 2);
  assert.ok(restarted.runner.assigned.length > before);
});

test('wrong tokens, other clusters and strangers are refused', async (t) => {
  const [manager] = await cluster(t, 1);
  const [foreign] = await cluster(t, 1);
  const [port = 0] = await freePorts(1);
  const node = new TestNode(port);
  t.after(() => node.member.close());
  assert.ok(manager && foreign);
  const { tokenDigest: rootDigest } = manager.member.needManager();
  const guessed = formatToken({ rootDigest, secret: newJoinSecret() });
  await assert.rejects(node.join(manager, guessed), /A valid join token is necessary/);
  await assert.rejects(node.join(manager, foreign.token('worker')), /does not match fingerprint/);
  await assert.rejects(node.join(manager, 'SWMTKN-1-x'), /invalid join token/);
  await assert.rejects(node.join(manager, manager.token('manager')), /--cluster-store/);
  await assert.rejects(manager.init(), /already part of a swarm/);
  assert.throws(() => node.member.needManager(), /not a swarm manager/);
  assert.equal(node.member.state, 'inactive');
  assert.equal(statuses(manager).length, 1);
});

test('what no node sends ends the connection and nothing else', async (t) => {
  const [manager] = await cluster(t, 1);
  assert.ok(manager);
  const session = Buffer.from(JSON.stringify({ open: 'session', description: 1 }));
  const head = (length: number, kind = 0) => Buffer.from([0, 0, length >> 8, length & 255, kind]);
  const hostile = [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.concat([head(session.length), session]),
    Buffer.concat([head(2), Buffer.from('[]')]),
    Buffer.from([255, 255, 255, 255, 0]),
    Buffer.concat([head(4, 9), Buffer.alloc(4)]),
  ];
  for (const bytes of hostile) {
    const socket = connect({ port: manager.port, host: '127.0.0.1', rejectUnauthorized: false });
    socket.on('error', () => {});
    socket.write(bytes);
    await new Promise((resolve) => socket.once('close', resolve));
  }
  const [port = 0] = await freePorts(1);
  const node = new TestNode(port);
  t.after(() => node.member.close());
  await node.join(manager, manager.token('worker'));
  await eventually('it serves on', () => statuses(manager).join() === 'ready,ready');
});

test('a removed node is told so and leaves', async (t) => {
  const [manager, worker] = await cluster(t, 2);
  assert.ok(manager && worker);
  await eventually('both are ready', () => statuses(manager).join() === 'ready,ready');
  const { store } = manager.member.needManager();
  const id = worker.member.membership?.nodeId ?? '';
  await store.update([{ kind: KIND.node, id, value: undefined }]);
  await eventually('it has left', () => worker.member.state === 'inactive');
  assert.equal(worker.member.membership, undefined);
});

test('the last manager warns before it leaves, and takes the state with it', async (t) => {
  const [manager] = await cluster(t, 1);
  assert.ok(manager);
  await assert.rejects(manager.member.leave(false), /Removing the last manager erases all current/);
  await manager.member.leave(true);
  assert.equal(manager.member.state, 'inactive');
  await assert.rejects(manager.member.leave(true), /not part of a swarm/);
  await manager.init();
});

test('a write upon a version that is no more is refused in the words that users know', async (t) => {
  const [node] = await cluster(t, 1);
  assert.ok(node);
  const { store } = node.member.needManager();
  const [found] = nodesOf(store);
  assert.ok(found);
  const change = { kind: KIND.node, id: found.value.id, value: found.value };
  await replace(store, { ...change, expected: found.version });
  await assert.rejects(replace(store, { ...change, expected: found.version }), {
    message: 'rpc error: code = Unknown desc = update out of sequence',
  });
});

test('RA-49 keys of encrypted overlays change every 12 hours, and three of them are kept', async (t) => {
  const [port = 0] = await freePorts(1);
  const clock = new ManualClock(Date.now());
  const node = new TestNode(port, undefined, undefined, { clock });
  t.after(() => node.member.close());
  await node.init({ spec: { ...DEFAULT_SPEC, heartbeatMs: 3600_000 } });
  const { keys, store } = node.member.needManager();
  const known = () => clusterOf(store)?.value.sealedOverlayKeys ?? [];
  const ids = () => known().map(({ id }) => id);
  await eventually('it has one', () => ids().join() === '1');
  for (const [now, next] of [
    ['1', '1,2'],
    ['1,2', '1,2,3'],
    ['1,2,3', '2,3,4'],
  ]) {
    clock.advance(12 * 3600_000 - 120_000);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(ids().join(), now, 'two minutes before the time is over');
    await eventually(`it has the keys ${next}`, () => {
      clock.advance(60_000);
      return ids().join() === next;
    });
  }
  const opened = known().map(({ key }) => keys.overlayKey(key));
  assert.ok(
    opened.every((key) => /^[0-9a-f]{40}$/.test(key)),
    'key and salt of AES-128-GCM',
  );
  assert.equal(new Set(opened).size, 3);
});
