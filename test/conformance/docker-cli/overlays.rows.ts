import assert from 'node:assert/strict';
import { HOST } from './lab.ts';
import { eventually, refused, row } from './rows.ts';
import { PEER, swarmRows } from './swarm.ts';

swarmRows([
  row('RA-04', 'networks of the cluster stand beside those of the host', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', '--label', 'a=b', 'over');
    const list = await lab.ok('network', 'ls', '--format', '{{.Name}} {{.Driver}} {{.Scope}}');
    for (const line of ['bridge bridge local', 'host host local', 'over overlay swarm']) {
      assert.ok(list.split('\n').includes(line), `${line} in ${list}`);
    }
    const swarm = await lab.ok('network', 'ls', '--filter', 'scope=swarm', '--format', '{{.Name}}');
    assert.doesNotMatch(swarm, /bridge|host|none/);
    const labelled = ['network', 'ls', '--filter', 'label=a=b', '--format', '{{.Name}}'];
    assert.equal(await lab.ok(...labelled), 'over');
  }),
  row('NC-06', 'an overlay has an id of the cluster and is found by name and id', async (lab) => {
    const id = await lab.ok('network', 'create', '-d', 'overlay', 'my-multihost-network');
    assert.match(id, /^[a-z0-9]{25}$/);
    const format = '{{.Id}} {{.Scope}} {{.Driver}} {{.Attachable}} {{.Ingress}}';
    for (const key of ['my-multihost-network', id, id.slice(0, 10)]) {
      assert.equal(
        await lab.ok('network', 'inspect', '-f', format, key),
        `${id} swarm overlay false false`,
      );
    }
    refused(
      await lab.docker('network', 'create', '-d', 'overlay', 'my-multihost-network'),
      /network with name my-multihost-network already exists/,
    );
    refused(
      await lab.docker('network', 'create', 'my-multihost-network'),
      /network with name my-multihost-network already exists/,
    );
    await lab.ok('network', 'rm', 'my-multihost-network');
    refused(await lab.docker('network', 'inspect', id), /network [a-z0-9]+ not found/);
  }),
  row('NC-34', 'an overlay is no network of one host', async (lab) => {
    refused(
      await lab.docker('network', 'create', '-d', 'overlay', '--scope', 'local', 'over'),
      /cannot downgrade network scope for overlay networks/,
    );
    refused(
      await lab.docker('network', 'create', '-d', 'bridge', '--scope', 'swarm', 'over'),
      /networks of a cluster are overlays: the driver bridge is not served/,
    );
  }),
  row('NC-17', 'several subnets, gateways and reserved addresses', async (lab) => {
    const subnets = ['--subnet=192.168.1.0/25', '--subnet=192.170.2.0/25'];
    const gateways = ['--gateway=192.168.1.100', '--gateway=192.170.2.100'];
    const aux = ['--aux-address=a=192.168.1.5', '--aux-address=b=192.170.2.6'];
    await lab.ok(...['network', 'create', '-d', 'overlay'], ...subnets, ...gateways, ...aux, 'mh');
    const format = '{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}} {{.AuxAddress}},{{end}}';
    const blocks = (await lab.ok('network', 'inspect', '-f', format, 'mh')).split(',').sort();
    assert.deepEqual(blocks, [
      '',
      '192.168.1.0/25 192.168.1.100 map[a:192.168.1.5]',
      '192.170.2.0/25 192.170.2.100 map[b:192.170.2.6]',
    ]);
    refused(
      await lab.docker('network', 'create', '-d', 'overlay', '--subnet', '192.168.1.64/26', 'ov'),
      /invalid pool request: Pool overlaps with other one on this address space/,
    );
  }),
  row('ON-07', 'attachable, internal and encrypted ones say so', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', '--attachable', 'open');
    await lab.ok(
      'network',
      'create',
      '-d',
      'overlay',
      '--internal',
      '--opt',
      'encrypted',
      'sealed',
    );
    const format = '{{.Attachable}} {{.Internal}}';
    assert.equal(await lab.ok('network', 'inspect', '-f', format, 'open'), 'true false');
    assert.equal(await lab.ok('network', 'inspect', '-f', format, 'sealed'), 'false true');
    const options = await lab.ok('network', 'inspect', '-f', '{{json .Options}}', 'sealed');
    assert.match(options, /"encrypted":""/);
  }),
  row(
    'ON-08',
    'a network of the cluster that is not attachable takes no container',
    async (lab) => {
      await lab.ok('network', 'create', '-d', 'overlay', 'over');
      const text =
        /Could not attach to network over: rpc error: code = PermissionDenied desc = network over not manually attachable/;
      refused(await lab.docker('run', '--rm', '--network', 'over', 'host', 'true'), text, 125);
      await lab.ok('run', '-d', '--name', 'aa', 'host', 'sleep', '60');
      refused(await lab.docker('network', 'connect', 'over', 'aa'), text);
    },
  ),
  row('ON-24', 'the ingress network takes no container', async (lab) => {
    refused(
      await lab.docker('run', '--rm', '--network', 'ingress', 'host', 'true'),
      /Could not attach to network ingress: .* network ingress not manually attachable/,
      125,
    );
  }),
  row(
    'ON-09',
    'a container on an attachable network has an address of the cluster',
    async (lab) => {
      await lab.ok('network', 'create', '-d', 'overlay', '--attachable', 'open');
      const subnet = await lab.ok(
        'network',
        'inspect',
        '-f',
        '{{(index .IPAM.Config 0).Subnet}}',
        'open',
      );
      await lab.ok('run', '-d', '--name', 'aa', '--network', 'open', 'host', 'sleep', '60');
      const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
      const address = await lab.ok('inspect', '-f', format, 'aa');
      assert.equal(address.split('.').slice(0, 3).join(), subnet.split('.').slice(0, 3).join());
      const shown = '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}';
      assert.equal(await lab.ok('network', 'inspect', '-f', shown, 'open'), `aa ${address}/24`);
      refused(await lab.docker('network', 'rm', 'open'), /is in use by task [a-z0-9]{25}/);
      await lab.ok('stop', '-t', '0', 'aa');
      await eventually(
        () => lab.docker('network', 'rm', 'open').then(({ code }) => `${code}`),
        /^0$/,
      );
      refused(await lab.docker('start', 'aa'), /network open not found|network \S+ not found/);
    },
  ),
  row('OV-04', 'an overlay joins services and containers', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', '--attachable', 'open');
    const web = [process.execPath, PEER, 'serve', 'web', 'tcp:80'];
    await lab.ok('service', 'create', '-d', '--name', 'web', '--network', 'open', 'host', ...web);
    await lab.ok('run', '-d', '--name', 'aa', '--network', 'open', 'host', 'sleep', '60');
    await eventually(() => lab.ask('aa', 'tcp', 'web', 80), /^web /);
    const verbose = await lab.ok(
      'network',
      'inspect',
      '--verbose',
      '-f',
      '{{json .Services}}',
      'open',
    );
    assert.match(verbose, /"aa"/);
    assert.match(verbose, /"web"/);
  }),
  row('ON-12', 'an encrypted one can be attachable', async (lab) => {
    const order = ['--opt', 'encrypted', '--driver', 'overlay', '--attachable', 'my-attachable'];
    await lab.ok('network', 'create', ...order);
    const format = '{{.Attachable}} [{{.Options.encrypted}}]';
    assert.equal(await lab.ok('network', 'inspect', '-f', format, 'my-attachable'), 'true []');
  }),
  row('ON-16', 'there is one ingress network', async (lab) => {
    const options = ['--opt', 'com.docker.network.driver.mtu=1200'];
    const ingress = ['network', 'create', '-d', 'overlay', '--ingress', ...options];
    refused(
      await lab.docker(...ingress, '--attachable', 'mine'),
      /ingress network cannot be attachable/,
    );
    const mine = [...ingress, '--subnet', '10.11.0.0/16', '--gateway', '10.11.0.2', 'mine'];
    refused(await lab.docker(...mine), /ingress network \([a-z0-9]{25}\) is already present/);
    await lab.ok('service', 'create', '-d', '--name', 'web', '-p', '8080:80', 'host', 'true');
    refused(
      await lab.dockerWith('y\n', 'network', 'rm', 'ingress'),
      /ingress network cannot be removed because service [a-z0-9]{25} depends on it/,
    );
    await lab.ok('service', 'rm', 'web');
    const asked = await lab.dockerWith('n\n', 'network', 'rm', 'ingress');
    assert.match(asked.out, /Are you sure you want to continue\? \[y\/N\]/);
    await lab.ok('network', 'inspect', 'ingress');
    const removed = await lab.dockerWith('y\n', 'network', 'rm', 'ingress');
    assert.equal(removed.code, 0, removed.err);
    refused(
      await lab.docker('service', 'create', '-d', '-p', '8080:80', 'host', 'true'),
      /service needs ingress network, but no ingress network is present/,
    );
    await lab.ok(...mine);
    await lab.ok('service', 'create', '-d', '-p', '8080:80', 'host', 'true');
  }),
  row('ON-06', 'only the names of DNS and sensible options are taken', async (lab) => {
    const create = (...args: string[]) => lab.docker('network', 'create', '-d', 'overlay', ...args);
    refused(await create('a.b'), /name must be valid as a DNS name component/);
    refused(await create('a'.repeat(64)), /name must be 63 characters or fewer/);
    refused(await create('--opt', 'com.docker.network.driver.mtu=5', 'ov'), /not from 68 to 65535/);
    const vnis = 'com.docker.network.driver.overlay.vxlanid_list=0';
    refused(await create('--opt', vnis, 'ov'), /no VNI 0: it is not from 1 to 16777215/);
    refused(await create('--subnet', '10.1.0.5/24', 'ov'), /it should be 10\.1\.0\.0\/24/);
  }),
  row('NI-08', 'prune takes the overlays that nothing uses', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', 'ov1');
    await lab.ok('network', 'create', 'br1');
    const out = await lab.ok('network', 'prune', '-f');
    assert.match(out, /ov1/);
    assert.match(out, /br1/);
    await eventually(
      async () => (await lab.docker('network', 'ls', '--format', '{{.Name}}')).out,
      /^(?!.*ov1)/s,
    );
  }),
  row('SE-09', 'a node that is no manager is told so', async (lab) => {
    await lab.ok('swarm', 'leave', '--force');
    for (const order of [
      ['secret', 'ls'],
      ['service', 'ls'],
    ]) {
      refused(await lab.docker(...order), /This node is not a swarm manager/);
    }
    refused(
      await lab.docker('network', 'create', '-d', 'overlay', 'ov'),
      /This node is not a swarm manager/,
    );
    await lab.ok('swarm', 'init', '--advertise-addr', HOST);
  }),
]);
