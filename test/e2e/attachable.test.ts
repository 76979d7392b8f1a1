import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { missing } from '../support/docker-daemon.ts';
import { Site, type SiteHost } from './site.ts';

const skip = missing() ?? false;
const HOSTS = 3;

describe('containers on attachable networks over three hosts', { skip, timeout: 600_000 }, () => {
  let site: Site;
  const host = (number: number): SiteHost => site.host(number);
  const docker = (...args: string[]) => host(1).ok(...args);

  /** A container that answers with its name on port 80; it does when this resolves. */
  const serve = async (at: SiteHost, name: string, ...flags: string[]) => {
    const command = ['host', ...site.serving(name, 'tcp:80')];
    await at.ok('run', '-d', '--name', name, ...flags, ...command);
    const asking = site.asking('tcp', '127.0.0.1', 80);
    await site.eventually(`${name} listens`, async () => {
      return (await at.docker('exec', name, ...asking)).out.startsWith(name);
    });
  };
  /** What a server says to a container that comes for this alone. */
  const askFrom = async (at: SiteHost, network: string, name: string, port = 80) => {
    const asking = site.asking('tcp', name, port);
    return (await at.docker('run', '--rm', '--network', network, 'host', ...asking)).out.trim();
  };
  const inside = async (at: SiteHost, container: string, ...argv: string[]) =>
    (await at.docker('exec', container, ...argv)).out.trim();
  const addressOf = (at: SiteHost, container: string, network = 'open') =>
    at.ok('inspect', '-f', `{{.NetworkSettings.Networks.${network}.IPAddress}}`, container);
  const gone = (at: SiteHost) =>
    site.eventually(`the overlay is gone from ${at.name}`, async () => {
      const list = at === host(1) ? '' : await at.ok('network', 'ls', '--format', '{{.Name}}');
      return at.overlays.length === 0 && !list.split('\n').includes('open');
    });

  before(async () => {
    site = await Site.swarm(HOSTS);
    const subnet = ['--subnet', '10.90.0.0/24', '--gateway', '10.90.0.1'];
    await docker('network', 'create', '-d', 'overlay', '--attachable', ...subnet, 'open');
  });
  after(() => site?.close());

  test('a container on a worker is found from other hosts by its name and its alias', async () => {
    assert.deepEqual(host(2).overlays, []);
    await serve(host(2), 'box', '--network', 'open', '--network-alias', 'thing');
    assert.equal(host(2).overlays.length, 1);
    const address = await addressOf(host(2), 'box');
    assert.match(address, /^10\.90\.0\.\d+$/);
    for (const at of [host(1), host(3), host(2)]) {
      for (const name of ['box', 'thing', 'box.open', address]) {
        assert.match(await askFrom(at, 'open', name), /^box 10\.90\.0\.\d+$/, `${at.name} ${name}`);
      }
    }
    await gone(host(3));
    const containers = '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}';
    const shown = await host(2).ok('network', 'inspect', '-f', containers, 'open');
    assert.equal(shown, `box ${address}/24`);
    assert.equal(
      await host(2).ok('network', 'inspect', '-f', '{{.Attachable}}', 'open'),
      'true',
      'a worker knows that it is attachable',
    );
  });

  test('services and containers reach each other', async () => {
    const command = ['sh', '-c', `exec ${site.serving('web', 'tcp:80').join(' ')}`];
    const where = ['--constraint', 'node.hostname==host3'];
    const order = ['--detach', '--name', 'web', '--network', 'open', ...where];
    await docker('service', 'create', ...order, 'host', ...command);
    const ask = (name: string) => site.asking('tcp', name, 80);
    await site.eventually('the service answers the container', async () => {
      return (await inside(host(2), 'box', ...ask('web'))).startsWith('web 10.90.0.');
    });
    assert.match(await inside(host(2), 'box', ...ask('tasks.web')), /^web 10\.90\.0\./);
    const task = await host(3).taskOf('web');
    assert.match(await inside(host(3), task, ...ask('box')), /^box 10\.90\.0\./);
    await docker('service', 'rm', 'web');
  });

  test('its network leads outside, and its ports lead to it', async () => {
    await site.listen('outside', 9000);
    const out = site.asking('tcp', '192.0.2.100', 9000);
    assert.equal(await inside(host(2), 'box', ...out), 'outside 192.0.2.12');
    await serve(host(3), 'shown', '--network', 'open', '-p', '9090:80');
    assert.match(await site.ask('tcp', host(3).address, 9090), /^shown 192\.0\.2\.100$/);
    const names = '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}';
    assert.equal(await host(3).ok('inspect', '-f', names, 'shown'), 'open');
    await host(3).ok('rm', '-f', 'shown');
  });

  test('a network that is not attachable refuses, as does one that there is not', async () => {
    await docker('network', 'create', '-d', 'overlay', 'shut');
    for (const at of [host(1), host(2)]) {
      for (const name of ['shut', 'ingress']) {
        const { code, err } = await at.docker('run', '--rm', '--network', name, 'host', 'true');
        assert.equal(code, 125);
        const text = `Could not attach to network ${name}: rpc error: code = PermissionDenied desc = network ${name} not manually attachable`;
        assert.ok(err.includes(text), err);
      }
      const { code, err } = await at.docker('run', '--rm', '--network', 'nil', 'host', 'true');
      assert.equal(code, 125);
      assert.match(err, /network nil not found/);
    }
    await docker('network', 'rm', 'shut');
  });

  test('addresses that are asked for are given once', async () => {
    const run = (at: SiteHost, name: string, ip: string) =>
      at.docker(
        'run',
        '-d',
        '--name',
        name,
        '--network',
        'open',
        '--ip',
        ip,
        'host',
        'sleep',
        '60',
      );
    assert.equal((await run(host(3), 'fixed', '10.90.0.77')).code, 0);
    assert.equal(await addressOf(host(3), 'fixed'), '10.90.0.77');
    const taken = await run(host(2), 'late', '10.90.0.77');
    assert.match(taken.err, /Could not attach to network open: Address already in use/);
    const foreign = await run(host(2), 'foreign', '10.91.0.7');
    assert.match(foreign.err, /invalid address 10\.91\.0\.7: It does not belong to any of this/);
    await host(3).ok('rm', '-f', 'fixed');
    await site.eventually('the address is free again', async () => {
      return (await host(2).docker('start', 'late')).code === 0;
    });
    await host(2).ok('rm', '-f', 'late', 'foreign');
  });

  test('a running container joins and leaves', async () => {
    await host(3).ok('run', '-d', '--name', 'plain', 'host', 'sleep', '600');
    await host(3).ok('network', 'connect', '--alias', 'other', 'open', 'plain');
    const ask = site.asking('tcp', 'box', 80);
    assert.match(await inside(host(3), 'plain', ...ask), /^box 10\.90\.0\./);
    const names = async () => (await inside(host(2), 'box', 'getent', 'hosts', 'other')) !== '';
    await site.eventually('its alias is known on another host', names);
    await host(3).ok('network', 'disconnect', 'open', 'plain');
    await gone(host(3));
    await site.eventually('its alias is known no more', async () => !(await names()));
    await host(3).ok('rm', '-f', 'plain');
  });

  for (const [what, number] of [
    ['its own host', 2],
    ['the manager', 1],
  ] as const) {
    test(`a container is not lost with the daemon of ${what}`, async () => {
      const address = await addressOf(host(2), 'box');
      await host(number).stop('SIGKILL');
      await host(number).start();
      await site.eventually('every node is ready', async () => {
        const states = (await docker('node', 'ls', '--format', '{{.Status}}')).split('\n');
        return states.length === HOSTS && states.every((state) => state === 'Ready');
      });
      assert.equal(await addressOf(host(2), 'box'), address);
      assert.match(await askFrom(host(3), 'open', 'thing'), /^box 10\.90\.0\./);
    });
  }

  test('a container that starts with its daemon waits for a manager', async () => {
    await serve(host(3), 'early', '--network', 'open', '--restart', 'always');
    await host(3).ok('stop', '-t', '0', 'early');
    await host(3).stop();
    await host(1).stop('SIGKILL');
    await host(3).start();
    const state = async () => host(3).ok('inspect', '-f', '{{.State.Status}}', 'early');
    await site.eventually('it waits', () => /container not started/.test(host(3).log));
    await host(1).start();
    await site.eventually('it runs', async () => (await state()) === 'running');
    await site.eventually('it answers', async () => {
      return (await askFrom(host(2), 'open', 'early')).startsWith('early 10.90.0.');
    });
    await host(3).ok('rm', '-f', 'early');
  });

  test('a network that is in use stays; one that nobody is on goes', async () => {
    const { code, err } = await docker('network', 'rm', 'open').then(
      () => ({ code: 0, err: '' }),
      (error: Error) => ({ code: 1, err: error.message }),
    );
    assert.equal(code, 1);
    assert.match(err, /network [a-z0-9]{25} is in use by task [a-z0-9]{25}/);
    await host(2).ok('stop', '-t', '0', 'box');
    await gone(host(2));
    await host(2).ok('start', 'box');
    await site.eventually('it answers again', async () => {
      return (await askFrom(host(3), 'open', 'box')).startsWith('box 10.90.0.');
    });
    await host(2).ok('rm', '-f', 'box');
    await gone(host(2));
    await site.eventually('it goes', async () => {
      return (await host(1).docker('network', 'rm', 'open')).code === 0;
    });
  });

  test('what a node had that is removed is given back', async () => {
    await docker('network', 'create', '-d', 'overlay', '--attachable', 'open');
    await serve(host(3), 'left', '--network', 'open');
    await host(3).stop('SIGKILL');
    assert.notEqual((await host(1).docker('network', 'rm', 'open')).code, 0);
    await docker('node', 'rm', '--force', 'host3');
    await site.eventually('it goes', async () => {
      return (await host(1).docker('network', 'rm', 'open')).code === 0;
    });
    // What it ran ends with its container, which only its daemon can remove.
    await host(3).start();
  });
});
