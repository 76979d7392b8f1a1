import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { missing } from '../support/docker-daemon.ts';
import { Site } from './site.ts';

const skip = missing() ?? false;

describe('jobs over three hosts', { skip, timeout: 300_000 }, () => {
  let site: Site;
  const docker = (...args: string[]) => site.host(1).ok(...args);
  const create = (name: string, flags: readonly string[], script: string) =>
    docker('service', 'create', '-d', '--name', name, ...flags, 'host', 'sh', '-c', script);
  const shows = (name: string, wanted: string) =>
    site.eventually(`${name} shows ${wanted}`, async () => {
      const list = ['service', 'ls', '--format', '{{.Replicas}}', '-f', `name=${name}`];
      return (await docker(...list)) === wanted;
    });

  before(async () => {
    site = await Site.swarm(3);
  });
  after(() => site?.close());

  test('a global job is done once on each host, and once more by force', async () => {
    await create('clean', ['--mode', 'global-job'], 'true');
    await shows('clean', '0/0 (3/3 completed)');
    const out = await docker('service', 'update', '--force', 'clean');
    assert.match(out, /job complete/, 'the client waits for it');
    await shows('clean', '0/0 (3/3 completed)');
  });

  test('what a host has begun that is lost is done elsewhere, and what it has done is not', async () => {
    const go = join(site.folder, 'go');
    const first = join(site.folder, 'first');
    // One slot ends at once, the others wait.
    const script = `mkdir ${first} 2>/dev/null || while ! [ -e ${go} ]; do sleep 0.1; done`;
    const away = ['--constraint', 'node.hostname!=host1', '--restart-delay', '0s'];
    await create('import', ['--mode', 'replicated-job', '--replicas', '5', ...away], script);
    await shows('import', '4/5 (1/5 completed)');
    await site.host(2).plug(false);
    await site.eventually('all that is left runs on host3', async () => {
      const filter = ['-f', 'desired-state=complete', '--format', '{{.Node}} {{.CurrentState}}'];
      const lines = (await docker('service', 'ps', ...filter, 'import')).split('\n');
      return lines.filter((line) => /^host3 Running/.test(line)).length === 4;
    });
    writeFileSync(go, '');
    await shows('import', '0/5 (5/5 completed)');
    await site.host(2).plug(true);
    await site.eventually('the lost host is back', async () => {
      const nodes = await docker('node', 'ls', '--format', '{{.Hostname}} {{.Status}}');
      return nodes.split('\n').includes('host2 Ready');
    });
    await shows('import', '0/5 (5/5 completed)');
  });
});
