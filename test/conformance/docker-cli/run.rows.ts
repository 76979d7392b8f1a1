import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { cliMajor } from '../../support/docker-daemon.ts';
import { CLIENT } from './lab.ts';
import { eventually, refused, row, rows } from './rows.ts';

const SLEEP = ['host', 'sleep', '60'];

rows(
  [],
  [
    row('RG-02', '-d prints the id and returns', async (lab) => {
      assert.match(await lab.ok('run', '-d', ...SLEEP), /^[0-9a-f]{64}$/);
    }),
    row(
      'RG-04',
      'the end of the first process ends the container and frees its port',
      async (lab) => {
        await lab.ok('run', '-d', '--name', 'aa', '-p', '8080:80', 'host', 'true');
        await eventually(
          () => lab.inspect('aa', '{{.State.Status}} {{.State.ExitCode}}'),
          /^exited 0$/,
        );
        await lab.serve('bb', ['tcp:80'], '-p', '8080:80');
      },
    ),
    row('RG-05', 'a server in the foreground stays up', async (lab) => {
      await lab.serve('aa', ['tcp:80'], '-p', '80:80');
      await eventually(() => lab.ask('client', 'tcp', '198.51.100.1', 80), /^aa /);
    }),
    row('RG-06', 'output and error of the foreground, and the exit code', async (lab) => {
      const outcome = await lab.docker('run', 'host', 'sh', '-c', 'echo out; echo err >&2; exit 5');
      assert.deepEqual([outcome.code, outcome.out, outcome.err], [5, 'out\n', 'err\n']);
    }),
    row('RG-09', 'input comes before the start and its end ends it', async (lab) => {
      const { code, out } = await lab.dockerWith('test\n', 'run', '-i', '--rm', 'host', 'cat');
      assert.deepEqual([code, out], [0, 'test\n']);
    }),
    row('RG-11', 'names are unique or made up', async (lab) => {
      const id = await lab.ok('run', '-d', '--name', 'xx', ...SLEEP);
      refused(
        await lab.docker('run', '-d', '--name', 'xx', ...SLEEP),
        new RegExp(`Conflict\\. The container name "/xx" is already in use by container "${id}"`),
        125,
      );
      const other = await lab.ok('run', '-d', ...SLEEP);
      assert.match(await lab.inspect(other, '{{.Name}}'), /^\/[a-z]+_[a-z]+\d*$/);
      assert.equal(await lab.inspect(id.slice(0, 12), '{{.Id}}'), id);
    }),
    row('RG-12', 'a name is a name on its network', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.ok('run', '-d', '--name', 'xx', '--network', 'na', ...SLEEP);
      await lab.ok('run', '--rm', '--network', 'na', 'host', 'getent', 'ahostsv4', 'xx');
    }),
    row('RN-01', '--dns', async (lab) => {
      await lab.ok('network', 'create', 'na');
      const servers = ['--dns', '192.0.2.53', '--dns-search', 'a.test', '--dns-option', 'ndots:2'];
      const plain = await lab.ok('run', '--rm', ...servers, 'host', 'cat', '/etc/resolv.conf');
      assert.equal(plain, 'nameserver 192.0.2.53\nsearch a.test\noptions ndots:2');
      const own = await lab.ok(
        'run',
        '--rm',
        '--network',
        'na',
        ...servers,
        'host',
        'cat',
        '/etc/resolv.conf',
      );
      assert.equal(own, 'nameserver 127.0.0.11\nsearch a.test\noptions ndots:2');
    }),
    row('RN-02', 'an unknown network', async (lab) => {
      refused(
        await lab.docker('run', '-d', '--network', 'nope', ...SLEEP),
        /network nope not found/,
        125,
      );
    }),
    row('RN-03', '--network-alias', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.ok('network', 'create', 'nb');
      await lab.ok(
        'run',
        '-d',
        '--name',
        'aa',
        '--network',
        'na',
        '--network-alias',
        'other',
        ...SLEEP,
      );
      await lab.ok('run', '--rm', '--network', 'na', 'host', 'getent', 'ahostsv4', 'other');
      const elsewhere = await lab.docker(
        'run',
        '--rm',
        '--network',
        'nb',
        'host',
        'getent',
        'ahostsv4',
        'other',
      );
      assert.notEqual(elsewhere.code, 0);
      refused(
        await lab.docker('run', '-d', '--network-alias', 'z', ...SLEEP),
        /network-scoped alias(es are| is) (only )?supported/,
        125,
      );
    }),
    row('RN-04', '--add-host', async (lab) => {
      const out = await lab.ok(
        'run',
        '--rm',
        '--add-host',
        'db-static:86.75.30.9',
        'host',
        'cat',
        '/etc/hosts',
      );
      assert.match(out, /^86\.75\.30\.9\tdb-static$/m);
      assert.match(out, /^127\.0\.0\.1\tlocalhost$/m);
      assert.match(out, /^::1\tlocalhost ip6-localhost ip6-loopback$/m);
      assert.match(out, /^172\.17\.0\.2\t[0-9a-f]{12}$/m);
    }),
    row('RN-05', '--mac-address', async (lab) => {
      await lab.ok('run', '-d', '--name', 'aa', '--mac-address', '12:34:56:78:9a:bc', ...SLEEP);
      assert.match(await lab.ok('exec', 'aa', 'ip', 'link', 'show', 'eth0'), /12:34:56:78:9a:bc/);
      assert.equal(
        await lab.inspect('aa', '{{.NetworkSettings.Networks.bridge.MacAddress}}'),
        '12:34:56:78:9a:bc',
      );
    }),
    row('RN-06', '--ip', async (lab) => {
      await lab.ok('network', 'create', '--subnet', '10.9.0.0/24', 'na');
      await lab.ok('run', '-d', '--name', 'aa', '--network', 'na', '--ip', '10.9.0.77', ...SLEEP);
      assert.match(
        await lab.ok('exec', 'aa', 'ip', '-4', 'addr', 'show', 'eth0'),
        /10\.9\.0\.77\/24/,
      );
      await lab.ok('network', 'create', 'nb');
      refused(
        await lab.docker('run', '-d', '--network', 'nb', '--ip', '172.18.0.9', ...SLEEP),
        /supported only when connecting to networks with user configured subnets/,
        125,
      );
      refused(
        await lab.docker('run', '-d', '--ip', '172.17.0.9', ...SLEEP),
        /supported on user defined networks only/,
        125,
      );
    }),
    row('RN-07', '--ip6', async (lab) => {
      await lab.ok('network', 'create', '--ipv6', '--subnet', '2001:db8:77::/64', 'na');
      await lab.ok(
        'run',
        '-d',
        '--name',
        'aa',
        '--network',
        'na',
        '--ip6',
        '2001:db8:77::77',
        ...SLEEP,
      );
      assert.match(
        await lab.ok('exec', 'aa', 'ip', '-6', 'addr', 'show', 'eth0'),
        /2001:db8:77::77\/64/,
      );
    }),
    row('RN-08', '--link-local-ip', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.ok(
        'run',
        '-d',
        '--name',
        'aa',
        '--network',
        'na',
        '--link-local-ip',
        '169.254.9.9',
        ...SLEEP,
      );
      assert.match(
        await lab.ok('exec', 'aa', 'ip', '-4', 'addr', 'show', 'eth0'),
        /169\.254\.9\.9\/16/,
      );
    }),
    row('RN-09', 'outgoing connections are allowed', async (lab) => {
      const end = await lab.serveOutside('outside', 'tcp:80', 'udp:53');
      try {
        await lab.ok('run', '-d', '--name', 'aa', ...SLEEP);
        await eventually(() => lab.ask('aa', 'tcp', CLIENT, 80), /^outside 198\.51\.100\.1$/);
        await eventually(() => lab.ask('aa', 'udp', CLIENT, 53), /^outside 198\.51\.100\.1$/);
      } finally {
        end();
      }
    }),
    row('RN-10', '--network none', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.ok('run', '-d', '--name', 'aa', '--network', 'none', ...SLEEP);
      assert.match(await lab.ok('exec', 'aa', 'ip', '-br', 'link'), /^lo\b[^\n]*$/);
      assert.equal(await lab.ok('exec', 'aa', 'ip', 'route'), '');
      refused(
        await lab.docker('network', 'connect', 'na', 'aa'),
        /container cannot be connected to multiple networks with one of the networks in private \(none\) mode/,
      );
    }),
    row('RN-11', 'the host’s name servers, without those of its loopback', async (lab) => {
      const out = await lab.ok('run', '--rm', 'host', 'cat', '/etc/resolv.conf');
      assert.doesNotMatch(out, /nameserver (127\.|::1)/);
    }),
    row('RN-12', 'hardware addresses follow from addresses', async (lab) => {
      await lab.ok('run', '-d', '--name', 'aa', ...SLEEP);
      assert.match(
        await lab
          .ok('exec', 'aa', 'cat', '/sys/class/net/eth0/address')
          .catch(() => lab.ok('exec', 'aa', 'ip', 'link', 'show', 'eth0')),
        /02:42:ac:11:00:02/,
      );
    }),
    row('RN-13', 'a pair of links: one on the bridge, eth0 inside', async (lab) => {
      await lab.ok('run', '-d', '--name', 'aa', ...SLEEP);
      assert.match(
        (await lab.host('ip', '-br', 'link', 'show', 'master', 'docker0')).out,
        /^veth[0-9a-f]+/,
      );
      assert.match(await lab.ok('exec', 'aa', 'ip', '-br', 'link'), /eth0/);
    }),
    row('RN-14', 'host mode shares the stack and the name', async (lab) => {
      const names = async (text: string) => text.match(/^\S+/gm)?.map((name) => name.split('@')[0]);
      const inside = await lab.ok('run', '--rm', '--network', 'host', 'host', 'ip', '-br', 'link');
      const outside = (await lab.host('ip', '-br', 'link')).out;
      assert.deepEqual(await names(inside), await names(outside));
      const own = (await lab.host('hostname')).out.trim();
      assert.equal(await lab.ok('run', '--rm', '--network', 'host', 'host', 'hostname'), own);
    }),
    row('RN-15', 'host mode has no hardware address of its own', async (lab) => {
      const outcome = await lab.docker(
        'run',
        '-d',
        '--network',
        'host',
        '--mac-address',
        '12:34:56:78:9a:bc',
        ...SLEEP,
      );
      refused(outcome, /conflicting options: mac-address and the network mode/, 125);
    }),
    row('RN-17', 'host mode discards published ports', async (lab) => {
      const { code, err } = await lab.docker(
        'run',
        '-d',
        '--name',
        'aa',
        '--network',
        'host',
        '-p',
        '8080:80',
        ...SLEEP,
      );
      assert.equal(code, 0);
      assert.match(err, /Published ports are discarded when using host network mode/);
      assert.equal(await lab.ok('port', 'aa'), '');
    }),
    row('RN-18', 'another container’s stack', async (lab) => {
      await lab.serve('redis', ['tcp:6379']);
      await lab.ok('run', '-d', '--name', 'bb', '--network', 'container:redis', ...SLEEP);
      await eventually(() => lab.ask('bb', 'tcp', '127.0.0.1', 6379), /^redis /);
      const links = (name: string) => lab.ok('exec', name, 'ip', '-br', 'addr');
      assert.equal(await links('bb'), await links('redis'));
    }),
    row('RN-19', 'what a shared stack cannot have', async (lab) => {
      await lab.ok('run', '-d', '--name', 'pub', ...SLEEP);
      const shared = ['run', '-d', '--network', 'container:pub'];
      const cases: readonly (readonly [readonly string[], RegExp])[] = [
        [['--hostname', 'x'], /conflicting options: hostname and the network mode/],
        [['--dns', '192.0.2.1'], /conflicting options: dns and the network mode/],
        [
          ['--add-host', 'a:192.0.2.1'],
          /conflicting options: custom host-to-IP mapping and the network mode/,
        ],
        [
          ['--mac-address', '12:34:56:78:9a:bc'],
          /conflicting options: mac-address and the network mode/,
        ],
        [['-P'], /conflicting options: port publishing and the container type network mode/],
        [
          ['-p', '80:80'],
          /conflicting options: port publishing and the container type network mode/,
        ],
        [
          ['--expose', '80'],
          /conflicting options: port exposing and the container type network mode/,
        ],
      ];
      for (const [options, message] of cases) {
        refused(await lab.docker(...shared, ...options, ...SLEEP), message, 125);
      }
    }),
    row('RN-20', 'a second process of a shared stack connects over loopback', async (lab) => {
      await lab.serve('redis', ['tcp:6379']);
      const peer = new URL('./peer.mjs', import.meta.url).pathname;
      await eventually(() => lab.ask('redis', 'tcp', '127.0.0.1', 6379), /^redis /);
      const out = await lab.ok(
        ...['run', '--rm', '--network', 'container:redis', 'host'],
        ...[process.execPath, peer, 'ask', 'tcp', '127.0.0.1', '6379'],
      );
      assert.match(out, /^redis /);
    }),
    row('RN-21', 'a stack of a stopped container', async (lab) => {
      await lab.ok('run', '-d', '--name', 'aa', 'host', 'true');
      await eventually(() => lab.inspect('aa', '{{.State.Status}}'), /exited/);
      const outcome = await lab.docker('run', '-d', '--network', 'container:aa', ...SLEEP);
      refused(
        outcome,
        /cannot join network namespace of a non running container: container aa is exited/,
        125,
      );
    }),
    row('RN-22', 'a user-defined network', async (lab) => {
      await lab.ok('network', 'create', '-d', 'bridge', 'my-net');
      await lab.ok('run', '--network=my-net', '-itd', '--name=container3', ...SLEEP);
      assert.equal(await lab.addressOf('container3', 'my-net'), '172.18.0.2');
    }),
    row('RN-23', 'several --network', async (lab) => {
      if (cliMajor() < 25) return 'this docker command line takes one --network only';
      await lab.ok('network', 'create', 'na');
      await lab.ok('network', 'create', '--subnet', '10.9.0.0/24', 'nb');
      await lab.ok(
        'run',
        '-d',
        '--name',
        'aa',
        '--network',
        'na',
        '--network',
        'name=nb,ip=10.9.0.9,alias=x',
        ...SLEEP,
      );
      assert.equal(await lab.addressOf('aa', 'nb'), '10.9.0.9');
      assert.match(await lab.ok('exec', 'aa', 'ip', '-br', 'link'), /eth0.*eth1/s);
      return undefined;
    }),
    row('RN-24', '--link on the default bridge', async (lab) => {
      await lab.serve('pub', ['tcp:80']);
      await lab.ok('run', '-d', '--name', 'bb', '--link', 'pub:alias1', ...SLEEP);
      assert.match(
        await lab.ok('exec', 'bb', 'cat', '/etc/hosts'),
        /^172\.17\.0\.2\talias1 [0-9a-f]{12} pub$/m,
      );
      await eventually(() => lab.ask('bb', 'tcp', 'alias1', 80), /^pub /);
    }),
    row('RN-25', '--link on a network of one’s own is an alias for one', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.ok('run', '-d', '--name', 'db', '--network', 'na', ...SLEEP);
      await lab.ok('run', '-d', '--name', 'one', '--network', 'na', '--link', 'db:mydb', ...SLEEP);
      await lab.ok('run', '-d', '--name', 'two', '--network', 'na', ...SLEEP);
      await lab.ok('exec', 'one', 'getent', 'ahostsv4', 'mydb');
      assert.notEqual((await lab.docker('exec', 'two', 'getent', 'ahostsv4', 'mydb')).code, 0);
    }),
    row('RN-26', '/etc/hosts follows the networks', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.ok('run', '-d', '--name', 'aa', ...SLEEP);
      await lab.ok('network', 'connect', 'na', 'aa');
      assert.match(await lab.ok('exec', 'aa', 'cat', '/etc/hosts'), /^172\.18\.0\.2\t/m);
      await lab.ok('network', 'disconnect', 'na', 'aa');
      assert.doesNotMatch(await lab.ok('exec', 'aa', 'cat', '/etc/hosts'), /^172\.18\.0\.2\t/m);
    }),
    row('RR-03', 'a policy restarts, a stop ends it', async (lab) => {
      await lab.ok(
        'run',
        '-d',
        '--name',
        'aa',
        '--restart=always',
        'host',
        'sh',
        '-c',
        'sleep 0.1; exit 1',
      );
      await eventually(() => lab.inspect('aa', '{{.RestartCount}}'), /^[2-9]/);
      await lab.ok('stop', 'aa');
      const count = await lab.inspect('aa', '{{.RestartCount}}');
      await delay(1500);
      assert.equal(
        await lab.inspect('aa', '{{.RestartCount}} {{.State.Running}}'),
        `${count} false`,
      );
    }),
    row('RR-10', '--restart=on-failure:2', async (lab) => {
      await lab.ok(
        'run',
        '-d',
        '--name',
        'aa',
        '--restart=on-failure:2',
        'host',
        'sh',
        '-c',
        'exit 9',
      );
      await eventually(
        () => lab.inspect('aa', '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}'),
        /^2 exited 9$/,
      );
    }),
    row('RR-11', 'a limit is for on-failure', async (lab) => {
      const outcome = await lab.docker('run', '-d', '--restart=always:3', ...SLEEP);
      refused(
        outcome,
        /maximum retry count can(not| only) be used with|maximum retry count cannot be used with restart policy/,
        125,
      );
    }),
    row('RR-12', '125: the engine’s error', async (lab) => {
      refused(await lab.docker('run', '--foo', 'host'), /unknown flag: --foo/, 125);
      refused(await lab.docker('run', '--network', 'nope', ...SLEEP), /not found/, 125);
    }),
    row('RR-13', '126: what cannot be run', async (lab) => {
      refused(await lab.docker('run', 'host', '/etc'), /permission denied|is a directory/, 126);
    }),
    row('RR-14', '127: what is not there', async (lab) => {
      refused(
        await lab.docker('run', 'host', 'no-such-program'),
        /executable file not found|no such file or directory/,
        127,
      );
    }),
    row('RR-15', 'the command’s own code', async (lab) => {
      assert.equal((await lab.docker('run', 'host', 'sh', '-c', 'exit 3')).code, 3);
    }),
    row('RR-16', '--rm', async (lab) => {
      await lab.ok('run', '--rm', '--name', 'aa', 'host', 'true');
      refused(await lab.docker('inspect', 'aa'), /No such object/i);
    }),
    row('RE-14', 'environment', async (lab) => {
      const out = await lab.ok('run', '--rm', '-h', 'box', '-e', 'deep=purple', 'host', 'env');
      for (const line of ['HOSTNAME=box', 'deep=purple'])
        assert.match(out, new RegExp(`^${line}$`, 'm'));
      assert.match(out, /^PATH=/m);
    }),
    row('RA-01', 'sandbox, endpoint, network', async (lab) => {
      await lab.ok('run', '-d', '--name', 'aa', ...SLEEP);
      const format =
        '{{.NetworkSettings.SandboxID}} {{.NetworkSettings.Networks.bridge.EndpointID}} {{.NetworkSettings.SandboxKey}}';
      assert.match(
        await lab.inspect('aa', format),
        /^[0-9a-f]{64} [0-9a-f]{64} \/run\/netns\/\S+$/,
      );
      const key = await lab.inspect('aa', '{{.NetworkSettings.SandboxKey}}');
      const { out } = await lab.host('nsenter', `--net=${key}`, 'ip', '-br', '-4', 'addr');
      assert.match(out, /172\.17\.0\.2/);
    }),
    row('RA-08', 'host mode: the same interfaces, and local servers answer', async (lab) => {
      await lab.serve('nginx', ['tcp:8088'], '--network', 'host');
      await lab.ok('run', '-d', '--name', 'c1', '--network', 'host', ...SLEEP);
      await eventually(() => lab.ask('c1', 'tcp', '127.0.0.1', 8088), /^nginx /);
      assert.match(await lab.ok('exec', 'c1', 'ip', 'addr'), /198\.51\.100\.1/);
    }),
    row('RA-09', 'two servers on one port of the host', async (lab) => {
      await lab.serve('one', ['tcp:8088'], '--network', 'host');
      await eventually(() => lab.ask('host', 'tcp', '127.0.0.1', 8088), /^one /);
      await lab.serve('two', ['tcp:8088'], '--network', 'host');
      await eventually(() => lab.inspect('two', '{{.State.Status}}'), /exited/);
      assert.match((await lab.docker('logs', 'two')).err, /EADDRINUSE/);
    }),
    row('RA-10', 'addresses of a container', async (lab) => {
      const out = await lab.ok('run', '--rm', 'host', 'ip', 'address', 'show', 'eth0');
      assert.match(out, /eth0@if\d+: .*mtu 1500/);
      assert.match(out, /02:42:ac:11:00:02/);
      assert.match(out, /inet 172\.17\.0\.2\/16/);
    }),
    row('RA-11', 'a bridge for each network', async (lab) => {
      const id = await lab.ok('network', 'create', 'na');
      await lab.ok('run', '-d', '--name', 'aa', ...SLEEP);
      await lab.ok('run', '-d', '--name', 'bb', '--network', 'na', ...SLEEP);
      for (const bridge of ['docker0', `br-${id.slice(0, 12)}`]) {
        assert.match((await lab.host('ip', '-br', 'link', 'show', 'master', bridge)).out, /^veth/);
      }
    }),
    row('RA-12', 'routes of a container', async (lab) => {
      const out = await lab.ok('run', '--rm', 'host', 'ip', 'route');
      assert.match(out, /^default via 172\.17\.0\.1 dev eth0/m);
      assert.match(out, /^172\.17\.0\.0\/16 dev eth0 .*src 172\.17\.0\.2/m);
    }),
    row('RA-17', 'an address of choice beside automatic ones', async (lab) => {
      await lab.ok('network', 'create', '-d', 'bridge', '--subnet', '10.0.0.0/24', 'my_bridge');
      await lab.ok('run', '-d', '--name', 'c2', '--network', 'my_bridge', ...SLEEP);
      await lab.ok(
        'run',
        '-d',
        '--name',
        'c3',
        '--network',
        'my_bridge',
        '--ip',
        '10.0.0.254',
        ...SLEEP,
      );
      assert.deepEqual(
        [await lab.addressOf('c2', 'my_bridge'), await lab.addressOf('c3', 'my_bridge')],
        ['10.0.0.2', '10.0.0.254'],
      );
    }),
    row('RA-18', 'what leaves has the host’s address', async (lab) => {
      const end = await lab.serveOutside('outside', 'tcp:80');
      try {
        await lab.ok('run', '-d', '--name', 'aa', ...SLEEP);
        await eventually(() => lab.ask('aa', 'tcp', CLIENT, 80), /^outside 198\.51\.100\.1$/);
      } finally {
        end();
      }
    }),
    row('RA-34', 'none: a namespace with loopback alone', async (lab) => {
      const out = await lab.ok('run', '--rm', '--network', 'none', 'host', 'ip', '-br', 'link');
      assert.match(out, /^lo\b[^\n]*$/);
    }),
    row('RA-35', 'host and shared stacks join nothing', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.ok('run', '-d', '--name', 'aa', '--network', 'host', ...SLEEP);
      refused(
        await lab.docker('network', 'connect', 'na', 'aa'),
        /container sharing network namespace with another container or host cannot be connected to any other network/,
      );
    }),
    row('RA-37', 'the resolver: own names, scoped, the rest forwarded', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.ok('network', 'create', 'nb');
      await lab.ok('run', '-d', '--name', 'aa', '--network', 'na', ...SLEEP);
      await lab.ok('run', '-d', '--name', 'bb', '--network', 'nb', ...SLEEP);
      await lab.ok('exec', 'aa', 'getent', 'ahostsv4', 'aa');
      assert.notEqual((await lab.docker('exec', 'aa', 'getent', 'ahostsv4', 'bb')).code, 0);
    }),
    row('RA-46', 'within, between, out and in', async (lab) => {
      const end = await lab.serveOutside('outside', 'tcp:80');
      try {
        await lab.ok('network', 'create', 'na');
        await lab.ok('network', 'create', 'nb');
        await lab.serve('aa', ['tcp:80'], '--network', 'na', '-p', '8080:80');
        await lab.ok('run', '-d', '--name', 'a2', '--network', 'na', ...SLEEP);
        await lab.ok('run', '-d', '--name', 'bb', '--network', 'nb', ...SLEEP);
        const address = await lab.addressOf('aa', 'na');
        await eventually(() => lab.ask('a2', 'tcp', address, 80), /^aa /);
        assert.equal(await lab.ask('bb', 'tcp', address, 80), 'no answer');
        assert.match(await lab.ask('bb', 'tcp', CLIENT, 80), /^outside /);
        assert.match(await lab.ask('client', 'tcp', '198.51.100.1', 8080), /^aa 198\.51\.100\.2$/);
      } finally {
        end();
      }
    }),
    row('RA-51', 'tools in another container’s namespace', async (lab) => {
      await lab.ok('run', '-d', '--name', 'aa', ...SLEEP);
      const out = await lab.ok(
        'run',
        '--rm',
        '--network',
        'container:aa',
        'host',
        'ip',
        '-4',
        'addr',
      );
      assert.match(out, /172\.17\.0\.2/);
    }),
    row('RA-52', 'two containers on a bridge of their own', async (lab) => {
      await lab.ok('network', 'create', '-d', 'bridge', 'petsBridge');
      await lab.serve('db', ['tcp:8500'], '--network', 'petsBridge');
      await lab.serve(
        'web',
        ['tcp:5000'],
        '--network',
        'petsBridge',
        '-p',
        '8000:5000',
        '-e',
        'DB=db',
      );
      assert.equal(
        await lab.inspect('web', '{{.NetworkSettings.Networks.petsBridge.IPAddress}}'),
        '172.18.0.3',
      );
      await eventually(() => lab.ask('web', 'tcp', 'db', 8500), /^db /);
      await eventually(() => lab.ask('client', 'tcp', '198.51.100.1', 8000), /^web /);
    }),
    row('DB-01', 'web finds db by name, and is reached from outside', async (lab) => {
      await lab.ok('network', 'create', '-d', 'bridge', 'mybridge');
      await lab.serve('db', ['tcp:6379'], '--net', 'mybridge');
      await lab.serve('web', ['tcp:5000'], '--net', 'mybridge', '-e', 'DB=db', '-p', '8000:5000');
      await eventually(() => lab.ask('web', 'tcp', 'db', 6379), /^db /);
      await eventually(() => lab.ask('client', 'tcp', '198.51.100.1', 8000), /^web /);
    }),
    row('DB-02', 'a bridge is local', async (lab) => {
      await lab.ok('network', 'create', 'na');
      assert.equal(await lab.ok('network', 'inspect', '-f', '{{.Scope}}', 'na'), 'local');
    }),
  ],
);
