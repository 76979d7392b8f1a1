import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { noConsul } from '../support/consul.ts';
import { ConsulCluster } from '../support/consul-cluster.ts';
import { missing } from '../support/docker-daemon.ts';
import { Site } from './site.ts';

const skip = missing() ?? noConsul;

test('DS-21 two managers on Consul: networks, containers on them, the largest files', {
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

  for (const [kind, size] of [
    ['secret', 500_000],
    ['config', 1_000_000],
  ] as const) {
    const file = join(site.folder, kind);
    writeFileSync(file, Buffer.alloc(size, 'x'));
    await second.ok(kind, 'create', `large.${kind}`, file);
  }
  const target = join(site.folder, 'target');
  writeFileSync(target, '');
  const files = ['--secret', 'large.secret', '--config', `source=large.config,target=${target}`];
  const reading = `cat /run/secrets/large.secret ${target} | wc -c; exec sleep 600`;
  const on = ['--constraint', 'node.hostname==host3'];
  await second.ok(
    'service',
    'create',
    '-d',
    '--name',
    'reader',
    ...files,
    ...on,
    'host',
    'sh',
    '-c',
    reading,
  );
  await site.eventually('a task has them whole', async () => {
    return (await first.docker('service', 'logs', '--raw', 'reader')).out.trim() === '1500000';
  });
  await first.ok('service', 'rm', 'reader');

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
