import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from './lab.ts';
import { eventually, refused, row } from './rows.ts';
import { swarmRows } from './swarm.ts';

const SLEEP = ['host', 'sleep', '600'];

function create(lab: Lab, name: string, ...flags: string[]) {
  return lab.docker('service', 'create', '-d', '--name', name, ...flags, ...SLEEP);
}

async function made(lab: Lab, name: string, ...flags: string[]): Promise<string> {
  const { code, out, err } = await create(lab, name, ...flags);
  assert.equal(code, 0, err);
  assert.equal(err, '');
  return out.trim();
}

async function spec(lab: Lab, name: string, format = '{{json .Spec}}') {
  return JSON.parse(await lab.ok('service', 'inspect', '-f', format, name));
}

/** An update or the like; what holds the object at that moment is let go by. */
async function update(lab: Lab, ...args: string[]): Promise<string> {
  for (let tries = 0; ; tries++) {
    const { code, out, err } = await lab.docker('service', ...args);
    if (code === 0) return out.trim();
    if (tries > 20 || !/out of sequence/.test(err)) assert.fail(err);
  }
}

swarmRows([
  row('DS-04', 'a service is made once, found by name and id, and removed', async (lab) => {
    const id = await made(lab, 'my_web');
    assert.match(id, /^[a-z0-9]{25}$/);
    for (const key of ['my_web', id, id.slice(0, 10)]) {
      assert.equal(
        await lab.ok('service', 'inspect', '-f', '{{.ID}} {{.Spec.Name}}', key),
        `${id} my_web`,
      );
    }
    refused(
      await create(lab, 'my_web'),
      /code = AlreadyExists desc = name conflicts with an existing object: service my_web already exists/,
    );
    assert.equal(await lab.ok('service', 'rm', 'my_web'), 'my_web');
    refused(await lab.docker('service', 'rm', 'my_web'), /service my_web not found/);
    refused(await lab.docker('service', 'inspect', 'my_web'), /my_web/);
    await made(lab, 'my_web');
  }),
  row('DS-01', 'without a name one is made up', async (lab) => {
    const id = await lab.ok('service', 'create', '-d', ...SLEEP);
    assert.match(await lab.ok('service', 'inspect', '-f', '{{.Spec.Name}}', id), /^[a-z]+_[a-z]+$/);
  }),
  row('DS-05', 'names are those of DNS', async (lab) => {
    refused(await create(lab, 'a.b'), /name must be valid as a DNS name component/);
    refused(await create(lab, 'a'.repeat(64)), /name must be 63 characters or fewer/);
  }),
  row('DS-02', 'the list tells mode, replicas, image and ports', async (lab) => {
    await made(lab, 'web', '--replicas', '2', '--label', 'tier=front');
    await made(lab, 'everywhere', '--mode', 'global');
    const list = (...filters: string[]) =>
      lab.ok('service', 'ls', '--format', '{{.Name}} {{.Mode}} {{.Image}}', ...filters);
    assert.deepEqual((await list()).split('\n').sort(), [
      'everywhere global host:latest',
      'web replicated host:latest',
    ]);
    assert.match(
      await lab.ok('service', 'ls', '--format', '{{.Replicas}}', '-f', 'name=web'),
      /^\d\/2$/,
    );
    assert.equal(await list('-f', 'mode=global'), 'everywhere global host:latest');
    assert.equal(await list('-f', 'label=tier=front'), 'web replicated host:latest');
    assert.equal(await list('-f', 'name=nobody'), '');
  }),
  row('DS-10', 'a container is kept as it was asked for', async (lab) => {
    const flags = [
      ...['--env', 'MYVAR=myvalue', '--workdir', '/tmp', '--user', 'nobody', '--group', '100'],
      ...['--hostname', '{{.Service.Name}}-{{.Task.Slot}}', '--container-label', 'a=b'],
      ...['--stop-signal', 'SIGINT', '--stop-grace-period', '3s', '--host', 'db:192.0.2.7'],
      ...['--dns', '192.0.2.53', '--dns-search', 'example.test', '--dns-option', 'ndots:2'],
      ...['--cap-add', 'NET_ADMIN', '--cap-drop', 'CHOWN', '--sysctl', 'net.core.somaxconn=64'],
      ...['--mount', 'type=bind,src=/tmp,dst=/there,readonly', '--mount', 'type=tmpfs,dst=/fast'],
      ...[
        '--health-cmd',
        'true',
        '--health-interval',
        '5s',
        '--health-retries',
        '2',
        '--init',
        '-t',
      ],
      ...['--limit-cpu', '0.5', '--limit-memory', '64M', '--limit-pids', '50'],
      ...['--reserve-cpu', '0.1', '--reserve-memory', '16M'],
      ...['--constraint', 'node.role==manager', '--placement-pref', 'spread=node.labels.zone'],
      ...['--replicas-max-per-node', '3', '--restart-condition', 'on-failure'],
      ...['--restart-delay', '2s', '--restart-max-attempts', '4', '--restart-window', '1m'],
    ];
    await made(lab, 'all', ...flags);
    const { TaskTemplate: task } = await spec(lab, 'all');
    const { ContainerSpec: container } = task;
    assert.deepEqual(container.Args, ['sleep', '600']);
    assert.deepEqual(container.Env, ['MYVAR=myvalue']);
    assert.equal(container.Dir, '/tmp');
    assert.deepEqual(container.Hosts, ['192.0.2.7 db']);
    assert.deepEqual(container.DNSConfig, {
      ...{ Nameservers: ['192.0.2.53'], Search: ['example.test'], Options: ['ndots:2'] },
    });
    assert.deepEqual(container.Sysctls, { 'net.core.somaxconn': '64' });
    assert.equal(container.Mounts.length, 2);
    assert.equal(container.Healthcheck.Retries, 2);
    assert.deepEqual(task.Resources.Limits, { NanoCPUs: 5e8, MemoryBytes: 2 ** 26, Pids: 50 });
    assert.deepEqual(task.RestartPolicy, {
      ...{ Condition: 'on-failure', Delay: 2e9, MaxAttempts: 4, Window: 6e10 },
    });
    assert.equal(task.Placement.MaxReplicas, 3);
    const pretty = await lab.ok('service', 'inspect', '--pretty', 'all');
    assert.match(pretty, /MYVAR=myvalue/);
    assert.match(pretty, /Max Replicas Per Node:\s+3/);
    await update(lab, 'update', '-d', '--env-add', 'MORE=1', 'all');
    const after = await spec(lab, 'all');
    // The client writes them in any order.
    assert.deepEqual(after.TaskTemplate.ContainerSpec.Env.sort(), ['MORE=1', 'MYVAR=myvalue']);
    assert.deepEqual(after.TaskTemplate.Placement, task.Placement);
  }),
  row('DS-24', 'what has no effect is warned of; what is not served is refused', async (lab) => {
    const { code, err } = await create(lab, 'ro', '--read-only', '--ulimit', 'nofile=10');
    assert.equal(code, 0);
    assert.match(err, /ReadOnly has no effect here/);
    assert.match(err, /Ulimits has no effect here/);
    const logs = await create(lab, 'logs', '--log-driver', 'syslog');
    assert.match(logs.err, /the log driver syslog is not served/);
    refused(
      await create(lab, 'gr', '--generic-resource', 'gpu=1'),
      /generic resources are not served/,
    );
    refused(
      await create(lab, 'cred', '--credential-spec', 'file://x.json'),
      /credential specifications are not served/,
    );
  }),
  row('DS-30', 'resources have a least value', async (lab) => {
    refused(
      await create(lab, 'a', '--limit-memory', '1M'),
      /invalid memory value 1048576: Must be at least 4MiB/,
    );
    refused(
      await create(lab, 'a', '--reserve-cpu', '0.0001'),
      /invalid cpu value 0\.0001: Must be at least 0\.001/,
    );
  }),
  row('DS-25', 'scale and update change the specification; the one before is kept', async (lab) => {
    await made(lab, 'web', '--replicas', '3');
    await update(lab, 'scale', '-d', 'web=5');
    const format = '{{.Spec.Mode.Replicated.Replicas}} {{.PreviousSpec.Mode.Replicated.Replicas}}';
    assert.equal(await lab.ok('service', 'inspect', '-f', format, 'web'), '5 3');
    await update(lab, 'update', '-d', '--args', 'sleep 700', '--label-add', 'new=1', 'web');
    assert.deepEqual((await spec(lab, 'web')).TaskTemplate.ContainerSpec.Args, ['sleep', '700']);
  }),
  row('DS-26', 'a service on every node is not scaled', async (lab) => {
    await made(lab, 'g', '--mode', 'global');
    refused(await lab.docker('service', 'scale', 'g=3'), /scale can only be used with replicated/);
  }),
  row('DS-45', 'a rollback swaps the two specifications', async (lab) => {
    await made(lab, 'web', '--label', 'v=1');
    refused(await lab.docker('service', 'rollback', '-d', 'web'), /does not have a previous spec/);
    await update(lab, 'update', '-d', '--args', 'sleep 700', '--label-add', 'v=2', 'web');
    await update(lab, 'rollback', '-d', 'web');
    const { Labels, TaskTemplate } = await spec(lab, 'web');
    assert.deepEqual(Labels, { v: '1' });
    assert.deepEqual(TaskTemplate.ContainerSpec.Args, ['sleep', '600']);
    const before = await spec(lab, 'web', '{{json .PreviousSpec}}');
    assert.deepEqual(before.Labels, { v: '2' });
    assert.deepEqual(before.TaskTemplate.ContainerSpec.Args, ['sleep', '700']);
  }),
  row('DS-45', 'an update that fails is rolled back with its labels', async (lab) => {
    const rule = ['--update-failure-action', 'rollback', '--update-monitor', '2s'];
    await made(lab, 'web', '--label', 'v=1', ...rule);
    await update(lab, 'update', '-d', '--args', 'false', '--label-add', 'v=2', 'web');
    await eventually(
      () => lab.ok('service', 'inspect', '-f', '{{.UpdateStatus.State}}', 'web'),
      /^rollback_/,
    );
    const { Labels, TaskTemplate } = await spec(lab, 'web');
    assert.deepEqual(Labels, { v: '1' });
    assert.deepEqual(TaskTemplate.ContainerSpec.Args, ['sleep', '600']);
  }),
  row('DS-46', 'a rollback is not combined with other flags', async (lab) => {
    await made(lab, 'web');
    refused(
      await lab.docker('service', 'update', '-d', '--rollback', '--update-delay', '0s', 'web'),
      /other flags may not be combined with --rollback/,
    );
  }),
  row('DS-42', 'defaults are shown where nothing was asked for', async (lab) => {
    await made(lab, 'web');
    const pretty = await lab.ok('service', 'inspect', '--pretty', 'web');
    assert.match(pretty, /Parallelism:\s+1\n/);
    assert.match(pretty, /Monitoring Period: 5s/);
    assert.match(pretty, /On failure:\s+pause/);
    assert.match(pretty, /Update order:\s+stop-first/);
    assert.match(pretty, /Endpoint Mode:\s+vip/);
  }),
  row('DS-41', 'rules of updates and rollbacks', async (lab) => {
    const flags = [
      ...['--update-delay', '10s', '--update-parallelism', '2', '--update-failure-action'],
      ...['rollback', '--update-max-failure-ratio', '0.1', '--update-order', 'start-first'],
      ...['--rollback-parallelism', '2', '--rollback-monitor', '20s'],
    ];
    await made(lab, 'web', ...flags);
    const { UpdateConfig, RollbackConfig } = await spec(lab, 'web');
    assert.equal(UpdateConfig.Delay, 1e10);
    assert.equal(UpdateConfig.FailureAction, 'rollback');
    assert.equal(RollbackConfig.Monitor, 2e10);
    refused(
      await create(lab, 'bad', '--update-max-failure-ratio', '1.5'),
      /TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1/,
    );
    refused(
      await create(lab, 'bad', '--rollback-failure-action', 'rollback'),
      /unrecognized rollback failure action/,
    );
  }),
  row('DS-20', 'a service joins networks of the cluster, with aliases', async (lab) => {
    const id = await lab.ok('network', 'create', '-d', 'overlay', 'my-network');
    await made(lab, 'web', '--network', 'name=my-network,alias=front');
    const { TaskTemplate } = await spec(lab, 'web');
    assert.deepEqual(TaskTemplate.Networks, [{ Target: id, Aliases: ['front'] }]);
    assert.match(await lab.ok('service', 'inspect', '--pretty', 'web'), /Networks: my-network/);
    refused(
      await lab.docker('network', 'rm', 'my-network'),
      new RegExp(`network ${id} is in use by (service|task) `),
    );
    await lab.ok('network', 'create', '-d', 'overlay', 'other');
    await update(lab, 'update', '-d', '--network-add', 'other', 'web');
    assert.equal((await spec(lab, 'web')).TaskTemplate.Networks.length, 2);
    await update(lab, 'update', '-d', '--network-rm', 'my-network', 'web');
    assert.equal((await spec(lab, 'web')).TaskTemplate.Networks.length, 1);
  }),
  row('DS-23', 'networks of one host are not for services', async (lab) => {
    await lab.ok('network', 'create', 'mine');
    refused(
      await create(lab, 'web', '--network', 'mine'),
      /The network mine cannot be used with services\. Only networks scoped to the swarm/,
    );
    refused(await create(lab, 'web', '--network', 'nowhere'), /network nowhere not found/);
  }),
  row('OV-02', 'a service on the network of its node', async (lab) => {
    await made(lab, 'web', '--network', 'host');
    assert.equal((await spec(lab, 'web')).TaskTemplate.Networks.length, 1);
  }),
  row('OV-03', 'the network none is not for services', async (lab) => {
    refused(
      await create(lab, 'web', '--network', 'none'),
      /could not find the corresponding predefined swarm network: network none not found/,
    );
  }),
  row('RM-15', 'ports contradict themselves', async (lab) => {
    refused(
      await create(lab, 'web', '-p', '8080:80', '-p', '8080:81'),
      /EndpointSpec: duplicate published ports provided/,
    );
    refused(
      await create(lab, 'web', '--endpoint-mode', 'dnsrr', '-p', '8080:80'),
      /port published with ingress mode can't be used with dnsrr mode/,
    );
    refused(await create(lab, 'web', '-p', '127.0.0.1:80:80'), /hostip is not supported/, 125);
    refused(
      await create(lab, 'web', '-p', 'published=80'),
      /missing mandatory field 'target'/,
      125,
    );
  }),
  row('RM-14', 'a port of the mesh is of one service', async (lab) => {
    const id = await made(lab, 'a', '-p', '53:53');
    refused(
      await create(lab, 'b', '-p', '53:5353'),
      new RegExp(`port '53' is already in use by service 'a' \\(${id}\\) as an ingress port`),
    );
    await made(lab, 'b', '-p', '53:53/udp');
  }),
  row('RM-03', 'ports that nobody chose are from 30000 up, and stay', async (lab) => {
    await made(lab, 'web', '-p', '80');
    const ports = () => lab.ok('service', 'inspect', '-f', '{{json .Endpoint.Ports}}', 'web');
    await eventually(ports, /"PublishedPort":30000,/);
    await update(lab, 'update', '-d', '--publish-add', '81', 'web');
    await eventually(ports, /"TargetPort":80,"PublishedPort":30000,.*"PublishedPort":30001,/);
    const asked = await lab.ok('service', 'inspect', '-f', '{{json .Endpoint.Spec.Ports}}', 'web');
    assert.doesNotMatch(asked, /PublishedPort/);
  }),
  row('RA-39', 'a service has an address in each of its networks', async (lab) => {
    await lab.ok('network', 'create', '-d', 'overlay', '--subnet', '10.77.0.0/24', 'mynet');
    await made(lab, 'web', '--network', 'mynet', '-p', '8080:80');
    const addresses = '{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}';
    await eventually(
      () => lab.ok('service', 'inspect', '-f', addresses, 'web'),
      /^(?=.*10\.77\.0\.\d+\/24)(?=.*10\.0\.0\.\d+\/24)/,
    );
  }),
  row('DS-32', 'a task that no node fits says why, until one does', async (lab) => {
    await made(lab, 'web', '--constraint', 'node.labels.region==east');
    const tasks = () =>
      lab.ok('service', 'ps', '--no-trunc', '--format', '{{.CurrentState}} {{.Error}}', 'web');
    await eventually(tasks, /Pending.*no node fits: 1 node misses label region=east/);
    assert.match(await tasks(), /scheduling constraints not satisfied on 1 node/);
    const node = await lab.ok('node', 'ls', '-q');
    await lab.ok('node', 'update', '--label-add', 'region=East', node);
    await eventually(tasks, /^(?!.*Pending)/s);
  }),
  row('DS-35', 'a task whose node meets its constraints no more says so', async (lab) => {
    const node = await lab.ok('info', '-f', '{{.Swarm.NodeID}}');
    await lab.ok('node', 'update', '--label-add', 'region=east', node);
    await made(lab, 'web', '--constraint', 'node.labels.region==east');
    const list = ['service', 'ps', '--no-trunc', 'web', '--format'];
    const states = () => lab.ok(...list, '{{.CurrentState}}');
    await eventually(states, /^Running/);
    await lab.ok('node', 'update', '--label-rm', 'region', node);
    await eventually(states, /Shutdown/);
    const errors = await lab.ok(...list, '{{.DesiredState}} {{.Error}}');
    assert.match(
      errors,
      /^Shutdown .*assigned node no longer meets constraints: node \S+ misses label region=east/m,
    );
  }),
  row('DS-35', 'constraints are read before the service is made', async (lab) => {
    refused(
      await create(lab, 'web', '--constraint', 'node.role=manager'),
      /constraint expected one operator from ==, !=/,
    );
    refused(await create(lab, 'web', '--constraint', '-x==1'), /key '-x' is invalid/);
  }),
  row('RM-17', 'ports of the node itself', async (lab) => {
    await made(
      lab,
      'dns',
      '-p',
      'published=53,target=53,protocol=udp,mode=host',
      '--mode',
      'global',
    );
    assert.deepEqual(await spec(lab, 'dns', '{{json .Endpoint.Spec.Ports}}'), [
      { Protocol: 'udp', TargetPort: 53, PublishedPort: 53, PublishMode: 'host' },
    ]);
  }),
  row('DS-09', 'what happens in the cluster is told as events of the swarm', async (lab) => {
    const since = String(Date.now() / 1000);
    await made(lab, 'web');
    await lab.ok('network', 'create', '-d', 'overlay', 'over');
    await update(lab, 'update', '-d', '--label-add', 'a=b', 'web');
    await lab.ok('service', 'rm', 'web');
    const format = '{{.Scope}} {{.Type}} {{.Action}} {{.Actor.Attributes.name}}';
    const args = ['events', '--since', since, '--until', String(Date.now() / 1000 + 1)];
    const lines = (await lab.ok(...args, '--filter', 'scope=swarm', '--format', format)).split(
      '\n',
    );
    for (const line of [
      ...['swarm service create web', 'swarm service update web', 'swarm service remove web'],
      'swarm network create over',
    ]) {
      assert.ok(lines.includes(line), `${line} in ${lines.join()}`);
    }
    const only = await lab.ok(...args, '--filter', 'type=network', '--filter', 'scope=swarm');
    assert.doesNotMatch(only, /service/);
  }),
  row('SE-29', 'secrets and configurations of a service', async (lab) => {
    const path = join(lab.folder, 'data');
    writeFileSync(path, 'data');
    const secret = await lab.ok('secret', 'create', 's1', path);
    await lab.ok('config', 'create', 'c1', path);
    await made(
      lab,
      'web',
      ...['--secret', 'source=s1,target=ca.pem,mode=0400', '--config', 'source=c1,target=/etc/c1'],
    );
    const { Secrets, Configs } = (await spec(lab, 'web')).TaskTemplate.ContainerSpec;
    const File = { Name: 'ca.pem', UID: '0', GID: '0', Mode: 0o400 };
    assert.deepEqual(Secrets, [{ File, SecretID: secret, SecretName: 's1' }]);
    assert.equal(Configs[0].File.Name, '/etc/c1');
    refused(
      await lab.docker('secret', 'rm', 's1'),
      /secret 's1' is in use by the following service: web/,
    );
    await made(lab, 'more', '--secret', 's1');
    refused(
      await lab.docker('secret', 'rm', 's1'),
      /secret 's1' is in use by the following services: (web, more|more, web)/,
    );
    refused(await create(lab, 'none', '--secret', 'nope'), /secret not found: nope/);
    await update(lab, 'update', '-d', '--secret-rm', 's1', 'more');
    await update(lab, 'update', '-d', '--secret-rm', 's1', '--secret-add', 's1', 'web');
    assert.equal((await spec(lab, 'web')).TaskTemplate.ContainerSpec.Secrets[0].File.Name, 's1');
  }),
]);
