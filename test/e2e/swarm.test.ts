import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { missing } from '../support/docker-daemon.ts';
import { Site, until } from './site.ts';

const skip = missing() ?? false;

/** Speaks to a manager's port as a stranger; how the connection was encrypted, and what became of it. */
const TALK = `
const [host, options] = process.argv.slice(1);
const own = { host, port: 2377, rejectUnauthorized: false, ...JSON.parse(options) };
const socket = require('node:tls').connect(own, () => {
  socket.write('{"open":"session"}\\n');
});
const said = () => \`\${socket.getProtocol()} \${socket.getCipher().name}\`;
let how = '';
socket.once('secureConnect', () => { how = said(); });
socket.on('data', () => { how += ' answered'; });
socket.on('error', ({ code }) => { how ||= code; });
socket.on('close', () => console.log(how.includes('TLS_') ? how + ' closed' : how));
`;

describe('a cluster by the docker command line', { skip, timeout: 300_000 }, () => {
  test('SE-11 SE-12 SE-13 SE-19 init, join, inspect, labels, drain, leave, rm', async (t) => {
    const site = await Site.open(3);
    t.after(() => site.close());
    const [manager, worker, third] = site.hosts;
    assert.ok(manager && worker && third);

    const before = await manager.docker('node', 'ls');
    assert.match(before.err, /This node is not a swarm manager\. Use "docker swarm init"/);
    const init = await manager.ok('swarm', 'init', '--advertise-addr', manager.address);
    assert.match(init, /Swarm initialized: current node \([0-9a-z]{25}\) is now a manager/);
    assert.match(init, /docker swarm join --token SWMTKN-1-\w{50}-\w{25} 192\.0\.2\.11:2377/);
    const again = await manager.docker('swarm', 'init');
    assert.match(again.err, /This node is already part of a swarm\. Use "docker swarm leave"/);

    const old = await manager.ok('swarm', 'join-token', '-q', 'worker');
    const token = await manager.ok('swarm', 'join-token', '-q', '--rotate', 'worker');
    const former = await worker.docker('swarm', 'join', '--token', old, manager.address);
    assert.match(former.err, /A valid join token is necessary/, 'SE-14');
    const wrong = token.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
    const refused = await worker.docker('swarm', 'join', '--token', wrong, manager.address);
    assert.match(refused.err, /A valid join token is necessary/);
    const [, , digest = ''] = token.split('-');
    const other = digest.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
    const order = ['swarm', 'join', '--token', token.replace(digest, other), manager.address];
    const foreign = await worker.docker(...order);
    assert.match(foreign.err, /fingerprint|digest|authority|root/i, 'SE-10');
    assert.equal(await worker.ok('info', '-f', '{{.Swarm.LocalNodeState}}'), 'inactive');
    for (const host of [worker, third]) {
      const said = await host.ok('swarm', 'join', '--token', token, `${manager.address}:2377`);
      assert.equal(said, 'This node joined a swarm as a worker.');
    }
    const list = async () => manager.ok('node', 'ls', '--format', '{{.Hostname}} {{.Status}}');
    await until('all are ready', async () => (await list()).match(/Ready/g)?.length === 3);
    assert.deepEqual((await list()).split('\n').sort(), [
      'host1 Ready',
      'host2 Ready',
      'host3 Ready',
    ]);
    assert.match(await manager.ok('node', 'ls'), /\*.*host1.*Ready.*Active.*Leader/);
    const info = '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.Swarm.NodeAddr}}';
    assert.equal(await manager.ok('info', '-f', info), 'active true 192.0.2.11');
    assert.equal(await worker.ok('info', '-f', info), 'active false 192.0.2.12');
    const views = await worker.docker('node', 'ls');
    assert.match(views.err, /Worker nodes can't be used to view or modify cluster state/);

    await manager.ok('node', 'update', '--label-add', 'zone=east', 'host2');
    const label = await manager.ok('node', 'inspect', '-f', '{{.Spec.Labels.zone}}', 'host2');
    assert.equal(label, 'east');
    await manager.ok('node', 'update', '--availability', 'drain', 'host2');
    assert.match(await manager.ok('node', 'inspect', '--pretty', 'host2'), /Availability:\s+Drain/);
    assert.match(await manager.ok('node', 'inspect', '--pretty', 'self'), /Raft Status|Manager/);
    const promoted = await manager.docker('node', 'promote', 'host2');
    assert.match(promoted.err, /--cluster-store/);
    const demoted = await manager.docker('node', 'demote', 'host1');
    assert.match(demoted.err, /attempting to demote the last manager of the swarm/);
    assert.match((await manager.docker('node', 'rm', 'host3')).err, /is not down and can't be/);

    for (const order of [['service'], ['secret'], ['config'], ['node']]) {
      const { code, err } = await worker.docker(...order, 'ls');
      assert.notEqual(code, 0, order.join(' '));
      assert.match(err, /Worker nodes can't be used to view or modify cluster state/);
    }

    await third.ok('swarm', 'leave');
    await until('it is down', async () => /host3 Down/.test(await list()), 40_000);
    await manager.ok('node', 'rm', 'host3');
    assert.doesNotMatch(await list(), /host3/);
    await manager.ok('node', 'rm', '--force', 'host2');
    await until('the removed node has left', async () => {
      return (await worker.ok('info', '-f', '{{.Swarm.LocalNodeState}}')) === 'inactive';
    });
    const left = await manager.docker('swarm', 'leave');
    assert.match(left.err, /Removing the last manager erases all current state of the swarm/);
    await manager.ok('swarm', 'leave', '--force');
    assert.equal(await manager.ok('info', '-f', '{{.Swarm.LocalNodeState}}'), 'inactive');
  });

  test('RA-47 SE-15 SE-17 SE-18 tokens, roots, unlock keys are rotated; managers and nodes restart', async (t) => {
    const site = await Site.swarm(2);
    t.after(() => site.close());
    const [manager, worker] = site.hosts;
    assert.ok(manager && worker);
    const list = async () => manager.ok('node', 'ls', '--format', '{{.Status}}');
    const old = await manager.ok('swarm', 'join-token', '-q', 'worker');
    await manager.ok('swarm', 'join-token', '--rotate', 'worker');
    const next = await manager.ok('swarm', 'join-token', '-q', 'worker');
    assert.notEqual(next, old);
    assert.equal(next.split('-')[2], old.split('-')[2], 'the root is the same');

    const root = await manager.ok('swarm', 'ca');
    assert.match(root, /^-----BEGIN CERTIFICATE-----/);
    await manager.ok('swarm', 'ca', '--rotate', '--detach');
    await until('every node has a certificate of the new root', async () => {
      const rotating = await manager.ok('info', '-f', '{{.Swarm.Cluster.RootRotationInProgress}}');
      return rotating === 'false' && (await manager.ok('swarm', 'ca')) !== root;
    });
    const rotated = await manager.ok('swarm', 'join-token', '-q', 'worker');
    assert.notEqual(rotated.split('-')[2], old.split('-')[2], 'tokens pin the new root');
    await until('both are ready', async () => (await list()) === 'Ready\nReady');

    await worker.stop('SIGKILL');
    await worker.start();
    assert.equal(await worker.ok('info', '-f', '{{.Swarm.LocalNodeState}}'), 'active');
    await manager.stop('SIGKILL');
    await manager.start();
    await until('both are ready again', async () => (await list()) === 'Ready\nReady');

    const said = await manager.ok('swarm', 'update', '--autolock=true');
    const [key = ''] = /SWMKEY-1-[A-Za-z0-9+/]{43}/.exec(said) ?? [];
    assert.equal(await manager.ok('swarm', 'unlock-key', '-q'), key);
    await manager.stop();
    await manager.start();
    assert.match((await manager.docker('node', 'ls')).err, /Swarm is encrypted and needs to be un/);
    const bad = await manager.dockerWith(`${key.replace(/.$/, '0')}\n`, 'swarm', 'unlock');
    assert.match(bad.err, /invalid key/);
    const unlocked = await manager.dockerWith(`${key}\n`, 'swarm', 'unlock');
    assert.equal(unlocked.code, 0, unlocked.err);
    await until('both are ready once more', async () => (await list()) === 'Ready\nReady');
  });

  test('ON-10 what managers and nodes say is encrypted by AES-GCM, and for nodes alone', async (t) => {
    const site = await Site.open(1);
    t.after(() => site.close());
    const [manager] = site.hosts;
    assert.ok(manager);
    await manager.ok('swarm', 'init', '--advertise-addr', manager.address);
    const talk = async (options: object) => {
      const argv = [manager.address, JSON.stringify(options)];
      return (await site.client(process.execPath, '-e', TALK, ...argv)).out.trim();
    };
    assert.equal(await talk({}), 'TLSv1.3 TLS_AES_256_GCM_SHA384 closed');
    assert.match(await talk({ maxVersion: 'TLSv1.2' }), /^ERR_SSL_\w*PROTOCOL_VERSION$/);
    const clear = await site.client('curl', '-sS', '-m', '5', `http://${manager.address}:2377/`);
    assert.notEqual(clear.code, 0, clear.out);
  });

  test('SE-32 two clusters each have a secret of one name', async (t) => {
    const site = await Site.open(2);
    t.after(() => site.close());
    for (const host of site.hosts) {
      await host.ok('swarm', 'init', '--advertise-addr', host.address);
      const made = await host.dockerWith(`of ${host.name}`, 'secret', 'create', 'word', '-');
      assert.equal(made.code, 0, made.err);
      const task = ['--secret', 'word', 'host', 'sleep', '600'];
      await host.ok('service', 'create', '-d', '--name', 'app', ...task);
    }
    for (const host of site.hosts) {
      await until('it runs', async () => (await host.taskOf('app')) !== '');
      const read = ['exec', await host.taskOf('app'), 'cat', '/run/secrets/word'];
      await until('it has the secret of its own cluster', async () => {
        return (await host.docker(...read)).out === `of ${host.name}`;
      });
    }
    const ids = site.hosts.map((host) => host.ok('secret', 'inspect', '-f', '{{.ID}}', 'word'));
    assert.equal(new Set(await Promise.all(ids)).size, 2);
  });
});
