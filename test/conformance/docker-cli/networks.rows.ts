import assert from 'node:assert/strict';
import { CLIENT } from './lab.ts';
import { eventually, refused, row, rows } from './rows.ts';

const BRIDGE = 'com.docker.network.bridge';

rows(
  [],
  [
    row('BR-01', 'the default networks', async (lab) => {
      const list = await lab.ok('network', 'ls', '--format', '{{.Name}} {{.Driver}} {{.Scope}}');
      assert.deepEqual(list.split('\n').sort(), [
        'bridge bridge local',
        'host host local',
        'none null local',
      ]);
      const format = `{{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 0).Gateway}} {{index .Options "${BRIDGE}.name"}}`;
      assert.equal(
        await lab.ok('network', 'inspect', '-f', format, 'bridge'),
        '172.17.0.0/16 172.17.0.1 docker0',
      );
    }),
    row('BR-02', 'a container without --network joins the default bridge', async (lab) => {
      await lab.ok('run', '-d', '--name', 'aa', 'host', 'sleep', '60');
      assert.equal(await lab.addressOf('aa'), '172.17.0.2');
    }),
    row('BR-03', 'containers on different bridges cannot talk', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.ok('network', 'create', 'nb');
      await lab.serve('aa', ['tcp:80'], '--network', 'na');
      await lab.serve('bb', ['tcp:80'], '--network', 'nb');
      const [a, b] = [await lab.addressOf('aa', 'na'), await lab.addressOf('bb', 'nb')];
      assert.notEqual(await lab.ask('aa', 'tcp', b, 80), 'bb');
      assert.equal(await lab.ask('aa', 'tcp', b, 80), 'no answer');
      assert.equal(await lab.ask('bb', 'tcp', a, 80), 'no answer');
    }),
    row('BR-04', 'all ports inside, none outside', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.serve('aa', ['tcp:80', 'tcp:4321', 'udp:53'], '--network', 'na');
      await lab.ok('run', '-d', '--name', 'bb', '--network', 'na', 'host', 'sleep', '60');
      const address = await lab.addressOf('aa', 'na');
      for (const [transport, port] of [
        ['tcp', 80],
        ['tcp', 4321],
        ['udp', 53],
      ] as const) {
        await eventually(() => lab.ask('bb', transport, address, port), /^aa /);
      }
      assert.notEqual(await lab.ask('client', 'tcp', '198.51.100.1', 80), 'aa');
      await lab.client('ip', 'route', 'add', '172.18.0.0/16', 'via', '198.51.100.1');
      assert.doesNotMatch(await lab.ask('client', 'tcp', address, 80), /aa/);
      await lab.client('ip', 'route', 'del', '172.18.0.0/16');
    }),
    row('BR-05', 'names and aliases resolve on a user-defined bridge', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.ok(
        'run',
        '-d',
        '--name',
        'db',
        '--network',
        'na',
        '--network-alias',
        'store',
        'host',
        'sleep',
        '60',
      );
      await lab.ok('run', '-d', '--name', 'web', '--network', 'na', 'host', 'sleep', '60');
      const address = await lab.addressOf('db', 'na');
      for (const name of ['db', 'store', 'db.na']) {
        assert.match(
          await lab.ok('exec', 'web', 'getent', 'ahostsv4', name),
          new RegExp(`^${address} `),
        );
      }
      assert.match(
        await lab.ok('exec', 'web', 'cat', '/etc/resolv.conf'),
        /^nameserver 127\.0\.0\.11$/m,
      );
    }),
    row('BR-06', 'no names on the default bridge', async (lab) => {
      await lab.ok('run', '-d', '--name', 'db', 'host', 'sleep', '60');
      await lab.ok('run', '-d', '--name', 'web', 'host', 'sleep', '60');
      assert.notEqual((await lab.docker('exec', 'web', 'getent', 'ahostsv4', 'db')).code, 0);
      const { out } = await lab.docker('exec', 'web', 'cat', '/etc/resolv.conf');
      assert.doesNotMatch(out, /127\.0\.0\.11/);
    }),
    row('BR-07', 'attach and detach a running container', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.ok('run', '-d', '--name', 'aa', 'host', 'sleep', '60');
      const pid = await lab.inspect('aa', '{{.State.Pid}}');
      await lab.ok('network', 'connect', 'na', 'aa');
      const address = await lab.addressOf('aa', 'na');
      assert.match(
        await lab.ok('exec', 'aa', 'ip', '-br', '-4', 'addr'),
        new RegExp(`eth1\\S* +UP +${address}/16`),
      );
      await lab.ok('network', 'disconnect', 'na', 'aa');
      assert.doesNotMatch(await lab.ok('exec', 'aa', 'ip', '-br', 'link'), /eth1/);
      assert.equal(await lab.inspect('aa', '{{.State.Pid}} {{.State.Running}}'), `${pid} true`);
    }),
    row('BR-08', 'each network has its own settings', async (lab) => {
      const mtu = 'com.docker.network.driver.mtu';
      await lab.ok('network', 'create', '-o', `${mtu}=1400`, 'na');
      await lab.ok('network', 'create', '-o', `${mtu}=1300`, 'nb');
      for (const [network, size] of [
        ['na', 1400],
        ['nb', 1300],
      ] as const) {
        const out = await lab.ok(
          'run',
          '--rm',
          '--network',
          network,
          'host',
          'ip',
          '-o',
          'link',
          'show',
          'eth0',
        );
        assert.match(out, new RegExp(`mtu ${size} `));
      }
    }),
    row('BR-09', 'network create: id, driver, next pool, link', async (lab) => {
      const id = await lab.ok('network', 'create', 'my-net');
      assert.match(id, /^[0-9a-f]{64}$/);
      const format =
        '{{.Driver}} {{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 0).Gateway}}';
      assert.equal(
        await lab.ok('network', 'inspect', '-f', format, 'my-net'),
        'bridge 172.18.0.0/16 172.18.0.1',
      );
      const { out } = await lab.host('ip', '-o', 'addr', 'show', `br-${id.slice(0, 12)}`);
      assert.match(out, /172\.18\.0\.1\/16/);
    }),
    row('BR-10', 'network rm: link gone, pool free again', async (lab) => {
      const id = await lab.ok('network', 'create', 'my-net');
      assert.equal(await lab.ok('network', 'rm', 'my-net'), 'my-net');
      assert.notEqual((await lab.host('ip', 'link', 'show', `br-${id.slice(0, 12)}`)).code, 0);
      await lab.ok('network', 'create', 'again');
      assert.match(await lab.ok('network', 'inspect', 'again'), /172\.18\.0\.0\/16/);
    }),
    row('BR-11', 'no removal while containers are attached', async (lab) => {
      await lab.ok('network', 'create', 'my-net');
      await lab.ok('run', '-d', '--name', 'c1', '--network', 'my-net', 'host', 'sleep', '60');
      refused(
        await lab.docker('network', 'rm', 'my-net'),
        /network my-net has active endpoints \(name:"c1" id:"[0-9a-f]{12}"\)/,
      );
      await lab.ok('network', 'inspect', 'my-net');
    }),
    row('BR-12', 'links, masquerade and isolation come and go by themselves', async (lab) => {
      const rules = async () => (await lab.host('nft', 'list', 'ruleset')).out;
      const id = await lab.ok('network', 'create', 'na');
      const link = `br-${id.slice(0, 12)}`;
      assert.match(await rules(), new RegExp(`${link}`));
      await lab.ok('network', 'rm', 'na');
      assert.doesNotMatch(await rules(), new RegExp(`${link}`));
      assert.doesNotMatch(await rules(), /172\.18\.0\.0/);
    }),
    row('BR-13', 'create with a published port', async (lab) => {
      await lab.ok('network', 'create', 'my-net');
      const serve = [
        process.execPath,
        new URL('./peer.mjs', import.meta.url).pathname,
        'serve',
        'nginx',
        'tcp:80',
      ];
      await lab.ok(
        'create',
        '--name',
        'my-nginx',
        '--network',
        'my-net',
        '--publish',
        '8080:80',
        'host',
        ...serve,
      );
      assert.equal(await lab.inspect('my-nginx', '{{.State.Status}}'), 'created');
      await lab.ok('start', 'my-nginx');
      await eventually(() => lab.ask('client', 'tcp', '198.51.100.1', 8080), /^nginx /);
    }),
    row('BR-14', 'connect, once', async (lab) => {
      await lab.ok('network', 'create', 'my-net');
      await lab.ok('run', '-d', '--name', 'my-nginx', 'host', 'sleep', '60');
      assert.equal(await lab.ok('network', 'connect', 'my-net', 'my-nginx'), '');
      refused(
        await lab.docker('network', 'connect', 'my-net', 'my-nginx'),
        /endpoint with name my-nginx already exists in network my-net/,
      );
    }),
    row('BR-15', 'disconnect, once', async (lab) => {
      await lab.ok('network', 'create', 'my-net');
      await lab.ok('run', '-d', '--name', 'my-nginx', '--network', 'my-net', 'host', 'sleep', '60');
      await lab.ok('network', 'disconnect', 'my-net', 'my-nginx');
      refused(
        await lab.docker('network', 'disconnect', 'my-net', 'my-nginx'),
        /is not connected to network my-net/,
      );
    }),
    row('BR-16', 'the default bridge can be left', async (lab) => {
      await lab.ok('run', '-d', '--name', 'aa', 'host', 'sleep', '60');
      await lab.ok('network', 'disconnect', 'bridge', 'aa');
      assert.doesNotMatch(await lab.ok('exec', 'aa', 'ip', '-br', 'link'), /eth0/);
    }),
    row('BR-18', 'network create --ipv6', async (lab) => {
      await lab.ok('network', 'create', '--ipv6', '--subnet', '2001:db8:77::/64', 'v6');
      assert.equal(await lab.ok('network', 'inspect', '-f', '{{.EnableIPv6}}', 'v6'), 'true');
      await lab.serve('aa', ['tcp:80'], '--network', 'v6');
      const address = await lab.inspect('aa', '{{.NetworkSettings.Networks.v6.GlobalIPv6Address}}');
      assert.equal(address, '2001:db8:77::2');
      await lab.ok('run', '-d', '--name', 'bb', '--network', 'v6', 'host', 'sleep', '60');
      await eventually(() => lab.ask('bb', 'tcp', address, 80), /^aa 2001:db8:77::3$/);
    }),
    row('BR-19', 'forwarding is on', async (lab) => {
      assert.equal((await lab.host('cat', '/proc/sys/net/ipv4/ip_forward')).out.trim(), '1');
    }),
    row('NC-01', 'every option reaches the network', async (lab) => {
      await lab.ok(
        ...['network', 'create', '--attachable', '--internal', '--ipv6', '--label', 'a=b'],
        ...['--subnet', '10.20.0.0/16', '--ip-range', '10.20.1.0/24', '--gateway', '10.20.0.9'],
        ...['--aux-address', 'router=10.20.0.7', '--ipam-driver', 'default', '--ipam-opt', 'x=y'],
        ...['-o', `${BRIDGE}.name=brnc01`, 'all'],
      );
      const [network] = JSON.parse(await lab.ok('network', 'inspect', 'all'));
      assert.deepEqual(network.IPAM.Config[0], {
        Subnet: '10.20.0.0/16',
        IPRange: '10.20.1.0/24',
        Gateway: '10.20.0.9',
        AuxiliaryAddresses: { router: '10.20.0.7' },
      });
      assert.deepEqual(network.IPAM.Options, { x: 'y' });
      assert.deepEqual(network.Labels, { a: 'b' });
      assert.deepEqual(
        [network.Attachable, network.Internal, network.EnableIPv6],
        [true, true, true],
      );
      assert.equal(network.Options[`${BRIDGE}.name`], 'brnc01');
    }),
    row('NC-02', '-d bridge', async (lab) => {
      const id = await lab.ok('network', 'create', '-d', 'bridge', 'my-bridge-network');
      assert.equal((await lab.host('ip', 'link', 'show', `br-${id.slice(0, 12)}`)).code, 0);
    }),
    row('NC-03', 'default networks stay', async (lab) => {
      refused(
        await lab.docker('network', 'rm', 'bridge'),
        /bridge is a pre-defined network and cannot be removed/,
      );
    }),
    row('NC-04', 'default names are taken', async (lab) => {
      for (const name of ['bridge', 'host', 'none']) {
        refused(
          await lab.docker('network', 'create', name),
          new RegExp(`operation is not permitted on predefined ${name} network`),
        );
      }
    }),
    row('NC-07', 'overlay needs a manager', async (lab) => {
      refused(
        await lab.docker('network', 'create', '-d', 'overlay', 'o'),
        /This node is not a swarm manager\. Use "docker swarm init"/,
      );
    }),
    row('NC-08', 'names are unique', async (lab) => {
      await lab.ok('network', 'create', 'na');
      refused(await lab.docker('network', 'create', 'na'), /network with name na already exists/);
    }),
    row('NC-10', 'run --network', async (lab) => {
      await lab.ok('network', 'create', 'mynet');
      await lab.ok('run', '-itd', '--network=mynet', '--name', 'aa', 'host', 'sleep', '60');
      assert.match(await lab.addressOf('aa', 'mynet'), /^172\.18\.0\.2$/);
    }),
    row('NC-11', 'several containers, by address and name', async (lab) => {
      await lab.ok('network', 'create', 'na');
      await lab.serve('aa', ['tcp:80']);
      await lab.ok('run', '-d', '--name', 'bb', 'host', 'sleep', '60');
      for (const name of ['aa', 'bb']) await lab.ok('network', 'connect', 'na', name);
      await eventually(() => lab.ask('bb', 'tcp', 'aa', 80), /^aa /);
      const address = await lab.addressOf('aa', 'na');
      assert.match(await lab.ask('bb', 'tcp', address, 80), /^aa /);
    }),
    row('NC-13', '--subnet', async (lab) => {
      await lab.ok('network', 'create', '--driver=bridge', '--subnet=192.168.0.0/16', 'br0');
      const format = '{{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 0).Gateway}}';
      assert.equal(
        await lab.ok('network', 'inspect', '-f', format, 'br0'),
        '192.168.0.0/16 192.168.0.1',
      );
    }),
    row('NC-14', 'a bridge has one subnet', async (lab) => {
      const subnets = ['--subnet', '10.1.0.0/24', '--subnet', '10.2.0.0/24'];
      refused(
        await lab.docker('network', 'create', ...subnets, 'na'),
        /bridge driver doesn't support multiple subnets/,
      );
    }),
    row('NC-15', '--ip-range and --gateway', async (lab) => {
      const options = [
        '--subnet=172.28.0.0/16',
        '--ip-range=172.28.5.0/24',
        '--gateway=172.28.5.254',
      ];
      await lab.ok('network', 'create', ...options, 'br0');
      await lab.ok('run', '-d', '--name', 'aa', '--network', 'br0', 'host', 'sleep', '60');
      assert.match(await lab.addressOf('aa', 'br0'), /^172\.28\.5\./);
      assert.match(await lab.ok('exec', 'aa', 'ip', 'route'), /default via 172\.28\.5\.254/);
    }),
    row('NC-16', 'without --gateway the first free address', async (lab) => {
      await lab.ok('network', 'create', '--subnet=10.9.0.0/24', 'na');
      assert.match(await lab.ok('network', 'inspect', 'na'), /"Gateway": "10\.9\.0\.1"/);
    }),
    row('NC-17', 'an auxiliary address outside every subnet', async (lab) => {
      const options = ['--subnet=192.168.1.0/25', '--aux-address=my-printer=192.170.1.5'];
      refused(
        await lab.docker('network', 'create', ...options, 'na'),
        /no matching subnet for aux-address 192\.170\.1\.5/,
      );
    }),
    row('NC-18', 'auxiliary addresses are kept back', async (lab) => {
      await lab.ok(
        'network',
        'create',
        '--subnet=10.9.0.0/29',
        '--aux-address',
        'r=10.9.0.2',
        'na',
      );
      await lab.ok('run', '-d', '--name', 'aa', '--network', 'na', 'host', 'sleep', '60');
      assert.equal(await lab.addressOf('aa', 'na'), '10.9.0.3');
      refused(
        await lab.docker('run', '-d', '--network', 'na', '--ip', '10.9.0.2', 'host', 'sleep', '60'),
        /Address already in use/,
        125,
      );
    }),
    row('NC-19', 'a full network says so', async (lab) => {
      await lab.ok('network', 'create', '--subnet=10.9.0.0/30', 'na');
      await lab.ok('run', '-d', '--name', 'aa', '--network', 'na', 'host', 'sleep', '60');
      const full = await lab.docker('run', '-d', '--network', 'na', 'host', 'sleep', '60');
      refused(
        full,
        /no available IPv4 addresses on this network's address pools: na \([0-9a-f]{64}\)/,
        125,
      );
    }),
    row('NC-20', 'overlapping subnets', async (lab) => {
      await lab.ok('network', 'create', '--subnet', '10.0.0.0/8', 'na');
      refused(
        await lab.docker('network', 'create', '--subnet', '10.1.0.0/16', 'nb'),
        /invalid pool request: Pool overlaps with other one on this address space/,
      );
      const both = ['--subnet', '11.0.0.0/8', '--subnet', '11.1.0.0/16'];
      refused(
        await lab.docker('network', 'create', ...both, 'nc'),
        /multiple overlapping subnet configuration is not supported/,
      );
    }),
    row('NC-21', 'a gateway needs a subnet', async (lab) => {
      refused(
        await lab.docker('network', 'create', '--gateway', '10.9.0.1', 'na'),
        /every ip-range or gateway must have a corresponding subnet/,
      );
    }),
    row('NC-22', 'every fault of an address is told', async (lab) => {
      const outcome = await lab.docker('network', 'create', '--subnet', '10.9.0.1/24', 'na');
      refused(
        outcome,
        /invalid network config:\ninvalid subnet 10\.9\.0\.1\/24: it should be 10\.9\.0\.0\/24/,
      );
    }),
    row('NC-23', 'the name of the link', async (lab) => {
      await lab.ok('network', 'create', '-o', `${BRIDGE}.name=mybr9`, 'na');
      assert.equal((await lab.host('ip', 'link', 'show', 'mybr9')).code, 0);
      refused(
        await lab.docker('network', 'create', '-o', `${BRIDGE}.name=mybr9`, 'nb'),
        /networks have same bridge name/,
      );
    }),
    row('NC-24', 'without masquerade the source address stays', async (lab) => {
      const end = await lab.serveOutside('outside', 'tcp:80');
      try {
        await lab.ok(
          'network',
          'create',
          '--subnet',
          '10.9.0.0/24',
          '-o',
          `${BRIDGE}.enable_ip_masquerade=false`,
          'na',
        );
        await lab.client('ip', 'route', 'add', '10.9.0.0/24', 'via', '198.51.100.1');
        await lab.ok('run', '-d', '--name', 'aa', '--network', 'na', 'host', 'sleep', '60');
        await eventually(() => lab.ask('aa', 'tcp', CLIENT, 80), /^outside 10\.9\.0\.2$/);
      } finally {
        await lab.client('ip', 'route', 'del', '10.9.0.0/24');
        end();
      }
    }),
    row('NC-25', 'without icc members are apart, published ports work', async (lab) => {
      await lab.ok('network', 'create', '-o', `${BRIDGE}.enable_icc=false`, 'na');
      await lab.serve('aa', ['tcp:80'], '--network', 'na', '-p', '8080:80');
      await lab.ok('run', '-d', '--name', 'bb', '--network', 'na', 'host', 'sleep', '60');
      await eventually(() => lab.ask('client', 'tcp', '198.51.100.1', 8080), /^aa /);
      assert.doesNotMatch(await lab.ask('bb', 'tcp', await lab.addressOf('aa', 'na'), 80), /aa/);
    }),
    row('NC-26', 'the address that ports bind to', async (lab) => {
      await lab.ok('network', 'create', '-o', `${BRIDGE}.host_binding_ipv4=198.51.100.1`, 'simple');
      await lab.serve('aa', ['tcp:80'], '--network', 'simple', '-p', '80');
      assert.match(await lab.ok('port', 'aa'), /^80\/tcp -> 198\.51\.100\.1:\d+$/);
    }),
    row('NC-27', 'the MTU', async (lab) => {
      const id = await lab.ok(
        'network',
        'create',
        '-o',
        'com.docker.network.driver.mtu=1234',
        'na',
      );
      await lab.ok('run', '-d', '--name', 'aa', '--network', 'na', 'host', 'sleep', '60');
      assert.match(await lab.ok('exec', 'aa', 'ip', 'link', 'show', 'eth0'), /mtu 1234/);
      assert.match((await lab.host('ip', 'link', 'show', `br-${id.slice(0, 12)}`)).out, /mtu 1234/);
    }),
    row('NC-28', 'an internal network leads nowhere', async (lab) => {
      const end = await lab.serveOutside('outside', 'tcp:80');
      try {
        await lab.ok('network', 'create', '--internal', 'na');
        await lab.serve('aa', ['tcp:80'], '--network', 'na');
        await lab.ok('run', '-d', '--name', 'bb', '--network', 'na', 'host', 'sleep', '60');
        assert.doesNotMatch(await lab.ok('exec', 'bb', 'ip', 'route'), /default/);
        assert.doesNotMatch(await lab.ask('bb', 'tcp', CLIENT, 80), /outside/);
        await eventually(() => lab.ask('bb', 'tcp', 'aa', 80), /^aa /);
      } finally {
        end();
      }
    }),
    row('NC-32', 'an attachable ingress', async (lab) => {
      const outcome = await lab.docker(
        'network',
        'create',
        '-d',
        'overlay',
        '--ingress',
        '--attachable',
        'na',
      );
      refused(outcome, /ingress network cannot be attachable/);
    }),
    row('NC-33', 'configuration networks', async (lab) => {
      await lab.ok('network', 'create', '--config-only', '--subnet', '10.5.0.0/24', 'cfg');
      await lab.ok('network', 'create', '--config-from', 'cfg', 'derived');
      assert.match(await lab.ok('network', 'inspect', 'derived'), /10\.5\.0\.0\/24/);
      refused(
        await lab.docker('run', '-d', '--network', 'cfg', 'host', 'sleep', '1'),
        /cannot create endpoint on configuration-only network/,
        125,
      );
      refused(await lab.docker('network', 'rm', 'cfg'), /is in use/);
    }),
    row('NC-35', '--label and its filter', async (lab) => {
      await lab.ok('network', 'create', '--label', 'k=v', 'na');
      assert.equal(
        await lab.ok('network', 'ls', '--filter', 'label=k=v', '--format', '{{.Name}}'),
        'na',
      );
      assert.equal(await lab.ok('network', 'ls', '--filter', 'label=k=w', '-q'), '');
    }),
    row('NC-36', 'an unknown driver', async (lab) => {
      refused(await lab.docker('network', 'create', '-d', 'x', 'na'), /plugin "x" not found/);
    }),
    row('NC-37', 'the IPAM drivers default and null, an unknown one', async (lab) => {
      await lab.ok('network', 'create', '--ipam-driver', 'default', '--ipam-opt', 'a=b', 'na');
      assert.equal(await lab.ok('network', 'inspect', '-f', '{{.IPAM.Options.a}}', 'na'), 'b');
      await lab.ok('network', 'create', '--ipam-driver', 'null', 'nb');
      await lab.ok('run', '-d', '--name', 'aa', '--network', 'nb', 'host', 'sleep', '60');
      assert.equal(await lab.addressOf('aa', 'nb'), '');
      assert.match(await lab.ok('exec', 'aa', 'ip', '-br', 'link'), /eth0\S* +UP/);
      refused(
        await lab.docker('network', 'create', '--ipam-driver', 'x', 'nc'),
        /invalid ipam driver: "x"/,
      );
    }),
    row('NI-01', 'inspect shows every key', async (lab) => {
      const [network] = JSON.parse(await lab.ok('network', 'inspect', 'bridge'));
      const keys = ['Name', 'Id', 'Created', 'Scope', 'Driver', 'EnableIPv4', 'EnableIPv6', 'IPAM'];
      keys.push('Internal', 'Attachable', 'Ingress', 'ConfigFrom', 'ConfigOnly', 'Containers');
      keys.push('Options', 'Labels');
      for (const key of keys) assert.ok(key in network, key);
      assert.equal(JSON.parse(await lab.ok('network', 'inspect', 'bridge', 'host')).length, 2);
    }),
    row('NI-02', 'inspect -f', async (lab) => {
      assert.equal(await lab.ok('network', 'inspect', '-f', '{{.Driver}}', 'none'), 'null');
    }),
    row('NI-03', 'inspect --verbose', async (lab) => {
      const [network] = JSON.parse(await lab.ok('network', 'inspect', '-v', 'bridge'));
      assert.equal(network.Name, 'bridge');
      assert.deepEqual([network.Services, network.Peers], [{}, []], 'on one host there are none');
    }),
    row('NI-04', 'members', async (lab) => {
      const id = await lab.ok('run', '-d', '--name', 'aa', 'host', 'sleep', '60');
      const [network] = JSON.parse(await lab.ok('network', 'inspect', 'bridge'));
      const { Name, MacAddress, IPv4Address } = network.Containers[id];
      assert.deepEqual(
        [Name, MacAddress, IPv4Address],
        ['aa', '02:42:ac:11:00:02', '172.17.0.2/16'],
      );
    }),
    row('NI-05', 'an unknown network', async (lab) => {
      const outcome = await lab.docker('network', 'inspect', 'nope');
      refused(outcome, /Error response from daemon: network nope not found/);
      assert.equal(outcome.out.trim(), '[]');
    }),
    row('NI-06', 'lookup by the beginning of an id', async (lab) => {
      const ids = new Map<string, number>();
      for (let count = 0; count < 20; count++) {
        const id = await lab.ok('network', 'create', `n${count}`);
        ids.set(id.slice(0, 1), (ids.get(id.slice(0, 1)) ?? 0) + 1);
        if (count === 0) assert.match(await lab.ok('network', 'inspect', id.slice(0, 10)), /"n0"/);
      }
      const [prefix = ''] = [...ids].find(([, count]) => count > 1) ?? [];
      refused(
        await lab.docker('network', 'inspect', prefix),
        /is ambiguous \(\d+ matches found based on ID prefix\)/,
      );
    }),
    row('NI-07', 'filters of network ls', async (lab) => {
      const id = await lab.ok('network', 'create', 'my-one');
      const names = (...filters: string[]) =>
        lab.ok(
          'network',
          'ls',
          ...filters.flatMap((one) => ['--filter', one]),
          '--format',
          '{{.Name}}',
        );
      assert.equal(await names('driver=null'), 'none');
      assert.equal(await names(`id=${id.slice(0, 12)}`), 'my-one');
      assert.equal(await names('name=my'), 'my-one');
      assert.equal(await names('type=custom'), 'my-one');
      assert.equal(await names('dangling=true'), 'my-one');
      assert.equal((await names('scope=local')).split('\n').length, 4);
      refused(await lab.docker('network', 'ls', '--filter', 'colour=x'), /invalid filter 'colour'/);
    }),
    row('NI-08', 'network prune', async (lab) => {
      await lab.ok('network', 'create', '--label', 'keep=1', 'kept');
      await lab.ok('network', 'create', 'gone');
      const out = await lab.ok('network', 'prune', '-f', '--filter', 'label!=keep');
      assert.equal(out, 'Deleted Networks:\ngone');
      await lab.ok('network', 'inspect', 'kept');
    }),
    row('ON-05', 'overlay before a swarm', async (lab) => {
      refused(await lab.docker('network', 'create', '-d', 'overlay', 'o'), /not a swarm manager/);
    }),
    row('RA-13', 'the host’s route to a bridge', async (lab) => {
      await lab.ok('run', '-d', '--name', 'aa', 'host', 'sleep', '60');
      assert.match((await lab.host('ip', 'route')).out, /172\.17\.0\.0\/16 dev docker0/);
    }),
    row('RA-14', 'the order of pools, around routes of the host', async (lab) => {
      await lab.host('ip', 'route', 'add', '172.18.0.0/24', 'dev', 'lo');
      const subnets: string[] = [];
      for (let count = 0; count < 16; count++) {
        await lab.ok('network', 'create', `p${count}`);
        subnets.push(
          await lab.ok(
            'network',
            'inspect',
            '-f',
            '{{(index .IPAM.Config 0).Subnet}}',
            `p${count}`,
          ),
        );
      }
      await lab.host('ip', 'route', 'del', '172.18.0.0/24', 'dev', 'lo');
      assert.equal(subnets[0], '172.19.0.0/16');
      assert.deepEqual(subnets.slice(12, 15), [
        '172.31.0.0/16',
        '192.168.0.0/20',
        '192.168.16.0/20',
      ]);
    }),
    row('RA-15', 'no pool left', async (lab) => {
      for (let count = 0; count < 30; count++) await lab.ok('network', 'create', `q${count}`);
      refused(
        await lab.docker('network', 'create', 'last'),
        /all predefined address pools have been fully subnetted/,
      );
    }),
  ],
);
