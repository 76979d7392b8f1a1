import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { missing } from '../support/docker-daemon.ts';
import { Site, type SiteHost, until } from './site.ts';

const skip = missing() ?? false;
const SCRIPT = 'echo here; cat /run/secrets/s1; echo; exec sleep 600';

async function output(manager: SiteHost, ...flags: string[]): Promise<string[]> {
  const { out, err } = await manager.docker('service', 'logs', ...flags, 'everywhere');
  return `${out}${err}`.trim().split('\n').sort();
}

describe('what tasks say and what they are given, on other hosts', {
  skip,
  timeout: 180_000,
}, () => {
  test('output is read from every host; a secret is there where its task is', async (t) => {
    const site = await Site.open(3);
    t.after(() => site.close());
    const [manager, worker, third] = site.hosts;
    assert.ok(manager && worker && third);
    await manager.ok('swarm', 'init', '--advertise-addr', manager.address);
    const token = await manager.ok('swarm', 'join-token', '-q', 'worker');
    for (const host of [worker, third]) {
      await host.ok('swarm', 'join', '--token', token, `${manager.address}:2377`);
    }
    const made = await manager.dockerWith('told to three', 'secret', 'create', 's1', '-');
    assert.equal(made.code, 0, made.err);
    await manager.ok('network', 'create', '-d', 'overlay', 'over');
    const options = ['--mode', 'global', '--secret', 's1', '--network', 'over'];
    await manager.ok(
      ...['service', 'create', '-d', '--name', 'everywhere', '--stop-grace-period', '1s'],
      ...options,
      ...['host', 'sh', '-c', SCRIPT],
    );
    const replicas = () => manager.ok('service', 'ls', '--format', '{{.Replicas}}');
    await until('one runs on each', async () => (await replicas()) === '3/3');
    await until('all have spoken', async () => (await output(manager, '--raw')).length === 6);
    assert.deepEqual(await output(manager, '--raw'), [
      ...['here', 'here', 'here', 'told to three', 'told to three', 'told to three'],
    ]);
    const lines = await output(manager);
    for (const { name } of [manager, worker, third]) {
      assert.equal(lines.filter((line) => line.includes(`@${name} `)).length, 2, lines.join('\n'));
    }
    const networks = await worker.ok('network', 'ls', '-f', 'scope=swarm', '--format', '{{.Name}}');
    assert.match(networks, /^over$/m);
    const refused = await worker.docker('service', 'logs', 'everywhere');
    assert.match(refused.err, /Worker nodes can't be used to view or modify cluster state/);

    await third.stop('SIGKILL');
    await until('it is down', async () => /Down/.test(await manager.ok('node', 'ls')), 40_000);
    assert.equal((await output(manager, '--raw')).length, 4, 'what is away is left out');
    await manager.ok('service', 'rm', 'everywhere');
    await until('its tasks are gone', async () => (await worker.ok('ps', '-aq')) === '');
    await until('so is the network', async () => {
      const { out } = await worker.docker('network', 'ls', '--format', '{{.Name}}');
      return !out.includes('over');
    });
  });
});
