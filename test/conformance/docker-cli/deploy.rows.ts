import assert from 'node:assert/strict';
import { HOST, type Lab } from './lab.ts';
import { eventually, refused, row } from './rows.ts';
import { container, create, nodeId, ps, runs, serve, swarmRows, update } from './swarm.ts';

const inspect = (lab: Lab, name: string, format: string) =>
  lab.ok('service', 'inspect', '-f', format, name);
const errors = (lab: Lab, name: string) => ps(lab, name, '{{.CurrentState}} {{.Error}}');

/** Updates a service without the command line; the status and what is said. */
async function put(lab: Lab, name: string, version: number, change: object): Promise<string> {
  const spec = { ...JSON.parse(await inspect(lab, name, '{{json .Spec}}')), ...change };
  const url = `http://host/v1.47/services/${name}/update?version=${version}`;
  const order = ['-s', '-w', '%{http_code}', '--unix-socket', lab.socket, '-X', 'POST'];
  const body = ['-H', 'Content-Type: application/json', '-d', JSON.stringify(spec)];
  return (await lab.host('curl', ...order, ...body, url)).out;
}

const version = async (lab: Lab, name: string) =>
  Number(await inspect(lab, name, '{{.Version.Index}}'));

swarmRows([
  row('DS-03', 'a task that cannot run yet is pending, and says why', async (lab) => {
    await create(lab, 'web', ['--constraint', 'node.labels.rack==7']);
    await eventually(
      () => errors(lab, 'web'),
      /^Pending .*scheduling constraints not satisfied on 1 node/,
    );
  }),
  row('DS-06', 'arguments and the tag of the image are kept', async (lab) => {
    await create(lab, 'helloworld', [], ['host:latest', 'ping', 'docker.com']);
    const format =
      '{{.Spec.TaskTemplate.ContainerSpec.Image}} {{.Spec.TaskTemplate.ContainerSpec.Args}}';
    assert.equal(await inspect(lab, 'helloworld', format), 'host:latest [ping docker.com]');
  }),
  row('DS-08', 'a port that is added without a number gets one', async (lab) => {
    await create(lab, 'my_web', []);
    await runs(lab, 'my_web', '1/1');
    await update(lab, 'update', '-d', '--publish-add', '80', 'my_web');
    const ports = () => lab.ok('service', 'ls', '--format', '{{.Ports}}');
    await eventually(ports, /^\*:30\d{3}->80\/tcp$/);
  }),
  row('DS-16', 'an update leaves the image as it is', async (lab) => {
    await create(lab, 'web', [], ['host:latest', 'sleep', '600']);
    const image = () => inspect(lab, 'web', '{{.Spec.TaskTemplate.ContainerSpec.Image}}');
    const before = await image();
    await update(lab, 'update', '-d', '--env-add', 'A=b', 'web');
    assert.equal(await image(), before);
  }),
  row('DS-18', 'three tasks behind one port', async (lab) => {
    const flags = ['--replicas', '3', '--publish', 'published=8080,target=80'];
    await serve(lab, 'my-web', ['tcp:80'], ...flags);
    await runs(lab, 'my-web', '3/3');
    await eventually(() => lab.ask('host', 'tcp', 'localhost', 8080), /^my-web /);
    await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^my-web /);
  }),
  row('DS-28', 'a service does not change its mode', async (lab) => {
    await create(lab, 'web', []);
    const said = await put(lab, 'web', await version(lab, 'web'), { Mode: { Global: {} } });
    assert.match(said, /service mode change is not allowed.*501$/s);
  }),
  row('DS-48', 'an update of a version that is gone is refused', async (lab) => {
    await create(lab, 'web', []);
    const said = await put(lab, 'web', 1, {});
    assert.match(said, /rpc error: code = Unknown desc = update out of sequence.*500$/s);
  }),
  row('DS-29', 'what no node has left keeps tasks pending', async (lab) => {
    await create(lab, 'memory', ['--reserve-memory', '1000G']);
    await create(lab, 'cpu', ['--reserve-cpu', '900']);
    for (const name of ['memory', 'cpu']) {
      await eventually(() => errors(lab, name), /^Pending .*insufficient resources on 1 node/);
    }
  }),
  row('DS-33', 'every constraint has to hold, also of a service on every node', async (lab) => {
    const both = ['--constraint', 'node.role==manager', '--constraint', 'node.labels.x!=y'];
    await create(lab, 'web', ['--mode', 'global', ...both]);
    await runs(lab, 'web', '1/1');
    const more = ['--constraint', 'node.labels.x==y'];
    await create(lab, 'none', ['--mode', 'global', ...both, ...more]);
    assert.equal(
      await lab.ok('service', 'ls', '-f', 'name=none', '--format', '{{.Replicas}}'),
      '0/0',
    );
  }),
  row('DS-34', 'a label that goes takes the task with it', async (lab) => {
    const node = await nodeId(lab);
    await lab.ok('node', 'update', '--label-add', 'region=east', node);
    assert.equal(
      await lab.ok('node', 'inspect', '-f', '{{.Spec.Labels}}', node),
      'map[region:east]',
    );
    await create(lab, 'web', ['--constraint', 'node.labels.region==east']);
    await runs(lab, 'web', '1/1');
    await lab.ok('node', 'update', '--label-rm', 'region', node);
    assert.equal(await lab.ok('node', 'inspect', '-f', '{{.Spec.Labels}}', node), 'map[]');
    await runs(lab, 'web', '0/1');
  }),
  row('DS-37', 'preferences keep their order, one within the other', async (lab) => {
    const prefs = ['datacenter', 'rack'].flatMap((one) => [
      ...['--placement-pref', `spread=node.labels.${one}`],
    ]);
    await create(lab, 'web', ['--replicas', '2', ...prefs]);
    await runs(lab, 'web', '2/2');
    const shown = () =>
      inspect(
        lab,
        'web',
        '{{range .Spec.TaskTemplate.Placement.Preferences}}{{.Spread.SpreadDescriptor}} {{end}}',
      );
    assert.equal(await shown(), 'node.labels.datacenter node.labels.rack');
  }),
  row('DS-38', 'a preference is added behind the others, and taken away', async (lab) => {
    await create(lab, 'web', ['--placement-pref', 'spread=node.labels.a']);
    const shown = () =>
      inspect(
        lab,
        'web',
        '{{range .Spec.TaskTemplate.Placement.Preferences}}{{.Spread.SpreadDescriptor}} {{end}}',
      );
    await update(lab, 'update', '-d', '--placement-pref-add', 'spread=node.labels.b', 'web');
    assert.equal(await shown(), 'node.labels.a node.labels.b');
    await update(lab, 'update', '-d', '--placement-pref-rm', 'spread=node.labels.a', 'web');
    assert.equal(await shown(), 'node.labels.b');
  }),
  row('DS-43', 'the command line tells of an update that was paused', async (lab) => {
    await create(lab, 'web', []);
    await runs(lab, 'web', '1/1');
    refused(
      await lab.docker('service', 'update', '--args', 'false', 'web'),
      /service update paused: update paused due to failure or early termination of task [a-z0-9]{25}/,
    );
  }),
  row('DS-44', 'an update may have as many failures as its ratio says', async (lab) => {
    const rule = ['--update-max-failure-ratio', '1', '--update-monitor', '1s'];
    await create(lab, 'web', ['--replicas', '2', '--restart-condition', 'none', ...rule]);
    await runs(lab, 'web', '2/2');
    await update(lab, 'update', '-d', '--args', 'false', 'web');
    await eventually(() => inspect(lab, 'web', '{{.UpdateStatus.State}}'), /^completed$/);
  }),
  row('DS-51', 'the name of a container, and what stands for node and service', async (lab) => {
    const hostname = ['--hostname', '{{.Node.ID}}-{{.Service.Name}}'];
    await create(lab, 'hosttempl', hostname);
    const id = await container(lab, 'hosttempl');
    const task = await ps(lab, 'hosttempl', '{{.ID}}');
    assert.equal(
      await lab.inspect(`hosttempl.1.${task}`, '{{.Id}}'),
      await lab.inspect(id, '{{.Id}}'),
    );
    const wanted = `${await nodeId(lab)}-hosttempl`;
    assert.equal(await lab.inspect(id, '{{.Config.Hostname}}'), wanted);
    assert.equal(await lab.ok('exec', id, 'hostname'), wanted);
  }),
  row('DS-56', 'the last manager stays what it is', async (lab) => {
    const node = await nodeId(lab);
    assert.match(await lab.ok('node', 'inspect', 'self', '--pretty'), new RegExp(`ID:\\s+${node}`));
    refused(
      await lab.docker('node', 'demote', node),
      /attempting to demote the last manager of the swarm/,
    );
    refused(await lab.docker('node', 'rm', node), /rpc error: code = FailedPrecondition/);
    assert.match(await lab.ok('node', 'promote', node), /already a manager/);
  }),
  row('RA-54', 'the list of nodes', async (lab) => {
    const list = await lab.ok('node', 'ls');
    assert.match(list, /^ID\s+HOSTNAME\s+STATUS\s+AVAILABILITY\s+MANAGER STATUS\s+ENGINE VERSION/);
    assert.match(list, /^[a-z0-9]{25} \*\s+\S+\s+Ready\s+Active\s+Leader/m);
  }),
  row('SE-12', 'a cluster is founded once', async (lab) => {
    refused(
      await lab.docker('swarm', 'init', '--advertise-addr', HOST),
      /This node is already part of a swarm\. Use "docker swarm leave"/,
    );
  }),
  row('SE-16', 'the life of certificates', async (lab) => {
    const expiry = () => lab.ok('info', '-f', '{{.Swarm.Cluster.Spec.CAConfig.NodeCertExpiry}}');
    assert.equal(await expiry(), '2160h0m0s');
    await lab.ok('swarm', 'update', '--cert-expiry', '720h');
    assert.equal(await expiry(), '720h0m0s');
    refused(
      await lab.docker('swarm', 'update', '--cert-expiry', '1m'),
      /minimum certificate expiry time is:? 1h0m0s/,
    );
    await lab.ok('swarm', 'update', '--cert-expiry', '2160h');
  }),
  row('ON-18', 'a gateway bridge of the operator’s own is used as it is', async (lab) => {
    await lab.ok('swarm', 'leave', '--force');
    const options = ['name=docker_gwbridge', 'enable_icc=false', 'enable_ip_masquerade=true'];
    const opts = options.flatMap((one) => ['--opt', `com.docker.network.bridge.${one}`]);
    await lab.ok('network', 'create', '--subnet', '10.11.0.0/16', ...opts, 'docker_gwbridge');
    await lab.ok('swarm', 'init', '--advertise-addr', HOST);
    await serve(lab, 'web', ['tcp:80'], '-p', '8080:80');
    await runs(lab, 'web', '1/1');
    const shown = '{{range .Containers}}{{.IPv4Address}}{{end}}';
    assert.match(
      await lab.ok('network', 'inspect', '-f', shown, 'docker_gwbridge'),
      /^10\.11\.0\./,
    );
    await eventually(() => lab.ask('client', 'tcp', HOST, 8080), /^web /);
    await lab.ok('swarm', 'leave', '--force');
    await eventually(() => lab.ok('ps', '-aq'), /^$/);
    await lab.ok('network', 'inspect', 'docker_gwbridge');
    await lab.ok('network', 'rm', 'docker_gwbridge');
  }),
  row('DD-31', 'the daemon knows which address others are told', async (lab) => {
    await lab.ok('swarm', 'leave', '--force');
    await lab.host('ip', 'addr', 'add', '198.51.100.9/24', 'dev', 'eth0');
    try {
      refused(await lab.docker('swarm', 'init'), /could not choose an IP address to advertise/);
      for (const [given, wanted] of [
        ['198.51.100.9', '198.51.100.9'],
        ['lo', ''],
      ] as const) {
        await lab.fresh(['--swarm-default-advertise-addr', given]);
        const { code, err } = await lab.docker('swarm', 'init');
        assert.equal(code === 0, wanted !== '', err);
        assert.equal(await lab.ok('info', '-f', '{{.Swarm.NodeAddr}}'), wanted);
        if (code === 0) await lab.ok('swarm', 'leave', '--force');
      }
    } finally {
      await lab.host('ip', 'addr', 'del', '198.51.100.9/24', 'dev', 'eth0');
    }
    await lab.fresh([]);
    await lab.ok('swarm', 'init', '--advertise-addr', HOST);
  }),
]);
