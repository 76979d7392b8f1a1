import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { noConsul } from '../support/consul.ts';
import { ConsulCluster } from '../support/consul-cluster.ts';
import { missing } from '../support/docker-daemon.ts';
import { Site } from './site.ts';

const skip = missing() ?? noConsul;

test('DS-21 two managers on Consul: networks, containers on them, what Consul cannot take', {
  skip,
  timeout: 300_000,
}, async (t) => {
  let store: ConsulCluster | undefined;
  const site = await Site.open(3, async ({ beside }) => {
    store = await ConsulCluster.start([beside]);
    return ['--cluster-store', `consul://${store.addresses.join()}/sluice`];
  });
  t.after(async () => {
    await site.close();
    await store?.close();
  });
  const [first, second, worker] = site.hosts;
  assert.ok(first && second && worker);
  await first.ok('swarm', 'init', '--advertise-addr', first.address);
  for (const [host, role] of [
    [second, 'manager'],
    [worker, 'worker'],
  ] as const) {
    const token = await first.ok('swarm', 'join-token', '-q', role);
    await host.ok('swarm', 'join', '--token', token, `${first.address}:2377`);
  }
  const id = await first.ok('network', 'create', '-d', 'overlay', '--attachable', 'net');
  await site.eventually('the other manager lists it', async () => {
    return (await second.docker('network', 'inspect', '-f', '{{.Id}}', 'net')).out.trim() === id;
  });
  const box = ['host', ...site.serving('box', 'tcp:80')];
  await worker.ok('run', '-d', '--name', 'box', '--network', 'net', ...box);
  const address = () =>
    worker.ok('inspect', '-f', '{{.NetworkSettings.Networks.net.IPAddress}}', 'box');
  const before = await address();

  const large = join(site.folder, 'large');
  writeFileSync(large, Buffer.alloc(400_000, 'x'));
  const refused = await second.docker('secret', 'create', 'large', large);
  assert.match(refused.err, /more than the store of the cluster takes at once, Consul .*too large/);
  writeFileSync(large, Buffer.alloc(280_000, 'x'));
  await second.ok('secret', 'create', 'large', large);

  await first.stop('SIGKILL');
  await site.eventually('the other manager leads', async () => {
    const { out } = await second.docker(
      'node',
      'ls',
      '--format',
      '{{.Hostname}} {{.ManagerStatus}}',
    );
    return /^host2 Leader$/m.test(out);
  });
  const ask = ['run', '--rm', '--network', 'net', 'host', ...site.asking('tcp', 'box', 80)];
  await site.eventually('it gives addresses, and the container is known', async () => {
    return (await second.docker(...ask)).out.startsWith('box ');
  });
  assert.equal(await address(), before);
  await worker.ok('rm', '-f', 'box');
  await site.eventually('nobody is on the network any more', async () => {
    return (await second.docker('network', 'rm', 'net')).code === 0;
  });
  await first.start();
});
