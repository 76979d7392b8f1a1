import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { missing, run } from '../support/docker-daemon.ts';
import { Site, type SiteHost } from './site.ts';

const skip = missing() ?? false;
const HAPROXY = ['/usr/sbin/haproxy', '/usr/local/sbin/haproxy'].find(existsSync);

/** Rows of the catalogue that need several hosts. */
describe('overlays and the mesh over three hosts', { skip, timeout: 600_000 }, () => {
  let site: Site;
  const host = (number: number): SiteHost => site.host(number);
  const docker = (...args: string[]) => host(1).ok(...args);
  const eventually: Site['eventually'] = (...order) => site.eventually(...order);
  /** Tasks answer with the name of their host. */
  const create = (name: string, ...flags: string[]) => {
    const serve = site.serving('$NAME', 'tcp:80').join(' ');
    const own = ['--env', 'NAME={{.Node.Hostname}}', '--stop-grace-period', '1s'];
    const options = ['--detach', '--name', name, ...own, ...flags];
    return docker('service', 'create', ...options, 'host', 'sh', '-c', `exec ${serve}`);
  };
  const on = (number: number) => ['--constraint', `node.hostname==host${number}`];
  const places = async (name: string) => {
    const running = [
      '--filter',
      'desired-state=running',
      '--format',
      '{{.Node}} {{.CurrentState}}',
    ];
    const lines = (await docker('service', 'ps', ...running, name)).split('\n');
    return lines
      .flatMap((line) => (/Running/.test(line) ? line.split(' ')[0] : []))
      .sort()
      .join();
  };
  const runs = (name: string, wanted: string) =>
    eventually(`${name} runs on ${wanted}`, async () => (await places(name)) === wanted);
  const insideOf = async (at: SiteHost, service: string, ...argv: string[]) =>
    (await at.docker('exec', await at.taskOf(service), ...argv)).out.trim();
  const answers = async (address: string, port: number, times = 9) => {
    const seen = new Set<string>();
    for (let n = 0; n < times; n++) {
      seen.add((await site.ask('tcp', address, port)).split(' ')[0] ?? '');
    }
    return [...seen].sort().join();
  };
  const remove = async (...names: string[]) => {
    await docker('service', 'rm', ...names);
    await eventually('their tasks are gone', async () => {
      const left = await Promise.all(site.hosts.map((one) => one.ok('ps', '-aq')));
      return left.every((ids) => ids === '');
    });
  };

  before(async () => {
    site = await Site.swarm(3);
  });
  after(() => site?.close());

  test('RA-05 RA-06 RA-21 RA-22 RA-23 RA-38 NC-12 an overlay is where its tasks are', async () => {
    await docker('network', 'create', '-d', 'overlay', 'net');
    await create('one', '--network', 'net', ...on(1));
    await create('two', '--network', 'net', ...on(2));
    await runs('one', 'host1');
    await runs('two', 'host2');
    const id = await docker('network', 'inspect', '-f', '{{.Id}}', 'net');
    assert.equal(await host(2).ok('network', 'inspect', '-f', '{{.Id}}', 'net'), id);
    assert.notEqual((await host(3).docker('network', 'inspect', 'net')).code, 0);
    assert.deepEqual(host(3).overlays, []);
    const bridges = site.hosts.map((at) => at.ok('network', 'inspect', '-f', '{{.Id}}', 'bridge'));
    assert.equal(
      new Set(await Promise.all(bridges)).size,
      3,
      'networks of a host have ids of its own',
    );
    const [namespace = ''] = host(1).overlays;
    const vni = await docker(
      ...['network', 'inspect', '-f'],
      '{{index .Options "com.docker.network.driver.overlay.vxlanid_list"}}',
      'net',
    );
    const link = await run(['ip', '-n', namespace, '-d', 'link', 'show', 'type', 'vxlan']);
    assert.match(link.out, new RegExp(`vxlan id ${vni} .*dstport 4789 nolearning`));
    const fdb = await run(['bridge', '-n', namespace, 'fdb']);
    assert.match(fdb.out, /02:42:0a:\S+ dev \S+ dst 192\.0\.2\.12/);
    assert.doesNotMatch(fdb.out, /dst 192\.0\.2\.13/);
    const ask = site.asking('tcp', 'two', 80);
    await eventually('tasks of both hosts meet', async () => {
      return (await insideOf(host(1), 'one', ...ask)).startsWith('host2 ');
    });
    // A host learns of a peer once that has a task, and forgets it with the last one.
    const peersOf = async () => (await run(['bridge', '-n', namespace, 'fdb'])).out;
    await create('three', '--network', 'net', ...on(3));
    await runs('three', 'host3');
    await eventually('host1 learns of it', async () => /dst 192\.0\.2\.13/.test(await peersOf()));
    assert.equal(host(3).overlays.length, 1);
    await docker('service', 'rm', 'three');
    await eventually('host1 forgets it', async () => !/dst 192\.0\.2\.13/.test(await peersOf()));
    await eventually('host3 holds nothing of it', () => host(3).overlays.length === 0);
    assert.match(await peersOf(), /dst 192\.0\.2\.12/);
    await remove('one', 'two');
    await eventually('no host has it', () => site.hosts.every((at) => at.overlays.length === 0));
    await docker('network', 'rm', 'net');
  });

  test('RA-42 RA-43 RA-36 every host publishes, with a task or without', async () => {
    await create('app', '--replicas', '2', '-p', '8000:80', '--constraint', 'node.hostname!=host3');
    await runs('app', 'host1,host2');
    for (const { address } of site.hosts) {
      await eventually(`${address} answers by both`, async () => {
        return (await answers(address, 8000)) === 'host1,host2';
      });
    }
    await remove('app');
  });

  test('RM-18 RA-29 ports in host mode answer where a task is, one a host', async () => {
    const publish = ['--publish', 'mode=host,target=80,published=8080'];
    await create('app', '--replicas', '2', ...publish, '--constraint', 'node.hostname!=host3');
    await runs('app', 'host1,host2');
    for (const { address, name } of site.hosts.slice(0, 2)) {
      await eventually(`${name} answers`, async () => (await answers(address, 8080, 3)) === name);
    }
    assert.match(await site.ask('tcp', host(3).address, 8080), /REFUSED/);
    await docker('service', 'scale', '--detach', 'app=3');
    await eventually('the third one waits', async () => {
      const list = [
        'service',
        'ps',
        '--no-trunc',
        '--format',
        '{{.CurrentState}} {{.Error}}',
        'app',
      ];
      return /Pending .*host-mode port already in use on 2 nodes/.test(await docker(...list));
    });
    await remove('app');
  });

  test('RM-01 ON-04 FW-01 FW-02 only a manager listens for nodes; all for tunnels', async () => {
    await create('app', '-p', '8000:80', '--mode', 'global');
    await runs('app', 'host1,host2,host3');
    for (const at of site.hosts) {
      const { out } = await at.run('ss', '-Hlntu');
      assert.equal(/^tcp .*:2377 /m.test(out), at === host(1), `${at.name}: ${out}`);
      assert.match(out, /^udp .*:4789 /m);
    }
    await remove('app');
  });

  test('DS-36 DS-39 DS-40 tasks are spread over a label, and first where none is', async () => {
    for (const [number, zone] of [
      [1, 'east'],
      [2, 'east'],
      [3, 'west'],
    ]) {
      await docker('node', 'update', '--label-add', `zone=${zone}`, `host${number}`);
    }
    const spread = ['--placement-pref', 'spread=node.labels.zone'];
    await create('app', '--replicas', '4', ...spread);
    await runs('app', 'host1,host2,host3,host3');
    await create('other', '--placement-pref', 'spread=node.labels.nothing', '--mode', 'global');
    await runs('other', 'host1,host2,host3');
    await create('even', '--replicas', '2', '--constraint', 'node.labels.zone==east');
    await runs('even', 'host1,host2');
    await docker('service', 'update', '-d', '--constraint-rm', 'node.labels.zone==east', 'even');
    await docker('service', 'scale', '-d', 'even=3');
    await runs('even', 'host1,host2,host3');
    await remove('app', 'other', 'even');
  });

  test('RM-20 HAProxy in front of the hosts', { skip: !HAPROXY && 'no haproxy here' }, async () => {
    await create('app', '--mode', 'global', '-p', '8000:80');
    await runs('app', 'host1,host2,host3');
    const path = join(site.folder, 'haproxy.cfg');
    const servers = site.hosts.map(({ name, address }) => `  server ${name} ${address}:8000 check`);
    const config = [
      ...['defaults', '  mode tcp', '  timeout connect 5s', '  timeout client 10s'],
      ...['  timeout server 10s', 'frontend f', '  bind *:80', '  default_backend b'],
      ...['backend b', '  balance roundrobin', ...servers, ''],
    ];
    writeFileSync(path, config.join('\n'));
    const stop = site.beside.enter;
    assert.deepEqual(
      (await run([...stop, HAPROXY ?? '', '-D', '-f', path, '-p', `${path}.pid`])).err,
      '',
    );
    try {
      await eventually('all answer', async () => {
        return (await answers('127.0.0.1', 80, 12)) === 'host1,host2,host3';
      });
    } finally {
      await run(['sh', '-c', `kill $(cat ${path}.pid)`]);
    }
    await remove('app');
  });

  test('SE-31 DS-57 a node that is away keeps its secret; its task goes elsewhere', async () => {
    const path = join(site.folder, 'secret');
    writeFileSync(path, 'kept');
    await docker('secret', 'create', 'word', path);
    await create(
      'app',
      '--secret',
      'word',
      '--constraint',
      'node.hostname!=host1',
      '-p',
      '8000:80',
    );
    await eventually('it runs', async () => (await places('app')) !== '');
    const first = (await places('app')) === 'host2' ? 2 : 3;
    await host(first).plug(false);
    assert.equal(await insideOf(host(first), 'app', 'cat', '/run/secrets/word'), 'kept');
    await eventually('its host is down', async () => {
      return /Down/.test(await docker('node', 'ls', '--format', '{{.Hostname}} {{.Status}}'));
    });
    await runs('app', `host${5 - first}`);
    assert.equal(await insideOf(host(first), 'app', 'cat', '/run/secrets/word'), 'kept');
    await host(first).plug(true);
    await eventually('it ends where it was', async () => (await host(first).taskOf('app')) === '');
    await remove('app');
    await docker('secret', 'rm', 'word');
  });

  test('DS-19 a node that joins gets tasks by itself', async () => {
    await create('app', '--mode', 'global', '-p', '8000:80');
    await runs('app', 'host1,host2,host3');
    await host(3).ok('swarm', 'leave');
    await runs('app', 'host1,host2');
    const token = await docker('swarm', 'join-token', '-q', 'worker');
    await host(3).ok('swarm', 'join', '--token', token, `${host(1).address}:2377`);
    await runs('app', 'host1,host2,host3');
    await remove('app');
  });

  test('ON-17 another ingress network, with packets too small for IPv6', async () => {
    const removed = await host(1).dockerWith('y\n', 'network', 'rm', 'ingress');
    assert.equal(removed.code, 0, removed.err);
    const options = ['--subnet', '10.11.0.0/16', '--opt', 'com.docker.network.driver.mtu=1200'];
    await docker('network', 'create', '-d', 'overlay', '--ingress', ...options, 'mine');
    await create('app', '-p', '8000:80', ...on(2));
    await runs('app', 'host2');
    for (const { address } of site.hosts) {
      await eventually(
        `${address} answers`,
        async () => (await answers(address, 8000, 2)) === 'host2',
      );
    }
    await remove('app');
  });
});

test('ON-22 tunnels have an address of their own', { skip, timeout: 300_000 }, async (t) => {
  const site = await Site.open(2);
  t.after(() => site.close());
  const [manager, worker] = site.hosts;
  assert.ok(manager && worker);
  for (const [index, at] of site.hosts.entries()) {
    await at.run('ip', 'addr', 'add', `203.0.113.1${index}/24`, 'dev', 'eth0');
  }
  const own = (index: number) => ['--data-path-addr', `203.0.113.1${index}`];
  await manager.ok('swarm', 'init', '--advertise-addr', manager.address, ...own(0));
  const token = await manager.ok('swarm', 'join-token', '-q', 'worker');
  const join2 = ['--advertise-addr', worker.address, ...own(1), '--token', token];
  await worker.ok('swarm', 'join', ...join2, `${manager.address}:2377`);
  const address = ['node', 'inspect', '-f', '{{.Status.Addr}}'];
  await site.eventually('it is told', async () => {
    return (await manager.docker(...address, 'host2')).out.trim() === worker.address;
  });
  await manager.ok('network', 'create', '-d', 'overlay', '--attachable', 'net');
  await worker.ok(
    'run',
    '-d',
    '--name',
    'box',
    '--network',
    'net',
    'host',
    ...site.serving('box', 'tcp:80'),
  );
  const ask = ['run', '--rm', '--network', 'net', 'host', ...site.asking('tcp', 'box', 80)];
  await site.eventually('they meet', async () =>
    (await manager.docker(...ask)).out.startsWith('box '),
  );
  const [namespace = ''] = worker.overlays;
  const { out } = await run(['ip', '-n', namespace, '-d', 'link', 'show', 'type', 'vxlan']);
  assert.match(out, /local 203\.0\.113\.11/);
});
