import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkRequest } from '../../src/control/network-request.ts';
import { startEngine } from '../support/engine.ts';

const request = (parts: Partial<NetworkRequest> = {}): NetworkRequest => ({
  name: 'net',
  driver: 'bridge',
  scope: '',
  ipv4: true,
  ipv6: false,
  ipamDriver: 'default',
  ipamOptions: {},
  blocks: [],
  internal: false,
  attachable: false,
  ingress: false,
  configOnly: false,
  configFrom: undefined,
  options: {},
  labels: {},
  ...parts,
});
const subnet = (text: string) => ({
  subnet: text,
  ipRange: undefined,
  gateway: undefined,
  auxAddresses: {},
});

test('the predefined networks are there, and stay', async () => {
  const { engine, ready } = startEngine();
  await ready;
  const found = [...engine.registry.networks].map(({ name, driver }) => [name, driver]);
  assert.deepEqual(found.sort(), [
    ['bridge', 'bridge'],
    ['host', 'host'],
    ['none', 'null'],
  ]);
  const bridge = engine.registry.network('bridge');
  assert.equal(bridge.ipam.blocks[0]?.subnet, '172.17.0.0/16');
  assert.equal(bridge.options['com.docker.network.bridge.name'], 'docker0');
  await assert.rejects(engine.networks.remove('bridge'), {
    code: 'E_REQUEST_FORBIDDEN',
    message: 'bridge is a pre-defined network and cannot be removed',
  });
});

test('what is created is told to the host; what is removed gives its subnet back', async () => {
  const { engine, agent, ready } = startEngine();
  await ready;
  const made = await engine.networks.create(
    request({ options: { 'com.docker.network.driver.mtu': '1400' } }),
  );
  const intent = agent.host.networks.get(made.id) as { link: string; mtu: number };
  assert.equal(intent.link, `br-${made.id.slice(0, 12)}`);
  assert.equal(intent.mtu, 1400);
  assert.equal(made.ipam.blocks[0]?.subnet, '172.18.0.0/16');
  await engine.networks.remove('net');
  assert.equal(agent.host.networks.has(made.id), false);
  const again = await engine.networks.create(request());
  assert.equal(again.ipam.blocks[0]?.subnet, '172.18.0.0/16');
});

const REFUSED: readonly (readonly [string, Partial<NetworkRequest>, string, RegExp])[] = [
  [
    'a predefined name',
    { name: 'host' },
    'E_REQUEST_FORBIDDEN',
    /^operation is not permitted on predefined host network $/,
  ],
  ['no name', { name: ' ' }, 'E_REQUEST_INVALID', /name is empty/],
  ['an unknown driver', { driver: 'x' }, 'E_OBJECT_NOT_FOUND', /plugin "x" not found/],
  ['overlay without a swarm', { driver: 'overlay' }, 'E_REQUEST_FORBIDDEN', /not a swarm manager/],
  [
    'a second host network',
    { driver: 'host' },
    'E_REQUEST_FORBIDDEN',
    /only one instance of "host" network is allowed/,
  ],
  [
    'two subnets',
    { blocks: [subnet('10.1.0.0/24'), subnet('10.2.0.0/24')] },
    'E_REQUEST_FORBIDDEN',
    /bridge driver doesn't support multiple subnets/,
  ],
  [
    'an overlap',
    { blocks: [subnet('172.17.9.0/24')] },
    'E_REQUEST_FORBIDDEN',
    /Pool overlaps with other one/,
  ],
  ['an unknown ipam driver', { ipamDriver: 'x' }, 'E_REQUEST_INVALID', /invalid ipam driver: "x"/],
  [
    'an attachable ingress',
    { ingress: true, attachable: true },
    'E_REQUEST_INVALID',
    /ingress network cannot be attachable/,
  ],
  ['neither family', { ipv4: false }, 'E_REQUEST_INVALID', /IPv4 or IPv6 must be enabled/],
  [
    'a wrong mtu',
    { options: { 'com.docker.network.driver.mtu': 'x' } },
    'E_REQUEST_INVALID',
    /from 68 to 65535/,
  ],
  [
    'a vlan without number',
    { driver: 'macvlan', options: { parent: 'eth0.x' } },
    'E_REQUEST_INVALID',
    /invalid subinterface vlan name eth0.x, example formatting is eth0.10/,
  ],
  [
    'an unknown macvlan mode',
    { driver: 'macvlan', options: { macvlan_mode: 'x' } },
    'E_REQUEST_INVALID',
    /macvlan mode 'x' is not valid/,
  ],
];
for (const [what, parts, code, message] of REFUSED) {
  test(`refused: ${what}`, async () => {
    const { engine, ready } = startEngine();
    await ready;
    await assert.rejects(engine.networks.create(request(parts)), { code, message });
    assert.equal([...engine.registry.networks].length, 3);
  });
}

test('a name and a bridge name are taken once', async () => {
  const { engine, ready } = startEngine();
  await ready;
  const options = { 'com.docker.network.bridge.name': 'br9' };
  await engine.networks.create(request({ options }));
  await assert.rejects(engine.networks.create(request()), /network with name net already exists/);
  await assert.rejects(
    engine.networks.create(request({ name: 'other', options })),
    /networks have same bridge name/,
  );
});

test('a configuration network is a template', async () => {
  const { engine, agent, ready } = startEngine();
  await ready;
  const template = await engine.networks.create(
    request({
      name: 'cfg',
      configOnly: true,
      blocks: [subnet('10.5.0.0/24')],
      options: { parent: 'eth0' },
    }),
  );
  assert.equal(agent.host.networks.has(template.id), false);
  const made = await engine.networks.create(
    request({ name: 'derived', driver: 'macvlan', configFrom: 'cfg' }),
  );
  assert.equal(made.ipam.blocks[0]?.subnet, '10.5.0.0/24');
  assert.equal(made.options['parent'], 'eth0');
  await assert.rejects(engine.networks.remove('cfg'), /is in use/);
  await assert.rejects(
    engine.networks.create(request({ name: 'x', configFrom: 'cfg', internal: true })),
    /user supplied configurations are not supported/,
  );
  await engine.networks.remove('derived');
  await engine.networks.remove('cfg');
});

test('IPv6 takes a subnet of its own when none is given', async () => {
  const { engine, ready } = startEngine();
  await ready;
  const made = await engine.networks.create(request({ ipv6: true }));
  assert.deepEqual(
    made.ipam.blocks.map(({ subnet: text }) => text),
    ['172.18.0.0/16', 'fd12:3456:789a::/64'],
  );
});

test('what the host refuses is not kept', async () => {
  const { engine, agent, ready } = startEngine();
  await ready;
  const apply = agent.apply.bind(agent);
  agent.apply = async (delta) => {
    const [network] = delta.put.networks ?? [];
    if (!network) return apply(delta);
    return { failures: [{ kind: 'network', id: network.id, message: 'the host says no' }] };
  };
  await assert.rejects(engine.networks.create(request()), /the host says no/);
  assert.throws(() => engine.registry.network('net'), /network net not found/);
});

test('options of the daemon shape the default bridge', async () => {
  const defaultBridge = {
    enabled: true,
    link: 'mybridge',
    external: false,
    addresses: ['192.168.1.5/24'],
    ranges: ['192.168.1.128/25'],
    gateways: ['192.168.1.254'],
    ipv6: false,
    icc: false,
    masquerade: false,
    mtu: 1400,
  };
  const { engine, agent, ready } = startEngine(undefined, undefined, { defaultBridge });
  await ready;
  const { id, ipam } = engine.registry.network('bridge');
  assert.deepEqual(ipam.blocks, [
    {
      subnet: '192.168.1.0/24',
      ipRange: '192.168.1.128/25',
      gateway: '192.168.1.254',
      auxAddresses: { bridge: '192.168.1.5' },
    },
  ]);
  const intent = agent.host.networks.get(id) as Record<string, unknown>;
  assert.equal(intent['link'], 'mybridge');
  assert.deepEqual(intent['gateways'], ['192.168.1.5/24']);
  assert.deepEqual([intent['icc'], intent['masquerade'], intent['mtu']], [false, false, 1400]);
});
