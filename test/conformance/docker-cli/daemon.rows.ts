import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from '../../support/docker-daemon.ts';
import { makeCertificates } from '../../support/engine-certs.ts';
import { HOST, type Lab } from './lab.ts';
import { eventually, row, rows } from './rows.ts';

const SLEEP = ['host', 'sleep', '60'];

function configFile(lab: Lab, value: unknown): string {
  const path = join(lab.folder, 'daemon.json');
  writeFileSync(path, JSON.stringify(value));
  return path;
}

/** Starts a daemon that must not start; returns what it said. */
async function refusal(lab: Lab, flags: readonly string[]): Promise<string> {
  await lab.stop();
  const before = lab.log.length;
  const child = await lab.launch(flags);
  await new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    if (child.exitCode !== null) resolve();
  });
  assert.notEqual(child.exitCode, 0);
  const said = lab.log.slice(before);
  await lab.start([]);
  return said;
}

rows(
  [],
  [
    row('OV-01', 'info lists the network drivers', async (lab) => {
      const drivers = JSON.parse(await lab.ok('info', '-f', '{{json .Plugins.Network}}'));
      for (const name of ['bridge', 'host', 'macvlan', 'null'])
        assert.ok(drivers.includes(name), name);
    }),
    row('UL-02', '/_ping answers without anything', async (lab) => {
      const { out } = await run(['curl', '-s', '--unix-socket', lab.socket, 'http://engine/_ping']);
      assert.equal(out, 'OK');
    }),
    row('DD-02', 'the client needs DOCKER_HOST alone', async (lab) => {
      assert.match(await lab.ok('version', '-f', '{{.Server.APIVersion}}'), /^1\.50$/);
      const { out } = await run(['stat', '-c', '%a', lab.socket]);
      assert.equal(out.trim(), '660');
    }),
    row('DD-01', 'several -H', async (lab) => {
      const second = join(lab.folder, 'second.sock');
      await lab.fresh(['-H', `unix://${second}`, '-H', 'tcp://127.0.0.1:2375']);
      const { code } = await run(['docker', '-H', `unix://${second}`, 'ps']);
      assert.equal(code, 0);
    }),
    row('DD-03', 'the same answers over tcp', async (lab) => {
      await lab.fresh(['-H', 'tcp://127.0.0.1:2375']);
      await lab.ok('run', '-d', '--name', 'aa', ...SLEEP);
      const { out } = await lab.host(
        'docker',
        '-H',
        'tcp://127.0.0.1:2375',
        'ps',
        '--format',
        '{{.Names}}',
      );
      assert.equal(out.trim(), 'aa');
    }),
    row('SE-01', 'no plain tcp off loopback', async (lab) => {
      const said = await refusal(lab, ['-H', 'tcp://0.0.0.0:2375']);
      assert.match(said, /cannot serve the Engine API on tcp:\/\/0\.0\.0\.0:2375: without TLS/);
    }),
    row('DD-04', 'mutual TLS', async (lab) => {
      const { ca, cert, key, clientCert, clientKey } = makeCertificates(lab.folder, HOST);
      const files = ['--tlscacert', ca, '--tlscert', cert, '--tlskey', key];
      await lab.fresh(['--tlsverify', ...files, '-H', `tcp://${HOST}:2376`]);
      const own = ['--tlscacert', ca, '--tlscert', clientCert, '--tlskey', clientKey];
      const remote = ['docker', '-H', `tcp://${HOST}:2376`, '--tlsverify'];
      const allowed = await lab.client(...remote, ...own, 'network', 'ls', '-q');
      assert.equal(allowed.code, 0, allowed.err);
      const stranger = await lab.client(...remote, '--tlscacert', ca, 'network', 'ls');
      assert.notEqual(stranger.code, 0);
    }),
    row('BR-17', 'IPv6 on the default bridge', async (lab) => {
      await lab.fresh(['--ipv6', '--fixed-cidr-v6', '2001:db8:9::/64']);
      await lab.ok('run', '-d', '--name', 'aa', ...SLEEP);
      assert.equal(
        await lab.inspect('aa', '{{.NetworkSettings.GlobalIPv6Address}}'),
        '2001:db8:9::2',
      );
    }),
    row('BR-21', 'daemon.json shapes the default bridge', async (lab) => {
      const path = configFile(lab, {
        bip: '192.168.1.5/24',
        'fixed-cidr': '192.168.1.128/25',
        mtu: 1400,
        'default-gateway': '192.168.1.254',
        dns: ['192.0.2.53'],
      });
      await lab.fresh(['--config-file', path]);
      await lab.ok('run', '-d', '--name', 'aa', ...SLEEP);
      assert.match(await lab.addressOf('aa'), /^192\.168\.1\.(12[89]|1[3-9]\d|2\d\d)$/);
      assert.match(
        (await lab.host('ip', '-4', 'addr', 'show', 'docker0')).out,
        /192\.168\.1\.5\/24/,
      );
      assert.match(await lab.ok('exec', 'aa', 'ip', 'route'), /default via 192\.168\.1\.254/);
      assert.match(await lab.ok('exec', 'aa', 'ip', 'link', 'show', 'eth0'), /mtu 1400/);
      assert.match(
        await lab.ok('exec', 'aa', 'cat', '/etc/resolv.conf'),
        /nameserver 192\.0\.2\.53/,
      );
    }),
    row('DD-12', 'name servers of all containers', async (lab) => {
      await lab.fresh([
        '--dns',
        '192.0.2.8',
        '--dns-search',
        'example.test',
        '--dns-opt',
        'ndots:3',
      ]);
      const cat = ['host', 'cat', '/etc/resolv.conf'];
      const text = 'nameserver 192.0.2.8\nsearch example.test\noptions ndots:3';
      assert.equal(await lab.ok('run', '--rm', ...cat), text);
      assert.match(
        await lab.ok('run', '--rm', '--dns', '192.0.2.9', ...cat),
        /^nameserver 192\.0\.2\.9$/m,
      );
    }),
    row('DD-19', '--ip-masq=false', async (lab) => {
      await lab.fresh(['--ip-masq=false']);
      const end = await lab.serveOutside('outside', 'tcp:80');
      try {
        await lab.client('ip', 'route', 'add', '172.17.0.0/16', 'via', HOST);
        await lab.ok('run', '-d', '--name', 'aa', ...SLEEP);
        await eventually(() => lab.ask('aa', 'tcp', '198.51.100.2', 80), /^outside 172\.17\.0\.2$/);
      } finally {
        await lab.client('ip', 'route', 'del', '172.17.0.0/16');
        end();
      }
    }),
    row('DD-20', '--icc=false', async (lab) => {
      await lab.fresh(['--icc=false']);
      await lab.serve('aa', ['tcp:80'], '-p', '8080:80');
      await lab.ok('run', '-d', '--name', 'bb', ...SLEEP);
      await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^aa /);
      assert.doesNotMatch(await lab.ask('bb', 'tcp', await lab.addressOf('aa'), 80), /aa/);
    }),
    row('DD-22', '--ip', async (lab) => {
      await lab.fresh(['--ip', '127.0.0.1']);
      await lab.ok('run', '-d', '--name', 'aa', '-p', '8080:80', ...SLEEP);
      assert.equal(await lab.ok('port', 'aa'), '80/tcp -> 127.0.0.1:8080');
    }),
    row('DD-23', 'forwarding is switched on', async (lab) => {
      await lab.fresh([]);
      await lab.ok('run', '-d', ...SLEEP);
      assert.equal((await lab.host('cat', '/proc/sys/net/ipv4/ip_forward')).out.trim(), '1');
    }),
    row('DD-24', '-b none, --mtu, --bip', async (lab) => {
      await lab.fresh(['-b', 'none']);
      assert.doesNotMatch(await lab.ok('network', 'ls', '--format', '{{.Name}}'), /bridge/);
      assert.match(await lab.ok('run', '--rm', 'host', 'ip', '-br', 'link'), /^lo\b[^\n]*$/);
      await lab.fresh(['--mtu', '1300', '--bip', '10.77.0.1/24']);
      const out = await lab.ok('run', '--rm', 'host', 'ip', 'addr', 'show', 'eth0');
      assert.match(out, /mtu 1300/);
      assert.match(out, /10\.77\.0\.2\/24/);
    }),
    row('DD-25', 'default address pools', async (lab) => {
      await lab.fresh(['--default-address-pool', 'base=172.80.0.0/16,size=24']);
      for (const [name, subnet] of [
        ['na', '172.80.1.0/24'],
        ['nb', '172.80.2.0/24'],
      ] as const) {
        await lab.ok('network', 'create', name);
        assert.equal(
          await lab.ok('network', 'inspect', '-f', '{{(index .IPAM.Config 0).Subnet}}', name),
          subnet,
        );
      }
      assert.match(await lab.ok('info'), /Base: 172\.80\.0\.0\/16, Size: 24/);
    }),
    row('DD-26', 'published ports answer on loopback', async (lab) => {
      await lab.fresh(['--config-file', configFile(lab, { 'userland-proxy': false })]);
      await lab.serve('aa', ['tcp:80'], '-p', '8080:80');
      await eventually(() => lab.ask('host', 'tcp', '127.0.0.1', 8080), /^aa /);
    }),
    row('DD-28', 'labels of the daemon', async (lab) => {
      await lab.fresh(['--label', 'rack=r1', '--label', 'zone=z2']);
      assert.deepEqual(JSON.parse(await lab.ok('info', '-f', '{{json .Labels}}')), [
        'rack=r1',
        'zone=z2',
      ]);
    }),
    row('DD-30', '--metrics-addr', async (lab) => {
      await lab.fresh(['--metrics-addr', '127.0.0.1:1337']);
      await lab.ok('run', '-d', ...SLEEP);
      const { out } = await lab.host('curl', '-s', 'http://127.0.0.1:1337/metrics');
      assert.match(out, /^sluice_engine_containers\{state="running"\} 1$/m);
    }),
    row('DD-33', 'a key in flag and file, and one that nobody knows', async (lab) => {
      const both = configFile(lab, { labels: ['a=b'] });
      assert.match(
        await refusal(lab, ['--config-file', both, '--label', 'a=b']),
        /specified both as a flag and in the configuration file: labels/,
      );
      const unknown = configFile(lab, { nonsense: 1 });
      assert.match(
        await refusal(lab, ['--config-file', unknown]),
        /don't match any configuration option: nonsense/,
      );
    }),
    row('DD-34', 'SIGHUP takes labels over, and a fault changes nothing', async (lab) => {
      const path = configFile(lab, { labels: ['a=1'] });
      await lab.fresh(['--config-file', path]);
      configFile(lab, { labels: ['a=2'] });
      process.kill(lab.daemonPid, 'SIGHUP');
      await eventually(() => lab.ok('info', '-f', '{{json .Labels}}'), /a=2/);
      configFile(lab, { labels: ['wrong'] });
      process.kill(lab.daemonPid, 'SIGHUP');
      await delay(300);
      assert.match(await lab.ok('info', '-f', '{{json .Labels}}'), /a=2/);
    }),
    row('DD-27', 'a restart of the daemon leaves containers and their ports alone', async (lab) => {
      await lab.fresh([]);
      await lab.ok('network', 'create', 'na');
      await lab.serve('aa', ['tcp:80'], '--network', 'na', '-p', '8080:80');
      await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^aa /);
      const before = await lab.inspect(
        'aa',
        '{{.State.Pid}} {{.NetworkSettings.Networks.na.IPAddress}}',
      );
      await lab.stop();
      assert.match(await lab.ask('client', 'tcp', HOST, 8080), /^aa /);
      await lab.start();
      assert.equal(
        await lab.inspect('aa', '{{.State.Pid}} {{.NetworkSettings.Networks.na.IPAddress}}'),
        before,
      );
      assert.match(await lab.ask('client', 'tcp', HOST, 8080), /^aa /);
    }),
    row('DD-27b', 'a killed daemon finds everything as it was', async (lab) => {
      await lab.fresh([]);
      await lab.ok('network', 'create', 'na');
      await lab.serve('aa', ['tcp:80'], '--network', 'na', '-p', '8080:80');
      await lab.ok('run', '-d', '--name', 'bb', '--network', 'na', 'host', 'sleep', '1');
      await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^aa /);
      const before = await lab.inspect('aa', '{{.State.Pid}} {{json .NetworkSettings.Ports}}');
      await lab.stop('SIGKILL');
      assert.match(await lab.ask('client', 'tcp', HOST, 8080), /^aa /);
      await delay(1200);
      await lab.start();
      assert.equal(
        await lab.inspect('aa', '{{.State.Pid}} {{json .NetworkSettings.Ports}}'),
        before,
      );
      await eventually(
        () => lab.inspect('bb', '{{.State.Status}} {{.State.ExitCode}}'),
        /^exited 0$/,
      );
      assert.match(await lab.ask('client', 'tcp', HOST, 8080), /^aa /);
      await lab.ok('run', '-d', '--name', 'cc', '--network', 'na', ...SLEEP);
      await lab.ok('exec', 'cc', 'getent', 'ahostsv4', 'aa');
      await lab.ok('stop', '-t', '1', 'aa');
    }),
    row('DD-36', 'two daemons beside each other', async (lab) => {
      await lab.fresh([]);
      await lab.serve('aa', ['tcp:80'], '-p', '8080:80');
      const first = await lab.addressOf('aa');
      const folder = join(lab.folder, 'other');
      const socket = join(lab.folder, 'other.sock');
      const pidfile = join(lab.folder, 'other.pid');
      const flags = [
        '-H',
        `unix://${socket}`,
        '--data-root',
        `${folder}/data`,
        '--exec-root',
        `${folder}/exec`,
      ];
      const other = await lab.beside([...flags, '--pidfile', pidfile, '--bip', '10.88.0.1/24']);
      const docker = (...args: string[]) => run(['docker', '-H', `unix://${socket}`, ...args]);
      try {
        await eventually(async () => (await docker('info', '-f', '{{.Name}}')).err, /^$/, 15_000);
        const made = await docker('run', '-d', '--name', 'bb', ...SLEEP);
        assert.equal(made.code, 0, made.err);
        const { out } = await docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', 'bb');
        assert.equal(out.trim(), '10.88.0.2');
        await docker('rm', '-f', 'bb');
      } finally {
        await other();
      }
      assert.match(await lab.ask('client', 'tcp', HOST, 8080), /^aa /);
      assert.equal(await lab.addressOf('aa'), first);
    }),
    row('AG-01', 'a daemon without privileges over an agent that root has started', async (lab) => {
      await lab.tidy();
      await lab.stop();
      const end = await lab.startUnprivileged('65534:65534');
      try {
        await lab.serve('aa', ['tcp:80'], '-p', '8080:80');
        await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^aa /);
        const { out } = await run(['ps', '-o', 'uid=', '-p', String(lab.daemonPid)]);
        assert.equal(out.trim(), '65534');
        await lab.tidy();
      } finally {
        await lab.stop();
        end();
        await lab.fresh([]);
      }
    }),
  ],
);
