import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { missing } from '../support/docker-daemon.ts';
import { Site, type SiteHost } from './site.ts';

const skip = missing() ?? false;
const HOSTS = 5;
const RATE = 200;
/** Whether port 80 is listened on, as cheaply as a check can tell. */
const LISTENS = 'grep -q ":0050 .* 0A " /proc/net/tcp6';

describe('services over five hosts', { skip, timeout: 600_000 }, () => {
  let site: Site;
  const host = (number: number): SiteHost => site.host(number);
  const docker = (...args: string[]) => host(1).ok(...args);
  const eventually: Site['eventually'] = (...order) => site.eventually(...order);

  /** Tasks answer on port 80 with `HOST/VERSION`. */
  const create = (name: string, ...flags: string[]) => {
    const serve = site.serving('$NAME/$VERSION', 'tcp:80', 'udp:80').join(' ');
    const own = ['--env', 'NAME={{.Node.Hostname}}', '--env', 'VERSION=1'];
    const health = ['--health-cmd', LISTENS, '--health-interval', '200ms'];
    const options = ['--detach', '--name', name, ...own, ...health, ...flags];
    return docker('service', 'create', ...options, 'host', 'sh', '-c', `exec ${serve}`);
  };
  /** Names that answer on a port of a host, and as whom they saw the client. */
  const answers = async (address: string, port: number, times = 2 * HOSTS) => {
    const seen = new Set<string>();
    for (let n = 0; n < times; n++) seen.add(await site.ask('tcp', address, port));
    return [...seen].sort();
  };
  const serving = async (port: number, ...wanted: string[]) => {
    const all = wanted.map((name) => `${name} 192.0.2.100`).sort();
    for (const { name, address } of site.hosts) {
      await eventually(`${wanted.join()} answer by ${name}`, async () => {
        return (await answers(address, port)).join() === all.join();
      });
    }
  };
  const insideOf = async (at: SiteHost, service: string, ...argv: string[]) =>
    (await at.docker('exec', await at.taskOf(service), ...argv)).out.trim();
  const everybody = (version: number) => site.hosts.map(({ name }) => `${name}/${version}`);

  before(async () => {
    site = await Site.swarm(HOSTS);
  });
  after(() => site?.close());

  test('RM-05 ON-20 a published port answers on every host, and the task sees the client', async () => {
    await docker('network', 'create', '-d', 'overlay', 'app');
    const ports = ['--publish', '8080:80', '--publish', '8080:80/udp'];
    await create('web', '--mode', 'global', '--network', 'app', ...ports);
    await serving(8080, ...everybody(1));
    for (const { name, address, address6, overlays } of site.hosts) {
      assert.equal(overlays.length, 1, `${name} has the overlay`);
      assert.match(await site.ask('tcp', address6, 8080), /^host\d\/1 2001:db8:2::100$/);
      assert.match(await site.ask('udp', address, 8080), /^host\d\/1 192\.0\.2\.100$/);
      assert.match(await site.ask('udp', address6, 8080), /^host\d\/1 2001:db8:2::100$/);
    }
  });

  test('a host reaches every task by another host, its own among them', async () => {
    const [from, by] = [host(2), host(3)];
    for (const address of [by.address, by.address6]) {
      const seen = new Set<string>();
      for (let n = 0; n < 2 * HOSTS; n++) {
        const { out } = await from.run(...site.asking('tcp', address, 8080));
        seen.add(out.trim().split(' ')[0] ?? '');
      }
      assert.deepEqual([...seen].sort(), everybody(1), address);
    }
  });

  test('DB-05 RA-40 inside: the service by its address, tasks by theirs, and both by names', async () => {
    await create('turns', '--mode', 'global', '--network', 'app', '--endpoint-mode', 'dnsrr');
    const at = host(2);
    await eventually('it runs there', async () => (await at.taskOf('turns')) !== '');
    const list = async (name: string) =>
      (await insideOf(at, 'web', 'getent', 'ahostsv4', name)).match(/^\S+(?= +STREAM)/gm) ?? [];
    const vip = await docker(
      'service',
      'inspect',
      '-f',
      '{{(index .Endpoint.VirtualIPs 0).Addr}}',
      'web',
    );
    assert.deepEqual(await list('web'), [vip.split('/')[0]]);
    assert.deepEqual(await list('web.app'), [vip.split('/')[0]]);
    await eventually('every task has a name', async () => {
      return (await list('tasks.web')).length === HOSTS && (await list('turns')).length === HOSTS;
    });
    const ask = site.asking('tcp', 'web', 80);
    const seen = new Set<string>();
    for (let n = 0; n < 2 * HOSTS; n++) seen.add(await insideOf(at, 'web', ...ask));
    const [own = ''] = [...seen];
    assert.deepEqual([...seen].map((one) => one.split(' ')[0]).sort(), everybody(1));
    assert.match(own, / 10\.0\.1\.\d+$/, 'its own side chooses, and tasks see the task');
    assert.match(await insideOf(at, 'web', ...site.asking('tcp', 'turns', 80)), /^host\d\/1 10\.0/);
  });

  test('a task reaches the outside; one that has only internal networks does not', async () => {
    await site.listen('outside', 9000);
    const out = site.asking('tcp', '192.0.2.100', 9000);
    assert.equal(await insideOf(host(2), 'web', ...out), 'outside 192.0.2.12');
    await docker('network', 'create', '-d', 'overlay', '--internal', 'inner');
    await create('alone', '--mode', 'global', '--network', 'inner');
    await eventually('it runs', async () => (await host(2).taskOf('alone')) !== '');
    assert.match(await insideOf(host(2), 'alone', ...out), /ENETUNREACH|no answer/);
    await docker('service', 'rm', 'alone', 'turns');
    await eventually('the overlay is gone from the host', async () => {
      return !/inner/.test(await host(2).ok('network', 'ls'));
    });
    await docker('network', 'rm', 'inner');
  });

  test('an update fails no request', async () => {
    const load = site.load(RATE, 8080, ...site.hosts.map(({ address }) => address));
    await docker('service', 'update', '--detach', '--env-add', 'VERSION=2', 'web');
    await serving(8080, ...everybody(2));
    const { asked, failed, faults, seen } = await load.end();
    assert.equal(failed, 0, `${failed} of ${asked}: ${JSON.stringify(faults)}`);
    assert.ok(Object.keys(seen).length > HOSTS, JSON.stringify(seen));
  });

  test('a host that is drained loses its task, fails no request and answers on', async () => {
    const load = site.load(RATE, 8080, ...site.hosts.map(({ address }) => address));
    await docker('node', 'update', '--availability', 'drain', 'host5');
    await serving(8080, ...everybody(2).slice(0, -1));
    const { asked, failed, faults } = await load.end();
    assert.equal(failed, 0, `${failed} of ${asked}: ${JSON.stringify(faults)}`);
    assert.equal(await host(5).taskOf('web'), '');
  });

  for (const [what, number] of [
    ['a worker', 3],
    ['the manager', 1],
  ] as const) {
    test(`RA-07 the daemon of ${what} that is killed is not missed, and finds everything`, async () => {
      const load = site.load(RATE, 8080, ...site.hosts.map(({ address }) => address));
      const at = host(number);
      const before = await at.taskOf('web');
      await at.stop('SIGKILL');
      // Soon enough: a node that is missed too long loses its tasks. All that are left take turns, and
      // the load beside takes some of these.
      const [seen] = await Promise.all([answers(at.address, 8080, 8 * HOSTS), at.start()]);
      const known = everybody(2).slice(0, -1);
      assert.deepEqual(
        seen,
        known.map((name) => `${name} 192.0.2.100`),
      );
      await eventually('every node is ready', async () => {
        const states = (await docker('node', 'ls', '--format', '{{.Status}}')).split('\n');
        return states.length === HOSTS && states.every((state) => state === 'Ready');
      });
      assert.equal(await at.taskOf('web'), before);
      await serving(8080, ...everybody(2).slice(0, -1));
      const { asked, failed, faults } = await load.end();
      assert.equal(failed, 0, `${failed} of ${asked}: ${JSON.stringify(faults)}`);
    });
  }

  test('replicas come and go, and no request fails', async () => {
    await create('many', '--replicas', '2', '--publish', '8081:80');
    const tasks = async () => {
      const format = ['--filter', 'desired-state=running', '--format', '{{.CurrentState}}'];
      const lines = (await docker('service', 'ps', ...format, 'many')).split('\n');
      return lines.filter((line) => line.startsWith('Running')).length;
    };
    await eventually('two run', async () => (await tasks()) === 2);
    const load = site.load(RATE, 8081, ...site.hosts.map(({ address }) => address));
    for (const count of [6, 1, 3]) {
      await docker('service', 'scale', '--detach', `many=${count}`);
      await eventually(`${count} run`, async () => {
        const running = await Promise.all(
          site.hosts.map((one) => one.ok('ps', '-q', '--filter', 'name=many.')),
        );
        const there = running.join('\n').split('\n').filter(Boolean).length;
        return there === count && (await tasks()) === count;
      });
    }
    const { asked, failed, faults } = await load.end();
    assert.equal(failed, 0, `${failed} of ${asked}: ${JSON.stringify(faults)}`);
    await docker('service', 'rm', 'many');
  });

  test('a service that is removed leaves nothing', async () => {
    await docker('service', 'rm', 'web');
    await eventually('no task is left', async () => {
      const left = await Promise.all(site.hosts.map((one) => one.taskOf('web')));
      return left.every((one) => one === '');
    });
    for (const { address } of site.hosts) {
      await eventually('its port is closed', async () => {
        return /REFUSED/.test(await site.ask('tcp', address, 8080));
      });
    }
    for (const at of site.hosts) {
      await eventually(`${at.name} has no overlay`, async () => {
        const listed = at === host(1) ? '' : await at.ok('network', 'ls');
        return at.overlays.length === 0 && !/app/.test(listed);
      });
    }
    await docker('network', 'rm', 'app');
  });
});
