import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeCertificates, noCertificates } from '../support/certs.ts';
import { missing } from '../support/docker-daemon.ts';
import { Site, type SiteHost } from './site.ts';

const WEB = fileURLToPath(new URL('./web.mjs', import.meta.url));
const skip = missing() ?? noCertificates();
const CONFIG = `workers: 2
listeners:
  web: { bind: '0.0.0.0:80', protocol: http, cluster: true }
  tls:
    bind: '0.0.0.0:443'
    protocol: https
    cluster: true
    tls: { certificates: [{ cert: certs/wild.example.org.pem, key: certs/wild.example.org.key }] }
`;

describe('HTTP by host names over two hosts', { skip, timeout: 600_000 }, () => {
  let site: Site;
  const host = (number: number): SiteHost => site.host(number);
  const docker = (...args: string[]) => host(1).ok(...args);
  const eventually: Site['eventually'] = (...order) => site.eventually(...order);
  const label = (key: string, value: string) => ['--label', `com.docker.lb.${key}=${value}`];

  /** A task on each host answers with `HOST/VERSION PATH CLIENT`; no port is published. */
  const create = (name: string, ...flags: string[]) => {
    const env = ['--env', 'NAME={{.Node.Hostname}}/1'];
    const health = ['--health-cmd', 'curl -sf http://127.0.0.1/', '--health-interval', '200ms'];
    const options = ['--detach', '--mode', 'global', '--name', name, ...env, ...health, ...flags];
    return docker('service', 'create', ...options, 'host', process.execPath, WEB);
  };
  const curl = async (...args: string[]) =>
    (await site.client('curl', '-s', '-m', '5', ...args)).out.trim();
  const ask = (at: SiteHost, name: string, path = '/', ...more: string[]) =>
    curl('-H', `Host: ${name}`, ...more, `http://${at.address}${path}`);
  /** Names of tasks that answer by a host. */
  const seen = async (at: SiteHost, name: string, ...more: string[]) => {
    const names = new Set<string>();
    for (let n = 0; n < 8; n++) names.add((await ask(at, name, '/', ...more)).split(' ')[0] ?? '');
    return [...names].sort().join();
  };
  const everywhere = async (name: string, wanted: string, ...more: string[]) => {
    for (const at of site.hosts) {
      await eventually(`${wanted} for ${name} by ${at.name}`, async () => {
        return (await seen(at, name, ...more)) === wanted;
      });
    }
  };
  const statusOf = (at: SiteHost, name: string) =>
    ask(at, name, '/', '-o', '/dev/null', '-w', '%{http_code}');

  before(async () => {
    site = await Site.swarm(2, async ({ hosts }) => {
      for (const { folder } of hosts) {
        writeFileSync(join(folder, 'sluice.yaml'), CONFIG);
        makeCertificates(join(folder, 'certs'));
      }
      return ['--config', '{DIR}/sluice.yaml'];
    });
  });
  after(() => site?.close());

  test('the gateway of every host reaches the tasks of both', async () => {
    await create('app', ...label('hosts', 'app.example'), ...label('port', '80'));
    await everywhere('app.example', 'host1/1,host2/1');
    assert.equal(await statusOf(host(2), 'else.example'), '404');
  });

  test('a cookie of the application keeps its clients on one task; a path is cut', async () => {
    const more = [...label('context_root', '/shop'), ...label('context_root_rewrite', 'true')];
    const sticky = label('sticky_session_cookie', 'sid');
    await create(
      'shop',
      ...label('hosts', 'app.example'),
      ...label('port', '80'),
      ...more,
      ...sticky,
    );
    await eventually('it answers', async () => {
      return /\/1 \/cart /.test(await ask(host(2), 'app.example', '/shop/cart'));
    });
    const tasks = async () => {
      const names = new Set<string>();
      for (let n = 0; n < 10; n++) {
        const answer = await ask(host(1 + (n % 2)), 'app.example', '/shop/', '-b', 'sid=42');
        names.add(answer.split(' ')[0] ?? '');
      }
      return [...names];
    };
    await eventually('both gateways know both tasks', async () => (await tasks()).length === 1);
    const kept = await tasks();
    assert.equal(kept.length, 1, kept.join());
  });

  test('a secret is the certificate of a host name, by every gateway', async () => {
    const file = (name: string) => join(host(1).folder, 'certs', name);
    await docker('secret', 'create', 'site.cert', file('example.com.pem'));
    await docker('secret', 'create', 'site.key', file('example.com.key'));
    const pair = [...label('ssl_cert', 'site.cert'), ...label('ssl_key', 'site.key')];
    const own = [
      ...label('hosts', 'example.com'),
      ...label('port', '80'),
      ...label('ssl_only', 'true'),
    ];
    await create('safe', ...own, ...pair);
    for (const at of site.hosts) {
      const resolve = ['--resolve', `example.com:443:${at.address}`];
      await eventually(`it answers by ${at.name}`, async () => {
        const trust = ['--cacert', file('example.com.pem')];
        return /^host\d\/1 /.test(await curl(...trust, ...resolve, 'https://example.com/'));
      });
      const location = await ask(
        at,
        'example.com',
        '/x',
        '-o',
        '/dev/null',
        '-w',
        '%{redirect_url}',
      );
      assert.equal(location, 'https://example.com/x');
    }
    const { code, err } = await host(1).docker('secret', 'rm', 'site.key');
    assert.equal(code, 1);
    assert.match(err, /in use by the following service: safe/);
    const key = readFileSync(file('example.com.key'), 'utf8').split('\n')[1] ?? '';
    for (const { log } of site.hosts) assert.ok(key !== '' && !log.includes(key));
  });

  test('another label changes a route, and no connection of another one', async () => {
    await create('move', ...label('hosts', 'old.example'), ...label('port', '80'));
    await everywhere('old.example', 'host1/1,host2/1');
    const load = site.steady(host(2), 'app.example');
    await eventually('it runs', async () => (await statusOf(host(2), 'app.example')) === '200');
    await docker(
      'service',
      'update',
      '--detach',
      '--label-add',
      'com.docker.lb.hosts=new.example',
      'move',
    );
    await everywhere('new.example', 'host1/1,host2/1');
    for (const at of site.hosts) assert.equal(await statusOf(at, 'old.example'), '404');
    const { asked, failed, faults, connections } = await load.end();
    assert.equal(failed, 0, `${failed} of ${asked}: ${JSON.stringify(faults)}`);
    assert.equal(connections, 1);
  });

  test('an update and a drained host fail no request', async () => {
    const loads = site.hosts.map((at) => site.steady(at, 'app.example'));
    await docker('service', 'update', '--detach', '--env-add', 'NAME={{.Node.Hostname}}/2', 'app');
    await everywhere('app.example', 'host1/2,host2/2');
    await docker('node', 'update', '--availability', 'drain', 'host2');
    await everywhere('app.example', 'host1/2');
    await docker('node', 'update', '--availability', 'active', 'host2');
    await everywhere('app.example', 'host1/2,host2/2');
    for (const load of loads) {
      const { asked, failed, faults, connections } = await load.end();
      assert.equal(failed, 0, `${failed} of ${asked}: ${JSON.stringify(faults)}`);
      assert.equal(connections, 1, 'the gateway keeps its clients');
    }
  });

  const secure = (at: SiteHost) => {
    const trust = ['--cacert', join(host(1).folder, 'certs', 'example.com.pem')];
    return curl(...trust, '--resolve', `example.com:443:${at.address}`, 'https://example.com/');
  };

  test('a daemon that is killed and starts again finds routes, tasks and certificates', async () => {
    const load = site.steady(host(2), 'app.example');
    await host(2).stop('SIGKILL');
    await everywhere('app.example', 'host1/2,host2/2');
    await host(2).start();
    await everywhere('app.example', 'host1/2,host2/2');
    await eventually('its certificate is back', async () => /^host/.test(await secure(host(2))));
    const { asked, failed, faults } = await load.end();
    assert.equal(failed, 0, `${failed} of ${asked}: ${JSON.stringify(faults)}`);
  });

  test('an upgrade hands routes, tasks and certificates over', async () => {
    const served = () => host(2).log.split('Sluice serves').length - 1;
    await eventually('the gateway has started again', () => served() === 2);
    const load = site.steady(host(2), 'app.example');
    const { pid } = host(2);

    process.kill(pid, 'SIGUSR2');
    const wrong: string[] = [];
    await eventually('the daemon before has ended', async () => {
      const answer = await secure(host(2));
      if (!/^host/.test(answer)) wrong.push(answer);
      return !existsSync(`/proc/${pid}`);
    });
    assert.deepEqual(wrong, []);
    assert.match(host(2).log, /a new daemon has taken over/);
    await everywhere('app.example', 'host1/2,host2/2');
    const { asked, failed, faults } = await load.end();
    assert.equal(failed, 0, `${failed} of ${asked}: ${JSON.stringify(faults)}`);
  });

  test('labels that come later move tasks to where gateways reach them', async () => {
    await create('later');
    await eventually('its tasks run', async () => {
      const out = await docker(
        'service',
        'ls',
        '--filter',
        'name=later',
        '--format',
        '{{.Replicas}}',
      );
      return out.startsWith('2/2');
    });
    const labels = ['hosts=later.example', 'port=80'].flatMap((one) => [
      '--label-add',
      `com.docker.lb.${one}`,
    ]);
    await docker('service', 'update', '--detach', ...labels, 'later');
    await everywhere('later.example', 'host1/1,host2/1');
    const { code, err } = await host(1).docker(
      'service',
      'update',
      '--label-add',
      'com.docker.lb.port=x',
      'later',
    );
    assert.equal(code, 1);
    assert.match(err, /label com\.docker\.lb\.port: "x" is not a port; valid are 1 to 65535/);
    await docker('service', 'rm', 'later');
    await eventually(
      'it is gone',
      async () => (await statusOf(host(2), 'later.example')) === '404',
    );
  });
});
