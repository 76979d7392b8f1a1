import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EmbeddedStore } from '../../src/store/embedded-store.ts';
import { startEngine } from '../support/engine.ts';
import { FakeAgent } from '../support/fake-agent.ts';
import { orderOf, until } from '../support/order.ts';

async function engineWithNet() {
  const parts = startEngine();
  await parts.ready;
  const network = { Subnet: '10.0.0.0/24' };
  await parts.engine.networks.create({
    name: 'net',
    driver: 'bridge',
    scope: '',
    ipv4: true,
    ipv6: false,
    ipamDriver: 'default',
    ipamOptions: {},
    blocks: [{ subnet: network.Subnet, ipRange: undefined, gateway: undefined, auxAddresses: {} }],
    internal: false,
    attachable: false,
    ingress: false,
    configOnly: false,
    configFrom: undefined,
    options: {},
    labels: {},
  });
  const { containers } = parts.engine;
  const run = async (name: string, body: Record<string, unknown>) => {
    const { id } = await containers.create(orderOf(body, name));
    await containers.lifecycle.start(id);
    return id;
  };
  return { ...parts, run };
}

const onNet = (settings: Record<string, unknown> = {}) => ({
  HostConfig: { NetworkMode: 'net' },
  NetworkingConfig: { EndpointsConfig: { net: settings } },
});

test('addresses are the lowest free ones, held while it runs', async () => {
  const { engine, agent, run } = await engineWithNet();
  const first = await run('aa', onNet());
  const second = await run('bb', onNet());
  const addressOf = (id: string) => agent.host.sandboxes.get(id)?.attachments[0]?.addresses;
  assert.deepEqual([addressOf(first), addressOf(second)], [['10.0.0.2/24'], ['10.0.0.3/24']]);
  assert.equal(agent.host.sandboxes.get(first)?.attachments[0]?.mac, '02:42:0a:00:00:02');
  await engine.containers.lifecycle.stop(first, {});
  assert.equal(agent.host.sandboxes.has(first), false);
  assert.deepEqual(addressOf(await run('cc', onNet())), ['10.0.0.2/24']);
});

test('names: the container, its aliases, its short id and host name, with and without network', async () => {
  const { agent, run } = await engineWithNet();
  const id = await run('web', { ...onNet({ Aliases: ['www'] }), Hostname: 'box' });
  const names = agent.host.names.map(({ name }) => name);
  const short = id.slice(0, 12);
  assert.deepEqual(
    names.sort(),
    [...['box', 'box.net', short, `${short}.net`, 'web', 'web.net', 'www', 'www.net']].sort(),
  );
  const primary = agent.host.names.filter((one) => one.primary);
  assert.deepEqual(
    primary.map(({ name }) => name),
    ['web.net'],
  );
});

test('the default bridge has no names; its resolv.conf is the host’s', async () => {
  const { agent, run } = await engineWithNet();
  const id = await run('aa', {});
  assert.deepEqual(agent.host.names, []);
  assert.equal(agent.host.sandboxes.get(id)?.resolver, undefined);
  const spec = agent.running.get(id)?.spec;
  assert.equal(spec?.resolvConf, 'nameserver 192.0.2.53\nsearch example.test\n');
  assert.match(spec?.hosts ?? '', new RegExp(`^172\\.17\\.0\\.2\\t${id.slice(0, 12)}$`, 'm'));
});

test('DNS options reach resolver and files', async () => {
  const { agent, run } = await engineWithNet();
  const id = await run('aa', {
    ...onNet(),
    HostConfig: {
      NetworkMode: 'net',
      Dns: ['198.51.100.1'],
      DnsSearch: ['a.test'],
      DnsOptions: ['ndots:3'],
      ExtraHosts: ['db:198.51.100.7', 'gw:host-gateway'],
    },
  });
  assert.deepEqual(agent.host.sandboxes.get(id)?.resolver, {
    servers: ['198.51.100.1'],
    records: [],
    ndots: 3,
  });
  const spec = agent.running.get(id)?.spec;
  assert.equal(spec?.resolvConf, 'nameserver 127.0.0.11\nsearch a.test\noptions ndots:3\n');
  assert.match(spec?.hosts ?? '', /^198\.51\.100\.7\tdb$/m);
  assert.match(spec?.hosts ?? '', /^172\.17\.0\.1\tgw$/m);
});

test('several networks: each a link, one gateway by priority', async () => {
  const { engine, agent, run } = await engineWithNet();
  const id = await run('aa', {
    HostConfig: { NetworkMode: 'net' },
    NetworkingConfig: { EndpointsConfig: { net: {}, bridge: { GwPriority: 5 } } },
  });
  const links = () =>
    agent.host.sandboxes.get(id)?.attachments.map(({ link, gateways }) => [link, gateways]);
  assert.deepEqual(links(), [
    ['eth0', []],
    ['eth1', ['172.17.0.1']],
  ]);
  await engine.containers.disconnect('bridge', id);
  assert.deepEqual(links(), [['eth0', ['10.0.0.1']]]);
  assert.match(agent.files.get(id)?.hosts ?? '', /10\.0\.0\.2/);
  await engine.containers.connect('bridge', id, {
    ...{ network: 'bridge', ipv4: undefined, ipv6: undefined, linkLocal: [], mac: undefined },
    ...{ aliases: [], links: [], driverOptions: {}, gatewayPriority: 0 },
  });
  assert.equal(links()?.[1]?.[0], 'eth1');
  await assert.rejects(
    engine.containers.disconnect('host', id),
    /is not connected to network host/,
  );
});

test('every form of published port', async () => {
  const { engine, agent, run } = await engineWithNet();
  const id = await run('aa', {
    ...onNet(),
    ExposedPorts: { '7000-7001/udp': {} },
    HostConfig: {
      NetworkMode: 'net',
      PublishAllPorts: true,
      PortBindings: {
        '80/tcp': [{ HostIp: '', HostPort: '8080' }],
        '81/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }],
        '90/tcp': [{ HostIp: '', HostPort: '9000-9002' }],
      },
    },
  });
  const forwards = [...agent.host.forwards.values()].map(
    ({ transport, address, port, targets }) =>
      `${transport} ${address ?? '*'}:${port} ${targets[0]?.address}:${targets[0]?.port}`,
  );
  assert.deepEqual(forwards, [
    'tcp *:8080 10.0.0.2:80',
    'tcp 127.0.0.1:32768 10.0.0.2:81',
    'tcp *:9000 10.0.0.2:90',
    'udp *:32769 10.0.0.2:7000',
    'udp *:32770 10.0.0.2:7001',
  ]);
  await assert.rejects(
    run('bb', { HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '8080' }] } } }),
    /failed to set up container networking: driver failed programming external connectivity on endpoint bb \([0-9a-f]{64}\): Bind for 0\.0\.0\.0:8080 failed: port is already allocated/,
  );
  const refused = engine.registry.container('bb');
  assert.equal(refused.state.status, 'created');
  assert.equal(refused.sandbox, false);
  await engine.containers.lifecycle.stop(id, {});
  assert.equal(agent.host.forwards.size, 0);
  await engine.containers.lifecycle.start('bb');
});

test('a port that a foreign program holds is skipped unless it was asked for', async () => {
  const { engine, agent, run } = await engineWithNet();
  agent.foreignPorts.add(32_768).add(8080);
  await run('aa', { HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '' }] } } });
  assert.deepEqual(
    engine.registry.container('aa').bindings.map(({ hostPort }) => hostPort),
    [32_769],
  );
  await assert.rejects(
    run('bb', { HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '8080' }] } } }),
    /port 8080 is in use/,
  );
});

const CONFLICTS: readonly (readonly [string, Record<string, unknown>, RegExp])[] = [
  ['a host name', { Hostname: 'x' }, /conflicting options: hostname and the network mode/],
  ['dns', { HostConfig: { Dns: ['192.0.2.1'] } }, /conflicting options: dns and the network mode/],
  [
    'extra hosts',
    { HostConfig: { ExtraHosts: ['a:192.0.2.1'] } },
    /custom host-to-IP mapping and the network mode/,
  ],
  [
    'published ports',
    { HostConfig: { PublishAllPorts: true } },
    /port publishing and the container type network mode/,
  ],
  [
    'exposed ports',
    { ExposedPorts: { '80/tcp': {} } },
    /port exposing and the container type network mode/,
  ],
  [
    'a hardware address',
    { MacAddress: '02:00:00:00:00:01' },
    /conflicting options: mac-address and the network mode/,
  ],
];
for (const [what, body, message] of CONFLICTS) {
  test(`a shared stack has no ${what} of its own`, async () => {
    const { engine, run } = await engineWithNet();
    await run('peer', {});
    const HostConfig = { ...Object(body['HostConfig']), NetworkMode: 'container:peer' };
    await assert.rejects(engine.containers.create(orderOf({ ...body, HostConfig })), message);
  });
}

test('modes: none, host and another container’s', async () => {
  const { engine, agent, run } = await engineWithNet();
  const none = await run('aa', { HostConfig: { NetworkMode: 'none' } });
  assert.deepEqual(agent.host.sandboxes.get(none)?.attachments, []);
  const host = await run('bb', { HostConfig: { NetworkMode: 'host' } });
  assert.equal(agent.host.sandboxes.has(host), false);
  assert.equal(agent.running.get(host)?.spec.sandbox, 'host');
  assert.equal(agent.running.get(host)?.spec.hostname, 'machine');
  const shared = await run('cc', { HostConfig: { NetworkMode: 'container:aa' } });
  assert.equal(agent.running.get(shared)?.spec.sandbox, none);
  await assert.rejects(
    engine.containers.connect('net', 'cc', {
      ...orderOf(onNet()).attachments[0],
      network: 'net',
    } as never),
    /container sharing network namespace with another container or host cannot be connected/,
  );
  await engine.containers.lifecycle.stop('aa', {});
  await engine.containers.lifecycle.stop('cc', {});
  await assert.rejects(
    engine.containers.lifecycle.start('cc'),
    /cannot join network namespace of a non running container: container aa is exited/,
  );
});

test('explicit addresses need a subnet of the user’s', async () => {
  const { engine, agent, run } = await engineWithNet();
  const id = await run('aa', onNet({ IPAMConfig: { IPv4Address: '10.0.0.254' } }));
  assert.deepEqual(agent.host.sandboxes.get(id)?.attachments[0]?.addresses, ['10.0.0.254/24']);
  await assert.rejects(
    run('bb', onNet({ IPAMConfig: { IPv4Address: '10.0.0.254' } })),
    /Address already in use/,
  );
  await assert.rejects(
    engine.containers.create(
      orderOf({
        NetworkingConfig: {
          EndpointsConfig: { bridge: { IPAMConfig: { IPv4Address: '172.17.0.9' } } },
        },
      }),
    ),
    /user specified IP address is supported on user defined networks only/,
  );
  await assert.rejects(
    run('cc', onNet({ IPAMConfig: { IPv4Address: '10.9.0.1' } })),
    /no configured subnet or ip-range contain the IP address 10\.9\.0\.1/,
  );
});

test('exit codes of what cannot be run, and --rm', async () => {
  const { engine, run } = await engineWithNet();
  await assert.rejects(run('aa', { Cmd: ['missing'] }), /executable file not found/);
  assert.equal(engine.registry.container('aa').state.exitCode, 127);
  await assert.rejects(run('bb', { Cmd: ['denied'] }), /permission denied/);
  assert.equal(engine.registry.container('bb').state.exitCode, 126);
  const { id } = await engine.containers.create(
    orderOf({ Cmd: ['exit', '3'], HostConfig: { AutoRemove: true } }, 'cc'),
  );
  const waiting = engine.containers.lifecycle.wait(id, 'removed');
  await engine.containers.lifecycle.start(id);
  assert.equal((await waiting.result).exitCode, 3);
  assert.throws(() => engine.registry.container('cc'), /No such container: cc/);
});

test('a rule restarts, keeps addresses and ports, and gives up at its limit', async () => {
  const { engine, agent, run } = await engineWithNet();
  const id = await run('aa', {
    ...onNet(),
    HostConfig: {
      NetworkMode: 'net',
      RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 2 },
      PortBindings: { '80/tcp': [{ HostPort: '' }] },
    },
  });
  const before = engine.registry.container(id);
  agent.finish(id, 1);
  await until(() => engine.registry.container(id).state.restartCount === 1, 'the first restart');
  await until(() => engine.registry.container(id).state.status === 'running', 'running again');
  assert.deepEqual(engine.registry.container(id).bindings, before.bindings);
  assert.deepEqual(engine.registry.container(id).attachments, before.attachments);
  agent.finish(id, 1);
  await until(() => engine.registry.container(id).state.restartCount === 2, 'the second');
  await until(() => engine.registry.container(id).state.status === 'running', 'running again');
  agent.finish(id, 1);
  await until(() => engine.registry.container(id).state.status === 'exited', 'the end');
  assert.equal(agent.host.sandboxes.size, 0);
});

test('a stop ends by signal, then by force, and no rule undoes it', async () => {
  const { engine, run } = await engineWithNet();
  const id = await run('aa', {
    Cmd: ['ignore'],
    HostConfig: { RestartPolicy: { Name: 'always' } },
  });
  await engine.containers.lifecycle.stop(id, { timeoutMs: 20 });
  const { state } = engine.registry.container(id);
  assert.deepEqual([state.status, state.exitCode], ['exited', 137]);
});

test('health checks run in the container and change its state', async () => {
  const { engine, agent, run } = await engineWithNet();
  const id = await run('aa', {
    Healthcheck: { Test: ['CMD-SHELL', 'true'], Interval: 5e6, Timeout: 1e9, Retries: 2 },
  });
  const health = () => engine.registry.container(id).state.health?.status;
  assert.equal(health(), 'starting');
  await until(() => health() === 'healthy', 'healthy');
  agent.execCode = 1;
  await until(() => health() === 'unhealthy', 'unhealthy');
  const told = engine.events.recent.map(({ action }) => action);
  assert.ok(told.includes('health_status: healthy') && told.includes('health_status: unhealthy'));
  await engine.containers.remove(id, true, false);
});

test('a new daemon takes over what runs and sees what ended meanwhile', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-recover-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'state.db');
  const agent = new FakeAgent();
  const first = startEngine(EmbeddedStore.open(path), agent);
  await first.ready;
  const start = async (name: string, body: Record<string, unknown>) => {
    const { id } = await first.engine.containers.create(orderOf(body, name));
    await first.engine.containers.lifecycle.start(id);
    return id;
  };
  const ports = { PortBindings: { '80/tcp': [{ HostPort: '8080' }] } };
  const running = await start('aa', { HostConfig: ports });
  const ended = await start('bb', {});
  const restarted = await start('cc', { HostConfig: { RestartPolicy: { Name: 'always' } } });
  const attachments = JSON.stringify(first.engine.registry.container(running).attachments);
  // From here on the first daemon hears nothing: it is dead.
  agent.events = undefined;
  first.store.close();
  agent.finish(ended, 7);
  agent.finish(restarted, 1);
  await agent.createTask({ ...agent.running.get(running)?.spec, id: 'stranger' } as never);
  const second = startEngine(EmbeddedStore.open(path), agent);
  await second.ready;
  t.after(() => second.store.close());
  const { registry } = second.engine;
  assert.equal(registry.container(running).state.status, 'running');
  assert.equal(JSON.stringify(registry.container(running).attachments), attachments);
  assert.equal(agent.host.forwards.size, 1);
  assert.deepEqual(
    [registry.container(ended).state.status, registry.container(ended).state.exitCode],
    ['exited', 7],
  );
  await until(() => registry.container(restarted).state.status === 'running', 'restarted');
  assert.equal(agent.running.has('stranger'), false);
  await assert.rejects(
    second.engine.containers
      .create(orderOf({ HostConfig: ports }, 'dd'))
      .then(({ id }) => second.engine.containers.lifecycle.start(id)),
    /port is already allocated/,
  );
  for (const { id } of [...registry.containers])
    await second.engine.containers.remove(id, true, false);
});
