import assert from 'node:assert/strict';
import { HOST, HOST6, type Lab } from './lab.ts';
import { eventually, refused, row } from './rows.ts';
import { container, create, PEER, runs, serve, swarmRows, update } from './swarm.ts';

const inspect = (lab: Lab, name: string, format: string) =>
  lab.ok('service', 'inspect', '-f', format, name);
const PORTS =
  '{{range .Endpoint.Spec.Ports}}{{.Protocol}} {{.TargetPort}} {{.PublishedPort}} {{.PublishMode}},{{end}}';

/** Takes the ingress network away, or makes another one. */
async function replaceIngress(lab: Lab, ...order: string[]): Promise<void> {
  const removed = await lab.dockerWith('y\n', 'network', 'rm', 'ingress');
  assert.equal(removed.code, 0, removed.err);
  if (order.length === 0) return;
  await lab.ok('network', 'create', '-d', 'overlay', '--ingress', ...order);
}

swarmRows([
  row('ON-01', 'a cluster has its ingress network, and a bridge to the outside', async (lab) => {
    await create(lab, 'web', ['-p', '8080:80']);
    await runs(lab, 'web', '1/1');
    const list = await lab.ok('network', 'ls', '--format', '{{.Name}} {{.Driver}} {{.Scope}}');
    for (const line of ['ingress overlay swarm', 'docker_gwbridge bridge local']) {
      assert.ok(list.split('\n').includes(line), `${line} in ${list}`);
    }
  }),
  row('ON-02', 'a service that publishes has its address in the ingress network', async (lab) => {
    await create(lab, 'web', ['-p', '8080:80']);
    const ingress = await lab.ok('network', 'inspect', '-f', '{{.Id}}', 'ingress');
    const vips = () =>
      inspect(lab, 'web', '{{range .Endpoint.VirtualIPs}}{{.NetworkID}} {{.Addr}},{{end}}');
    await eventually(vips, new RegExp(`^${ingress} 10\\.0\\.0\\.\\d+/24,$`));
  }),
  row('ON-13', 'the ingress network has the end of the mesh on this host', async (lab) => {
    const members = '{{range $key, $one := .Containers}}{{$key}} {{$one.MacAddress}},{{end}}';
    assert.match(
      await lab.ok('network', 'inspect', '-f', members, 'ingress'),
      /^ingress-sbox 02(:[0-9a-f]{2}){5},$/,
    );
    await lab.ok('network', 'create', '-d', 'overlay', 'other');
    assert.equal(await lab.ok('network', 'inspect', '-f', members, 'other'), '');
  }),
  row('ON-03', 'a service without networks and ports runs, and has no address', async (lab) => {
    await create(lab, 'web', []);
    await runs(lab, 'web', '1/1');
    assert.equal(await inspect(lab, 'web', '{{len .Endpoint.VirtualIPs}}'), '0');
    const networks = '{{range $n, $_ := .NetworkSettings.Networks}}{{$n}}{{end}}';
    assert.equal(await lab.inspect(await container(lab, 'web'), networks), 'bridge');
  }),
  row('RM-02', 'the long form of a published port', async (lab) => {
    await create(lab, 'web', ['--publish', 'published=8080,target=80']);
    assert.equal(await inspect(lab, 'web', PORTS), 'tcp 80 8080 ingress,');
  }),
  row('RA-28', 'the short form means the same', async (lab) => {
    await create(lab, 'web', ['-p', '8080:80']);
    assert.equal(await inspect(lab, 'web', PORTS), 'tcp 80 8080 ingress,');
  }),
  row('RM-09', 'ports are told as JSON', async (lab) => {
    await create(lab, 'my-web', ['-p', '8080:80']);
    assert.deepEqual(JSON.parse(await inspect(lab, 'my-web', '{{json .Endpoint.Spec.Ports}}')), [
      { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
    ]);
  }),
  row('RM-11', 'two forms of both protocols', async (lab) => {
    const long = ['published=53,target=53', 'published=53,target=53,protocol=udp'];
    await create(
      lab,
      'a',
      long.flatMap((one) => ['--publish', one]),
    );
    await create(lab, 'b', ['-p', '54:53', '-p', '54:53/udp']);
    const both = (port: number) => `tcp 53 ${port} ingress,udp 53 ${port} ingress,`;
    assert.equal(await inspect(lab, 'a', PORTS), both(53));
    assert.equal(await inspect(lab, 'b', PORTS), both(54));
  }),
  row('ON-19', 'one form for each transport', async (lab) => {
    const flags = ['-p', '8080:80', '-p', '8081:80/udp', '-p', '8082:80/sctp'];
    await create(lab, 'web', [...flags, '-p', '8083:80/tcp', '-p', '8083:80/udp']);
    assert.deepEqual((await inspect(lab, 'web', PORTS)).split(',').sort(), [
      ...['', 'sctp 80 8082 ingress', 'tcp 80 8080 ingress', 'tcp 80 8083 ingress'],
      ...['udp 80 8081 ingress', 'udp 80 8083 ingress'],
    ]);
  }),
  row('RM-12', 'udp alone', async (lab) => {
    await serve(lab, 'dns', ['tcp:53', 'udp:53'], '-p', '5353:53/udp');
    await eventually(() => lab.ask('client', 'udp', HOST, 5353), /^dns /);
    assert.match(await lab.ask('client', 'tcp', HOST, 5353), /REFUSED/);
  }),
  row('RM-04', 'a port needs a target', async (lab) => {
    const order = ['service', 'create', '--publish', 'published=8080', 'host', 'true'];
    refused(await lab.docker(...order), /missing mandatory field "?'?target/, 125);
  }),
  row('RM-16', 'an address of the host is not for the mesh', async (lab) => {
    const order = ['service', 'create', '-p', '127.0.0.1:8080:80', 'host', 'true'];
    refused(await lab.docker(...order), /hostip is not supported/, 125);
  }),
  row('RM-07', 'every address of the node answers', async (lab) => {
    await serve(lab, 'web', ['tcp:80'], '-p', '8080:80');
    await runs(lab, 'web', '1/1');
    await lab.host('ip', 'addr', 'add', '198.51.100.77/32', 'dev', 'lo');
    try {
      for (const address of ['127.0.0.1', HOST, HOST6, '198.51.100.77']) {
        await eventually(() => lab.ask('host', 'tcp', address, 8080), /^web /);
      }
    } finally {
      await lab.host('ip', 'addr', 'del', '198.51.100.77/32', 'dev', 'lo');
    }
  }),
  row('RM-06', 'no program of the host takes a port that is published', async (lab) => {
    await serve(lab, 'web', ['tcp:80'], '-p', '8080:80');
    await runs(lab, 'web', '1/1');
    const listen = `import socket; socket.create_server(('', 8080))`;
    const { code, err } = await lab.host('python3', '-c', listen);
    assert.notEqual(code, 0);
    assert.match(err, /Address already in use/);
  }),
  row('RM-23', 'the port of a service that goes is free', async (lab) => {
    await serve(lab, 'web', ['tcp:80'], '-p', '8080:80');
    await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^web /);
    await lab.ok('service', 'rm', 'web');
    await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /REFUSED/);
    const listen = `import socket; socket.create_server(('', 8080))`;
    await eventually(async () => `${(await lab.host('python3', '-c', listen)).code}`, /^0$/);
  }),
  row('RA-27', 'healthy tasks take turns', async (lab) => {
    const flags = ['--replicas', '2', '--publish', 'mode=ingress,target=80,published=8080'];
    const script = `exec ${process.execPath} ${PEER} serve $SLOT tcp:80`;
    const command = ['host', 'sh', '-c', script];
    await create(lab, 'web', ['-e', 'SLOT={{.Task.Slot}}', ...flags], command);
    await runs(lab, 'web', '2/2');
    const seen = async () => {
      const answers = new Set<string>();
      for (let n = 0; n < 6; n++) {
        answers.add((await lab.ask('client', 'tcp', HOST, 8080)).split(' ')[0] ?? '');
      }
      return [...answers].sort().join();
    };
    await eventually(seen, /^1,2$/);
  }),
  row('RA-41', 'with dnsrr a name is the addresses of the tasks', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', 'net');
    const flags = ['--network', 'net', '--replicas', '2', '--endpoint-mode', 'dnsrr'];
    await create(lab, 'rr', flags);
    await create(lab, 'client', ['--network', 'net']);
    await runs(lab, 'rr', '2/2');
    assert.equal(await inspect(lab, 'rr', '{{len .Endpoint.VirtualIPs}}'), '0');
    const id = await container(lab, 'client');
    const found = async (name: string) => {
      const { out } = await lab.docker('exec', id, 'getent', 'ahostsv4', name);
      return [...new Set(out.match(/^\S+/gm))].sort().join();
    };
    await eventually(() => found('rr'), /^10\.\S+,10\.\S+$/);
    assert.equal(await found('rr'), await found('tasks.rr'));
  }),
  row('ON-21', 'with dnsrr no port is published by the mesh', async (lab) => {
    const order = [
      'service',
      'create',
      '--endpoint-mode',
      'dnsrr',
      '-p',
      '8080:80',
      'host',
      'true',
    ];
    refused(
      await lab.docker(...order),
      /EndpointSpec: port published with ingress mode can't be used with dnsrr mode/,
    );
    const own = ['--publish', 'mode=host,published=8080,target=80'];
    await create(lab, 'web', ['--endpoint-mode', 'dnsrr', ...own]);
  }),
  row('ON-25', 'a service by its name, its tasks by theirs', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', 'net');
    await serve(lab, 'web', ['tcp:80'], '--network', 'net', '--replicas', '3');
    await create(lab, 'client', ['--network', 'net']);
    await runs(lab, 'web', '3/3');
    const id = await container(lab, 'client');
    await eventually(() => lab.ask(id, 'tcp', 'web', 80), /^web /);
    const found = async (name: string) => {
      const { out } = await lab.docker('exec', id, 'getent', 'ahostsv4', name);
      return String(new Set(out.match(/^\S+/gm)).size);
    };
    await eventually(() => found('tasks.web'), /^3$/);
    assert.equal(await found('web'), '1');
  }),
  row(
    'DB-04',
    'a service reaches another one by name, and is reached from outside',
    async (lab) => {
      await lab.ok('network', 'create', '-d', 'overlay', 'pets-overlay');
      await serve(lab, 'db', ['tcp:6379'], '--network', 'pets-overlay');
      const flags = ['-p', '8000:5000', '-e', 'DB=db', '--network', 'pets-overlay'];
      await serve(lab, 'web', ['tcp:5000'], ...flags);
      await runs(lab, 'db', '1/1');
      const id = await container(lab, 'web');
      assert.equal(await lab.ok('exec', id, 'sh', '-c', 'echo $DB'), 'db');
      await eventually(() => lab.ask(id, 'tcp', 'db', 6379), /^db /);
      await eventually(() => lab.ask('client', 'tcp', HOST, 8000), /^web /);
    },
  ),
  row('RA-55', 'the list tells how many tasks run', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', 'petsOverlay');
    await create(lab, 'db', ['--network', 'petsOverlay', '--constraint', 'node.labels.x==y']);
    await create(lab, 'web', ['--network', 'petsOverlay', '-p', '8000:5000']);
    await runs(lab, 'web', '1/1');
    const list = ['service', 'ls', '--format', '{{.Name}} {{.Mode}} {{.Replicas}} {{.Ports}}'];
    assert.deepEqual(
      (await lab.ok(...list))
        .split('\n')
        .map((line) => line.trim())
        .sort(),
      ['db replicated 0/1', 'web replicated 1/1 *:8000->5000/tcp'],
    );
  }),
  row('RA-24', 'addresses are of the subnet that was asked for', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', '--subnet', '10.71.0.0/24', 'ovnet');
    await create(lab, 'web', ['--network', 'ovnet']);
    const address = '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}';
    const id = await container(lab, 'web');
    assert.match(await lab.inspect(id, address), /10\.71\.0\.\d+/);
    assert.match(
      await inspect(lab, 'web', '{{(index .Endpoint.VirtualIPs 0).Addr}}'),
      /^10\.71\.0\.\d+\/24$/,
    );
  }),
  row('RA-25', 'a task has a link in its overlay and one to the outside', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', '--subnet', '10.71.0.0/24', 'ovnet');
    await create(lab, 'web', ['--network', 'ovnet']);
    const id = await container(lab, 'web');
    const links: {
      ifname: string;
      mtu: number;
      address: string;
      addr_info: { local: string }[];
    }[] = JSON.parse(await lab.ok('exec', id, 'ip', '-j', 'address'));
    const of = (start: string) =>
      links.find(({ addr_info }) => addr_info.some(({ local }) => local.startsWith(start)));
    const overlay = of('10.71.0.');
    assert.equal(overlay?.mtu, 1450);
    const own = overlay?.addr_info[0]?.local
      .split('.')
      .map((part) => Number(part).toString(16).padStart(2, '0'));
    assert.equal(overlay?.address, `02:42:${own?.join(':')}`);
    const outside = links.find((one) => one !== overlay && one.ifname !== 'lo');
    assert.equal(outside?.mtu, 1500);
  }),
  row('NC-29', 'an internal overlay has no way to the outside', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', '--internal', 'inner');
    await create(lab, 'web', ['--network', 'inner']);
    const links = await lab.ok('exec', await container(lab, 'web'), 'ip', '-br', 'link');
    assert.equal(links.split('\n').length, 2, `lo and one more: ${links}`);
  }),
  row('RA-26', 'tasks do not reach each other by the bridge to the outside', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', 'one');
    await lab.ok('network', 'create', '-d', 'overlay', 'two');
    await serve(lab, 'a', ['tcp:80'], '--network', 'one');
    await create(lab, 'b', ['--network', 'two']);
    await runs(lab, 'a', '1/1');
    const id = await container(lab, 'b');
    const options = await lab.ok(
      'network',
      'inspect',
      '-f',
      '{{json .Options}}',
      'docker_gwbridge',
    );
    assert.match(options, /"com.docker.network.bridge.enable_icc":"false"/);
    const shown = '{{range .Containers}}{{.Name}} {{.IPv4Address}},{{end}}';
    const members = await lab.ok('network', 'inspect', '-f', shown, 'docker_gwbridge');
    const [, address = ''] = /a\.1\.\S+ ([\d.]+)/.exec(members) ?? [];
    assert.notEqual(address, '', members);
    assert.doesNotMatch(await lab.ask(id, 'tcp', address, 80), /^a /);
    const stop = await lab.serveOutside('outside', 'tcp:9000');
    try {
      assert.match(await lab.ask(id, 'tcp', '198.51.100.2', 9000), /^outside /);
    } finally {
      stop();
    }
  }),
  row('NC-09', 'an overlay has 256 addresses unless it asks for others', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', 'usual');
    await lab.ok('network', 'create', '-d', 'overlay', '--subnet', '10.72.0.0/16', 'wide');
    const subnet = (name: string) =>
      lab.ok('network', 'inspect', '-f', '{{(index .IPAM.Config 0).Subnet}}', name);
    await eventually(() => subnet('usual'), /^10\.\d+\.\d+\.0\/24$/);
    assert.equal(await subnet('wide'), '10.72.0.0/16');
  }),
  row('DB-03', 'an encrypted overlay is shown as one', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', '--opt', 'encrypted', 'pets-overlay');
    const options = '{{json .Options}}';
    assert.match(
      await lab.ok('network', 'inspect', '-f', options, 'pets-overlay'),
      /"encrypted":""/,
    );
  }),
  row('NC-30', 'a second ingress network is refused', async (lab) => {
    const options = ['--opt', 'com.docker.network.driver.mtu=9216', '--opt', 'encrypted=true'];
    const order = ['network', 'create', '-d', 'overlay', '--subnet=10.11.0.0/16', '--ingress'];
    refused(
      await lab.docker(...order, ...options, 'my-ingress-network'),
      /rpc error: code = AlreadyExists desc = ingress network \([a-z0-9]{25}\) is already present/,
    );
  }),
  row('NC-31', 'the ingress network stays while a service depends on it', async (lab) => {
    await create(lab, 'web', ['-p', '8080:80']);
    const id = await inspect(lab, 'web', '{{.ID}}');
    refused(
      await lab.dockerWith('y\n', 'network', 'rm', 'ingress'),
      new RegExp(
        `FailedPrecondition desc = ingress network cannot be removed because service ${id} depends on it`,
      ),
    );
  }),
  row('ON-14', 'the client asks before the ingress network goes', async (lab) => {
    assert.equal(await lab.ok('network', 'inspect', '-f', '{{.Ingress}}', 'ingress'), 'true');
    const asked = await lab.dockerWith('n\n', 'network', 'rm', 'ingress');
    assert.match(`${asked.out}${asked.err}`, /WARNING! Before removing the routing-mesh network/);
    await lab.ok('network', 'inspect', 'ingress');
  }),
  row('ON-15', 'without an ingress network services run, and none publishes', async (lab) => {
    await create(lab, 'quiet', []);
    await runs(lab, 'quiet', '1/1');
    const before = await container(lab, 'quiet');
    await replaceIngress(lab);
    try {
      refused(
        await lab.docker('service', 'create', '-d', '-p', '8080:80', 'host', 'sleep', '60'),
        /service needs ingress network, but no ingress network is present/,
      );
      assert.equal(await container(lab, 'quiet'), before);
    } finally {
      await lab.ok('network', 'create', '-d', 'overlay', '--ingress', 'ingress');
    }
  }),
  row('ON-17', 'ports are published over another ingress network', async (lab) => {
    const options = ['--opt', 'com.docker.network.driver.mtu=1200'];
    await replaceIngress(
      lab,
      '--subnet=10.11.0.0/16',
      '--gateway=10.11.0.2',
      ...options,
      'ingress',
    );
    await serve(lab, 'web', ['tcp:80'], '-p', '8080:80');
    await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^web /);
    const vip = await inspect(lab, 'web', '{{(index .Endpoint.VirtualIPs 0).Addr}}');
    assert.match(vip, /^10\.11\.\d+\.\d+\/16$/);
    await update(lab, 'update', '-d', '--publish-rm', '8080:80', 'web');
    await eventually(
      async () => (await lab.dockerWith('y\n', 'network', 'rm', 'ingress')).err,
      /^$/,
    );
    await lab.ok('network', 'create', '-d', 'overlay', '--ingress', 'ingress');
  }),
  row('ON-23', 'pools and the port of the tunnels are chosen at the start', async (lab) => {
    await lab.ok('swarm', 'leave', '--force');
    const pool = ['--default-addr-pool', '10.60.0.0/16', '--default-addr-pool-mask-length', '26'];
    await lab.ok('swarm', 'init', '--advertise-addr', HOST, '--data-path-port', '7777', ...pool);
    try {
      const cluster =
        '{{.Swarm.Cluster.DataPathPort}} {{.Swarm.Cluster.DefaultAddrPool}} {{.Swarm.Cluster.SubnetSize}}';
      assert.equal(await lab.ok('info', '-f', cluster), '7777 [10.60.0.0/16] 26');
      await lab.ok('network', 'create', '-d', 'overlay', 'net');
      const subnet = '{{(index .IPAM.Config 0).Subnet}}';
      const shown = () => lab.ok('network', 'inspect', '-f', subnet, 'net');
      await eventually(shown, /^10\.60\.\d+\.\d+\/26$/);
      await serve(lab, 'web', ['tcp:80'], '-p', '8080:80');
      await runs(lab, 'web', '1/1');
      const { out } = await lab.host('ip', '-d', 'link', 'show', 'type', 'vxlan');
      assert.match(out, /dstport 7777/);
    } finally {
      await lab.ok('swarm', 'leave', '--force');
    }
  }),
]);
