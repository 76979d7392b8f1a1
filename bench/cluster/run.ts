import { parseArgs } from 'node:util';
import { Assignments } from '../../src/control/cluster/assignments.ts';
import type { BoardView } from '../../src/control/cluster/board.ts';
import { NO_REPORT } from '../../src/control/cluster/report.ts';
import { applyDiff, versionOf } from '../../src/link/assignment.ts';
import { type ClusterService, KIND, type NodeAssignment } from '../../src/model/cluster.ts';
import { LocalStore } from '../../src/store/local-store.ts';
import { MAX_CHANGES } from '../../src/store/store.ts';
import {
  ingressPort,
  networkObject,
  nodeObject,
  serviceObject,
  taskObject,
} from '../../test/support/assignment-objects.ts';

/*
 * What a leader spends on one changed task: the assignments of all nodes that it concerns, as the
 * messages that are sent; and what such a node spends. Every service is on one overlay of ten, and
 * every tenth one is published.
 */
const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '1000' },
    tasks: { type: 'string', default: '10000' },
    services: { type: 'string', default: '1000' },
    changes: { type: 'string', default: '200' },
  },
});
const [nodes, tasks, services, changes] = [
  Number(values.nodes),
  Number(values.tasks),
  Number(values.services),
  Number(values.changes),
];
const OVERLAYS = 10;
const PUBLISHED_EVERY = 10;

const store = new LocalStore(':memory:');
const address = (network: number, number: number) =>
  `10.${network}.${number >> 8}.${number & 255}/16`;

async function fill(): Promise<ClusterService[]> {
  const objects: [kind: string, value: { readonly id: string }][] = [];
  for (let n = 0; n < nodes; n++) objects.push([KIND.node, nodeObject(`node${n}`)]);
  const ingress = networkObject('ingress', { 4096: '10.0.0.0/16' }, { ingress: true });
  objects.push([KIND.network, ingress]);
  for (let n = 1; n <= OVERLAYS; n++) {
    objects.push([KIND.network, networkObject(`o${n}`, { [4096 + n]: `10.${n}.0.0/16` })]);
  }
  const all = Array.from({ length: services }, (_, n) => {
    const published = n % PUBLISHED_EVERY === 0;
    const overlay = 1 + (n % OVERLAYS);
    return serviceObject(
      `s${n}`,
      {
        [`o${overlay}`]: address(overlay, 2 + n),
        ...(published ? { ingress: address(0, 2 + n) } : {}),
      },
      published ? { ports: [ingressPort(10_000 + n)] } : {},
    );
  });
  for (const service of all) objects.push([KIND.service, service]);
  for (let n = 0; n < tasks; n++) objects.push([KIND.task, taskOf(all, n, true)]);
  for (let at = 0; at < objects.length; at += MAX_CHANGES) {
    const part = objects.slice(at, at + MAX_CHANGES);
    await store.update(part.map(([kind, value]) => ({ kind, id: value.id, value })));
  }
  return all;
}

function taskOf(all: readonly ClusterService[], number: number, serving: boolean) {
  const service = all[number % services];
  if (!service) throw new Error('no service');
  const networks = Object.keys(service.vips);
  const addresses = Object.fromEntries(
    networks.map((id) => [id, address(Number(id.slice(1)) || 0, 2000 + number)]),
  );
  const report = { ...NO_REPORT, state: 'running' as const, serving };
  return taskObject(`t${number}`, service, `node${(number * 7) % nodes}`, addresses, { report });
}

const all = await fill();
const built = performance.now();
const assignments = new Assignments(store, {
  openFile: (file) => file,
  overlayKey: (sealed) => sealed,
  login: (sealed: string) => sealed,
});
store.watch((events) => assignments.apply(events));
const held = new Map<string, BoardView>();
for (let n = 0; n < nodes; n++) held.set(`node${n}`, assignments.of(`node${n}`));
console.log(`a new leader: ${Math.round(performance.now() - built)} ms for ${nodes} nodes`);

const watched = 'node0';
const first = held.get(watched);
if (!first) throw new Error('no node');
let assignment: NodeAssignment = assignments.whole(first);
versionOf(assignment);
console.log(`one node: ${JSON.stringify(assignment).length >> 10} KiB whole`);

function round(): { told: number; bytes: number; nodeMs: number } {
  let [told, bytes, nodeMs] = [0, 0, 0];
  assignments.refresh();
  for (const [id, before] of held) {
    const view = assignments.of(id);
    if (view.version === before.version) continue;
    const diff = assignments.diff(before, view);
    if (!diff) throw new Error('a difference is forgotten');
    const message = JSON.stringify({ diff, base: before.version, version: view.version });
    told++;
    bytes += message.length;
    held.set(id, view);
    if (id !== watched) continue;
    const start = performance.now();
    assignment = applyDiff(assignment, JSON.parse(message).diff);
    if (versionOf(assignment) !== view.version) throw new Error('the versions differ');
    nodeMs += performance.now() - start;
  }
  return { told, bytes, nodeMs };
}

for (const [what, first, step] of [
  ['a task of a published service', 0, services],
  ['a task of an overlay alone', 1, services],
] as const) {
  let [ms, told, bytes, nodeMs] = [0, 0, 0, 0];
  for (let n = 0; n < changes; n++) {
    const number = (first + step * n) % tasks;
    // Each time that its turn comes the other way.
    const task = taskOf(all, number, Math.floor((step * n) / tasks) % 2 === 1);
    await store.update([{ kind: KIND.task, id: task.id, value: task }]);
    const start = process.cpuUsage();
    const got = round();
    const { user, system } = process.cpuUsage(start);
    ms += (user + system) / 1000;
    told += got.told;
    bytes += got.bytes;
    nodeMs += got.nodeMs;
  }
  const each = (sum: number) => (sum / changes).toFixed(2);
  console.log(
    `${what}: ${each(ms - nodeMs)} ms of CPU, ${each(told)} nodes told, ${each(bytes / 1024)} KiB; a node: ${each(nodeMs)} ms`,
  );
}
