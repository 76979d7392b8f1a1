import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ALLOW_LABEL,
  admissionsOf,
  allowRules,
} from '../../../../src/control/cluster/compile/policy.ts';
import { checkLabels } from '../../../../src/control/cluster/service-labels.ts';
import { NO_ASSIGNMENT } from '../../../../src/link/assignment.ts';
import type {
  NodeAssignment,
  OverlayNetwork,
  ServiceBackends,
} from '../../../../src/model/cluster.ts';
import { attachmentObject } from '../../../support/assignment-objects.ts';

const network = (id: string): OverlayNetwork => ({
  ...{ id, name: `the-${id}`, mtu: 1450, encrypted: false, internal: false },
  ...{ attachable: false, ingress: false },
  segments: [],
});
const back = network('back');

let tasks = 0;

/** One task on each node that is named, with the number of the service in its addresses. */
function service(
  name: string,
  number: number,
  nodes: readonly string[],
  networks: readonly string[],
  labels: Readonly<Record<string, string>> = {},
): ServiceBackends {
  const addresses = (start: string, bits: number, index: number) =>
    Object.fromEntries(
      networks.map((id) => [
        id,
        `${start.replace('N', id === 'front' ? '1' : '2')}${number}${index}/${bits}`,
      ]),
    );
  return {
    ...{ serviceId: name, name, created: '', resolution: 'vip', vips: {}, ports: [], aliases: {} },
    labels,
    networkNames: { front: 'the-front', back: 'the-back' },
    tasks: nodes.map((nodeId, index) => ({
      ...{
        serviceId: name,
        taskId: `t${tasks++}`,
        name: `${name}.${index}`,
        nodeId,
        draining: false,
      },
      addresses: addresses('10.N.0.', 24, index),
      addresses6: addresses('fd00:N::', 64, index),
    })),
  };
}

function sourcesOf(allow: string, member = '10.2.0.10'): string[] | undefined {
  const db = service('db', 1, ['n1', 'n2'], ['back'], { [ALLOW_LABEL]: allow });
  const services = [
    db,
    service('web', 2, ['n1'], ['front', 'back'], { tier: 'edge' }),
    service('job', 3, ['n2'], ['back'], { tier: 'batch' }),
  ];
  const assignment: NodeAssignment = { ...NO_ASSIGNMENT, services, networks: [back] };
  const all = admissionsOf(assignment, [back], 'n1');
  assert.equal(all.length, 2, 'its one task here, by both of its addresses');
  assert.ok(all.every((one) => one.network === 'back'));
  const same = (one: string) => one.includes(':') === member.includes(':');
  return all
    .find((one) => one.member === member)
    ?.sources.filter(same)
    .toSorted();
}

test('a service takes connections from itself and from whom its label names', () => {
  const own = ['10.2.0.10', '10.2.0.11'];
  assert.deepEqual(sourcesOf('none'), own);
  assert.deepEqual(sourcesOf('service:web'), [...own, '10.2.0.20']);
  assert.deepEqual(sourcesOf('label:tier=batch'), [...own, '10.2.0.30']);
  assert.deepEqual(sourcesOf('label:tier'), [...own, '10.2.0.20', '10.2.0.30']);
  assert.deepEqual(sourcesOf('network:the-front'), [...own, '10.2.0.20']);
  assert.deepEqual(sourcesOf('service:web, service:job'), [...own, '10.2.0.20', '10.2.0.30']);
  assert.deepEqual(sourcesOf('service:nobody,label:constructor'), own);
});

test('a container is admitted by a network that it shares with the service', () => {
  const db = service('db', 1, ['n1'], ['back'], { [ALLOW_LABEL]: 'network:the-front' });
  const at = (id: string, on: string, address: string) =>
    attachmentObject(`${id}-${on}`, 'n2', on, { containerId: id, address: `${address}/24` });
  const attachments = [
    ...[at('both', 'front', '10.1.0.90'), at('both', 'back', '10.2.0.90')],
    at('one', 'back', '10.2.0.91'),
  ];
  const networks = [back, network('front')];
  const assignment: NodeAssignment = { ...NO_ASSIGNMENT, services: [db], networks, attachments };
  const [four] = admissionsOf(assignment, [...networks], 'n1');
  assert.deepEqual(four?.sources, ['10.2.0.10', 'fd00:2::10', '10.2.0.90']);
});

test('IPv6 is guarded as IPv4 is', () => {
  assert.deepEqual(sourcesOf('service:web', 'fd00:2::10'), [
    'fd00:2::10',
    'fd00:2::11',
    'fd00:2::20',
  ]);
});

test('a label that is not understood says what would be', () => {
  for (const text of ['', 'web', 'service:', 'host:a', 'service:web;network:x,y']) {
    assert.throws(() => allowRules(text), /label sluice.allow-from: ".*" is none of none, service/);
  }
});

test('labels of ours are checked, others are anybody’s', () => {
  checkLabels({
    'com.example': 'x',
    'sluice.allow-from': 'none',
    'sluice.ingress.policy': 'local',
    'sluice.ingress.return': 'direct',
  });
  const refused = (label: string, text: string) => () => checkLabels({ [label]: text });
  assert.throws(
    refused('sluice.ingress.balance', 'leastconn'),
    /"leastconn" is none of round-robin/,
  );
  assert.throws(refused('sluice.ingress.return', 'fast'), /"fast" is none of mesh, direct/);
  assert.throws(
    refused('sluice.ingress.polcy', 'local'),
    /unknown label sluice.ingress.polcy: .*policy/,
  );
  assert.throws(refused('sluice.allow-from', 'web'), /"web" is none of none, service:NAME/);
});
