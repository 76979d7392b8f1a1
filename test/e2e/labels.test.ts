import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeCertificates, noCertificates } from '../support/certs.ts';
import { missing } from '../support/docker-daemon.ts';
import { Site, type SiteHost } from './site.ts';

const WEB = fileURLToPath(new URL('./web.mjs', import.meta.url));
const skip = missing() ?? noCertificates();
const CLIENTS = Array.from({ length: 16 }, (_, at) => `192.0.2.${150 + at}`);
const CONFIG = `workers: 1
listeners:
  web: { bind: '0.0.0.0:80', protocol: http, cluster: true }
  inner: { bind: '0.0.0.0:81', protocol: http, cluster: inner }
  sni: { bind: '0.0.0.0:8443', protocol: tls-passthrough, cluster: true }
`;

/** What docs/cluster.md says of the labels of services, tried as it is written there. */
describe('labels of services over two hosts', { skip, timeout: 600_000 }, () => {
  let site: Site;
  const host = (number: number): SiteHost => site.host(number);
  const docker = (...args: string[]) => host(1).ok(...args);
  const eventually: Site['eventually'] = (...order) => site.eventually(...order);

  /** Tasks answer on port 80 with `HOST PATH CLIENT`. */
  const create = (name: string, ...flags: string[]) => {
    const env = [
      '--env',
      'NAME={{.Node.Hostname}}',
      '--env',
      `CERTS=${join(site.folder, 'certs')}`,
    ];
    const options = ['--detach', '--name', name, ...env, ...flags];
    return docker('service', 'create', ...options, 'host', process.execPath, WEB);
  };
  const labels = (of: Record<string, string>) =>
    Object.entries(of).flatMap(([key, value]) => ['--label', `${key}=${value}`]);
  const lb = (of: Record<string, string>) =>
    labels(
      Object.fromEntries(Object.entries(of).map(([key, value]) => [`com.docker.lb.${key}`, value])),
    );
  const relabel = (name: string, label: string) =>
    docker('service', 'update', '--detach', '--label-add', label, name);
  /** What the client gets: the answer, or the name of what curl says went wrong. */
  const get = async (url: string, ...options: string[]) => {
    const { code, out } = await site.client('curl', '-s', '-m', '5', ...options, url);
    return code === 0 ? out.trim() : `curl ${code}`;
  };
  const by = (at: SiteHost, name: string, path = '/', port = 80) =>
    get(`http://${at.address}:${port}${path}`, '-H', `Host: ${name}`);
  const namesOf = async (times: number, ask: () => Promise<string>) => {
    const names = new Set<string>();
    for (let n = 0; n < times; n++) names.add((await ask()).split(' ')[0] ?? '');
    return [...names].sort().join();
  };
  /** What a task of a service gets from another one. */
  const inside = async (at: SiteHost, service: string, url: string) => {
    const curl = ['curl', '-s', '-m', '5', url];
    const { code, out } = await at.docker('exec', await at.taskOf(service), ...curl);
    return code === 0 ? out.trim() : `curl ${code}`;
  };

  before(async () => {
    site = await Site.swarm(2, async ({ hosts, folder }) => {
      makeCertificates(join(folder, 'certs'));
      for (const one of hosts) writeFileSync(join(one.folder, 'sluice.yaml'), CONFIG);
      return ['--config', '{DIR}/sluice.yaml'];
    });
    for (const address of CLIENTS) {
      await site.client('ip', 'addr', 'add', `${address}/24`, 'dev', 'eth0');
    }
  });
  after(() => site?.close());

  test('sluice.ingress.policy=local: a node answers with its own tasks only', async () => {
    const local = labels({ 'sluice.ingress.policy': 'local' });
    await create('local', '--constraint', 'node.hostname==host2', '-p', '8081:80', ...local);
    const port = (at: SiteHost) => get(`http://${at.address}:8081/`);
    await eventually('its own host answers', async () => /^host2/.test(await port(host(2))));
    assert.equal(await port(host(1)), 'curl 7', 'refused');
    await relabel('local', 'sluice.ingress.policy=cluster');
    await eventually('every host answers', async () => /^host2/.test(await port(host(1))));
  });

  test('sluice.ingress.return=direct: tasks elsewhere answer by themselves', async () => {
    const direct = labels({ 'sluice.ingress.return': 'direct' });
    await create('direct', '--constraint', 'node.hostname==host2', '-p', '8086:80', ...direct);
    await eventually('every host answers', async () => {
      const asked = site.hosts.map((at) => get(`http://${at.address}:8086/`));
      return (await Promise.all(asked)).every((text) => text.startsWith('host2'));
    });
    const { out } = await host(1).run('conntrack', '-L', '-p', 'tcp', '--dport', '8086');
    assert.equal(out.trim(), '', 'the host that was asked tracks nothing');
    await relabel('direct', 'sluice.ingress.return=mesh');
    await eventually('it is in the way again', async () => {
      await get(`http://${host(1).address}:8086/`);
      return /dport=8086/.test(
        (await host(1).run('conntrack', '-L', '-p', 'tcp', '--dport', '8086')).out,
      );
    });
  });

  test('sluice.ingress.balance=source-hash: a client stays with its task', async () => {
    const balance = labels({ 'sluice.ingress.balance': 'source-hash' });
    await create('hashed', '--mode', 'global', '-p', '8082:80', ...balance);
    const from = (address: string) => async () =>
      get(`http://${host(1).address}:8082/`, '--interface', address);
    await eventually('both have clients', async () => {
      const names = new Set<string>();
      for (const address of CLIENTS) names.add((await from(address)()).split(' ')[0] ?? '');
      return [...names].sort().join() === 'host1,host2';
    });
    for (const address of CLIENTS.slice(0, 4)) {
      assert.match(await namesOf(6, from(address)), /^host[12]$/, address);
    }
    await relabel('hashed', 'sluice.ingress.balance=round-robin');
    const [first = ''] = CLIENTS;
    await eventually('one client meets both', async () => {
      return (await namesOf(4, from(first))) === 'host1,host2';
    });
  });

  test('sluice.allow-from: others are refused on networks, and nobody at published ports', async () => {
    await docker('network', 'create', '-d', 'overlay', 'back');
    const on = ['--mode', 'global', '--network', 'back'];
    const rule = labels({ 'sluice.allow-from': 'service:web,label:tier=batch' });
    await create('db', ...on, '-p', '8083:80', ...rule);
    await create('web', ...on);
    await create('batch', ...on, ...labels({ tier: 'batch' }));
    await create('other', ...on);
    for (const at of site.hosts) {
      for (const name of ['web', 'batch']) {
        await eventually(`${name} is let in from ${at.name}`, async () => {
          return (await namesOf(4, () => inside(at, name, 'http://db/'))) === 'host1,host2';
        });
      }
      await eventually('another one is refused', async () => {
        return (await inside(at, 'other', 'http://db/')) === 'curl 7';
      });
      assert.equal(await inside(at, 'other', 'http://tasks.db/'), 'curl 7');
      assert.match(await inside(at, 'other', 'http://web/'), /^host/);
      assert.match(await get(`http://${at.address}:8083/`), /^host/);
    }
    await relabel('db', 'sluice.allow-from=none');
    for (const at of site.hosts) {
      await eventually('nobody else is let in', async () => {
        return (await inside(at, 'web', 'http://db/')) === 'curl 7';
      });
      assert.equal(await namesOf(4, () => inside(at, 'db', 'http://db/')), 'host1,host2');
      assert.match(await get(`http://${at.address}:8083/`), /^host/);
    }
  });

  test('host names: wildcards, redirects, names of clusters, UCP’s older labels', async () => {
    const exact = { hosts: 'one.example.com', port: '80' };
    const redirects = 'http://old.example.com,http://one.example.com';
    await create('exact', ...lb({ ...exact, redirects, ip_hash: 'true' }));
    await create('wild', ...lb({ hosts: '*.example.com', port: '80', context_root: '/w' }));
    await create('inner', ...lb({ hosts: 'in.example.org', port: '80', service_cluster: 'inner' }));
    await create('ours', ...lb({ hosts: 'out.example.org', port: '80', service_cluster: 'else' }));
    const older =
      'external_route=http://ucp.example.org,internal_port=80,redirect=http://w3.example.org';
    await create('ucp', ...labels({ 'com.docker.ucp.mesh.http.1': older }));
    for (const at of site.hosts) {
      for (const [name, path, port] of [
        ['one.example.com', '/', 80],
        ['any.example.com', '/w/x', 80],
        ['in.example.org', '/', 81],
        ['in.example.org', '/', 80],
        ['out.example.org', '/', 80],
      ] as const) {
        await eventually(`${name}:${port}${path} by ${at.name}`, async () => {
          return /^host[12] /.test(await by(at, name, path, port));
        });
      }
      const there = (name: string, path: string, port = 80) =>
        get(
          `http://${at.address}:${port}${path}`,
          ...['-H', `Host: ${name}`, '-o', join(site.folder, 'body')],
          ...['-w', '%{http_code} %{redirect_url}'],
        );
      assert.equal(await there('old.example.com', '/a?b=1'), '302 http://one.example.com/a?b=1');
      assert.match(await there('any.example.com', '/'), /^404/);
      assert.equal(await there('ucp.example.org', '/x'), '302 http://w3.example.org/x');
      assert.match(await there('out.example.org', '/', 81), /^404/, 'of another name');
    }
  });

  test('ssl_passthrough: by server name, with the certificate of the task', async () => {
    const own = { hosts: 'example.com', port: '443', ssl_passthrough: 'true' };
    await create('secure', '--mode', 'global', ...lb(own));
    for (const at of site.hosts) {
      const trust = ['--cacert', join(site.folder, 'certs', 'example.com.pem')];
      const resolve = ['--resolve', `example.com:8443:${at.address}`];
      await eventually(`it answers by ${at.name}`, async () => {
        return /^host/.test(await get('https://example.com:8443/', ...trust, ...resolve));
      });
    }
  });

  test('what waits says why, node by node', async () => {
    await create('waits', '--constraint', 'node.labels.region==east');
    const why = () => docker('service', 'ps', '--no-trunc', '--format', '{{.Error}}', 'waits');
    await eventually('it says why', async () => {
      return (await why()).includes('no node fits: 2 nodes miss label region=east');
    });
    await docker('node', 'update', '--label-add', 'region=east', 'host2');
    await eventually('it runs', async () => (await host(2).taskOf('waits')) !== '');
  });
});
