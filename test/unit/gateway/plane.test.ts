import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricRegistry } from '../../../src/base/metrics.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { METRICS } from '../../../src/gateway/metrics/catalog.ts';
import { compilePlane } from '../../../src/gateway/plane/compile.ts';
import { weightedSlots } from '../../../src/gateway/plane/slots.ts';
import { TrafficCounts } from '../../../src/gateway/plane/traffic-counts.ts';
import { parseEndpointAddress } from '../../../src/model/address.ts';
import type { EndpointState, ServiceState } from '../../../src/model/endpoint-state.ts';

function load(listener: string, service: string, head = '') {
  const text = `${head}
listeners: { web: { bind: ":80", protocol: tcp, service: app, ${listener} } }
services: { app: { endpoints: ["192.0.2.1:1"], ${service} } }
`;
  return loadConfig(['c.yaml'], { readFile: () => text, env: {} });
}

function endpoint(id: string, changes: Partial<EndpointState> = {}): EndpointState {
  const address = parseEndpointAddress(id);
  assert.ok(address);
  const state = { admin: 'ready', check: 'up', ejected: false, reason: '', upSince: 0 } as const;
  return { id, address, weight: 1, backup: false, ...state, ...changes };
}

function compile(endpoints: EndpointState[], listener = '', service = '', head = '') {
  const loaded = load(listener, service, head);
  assert.ok(loaded.ok, loaded.ok ? '' : JSON.stringify(loaded));
  const state: ServiceState = { service: 'app', endpoints, staleSeconds: 0 };
  const choice = compilePlane(loaded.config, new Map([['app', state]])).get('web');
  assert.ok(choice);
  return choice;
}

const UP = [endpoint('192.0.2.1:1'), endpoint('192.0.2.2:2')];

test('what takes new work has slots; what is dead is named, what drains is neither', () => {
  const { kernel } = compile([
    endpoint('192.0.2.1:1', { weight: 2 }),
    endpoint('192.0.2.2:2', { check: 'down' }),
    endpoint('192.0.2.3:3', { admin: 'drain' }),
    endpoint('192.0.2.4:4', { backup: true }),
    endpoint('192.0.2.5:5'),
    endpoint('192.0.2.6:6', { check: 'unknown' }),
    endpoint('192.0.2.7:7', { ejected: true }),
    endpoint('192.0.2.8:8', { weight: 0 }),
  ]);
  const ports = (list: readonly { port: number }[] = []) => list.map(({ port }) => port);
  assert.deepEqual(ports(kernel?.slots), [1, 5, 1]);
  assert.deepEqual(ports(kernel?.dead), [2]);
  assert.equal(kernel?.balance, 'random');
  assert.deepEqual(kernel?.binds, [{ address: undefined, families: [4, 6], port: 80 }]);
});

test('backups serve when no other can; panic tries the dead, and cuts none of them', () => {
  const down = endpoint('192.0.2.1:1', { check: 'down' });
  const backup = compile([down, endpoint('192.0.2.4:4', { backup: true })]);
  assert.deepEqual(backup.kernel?.slots, [{ address: '192.0.2.4', port: 4 }]);
  assert.equal(backup.kernel?.dead.length, 1);
  const panic = compile([down], '', 'panic: any');
  assert.equal(panic.kernel?.slots.length, 1);
  assert.deepEqual(panic.kernel?.dead, []);
});

const REASONS: [EndpointState[], RegExp][] = [
  [[], /no endpoint can take new work/],
  [[endpoint('192.0.2.1:1', { check: 'down' })], /no endpoint can take new work/],
  [[endpoint('db.internal:1')], /endpoint db\.internal:1: .* not a name/],
  [[endpoint('unix:/run/x')], /unix socket/],
  [[...UP, endpoint('127.0.0.1:1')], /endpoint 127\.0\.0\.1:1: .* loopback/],
  [[...UP, endpoint('[2001:db8::1]:1')], /IPv4 and of IPv6/],
  [[endpoint('192.0.2.1:1', { maxConnections: 3 })], /does not count connections/],
];
for (const [endpoints, reason] of REASONS) {
  test(`endpoints ${endpoints.map(({ id }) => id)}: sockets carry, ${reason}`, () => {
    assert.match(compile(endpoints).reason ?? '', reason);
  });
}

const OBSTACLES: [listener: string, service: string, key: string][] = [
  ['acceptProxy: { from: [10.0.0.0/8] }', '', 'listeners.web.acceptProxy'],
  ['access: { deny: [10.0.0.0/8] }', '', 'listeners.web.access'],
  ['limits: { maxConnections: 3 }', '', 'listeners.web.limits.maxConnections'],
  ['limits: { maxConnectionsPerSource: 3 }', '', 'listeners.web.limits.maxConnectionsPerSource'],
  ['timeouts: { idle: 1m }', '', 'listeners.web.timeouts'],
  ['routes: [{ service: app }]', '', 'listeners.web.routes'],
  ['', 'balance: least-connections', 'services.app.balance'],
  ['', 'sticky: { source: {} }', 'services.app.sticky'],
  ['', 'health: false', 'services.app.health'],
  ['', 'tls: {}', 'services.app.tls'],
  ['', 'proxyProtocol: v1', 'services.app.proxyProtocol'],
  ['', 'slowStart: 10s', 'services.app.slowStart'],
  ['', 'limits: { maxConnections: 9 }', 'services.app.limits.maxConnections'],
  ['', 'timeouts: { connect: 2s }', 'services.app.timeouts'],
];
for (const [listener, service, key] of OBSTACLES) {
  test(`${key} keeps a listener out of the kernel, and is refused with plane: kernel`, () => {
    const { reason = '' } = compile(UP, listener, service);
    assert.ok(reason.startsWith(`${key}: `), reason);
    const refused = load([listener, 'plane: kernel'].filter(Boolean).join(', '), service);
    assert.ok(!refused.ok);
    assert.match(JSON.stringify(refused), /plane: kernel/);
  });
}

test('an access log keeps listeners out, unless they write none', () => {
  const head = 'log: { access: {} }';
  assert.match(compile(UP, '', '', head).reason ?? '', /^listeners\.web\.accessLog: /);
  assert.ok(compile(UP, 'accessLog: false', '', head).kernel);
});

test('weights become slots, far apart, and never more than there are', () => {
  const slots = (...weights: number[]) =>
    weightedSlots(weights.map((weight, index) => ({ item: index, weight })));
  assert.deepEqual(slots(100, 100), [0, 1]);
  assert.deepEqual(slots(3, 1), [0, 0, 1, 0]);
  assert.deepEqual(slots(), []);
  const many = slots(...Array.from({ length: 40 }, (_, index) => 256 - index));
  assert.ok(many.length <= 1024, String(many.length));
  assert.equal(new Set(many).size, 40);
  assert.equal(new Set(slots(...Array<number>(2000).fill(1))).size, 1024);
});

test('counters go on when the table of the kernel begins anew', () => {
  const loaded = load('', '');
  assert.ok(loaded.ok);
  const metrics = new MetricRegistry(METRICS);
  const counts = new TrafficCounts(metrics);
  const traffic = (opened: number) => {
    const active = [{ address: '192.0.2.1', port: 1, flows: opened }];
    const none = { packets: 0, bytes: 0 };
    return [{ name: 'web', opened, received: none, sent: none, active }];
  };
  counts.begin(traffic(5));
  for (const opened of [7, 9, 2]) counts.take(traffic(opened), loaded.config.listeners);
  assert.equal(metrics.cell('sluice_listener_connections_total', 'web').value, 6);
  assert.equal(metrics.cell('sluice_listener_connections_active', 'web').value, 2);
  assert.equal(counts.active('web', '192.0.2.1', 1), 2);
});
