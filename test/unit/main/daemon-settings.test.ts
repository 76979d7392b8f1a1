import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeSources } from '../../../src/control/daemon-options.ts';
import { privateBlock } from '../../../src/ipam/private-block.ts';
import { parseRoutes } from '../../../src/main/daemon/host-facts.ts';
import { parseEngineAddress } from '../../../src/main/daemon/listen.ts';
import { daemonSettings } from '../../../src/main/daemon/settings.ts';

const facts = {
  linkAddresses: (link: string) => (link === 'br0' ? ['192.0.2.1/24'] : undefined),
  privateBlock: privateBlock('some daemon'),
};
const settings = (flags: Record<string, unknown>, file: Record<string, unknown> = {}) =>
  daemonSettings(flags, file, facts);

test('without options the engine has its own paths and the documented pools', () => {
  const { hosts, dataRoot, options, warnings } = settings({});
  assert.deepEqual(hosts, ['unix:///run/sluice/sluice.sock']);
  assert.equal(dataRoot, '/var/lib/sluice');
  assert.deepEqual(warnings, []);
  assert.equal(describeSources(options)[0]?.base, '172.17.0.0/16');
  assert.match(describeSources(options).at(-1)?.base ?? '', /^fd.*\/48$/);
});

test('flags and file are read alike', () => {
  const given = {
    bip: '192.168.1.5/24',
    'fixed-cidr': '192.168.1.0/25',
    icc: false,
    'ip-masq': false,
    mtu: 1400,
    dns: ['192.0.2.53'],
    labels: ['a=b'],
    'default-address-pools': [{ base: '172.80.0.0/16', size: 24 }],
    ip: '127.0.0.1',
  };
  const fromFile = settings({}, given).options;
  const asFlags = {
    ...given,
    icc: 'false',
    'ip-masq': 'false',
    mtu: '1400',
    'default-address-pools': ['base=172.80.0.0/16,size=24'],
  };
  assert.deepEqual(settings(asFlags).options, fromFile);
  assert.equal(fromFile.defaultBridge.icc, false);
  assert.equal(fromFile.defaultBridge.mtu, 1400);
  assert.equal(fromFile.bindAddress, '127.0.0.1');
  assert.deepEqual(describeSources(fromFile)[0], { base: '172.80.0.0/16', size: 24 });
});

test('a key in flags and file is refused, whatever its value', () => {
  assert.throws(() => settings({ labels: ['a=b'] }, { labels: ['a=b'] }), {
    message:
      'the following directives are specified both as a flag and in the configuration file: labels: (from flag: ["a=b"], from file: ["a=b"])',
  });
});

test('keys without effect warn once, unknown ones are refused', () => {
  const { warnings } = settings({}, { 'storage-driver': 'overlay2', 'registry-mirrors': [] });
  assert.deepEqual(warnings, ['these keys have no effect here: storage-driver, registry-mirrors']);
  assert.throws(() => settings({}, { 'bridge-name': 'x' }), /don't match any .*: bridge-name/);
  assert.throws(
    () => settings({}, { 'cluster-advertise': 'eth0' }),
    /cluster-advertise is not served/,
  );
});

const REFUSED: readonly (readonly [Record<string, unknown>, RegExp])[] = [
  [{ bip: '192.168.1.5' }, /invalid bip/],
  [{ ip: 'localhost' }, /invalid ip: "localhost"/],
  [{ dns: ['x'] }, /invalid dns: "x"/],
  [{ labels: ['x'] }, /invalid labels/],
  [{ mtu: 'many' }, /invalid mtu: "many" is not a whole number/],
  [{ icc: 'perhaps' }, /invalid icc/],
  [{ bridge: 'br0', bip: '10.0.0.1/8' }, /mutually exclusive/],
  [{ bridge: 'br9' }, /must be created manually/],
  [{ 'log-level': 'loud' }, /invalid log-level/],
  [{ tlsverify: true }, /TLS needs tlscacert, tlscert and tlskey/],
  [{ 'default-address-pools': [{ base: '10.0.0.0/16', size: 8 }] }, /size 8 does not fit/],
  [{ 'default-address-pools': [{ base: '10.0.0.0/16' }] }, /invalid default-address-pools/],
];
for (const [flags, message] of REFUSED) {
  test(`refused: ${JSON.stringify(flags)}`, () => {
    assert.throws(() => settings(flags), message);
  });
}

test('an existing bridge keeps its own addresses; none is no bridge', () => {
  const { defaultBridge } = settings({ bridge: 'br0' }).options;
  assert.equal(defaultBridge.external, true);
  assert.deepEqual(defaultBridge.addresses, ['192.0.2.1/24']);
  assert.equal(settings({ bridge: 'none' }).options.defaultBridge.enabled, false);
});

test('addresses of the API', () => {
  assert.deepEqual(parseEngineAddress('unix:///run/x.sock', false), {
    kind: 'unix',
    path: '/run/x.sock',
  });
  assert.deepEqual(parseEngineAddress('tcp://127.0.0.1:9', false), {
    kind: 'tcp',
    host: '127.0.0.1',
    port: 9,
  });
  assert.deepEqual(parseEngineAddress('tcp://[::1]', true), {
    kind: 'tcp',
    host: '::1',
    port: 2376,
  });
  assert.deepEqual(parseEngineAddress(':2375', false), {
    kind: 'tcp',
    host: '127.0.0.1',
    port: 2375,
  });
  assert.deepEqual(parseEngineAddress('fd://', false), { kind: 'fd', name: '' });
  assert.throws(() => parseEngineAddress('npipe://x', false), /invalid host/);
});

test('routes of the host, as its file tells them', () => {
  const text = [
    'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT',
    'eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0',
    'eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0',
  ].join('\n');
  assert.deepEqual(parseRoutes(text), ['172.17.0.0/16']);
});

test('the store of a cluster and its options', () => {
  const store = (url: string, options: Record<string, string>) =>
    settings({ 'cluster-store': url, 'cluster-store-opts': options }).clusterStore;
  const found = store('consul://192.0.2.1,192.0.2.2:85/edge', {
    'discovery.ttl': '30',
    'discovery.heartbeat': '5s',
  });
  assert.deepEqual(found?.addresses, ['192.0.2.1:8500', '192.0.2.2:85']);
  assert.deepEqual([found?.prefix, found?.leaseMs, found?.renewMs], ['edge', 30_000, 5000]);
  const by = (options: Record<string, string>) => () => store('etcd://192.0.2.1', options);
  assert.equal(by({})()?.renewMs, undefined);
  assert.throws(by({ 'discovery.ttl': '2' }), /discovery.ttl: "2" is not from 10 to 3600 seconds/);
  assert.throws(
    by({ 'discovery.ttl': '30', 'discovery.heartbeat': '20' }),
    /discovery.heartbeat: "20" is not from 1 to 15 seconds/,
  );
  assert.throws(by({ 'kv.user': 'me' }), /"kv.user" is none of kv.cacertfile/);
});
