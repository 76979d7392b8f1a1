import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { meshContent, nodeNumbers } from '../../../../src/agent/cluster/mesh-table.ts';
import { vipContent } from '../../../../src/agent/cluster/vip-table.ts';
import {
  linkSegments,
  meshAddress6,
  meshMac,
} from '../../../../src/control/cluster/compile/addresses.ts';
import {
  clusterIntent,
  type LocalHost,
  overlayRoutes,
} from '../../../../src/control/cluster/compile/cluster-intent.ts';
import { serviceNames } from '../../../../src/control/cluster/compile/names.ts';
import type {
  NodeAssignment,
  OverlayNetwork,
  ServiceBackends,
} from '../../../../src/model/cluster.ts';
import type { DirectForward } from '../../../../src/model/cluster-intent.ts';
import type { ForwardIntent } from '../../../../src/model/host-intent.ts';

const ingress: OverlayNetwork = {
  ...{ id: 'ing', name: 'ingress', mtu: 1450, encrypted: false, internal: false },
  ...{ attachable: false, ingress: true },
  segments: [{ vni: 4096, subnet: '10.0.0.0/24', gateway: '10.0.0.1' }],
};
const app: OverlayNetwork = {
  ...{ id: 'app', name: 'App', mtu: 1450, encrypted: false, internal: false },
  ...{ attachable: false, ingress: false },
  segments: [
    { vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1' },
    { vni: 4098, subnet: 'fd00:1::/64', gateway: 'fd00:1::1' },
    { vni: 4099, subnet: '10.0.2.0/24', gateway: '10.0.2.1' },
  ],
};
const NODES = ['n1', 'n2', 'n3', 'n4'];

function service(
  number: number,
  tasks: readonly { node: string; draining: boolean }[],
  labels: Readonly<Record<string, string>>,
): ServiceBackends {
  const port = { name: '', transport: 'tcp', targetPort: 80, mode: 'ingress' } as const;
  return {
    ...{ serviceId: `s${number}`, name: `Web${number}`, created: '2026-01-01T00:00:00Z' },
    ...{ resolution: 'vip', labels },
    vips: { app: `10.0.1.${100 + number}/24`, ing: `10.0.0.${100 + number}/24` },
    ports: [{ ...port, publishedPort: 8000 + number }],
    aliases: { app: [`alias${number}`] },
    networkNames: { app: 'app', ing: 'ingress' },
    tasks: tasks.map(({ node, draining }, index) => ({
      ...{
        serviceId: `s${number}`,
        taskId: `t${number}-${index}`,
        name: `web${number}.${index}`,
        nodeId: node,
        draining,
      },
      addresses: {
        app: `10.0.1.${2 + number * 8 + index}/24`,
        ing: `10.0.0.${2 + number * 8 + index}/24`,
      },
    })),
  };
}

function assignmentOf(services: readonly ServiceBackends[]): NodeAssignment {
  return {
    ...{ tasks: [], files: [], networks: [ingress, app], endpoints: [], services, keys: [] },
    attachments: [],
    peers: NODES.map((nodeId, index) => ({
      nodeId,
      address: `192.0.2.${index}`,
      dataPathAddress: `198.51.100.${index}`,
      epoch: `boot of ${nodeId}`,
      dataPathPort: 4789,
    })),
  };
}

/** Tasks of a host have one address of each family on its bridge, numbered as they come. */
function hostOf(nodeId: string, services: readonly ServiceBackends[]): LocalHost {
  const own = services.flatMap(({ tasks }) => tasks).filter((task) => task.nodeId === nodeId);
  return {
    nodeId,
    epoch: `boot of ${nodeId}`,
    tunnel: { local: '198.51.100.1', port: 4789 },
    sources: { ipv4: '192.0.2.1', ipv6: undefined },
    gatewayAddresses: new Map(
      own.map(({ taskId }, index) => [
        taskId,
        [`172.18.0.${2 + index}/16`, `fd00:18::${2 + index}/64`],
      ]),
    ),
  };
}

const services = fc
  .array(
    fc.record({
      tasks: fc.array(fc.record({ node: fc.constantFrom(...NODES), draining: fc.boolean() }), {
        maxLength: 6,
      }),
      local: fc.boolean(),
    }),
    { maxLength: 6 },
  )
  .map((all) =>
    all.map(({ tasks, local }, number) =>
      service(number, tasks, local ? { 'sluice.ingress.policy': 'local' } : {}),
    ),
  );

test('by every host every serving task is reached, and nobody else', () => {
  fc.assert(
    fc.property(services, (all) => {
      const assignment = assignmentOf(all);
      const meshes = new Map(
        NODES.map((node) => [node, clusterIntent(assignment, hostOf(node, all)).mesh]),
      );
      for (const [node, mesh] of meshes) {
        assert.ok(mesh);
        const next = new Map(mesh.remote.map(({ address, node: to }) => [address, to]));
        for (const [number, one] of all.entries()) {
          const forward: ForwardIntent | undefined = mesh.forwards.find(
            ({ port }) => port === 8000 + number,
          );
          assert.ok(forward);
          const reached: readonly string[] = forward.targets.map(({ address }) => {
            const host = next.get(address) ?? node;
            const there = meshes.get(host)?.local.find((local) => local.address === address);
            const target = host === node ? address : there?.target;
            assert.ok(target, `${address} by ${node}`);
            return `${host} ${target}`;
          });
          const local = one.labels['sluice.ingress.policy'] === 'local';
          const wanted = one.tasks
            .filter((task) => !task.draining && (!local || task.nodeId === node))
            .flatMap(({ taskId, nodeId }) =>
              (hostOf(nodeId, all).gatewayAddresses.get(taskId) ?? []).map(
                (address) => `${nodeId} ${address.split('/')[0]}`,
              ),
            );
          assert.deepEqual([...reached].sort(), wanted.sort());
        }
      }
    }),
    { numRuns: 200 },
  );
});

test('what drains is a target of nothing new, and known as draining', () => {
  fc.assert(
    fc.property(services, fc.constantFrom(...NODES), (all, node) => {
      const mesh = clusterIntent(assignmentOf(all), hostOf(node, all)).mesh;
      assert.ok(mesh);
      const live = new Set(
        mesh.forwards.flatMap(({ targets }) => targets.map(({ address }) => address)),
      );
      assert.ok(mesh.draining.every((address) => !live.has(address)));
      const count = all.flatMap(({ tasks }) => tasks).filter((task) => task.draining).length;
      assert.equal(mesh.draining.length, 2 * count);
    }),
  );
});

test('direct: every host leads to the hosts of all serving tasks, and to its own', () => {
  fc.assert(
    fc.property(services, fc.constantFrom(...NODES), (plain, node) => {
      const all = plain.map((one): ServiceBackends => {
        return { ...one, labels: { ...one.labels, 'sluice.ingress.return': 'direct' } };
      });
      const mesh = clusterIntent(assignmentOf(all), hostOf(node, all)).mesh;
      assert.ok(mesh);
      for (const [number, { labels, tasks }] of all.entries()) {
        const direct: DirectForward | undefined = mesh.direct.find(
          ({ port }) => port === 8000 + number,
        );
        if (labels['sluice.ingress.policy'] === 'local') {
          assert.equal(direct, undefined);
          continue;
        }
        const serving = tasks.filter(({ draining }) => !draining);
        const away = serving.flatMap(({ nodeId }) => (nodeId === node ? [] : nodeId));
        assert.deepEqual(direct?.hosts, away);
        // Each by IPv4 and IPv6.
        assert.equal(direct.targets.length, 2 * (serving.length - away.length));
      }
    }),
  );
});

test('numbers of hosts are different, and stay when others come', () => {
  const ids = Array.from({ length: 1000 }, (_, index) => `node-${index}`);
  const [few, many] = [nodeNumbers(ids.slice(0, 900)), nodeNumbers(ids)];
  assert.equal(new Set(many.values()).size, 1000);
  assert.ok([...many.values()].every((number) => number >= 1 && number <= 4095));
  const moved = [...few].filter(([id, number]) => many.get(id) !== number).length;
  assert.ok(moved < 50, `${moved} of 900 have moved`);
});

test('MACs and mesh addresses are the same wherever they are worked out', () => {
  assert.match(meshMac('n1'), /^02(:[0-9a-f]{2}){5}$/);
  assert.notEqual(meshMac('n1'), meshMac('n2'));
  assert.match(meshAddress6('ing', '10.0.0.7/24'), /^fd[0-9a-f]{2}:.*:a00:7$/);
  assert.notEqual(meshAddress6('ing', '10.0.0.7'), meshAddress6('other', '10.0.0.7'));
});

test('an IPv6 subnet shares the links of an IPv4 one; others are reached by the gateway', () => {
  assert.deepEqual(linkSegments(app), [
    {
      vni: 4097,
      subnets: ['10.0.1.0/24', 'fd00:1::/64'],
      gateways: ['10.0.1.1/24', 'fd00:1::1/64'],
    },
    { vni: 4099, subnets: ['10.0.2.0/24'], gateways: ['10.0.2.1/24'] },
  ]);
  assert.deepEqual(overlayRoutes(app.segments, ['10.0.1.9/24', 'fd00:1::9/64']), [
    { destination: '10.0.2.0/24', nextHop: '10.0.1.1' },
  ]);
});

test('names: service, alias, tasks, each task; reverse ones for the address and the tasks', () => {
  const web = service(
    1,
    [
      { node: 'n1', draining: false },
      { node: 'n2', draining: true },
    ],
    {},
  );
  const records = serviceNames(app, [web]);
  const find = (name: string) => records.find((record) => record.name === name);
  assert.deepEqual(find('web1')?.addresses, ['10.0.1.101']);
  assert.deepEqual(find('alias1.app')?.addresses, ['10.0.1.101']);
  assert.deepEqual(find('tasks.web1')?.addresses, ['10.0.1.10']);
  assert.deepEqual(find('web1.1.app')?.addresses, ['10.0.1.11']);
  const primary = records.filter((record) => record.primary).map(({ name }) => name);
  assert.deepEqual(primary, ['web1.app', 'web1.0.app', 'web1.1.app']);
  const turns = serviceNames(app, [{ ...web, resolution: 'dnsrr' }]);
  assert.deepEqual(turns.find(({ name }) => name === 'web1')?.addresses, ['10.0.1.10']);
});

test('members elsewhere with both addresses are one peer, by the tunnel of their host', () => {
  const endpoint = { network: 'app', mac: '02:42:0a:00:01:05', nodeId: 'n2' };
  const assignment: NodeAssignment = {
    ...assignmentOf([]),
    endpoints: [
      { ...endpoint, address: 'fd00:1::5' },
      { ...endpoint, address: '10.0.1.5' },
      { ...endpoint, address: '10.0.1.6', mac: '02:42:0a:00:01:06', nodeId: 'n1' },
    ],
  };
  const idle = clusterIntent(assignment, hostOf('n1', []));
  assert.deepEqual([idle.overlays, idle.peers], [[], []]);
  // exempt(as): of a task only its networks are read
  const tasks = [{ addresses: { app: '10.0.1.6/24' } }] as unknown as NodeAssignment['tasks'];
  const { peers, overlays } = clusterIntent({ ...assignment, tasks }, hostOf('n1', []));
  assert.equal(overlays.length, 1);
  assert.deepEqual(peers, [
    {
      network: 'app',
      addresses: ['10.0.1.5', 'fd00:1::5'],
      mac: endpoint.mac,
      tunnel: '198.51.100.1',
    },
  ]);
});

test('ON-11 hosts share keys with those alone that have members of an encrypted overlay here', () => {
  const secret = (id: string) => ({ ...app, id, name: id, encrypted: true });
  const keys = [{ id: 1, key: 'ab' }];
  const lives = (network: string, nodeId: string) => {
    return { network, address: '10.0.1.2', mac: '02:42:0a:00:01:02', nodeId };
  };
  const endpoints = [
    ...[lives('one', 'n1'), lives('one', 'n2'), lives('app', 'n3'), lives('two', 'n4')],
  ];
  const assignment = (...networks: OverlayNetwork[]): NodeAssignment => {
    const attachments = [app, ...networks].map(({ id: network }) => ({
      ...{ id: network, nodeId: 'n1', endpointId: '', containerId: '', network, names: [] },
      ...{ ipv4: undefined, ipv6: undefined, mac: undefined },
      ...{ address: '10.0.1.2/24', address6: '', error: '' },
    }));
    const all = [ingress, app, ...networks];
    return { ...assignmentOf([]), networks: all, endpoints, keys, attachments };
  };
  const tunnels = (given: NodeAssignment, nodeId: string) => {
    return clusterIntent(given, hostOf(nodeId, [])).encryption.peers.map(({ tunnel }) => tunnel);
  };
  assert.deepEqual(tunnels(assignment(secret('one')), 'n1'), ['198.51.100.1']);
  assert.deepEqual(tunnels(assignment(secret('one'), secret('two')), 'n1'), [
    ...['198.51.100.1', '198.51.100.3'],
  ]);
  assert.deepEqual(tunnels(assignment(), 'n3'), [], 'a plain one needs none');
});

test('tables: one target directly, several by slots, none closed', () => {
  const vip = { network: 'app', draining: [], lost: [] };
  const { elements, chains } = vipContent([
    { ...vip, address: '10.0.1.100', targets: ['10.0.1.2'] },
    { ...vip, address: '10.0.1.101', targets: ['10.0.1.3', '10.0.1.4'] },
    { ...vip, address: 'fd00:1::64', targets: [] },
  ]);
  assert.equal(elements.get('to4')?.get('10.0.1.100'), '10.0.1.2');
  assert.equal(elements.get('balance4')?.get('10.0.1.101'), 'goto turn-2-4');
  assert.equal(elements.get('slot4')?.size, 2);
  assert.ok(elements.get('closed6')?.has('fd00:1::64'));
  assert.deepEqual([...chains], ['turn-2-4']);
  const web = [service(1, [{ node: 'n2', draining: false }], {})];
  const { mesh } = clusterIntent(assignmentOf(web), hostOf('n1', web));
  assert.ok(mesh);
  const content = meshContent(mesh, []).elements;
  assert.equal(content.get('to_any4')?.get('tcp . 8001'), '10.0.0.10 . 80');
  // A request of the task's own host that comes back to it takes this host's address.
  assert.ok(content.get('home4')?.has('192.0.2.1 . 10.0.0.10'));
});
