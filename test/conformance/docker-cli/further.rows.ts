import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../support/docker-daemon.ts';
import { makeCertificates } from '../../support/engine-certs.ts';
import { CLIENT, HOST, HOST6, type Lab } from './lab.ts';
import { eventually, refused, row, rows } from './rows.ts';

/** What the client answers with to whom it was asked by. */
async function seenBy(lab: Lab, from: string): Promise<string> {
  return lab.ask(from, 'tcp', CLIENT, 7100);
}

rows(
  [],
  [
    row('DD-21', 'without iptables nothing is masqueraded and nothing kept apart', async (lab) => {
      await lab.fresh(['--iptables=false', '--bip', '172.17.0.1/16']);
      await lab.ok('network', 'create', '--subnet', '172.30.0.0/16', 'n1');
      await lab.ok('network', 'create', '--subnet', '172.31.0.0/16', 'n2');
      await lab.serve('aa', ['tcp:7000'], '--network', 'n1');
      await lab.serve('bb', ['tcp:7000'], '--network', 'n2');
      const end = await lab.serveOutside('outside', 'tcp:7100');
      await lab.client('ip', 'route', 'add', '172.30.0.0/15', 'via', HOST);
      try {
        const [aa, bb] = [await lab.addressOf('aa', 'n1'), await lab.addressOf('bb', 'n2')];
        await eventually(() => lab.ask('aa', 'tcp', bb, 7000), new RegExp(`bb.*${aa}`));
        await eventually(() => seenBy(lab, 'aa'), new RegExp(`outside.*${aa}`));
        await eventually(() => lab.ask('client', 'tcp', bb, 7000), new RegExp(`bb.*${CLIENT}`));
      } finally {
        end();
        await lab.client('ip', 'route', 'del', '172.30.0.0/15');
        await lab.fresh([]);
      }
    }),
    row('DD-21', 'icc=false needs iptables', async (lab) => {
      await lab.stop();
      const child = await lab.launch(['--iptables=false', '--icc=false']);
      await new Promise<void>((resolve) => {
        child.once('exit', () => resolve());
        if (child.exitCode !== null) resolve();
      });
      assert.match(lab.log, /You specified --iptables=false with --icc=false/);
      await lab.start([]);
    }),
    row('RS-04', 'inspection shows what an update has changed', async (lab) => {
      await lab.ok('create', '--name', 'aa', '-m', '64m', '--cpus', '1', 'host', 'sleep', '60');
      const limits = '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}';
      assert.equal(await lab.inspect('aa', limits), '67108864 1000000000 <no value>');
      await lab.ok('update', '-m', '32m', '--pids-limit', '9', '--restart', 'always', 'aa');
      assert.equal(await lab.inspect('aa', limits), '33554432 1000000000 9');
      assert.equal(await lab.inspect('aa', '{{.HostConfig.RestartPolicy.Name}}'), 'always');
      await lab.ok('update', '--pids-limit', '-1', 'aa');
      assert.equal(await lab.inspect('aa', limits), '33554432 1000000000 <no value>');
      const { err, out } = await lab.docker('update', '--cpu-shares', '512', 'aa');
      assert.match(`${out}${err}`, /CpuShares has no effect here/);
      assert.equal(await lab.inspect('aa', '{{.HostConfig.CpuShares}}'), '512');
    }),
    row('RA-16', 'a bridge that the operator made is used as it is and stays', async (lab) => {
      await lab.host('ip', 'link', 'add', 'op0', 'type', 'bridge');
      await lab.host('ip', 'addr', 'add', '10.77.0.1/24', 'dev', 'op0');
      try {
        const name = ['-o', 'com.docker.network.bridge.name=op0'];
        await lab.ok('network', 'create', ...name, 'n1');
        const format = '{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}';
        assert.equal(
          await lab.ok('network', 'inspect', '-f', format, 'n1'),
          '10.77.0.0/24 10.77.0.1',
        );
        await lab.serve('aa', ['tcp:80'], '--network', 'n1', '-p', '8080:80', '--ip', '10.77.0.9');
        await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /aa/);
        await eventually(() => lab.ask('host', 'tcp', '10.77.0.9', 80), /aa/);
        refused(await lab.docker('network', 'create', ...name, 'n2'), /same bridge name/);
        await lab.stop();
        await lab.start();
        await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /aa/);
        await lab.ok('rm', '-f', 'aa');
        await lab.ok('network', 'rm', 'n1');
        assert.match((await lab.host('ip', '-br', 'addr', 'show', 'op0')).out, /10\.77\.0\.1\/24/);
        const subnet = ['--subnet', '10.78.0.0/24'];
        await lab.ok('network', 'create', ...name, ...subnet, 'n3');
        const both = (await lab.host('ip', '-br', 'addr', 'show', 'op0')).out;
        assert.match(both, /10\.77\.0\.1\/24.*10\.78\.0\.1\/24/);
        await lab.ok('network', 'rm', 'n3');
      } finally {
        await lab.host('ip', 'link', 'del', 'op0');
      }
    }),
    row('RA-16', 'a link that is no bridge cannot be one', async (lab) => {
      const name = ['-o', 'com.docker.network.bridge.name=eth0'];
      refused(await lab.docker('network', 'create', ...name, 'n1'), /eth0.* is not a bridge/);
    }),
    row('RN-24', 'with icc=false a link opens the ports that are exposed, one way', async (lab) => {
      const apart = ['-o', 'com.docker.network.bridge.enable_icc=false'];
      await lab.ok('network', 'create', ...apart, 'n1');
      const on = ['--network', 'n1'];
      await lab.serve(
        'db',
        ['tcp:80', 'udp:81', 'tcp:82'],
        ...on,
        '--expose',
        '80',
        '--expose',
        '81/udp',
      );
      await lab.serve('web', ['tcp:80'], ...on, '--expose', '80', '--link', 'db:store');
      await lab.serve('other', ['tcp:80'], ...on);
      await eventually(() => lab.ask('web', 'tcp', 'store', 80), /^db /);
      await eventually(() => lab.ask('web', 'udp', 'store', 81), /^db /);
      const [web, db] = [await lab.addressOf('web', 'n1'), await lab.addressOf('db', 'n1')];
      assert.match(await lab.ask('web', 'tcp', db, 80), new RegExp(`^db ${web}`));
      const closed = await Promise.all([
        lab.ask('web', 'tcp', db, 82),
        lab.ask('db', 'tcp', web, 80),
        lab.ask('other', 'tcp', db, 80),
        lab.ask('other', 'tcp', web, 80),
      ]);
      for (const answer of closed) assert.doesNotMatch(answer, /^(db|web)/);
      await lab.ok('rm', '-f', 'db', 'other');
      await lab.serve('taker', ['tcp:80'], ...on);
      await lab.serve('db', ['tcp:80'], ...on, '--expose', '80');
      assert.notEqual(await lab.addressOf('db', 'n1'), db, 'it comes back with another address');
      await eventually(() => lab.ask('web', 'tcp', 'store', 80), /^db /);
      assert.doesNotMatch(
        await lab.ask('web', 'tcp', await lab.addressOf('taker', 'n1'), 80),
        /^taker/,
      );
    }),
    row('DD-20', 'icc=false on the default bridge, opened by links', async (lab) => {
      await lab.fresh(['--icc=false']);
      try {
        await lab.serve('db', ['tcp:80', 'tcp:81'], '--expose', '80');
        await lab.serve('web', ['tcp:80'], '--link', 'db');
        await eventually(() => lab.ask('web', 'tcp', 'db', 80), /^db /);
        assert.doesNotMatch(await lab.ask('web', 'tcp', 'db', 81), /^db/);
        await lab.ok('rm', '-f', 'db');
        await lab.serve('taker', ['tcp:80']);
        await lab.serve('db', ['tcp:80'], '--expose', '80');
        const address = await lab.addressOf('db');
        const hosts = await lab.ok('exec', 'web', 'cat', '/etc/hosts');
        assert.match(hosts, new RegExp(`^${address}\\tdb `, 'm'));
        await eventually(() => lab.ask('web', 'tcp', 'db', 80), /^db /);
      } finally {
        await lab.fresh([]);
      }
    }),
    row(
      'RR-01',
      'what restarts is told as such, in the list, by events and in numbers',
      async (lab) => {
        const since = String(Date.now() / 1000);
        const loop = ['host', 'sh', '-c', 'sleep 0.1; exit 3'];
        await lab.ok('run', '-d', '--name', 'aa', '--restart', 'always', ...loop);
        await eventually(
          () => lab.ok('ps', '--format', '{{.Status}}'),
          /^Restarting \(3\) .* ago$/,
        );
        // RR-06
        await eventually(() => lab.inspect('aa', '{{.RestartCount}}'), /^[3-9]/);
        // RR-07
        assert.match(
          await lab.inspect('aa', '{{.State.StartedAt}}'),
          /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/,
        );
        await lab.ok('rm', '-f', 'aa');
        // RR-02
        const said = await lab.ok(
          ...['events', '--since', since, '--until', String(Date.now() / 1000)],
          ...['--filter', 'container=aa', '--format', '{{.Action}} {{.TimeNano}}'],
        );
        const events = said.split('\n').map((line) => line.split(' '));
        const at = (action: string) =>
          events.filter(([one]) => one === action).map(([, ns]) => Number(ns) / 1e6);
        const [starts, ends] = [at('start'), at('die')];
        assert.ok(starts.length >= 4 && ends.length >= 3, said);
        // RR-04
        for (const [index, leastMs] of [100, 200, 400].entries()) {
          const gap = (starts[index + 1] ?? 0) - (ends[index] ?? 0);
          assert.ok(gap >= leastMs - 2, `restart ${index + 1} came after ${gap} ms`);
        }
      },
    ),
    row('RR-08', 'a rule to restart and --rm contradict each other', async (lab) => {
      refused(
        await lab.docker('run', '--rm', '--restart', 'always', 'host', 'true'),
        /conflicting options: (cannot specify both )?--restart and --rm/,
        125,
      );
    }),
    row('RS-10', 'the rights that a container has unless it is told otherwise', async (lab) => {
      const script =
        'grep CapBnd /proc/self/status; ping -c 1 -W 2 172.17.0.1 >/dev/null && echo ping';
      const said = await lab.ok('run', '--rm', 'host', 'sh', '-c', script);
      const bits = BigInt(`0x${/CapBnd:\s+([0-9a-f]+)/.exec(said)?.[1]}`);
      assert.equal(bits.toString(2).replaceAll('0', '').length, 14);
      if (existsSync('/usr/bin/ping') || existsSync('/bin/ping')) assert.match(said, /^ping$/m);
      await lab.serve('aa', ['tcp:80']);
      await eventually(async () => lab.ask('host', 'tcp', await lab.addressOf('aa'), 80), /^aa/);
    }),
    row('RE-16', '-h names a container, to itself as well', async (lab) => {
      const script = ['sh', '-c', 'echo $HOSTNAME; hostname; cat /etc/hostname'];
      const said = await lab.ok('run', '--rm', '-h', 'thebox', 'host', ...script);
      assert.equal(said, 'thebox\nthebox\nthebox');
    }),
    row(
      'RN-16',
      'with the host’s network, names and servers are the container’s own',
      async (lab) => {
        const names = ['--hostname', 'mine', '--add-host', 'db:192.0.2.7'];
        const dns = ['--dns', '192.0.2.53', '--dns-search', 'a.test', '--dns-option', 'ndots:3'];
        const script = 'hostname; cat /etc/hosts /etc/resolv.conf';
        const run = [
          'run',
          '--rm',
          '--network',
          'host',
          ...names,
          ...dns,
          'host',
          'sh',
          '-c',
          script,
        ];
        const said = await lab.ok(...run);
        assert.match(said, /^mine\n/);
        assert.match(said, /^192\.0\.2\.7\tdb$/m);
        assert.match(said, /^nameserver 192\.0\.2\.53\nsearch a\.test\noptions ndots:3$/m);
        for (const path of ['/etc/hosts', '/etc/resolv.conf', '/etc/hostname']) {
          assert.doesNotMatch(readFileSync(path, 'utf8'), /192\.0\.2\.(7|53)|^mine$/m);
        }
      },
    ),
    row('BR-22', 'with IPv6 on, the default bridge has it', async (lab) => {
      await lab.fresh(['--ipv6', '--fixed-cidr-v6', '2001:db8:1::/64']);
      try {
        const six = '{{.EnableIPv6}} {{range .IPAM.Config}}{{.Subnet}} {{end}}';
        assert.match(
          await lab.ok('network', 'inspect', '-f', six, 'bridge'),
          /^true .*2001:db8:1::/,
        );
        await lab.serve('aa', ['tcp:80']);
        const address = await lab.inspect('aa', '{{.NetworkSettings.GlobalIPv6Address}}');
        assert.match(address, /^2001:db8:1::/);
        await eventually(() => lab.ask('host', 'tcp', address, 80), /^aa/);
      } finally {
        await lab.fresh([]);
      }
    }),
    row('RA-02', 'subnets and addresses do not overlap, and can be chosen', async (lab) => {
      for (const name of ['n1', 'n2', 'n3']) await lab.ok('network', 'create', name);
      const format = '{{range .IPAM.Config}}{{.Subnet}}{{end}}';
      const subnets = await lab.ok('network', 'inspect', '-f', format, 'bridge', 'n1', 'n2', 'n3');
      assert.equal(new Set(subnets.split('\n')).size, 4);
      await lab.ok('network', 'create', '--subnet', '10.9.0.0/24', 'n4');
      const sleep = ['host', 'sleep', '60'];
      for (const name of ['aa', 'bb']) {
        await lab.ok('run', '-d', '--name', name, '--network', 'n4', ...sleep);
      }
      await lab.ok('run', '-d', '--name', 'cc', '--network', 'n4', '--ip', '10.9.0.77', ...sleep);
      const addresses = await Promise.all(
        ['aa', 'bb', 'cc'].map((name) => lab.addressOf(name, 'n4')),
      );
      assert.deepEqual(addresses, ['10.9.0.2', '10.9.0.3', '10.9.0.77']);
    }),
    row('RA-33', 'any link but the loopback is a parent', async (lab) => {
      const parent = (link: string) => [
        'network',
        'create',
        '-d',
        'macvlan',
        '-o',
        `parent=${link}`,
      ];
      refused(await lab.docker(...parent('lo'), 'n1'), /loopback interface is not a valid/);
      await lab.host('ip', 'link', 'add', 'op2', 'type', 'bridge');
      try {
        await lab.ok(...parent('op2'), '--subnet', '10.10.0.0/24', 'n1');
      } finally {
        await lab.docker('network', 'rm', 'n1');
        await lab.host('ip', 'link', 'del', 'op2');
      }
    }),
    row('SE-20', 'nothing listens that was not asked for', async (lab) => {
      const listeners = async () =>
        (await lab.host('ss', '-Hlntu')).out
          .split('\n')
          .flatMap((line) => /:(\d+)\s/.exec(line)?.[1] ?? []);
      assert.deepEqual(await listeners(), []);
      await lab.ok('swarm', 'init', '--advertise-addr', HOST);
      try {
        const open = new Set(await listeners());
        for (const port of open) assert.match(port, /^(2377|7946|4789)$/, `port ${port} is open`);
        assert.ok(open.has('2377'));
      } finally {
        await lab.ok('swarm', 'leave', '--force');
      }
      await eventually(async () => (await listeners()).join() || 'none', /^none$/);
    }),
    row('SE-08', 'users and nodes are vouched for by authorities of their own', async (lab) => {
      const { ca, cert, key } = makeCertificates(lab.folder, HOST);
      const files = ['--tlscacert', ca, '--tlscert', cert, '--tlskey', key];
      await lab.fresh(['--tlsverify', ...files, '-H', `tcp://${HOST}:2376`]);
      try {
        await lab.ok('swarm', 'init', '--advertise-addr', HOST);
        const cluster = await lab.ok('swarm', 'ca');
        assert.match(cluster, /^-----BEGIN CERTIFICATE-----/);
        assert.notEqual(cluster.trim(), readFileSync(ca, 'utf8').trim());
        await lab.ok('swarm', 'leave', '--force');
      } finally {
        await lab.fresh([]);
      }
    }),
    row('SE-21', 'a client that its environment sets up', async (lab) => {
      const { ca, cert, key, clientCert, clientKey } = makeCertificates(lab.folder, HOST);
      const files = ['--tlscacert', ca, '--tlscert', cert, '--tlskey', key];
      await lab.fresh(['--tlsverify', ...files, '-H', `tcp://${HOST}:2376`]);
      try {
        const bundle = join(lab.folder, 'bundle');
        mkdirSync(bundle, { recursive: true });
        copyFileSync(ca, join(bundle, 'ca.pem'));
        copyFileSync(clientCert, join(bundle, 'cert.pem'));
        copyFileSync(clientKey, join(bundle, 'key.pem'));
        const env = [`DOCKER_HOST=tcp://${HOST}:2376`, 'DOCKER_TLS_VERIFY=1'];
        const info = ['docker', 'info', '-f', '{{.ServerVersion}}'];
        const own = await lab.client('env', ...env, `DOCKER_CERT_PATH=${bundle}`, ...info);
        assert.match(own.out, /^\d+\.\d+/, own.err);
        const none = await lab.client('env', ...env, `DOCKER_CERT_PATH=${lab.folder}/cli`, ...info);
        assert.notEqual(none.code, 0);
      } finally {
        await lab.fresh([]);
      }
    }),
    row('DD-06', 'over ssh the client’s bytes come by dial-stdio', async (lab) => {
      const folder = join(lab.folder, 'bin');
      mkdirSync(folder, { recursive: true });
      const ssh = `#!/bin/sh\nexec env DOCKER_HOST=unix://${lab.socket} docker system dial-stdio\n`;
      writeFileSync(join(folder, 'ssh'), ssh, { mode: 0o755 });
      const path = `PATH=${folder}:${process.env['PATH']}`;
      const names = ['docker', '-H', 'ssh://me@host', 'network', 'ls', '--format', '{{.Name}}'];
      const { out, err } = await lab.host('env', path, ...names);
      assert.match(out, /^bridge$/m, err);
    }),
    row('RE-11', 'a UDP port answers on the loopback of both families', async (lab) => {
      await lab.serve('aa', ['udp:53'], '-p', '5353:53/udp');
      await eventually(() => lab.ask('host', 'udp', '127.0.0.1', 5353), /^aa/);
      await eventually(() => lab.ask('host', 'udp', '::1', 5353), /^aa/);
      await eventually(() => lab.ask('client', 'udp', HOST, 5353), /^aa/);
      await eventually(() => lab.ask('client', 'udp', HOST6, 5353), /^aa/);
      await lab.ok('rm', '-f', 'aa');
      await lab.serve('bb', ['udp:53'], '-p', '[::1]:5353:53/udp');
      await eventually(() => lab.ask('host', 'udp', '::1', 5353), /^bb/);
      assert.doesNotMatch(await lab.ask('client', 'udp', HOST6, 5353), /^bb/);
    }),
    row('RE-11', 'an SCTP port belongs to one daemon of a host', async (lab) => {
      const other = join(lab.folder, 'other');
      const socket = join(other, 'api.sock');
      mkdirSync(other);
      const roots = ['--data-root', join(other, 'data'), '--exec-root', join(other, 'exec')];
      const end = await lab.beside([
        ...['-H', `unix://${socket}`, ...roots, '--bip', '172.29.0.1/16'],
      ]);
      try {
        const second = (...args: string[]) => run(['docker', '-H', `unix://${socket}`, ...args]);
        await eventually(async () => (await second('ps')).out, /CONTAINER/);
        const publish = ['run', '-d', '-p', '8088:80/sctp', 'host', 'sleep', '60'];
        const first = await lab.ok(...publish);
        refused(await second(...publish), /8088\/sctp: address already in use/, 125);
        await lab.ok('rm', '-f', first);
        const { code, err } = await second(...publish);
        assert.equal(code, 0, err);
        const ids = (await second('ps', '-aq')).out.trim().split('\n');
        await second('rm', '-f', ...ids);
      } finally {
        await end();
      }
    }),
  ],
);
