import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  meets,
  parseConstraint,
} from '../../../../src/control/cluster/orchestration/constraints.ts';
import { ClusterLab } from '../../../support/cluster-lab.ts';
import { aSpec } from '../../../support/cluster-objects.ts';
import { joining, nodeOf } from '../../../support/stage-bench.ts';

test('a constraint has a key, an operator and a value; faults name the text', () => {
  assert.deepEqual(parseConstraint('node.labels.region == east 1'), {
    ...{ key: 'node.labels.region', equal: true, value: 'east 1' },
  });
  assert.deepEqual(parseConstraint('node.ip!=10.0.0.0/8'), {
    ...{ key: 'node.ip', equal: false, value: '10.0.0.0/8' },
  });
  for (const [text, fault] of [
    ['node.role=manager', /constraint expected one operator from ==, !=: "node.role=manager"/],
    ['', /constraint expected one operator from ==, !=/],
    ['-x==1', /key '-x' is invalid in constraint "-x==1"/],
    ['node.role==', /value '' is invalid in constraint "node.role=="/],
    ['node.role==a>b', /value 'a>b' is invalid/],
    ['node.labels.a===b', /value '=b' is invalid/],
  ] as const) {
    assert.throws(() => parseConstraint(text), fault);
  }
});

test('what a node is asked for: keys in any case, label names as they are, values in any case', () => {
  const node = nodeOf('n1', {
    ...{ role: 'manager', address: '192.0.2.7', labels: { Zone: 'East' } },
    description: { hostname: 'Alpha', engineLabels: { disk: 'ssd' } },
  });
  const fits = (text: string) => meets(node, parseConstraint(text));
  for (const text of [
    ...['node.id==N1', 'node.hostname==alpha', 'NODE.ROLE==Manager', 'node.role!=worker'],
    ...['node.labels.Zone==east', 'node.labels.zone!=east', 'node.labels.none!=x'],
    ...['engine.labels.disk==SSD', 'node.platform.os==Linux', 'node.platform.arch==amd64'],
    ...['node.platform==linux/arm64|Linux/amd64', 'node.platform==linux/*'],
    ...['node.platform.arch==x86_64', 'node.ip==192.0.2.7', 'node.ip==192.0.2.0/24'],
    ...['node.ip!=198.51.100.0/24', 'node.ip!=fd00::/8'],
  ]) {
    assert.equal(fits(text), true, text);
  }
  for (const text of [
    ...[
      'node.id==n2',
      'node.labels.zone==east',
      'node.labels.constructor!=',
      'node.ip==10.0.0.0/8',
    ],
    ...['node.nonsense==1', 'node.nonsense!=1', 'node.ip==here', 'node.ip!=here'],
    ...['node.ip!=192.0.2.0/24', 'node.hostname!=ALPHA', 'node.platform==linux/arm64|*/386'],
  ].filter((one) => !one.endsWith('='))) {
    assert.equal(fits(text), false, text);
  }
  assert.equal(fits('node.labels.constructor!=x'), true);
});

test('a cluster follows the labels of its nodes: tasks that miss theirs are replaced elsewhere', async () => {
  const made = new ClusterLab();
  const east = { labels: { region: 'east' } };
  await made.found([nodeOf('a', east), nodeOf('b', east), nodeOf('c')]);
  const template = joining([], { constraints: ['node.labels.region==east'] });
  await made.create('web', aSpec({ mode: { kind: 'replicated', replicas: 2 }, template }));
  await made.create('all', aSpec({ mode: { kind: 'global' }, template }));
  const nodes = (service: string) =>
    made
      .running(service)
      .map(({ nodeId }) => nodeId)
      .sort();
  const become = async (web: string[], all: string[]) => {
    const wanted = JSON.stringify([web, all]);
    await made.until(wanted, () => JSON.stringify([nodes('web'), nodes('all')]) === wanted);
  };
  await become(['a', 'b'], ['a', 'b']);
  await made.node('a', { labels: {} });
  await become(['b', 'b'], ['b']);
  const ended = made.of('all', 'a').at(-1);
  assert.equal(ended?.reason, 'node a misses label region=east');
  await made.node('c', east);
  await become(['b', 'b'], ['b', 'c']);
  await made.node('b', { labels: {} });
  await become(['c', 'c'], ['c']);
  await made.node('c', { labels: {} });
  await become([], []);
  const waits = made.of('web').find(({ report }) => report.state === 'pending');
  assert.match(waits?.report.message ?? '', /^no node fits: 3 nodes miss label region=east$/);
  made.leader.end();
});
