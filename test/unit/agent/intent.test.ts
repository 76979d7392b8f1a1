import assert from 'node:assert/strict';
import { test } from 'node:test';
import { staleFlows } from '../../../src/agent/plane/flows.ts';
import { IntentStore } from '../../../src/agent/plane/intent-store.ts';
import { createNaming } from '../../../src/agent/plane/naming.ts';
import type { HostIntent } from '../../../src/model/host-intent.ts';
import { attachment, bridgeNetwork, forward, sandbox } from '../../support/netns.ts';

const a = bridgeNetwork('a', ['10.0.0.0/24']);
const b = bridgeNetwork('b', ['10.1.0.0/24']);
const join = attachment('one', a, ['10.0.0.2/24']);
const one = sandbox('one', [join]);
const name = (network: string, text: string) => ({
  name: text,
  network,
  addresses: ['10.0.0.2'],
  primary: true,
});
const intent: HostIntent = {
  networks: [a, b],
  sandboxes: [one],
  forwards: [forward(80, ['10.0.0.2:80', '10.0.0.3:80']), forward(53, [], { transport: 'udp' })],
  names: [name(a.id, 'web'), name(b.id, 'db')],
};

function filled(): IntentStore {
  const store = new IntentStore();
  store.replace(intent);
  return store;
}

test('names are replaced by network', () => {
  const store = filled();
  store.merge({ put: { names: [name(a.id, 'new')] }, remove: { names: [b.id] } });
  assert.deepEqual(
    [...store.names].map(([network, records]) => [network, records.map((one) => one.name)]),
    [[a.id, ['new']]],
  );
});

test('a whole intent drops what it does not list', () => {
  const store = filled();
  const change = store.replace({ networks: [a], sandboxes: [], forwards: [], names: [] });
  assert.deepEqual([...store.networks.keys()], [a.id]);
  assert.equal(store.sandboxes.size + store.forwards.size + store.names.size, 0);
  assert.ok(change.sandboxes.has(one.id));
  assert.equal(change.formerForwards.length, 2);
});

test('what has to be made anew is told from what only changed', () => {
  const put = (changes: object) =>
    filled().merge({
      put: { sandboxes: [{ ...one, attachments: [{ ...join, ...changes }] }] },
      remove: {},
    });
  assert.equal(put({ gateways: ['10.0.0.9'] }).remade.size, 0);
  assert.equal(put({ mac: '02:42:00:00:00:01' }).remade.size, 1);
  assert.equal(put({ addresses: ['10.0.0.7/24'] }).remade.size, 1);
  assert.equal(put({ gateways: [] }).gatewayless.size, 1);
});

test('a changed network touches the sandboxes on it', () => {
  const change = filled().merge({ put: { networks: [{ ...a, mtu: 1400 }] }, remove: {} });
  assert.deepEqual([...change.sandboxes], [one.id]);
});

test('flows to targets that are gone, and busy UDP flows of a new port, are forgotten', () => {
  const store = filled();
  const change = store.merge({
    put: {
      forwards: [forward(80, ['10.0.0.3:80']), forward(54, ['10.0.0.2:53'], { transport: 'udp' })],
    },
    remove: {},
  });
  assert.deepEqual(staleFlows(change, store.forwards), [
    { transport: 'tcp', port: 80, replySource: '10.0.0.2' },
    { transport: 'udp', port: 54 },
  ]);
  const again = store.merge({ put: { forwards: [forward(80, ['10.0.0.3:80'])] }, remove: {} });
  assert.deepEqual(staleFlows(again, store.forwards), []);
});

test('names of the kernel fit, and are told from those of another agent', () => {
  const naming = createNaming('sluice');
  assert.match(naming.veth('x'), /^veth[0-9a-f]{11}$/);
  assert.notEqual(naming.veth('x'), createNaming('other').veth('x'));
  assert.deepEqual(naming.tagged(naming.tag('ep', 'abc')), { kind: 'ep', id: 'abc' });
  assert.equal(naming.tagged(createNaming('other').tag('ep', 'abc')), undefined);
  assert.equal(naming.tagged('somebody'), undefined);
  assert.equal(naming.tagged(undefined), undefined);
});
