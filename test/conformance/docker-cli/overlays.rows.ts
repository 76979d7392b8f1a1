import assert from 'node:assert/strict';
import { HOST } from './lab.ts';
import { eventually, refused, row } from './rows.ts';
import { swarmRows } from './swarm.ts';

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
  row('ON-08', 'a container of one host does not join a network of the cluster', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', 'over');
    await lab.ok('network', 'create', '-d', 'overlay', '--attachable', 'open');
    const text =
      /Could not attach to network over: rpc error: code = PermissionDenied desc = network over not manually attachable/;
    refused(await lab.docker('run', '--rm', '--network', 'over', 'host', 'true'), text, 125);
    await lab.ok('run', '-d', '--name', 'aa', 'host', 'sleep', '60');
    refused(await lab.docker('network', 'connect', 'over', 'aa'), text);
    refused(
      await lab.docker('run', '--rm', '--network', 'open', 'host', 'true'),
      /only tasks of services join networks of a cluster here/,
      125,
    );
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
